"""
A server and many client processes over real TCP, for as long as you like.

    python tests/soak.py --logins 2000 --kills 200

The clients log in several times over each connection, receive pushes, drop their references,
disconnect, vanish, or are killed in the middle of a login.  Meanwhile avatars are evicted, some of
their logouts hang until they are given up, and the ceilings for logins that wait are low.  When all
clients are gone, the audit must find nothing, every count must be 0, and memory must have grown by
less than a block for each login.
It prints what happened as one line of JSON, ends by itself, and fails if anything is left.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import time
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.spread import pb
from zope.interface import implementer

import avatarkit

USERS, LOGINS_PER_CLIENT, CLIENTS_AT_ONCE = 6, 25, 6

#: How often a client that hurries logs in at once.
BURST = 5

#: How many logins may be in progress, and how many of them wait for the slots of a user.
CEILING, WAITING = 3, 1

#: How many seconds an avatar may take to retire, how many a logout that hangs takes, and how often
#: one does.
RETIRE_TIMEOUT, HANGING, HANGS = 0.02, 0.06, 0.05

#: How clients are refused.
REFUSALS = ("TooManyConnections", "TooManyWaiting", "TooManyLogins", "LoginAbandoned")

#: What a client learns that calls when its session has ended.
ENDINGS = ("Displaced", "Evicted", "Kicked", "LoggedOut", "RealmClosed")


class Player(avatarkit.Avatar):
    """
    An avatar that takes a moment to be saved.
    """

    def __init__(self, server: Server, name: bytes) -> None:
        self.server, self.name = server, name
        server.alive += 1

    async def connect(self) -> None:
        """
        Count the session; kill the client if its name asks for it.
        """
        super().connect()
        if self.name.startswith(b"late-"):
            await self.server.kill(self.name)

    def perspective_greet(self) -> int:
        """
        Return the count.
        """
        return self.connections

    async def logout(self) -> None:
        """
        Save the avatar, which sometimes takes too long.
        """
        if self.server.random.random() < HANGS:
            await deferLater(self.server.reactor, HANGING)
        await self.server.moment()


class Below(avatarkit.Block):
    """
    A block below the cache, which knows when an avatar is gone, even if nobody tells the avatar.
    """

    def release(self, session: avatarkit.Session) -> None:
        """
        It is gone, if it ever was there.
        """
        if session.avatar is not None:
            session.avatar.server.alive -= 1


@implementer(ICredentialsChecker)
class AnyName:
    """
    A checker that lets everybody in.
    """

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Return the name that the client gives.
        """
        return credentials.username


class Server:
    """
    The server, its clients, and what they have done.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor, self.random = reactor, random.Random(1)
        self.alive = self.made = self.killed = self.cancelled = 0
        self.online, self.counter = avatarkit.MindRegistry(), avatarkit.ConnectionCounter()
        self.evicted = self.evicting = self.givenUp = 0
        self.limit = avatarkit.ConnectionLimit(
            3,
            whenFull=avatarkit.displaceUnresponsive(timeout=2, answerFresh=0.02),
            maximumWaiting=WAITING,
        )
        self.cache: avatarkit.AvatarCache[Player] = avatarkit.AvatarCache(
            idleTimeout=0.01, maximumIdle=3, retireTimeout=RETIRE_TIMEOUT
        )
        below = Below()(self.factory)
        self.realm = self.online(self.limit(self.counter(self.cache(below))))
        self.realm.maximumWaiting = CEILING
        # Before logging begins, Twisted keeps all that is logged, which is not to be measured here.
        critical = LogLevelFilterPredicate(LogLevel.critical)
        errors: Any = FilteringLogObserver(textFileLogObserver(sys.stderr), [critical])
        observer: Any = self.observe
        globalLogBeginner.beginLoggingTo(
            [errors, observer], discardBuffer=True, redirectStandardIO=False
        )

    def observe(self, event: dict[str, Any]) -> None:
        """
        Count the avatars that are given up.
        """
        self.givenUp += "is given up" in str(event.get("log_format"))

    def moment(self) -> Deferred[None]:
        """
        Return a Deferred that fires in a moment.
        """
        moment: Deferred[None] = Deferred(lambda moment: call.cancel())
        call = self.reactor.callLater(self.random.random() / 500, moment.callback, None)
        return moment

    async def factory(self, name: bytes) -> Player:
        """
        Make an avatar; kill the client first if its name asks for it.
        """
        if name.startswith(b"victim-"):
            await self.kill(name)
        await self.moment()
        self.made += 1
        return Player(self, name)

    async def kill(self, name: bytes) -> None:
        """
        Kill the client whose process ID is in a name, and wait until its login is cancelled.
        """
        self.killed += 1
        os.kill(int(name.rpartition(b"-")[2]), signal.SIGKILL)
        try:
            await Deferred()
        finally:
            self.cancelled += 1

    async def run(self, logins: int, kills: int) -> dict[str, Any]:
        """
        Serve a number of logins and kills, and report what is left when all clients have gone.
        """
        factory: Any = pb.PBServerFactory(Portal(self.realm, [AnyName()]))
        listening = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        nursery = Nursery(self.reactor, self.random, listening.getHost().port)
        pushing = LoopingCall(self.push)
        pushing.start(0.01, now=False)
        evicting = LoopingCall(self.evict)
        evicting.start(0.02, now=False)
        await self.phase(nursery, logins // 4, kills // 4)
        before = memory()
        await self.phase(nursery, logins - logins // 4, kills - kills // 4)
        grown = memory() - before
        pushing.stop()
        evicting.stop()
        nursery.stop()
        await listening.stopListening()
        await self.cache.close()
        return {
            "logins": nursery.logins,
            "refused": dict(zip(REFUSALS, nursery.refused, strict=True)),
            "evicted": self.evicted,
            "given up": self.givenUp,
            "kills": self.killed,
            "cancelled": self.cancelled,
            "avatars": self.made,
            "audit": self.realm.audit(),
            "left": [
                len(self.realm.sessions),
                self.counter.total,
                len(self.online),
                len(self.limit._slots.holders),
                len(self.cache),
                self.alive,
                self.evicting,
                self.realm._entrance.waiting,
                self.limit._waiting.total(),
                len(self.cache._kept.overdue),
            ],
            "failed": nursery.failed,
            "grown": grown,
        }

    async def phase(self, nursery: Nursery, logins: int, kills: int) -> None:
        """
        Serve a number of logins and kills, and wait until everybody is gone.
        """
        roles = ["client"] * -(-logins // LOGINS_PER_CLIENT)
        roles += ["victim", "late"] * (kills // 2) + ["victim"] * (kills % 2)
        self.random.shuffle(roles)
        limit = DeferredSemaphore(CLIENTS_AT_ONCE)
        await gatherResults([limit.run(nursery.spawn, role) for role in roles])
        while self.realm.sessions:
            await next(iter(self.realm.sessions)).whenClosed()
        while len(self.cache) or self.alive or self.evicting:
            await self.moment()

    def push(self) -> None:
        """
        Push to everyone, and audit the realm.
        """
        self.online.everyone.callRemote("told", "something")
        wrong = [each for each in self.realm.audit() if "was given up" not in each]
        if wrong:
            raise AssertionError(wrong)

    def evict(self) -> None:
        """
        Evict the avatar of one of a few users, or discard it.
        """
        self.evicting += 1
        discard = self.random.random() < 0.5
        self.cache.evict(nameOf(self.random), discard=discard).addCallback(self.gone)

    def gone(self, was: bool) -> None:
        """
        An avatar that was evicted is gone.
        """
        self.evicting -= 1
        self.evicted += was


def nameOf(numbers: random.Random) -> bytes:
    """
    Return the name of one of a few users.
    """
    return b"user-%d" % numbers.randrange(USERS)


def memory() -> int:
    """
    Return how many blocks of memory are in use.
    """
    gc.collect()
    return sys.getallocatedblocks()


class Nursery(ProcessProtocol):
    """
    A process that forks clients, since starting Python for each would take too long.
    """

    def __init__(self, reactor: Any, numbers: random.Random, port: int) -> None:
        self.random = numbers
        self.buffer = b""
        self.starting: list[Deferred[None]] = []
        self.clients: dict[int, Deferred[None]] = {}
        self.logins = self.failed = 0
        self.refused = [0] * len(REFUSALS)
        self.process = reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, __file__, "--nursery", str(port)],
            env=os.environ,
            childFDs={0: "w", 1: "r", 2: 2},
        )

    def spawn(self, role: str) -> Deferred[None]:
        """
        Start a client, and return a Deferred that fires when it is gone.
        """
        gone: Deferred[None] = Deferred()
        self.starting.append(gone)
        self.process.write(f"{role} {self.random.randrange(10**9)}\n".encode())
        return gone

    def outReceived(self, data: bytes) -> None:
        """
        Note that a client has started, reported or gone.
        """
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            what, *numbers = line.split()
            if what == b"started":
                self.clients[int(numbers[0])] = self.starting.pop(0)
            elif what == b"did":
                self.logins += int(numbers[0])
                self.refused = [
                    each + int(number)
                    for each, number in zip(self.refused, numbers[1:], strict=True)
                ]
            else:
                self.failed += int(numbers[1]) not in (0, signal.SIGKILL)
                self.clients.pop(int(numbers[0])).callback(None)

    def stop(self) -> None:
        """
        End the nursery.
        """
        self.process.closeStdin()


def nursery(port: int) -> None:
    """
    Fork a client for each line of input, and print when it has gone.
    """

    def reap(signum: int, frame: object) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            os.write(1, f"gone {pid} {status}\n".encode())

    signal.signal(signal.SIGCHLD, reap)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as commands:
        buffer = b""
        while data := commands.read(4096):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                role, seed = line.split()
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
                pid = os.fork()
                if not pid:
                    child(role.decode(), int(seed), port)
                os.write(1, f"started {pid}\n".encode())
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def child(role: str, seed: int, port: int) -> None:
    """
    Run a client in this process, and exit.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    try:
        react(lambda reactor: Deferred.fromCoroutine(Client(reactor, seed).run(role, port)))
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    finally:
        os._exit(1)


class Client(pb.Referenceable):
    """
    A client that does a bit of everything.
    """

    def __init__(self, reactor: Any, seed: int) -> None:
        self.reactor, self.random = reactor, random.Random(seed)
        self.logins, self.refused = 0, [0] * len(REFUSALS)

    def remote_told(self, text: str) -> int:
        """
        Receive a push.
        """
        return len(text)

    def remote_ping(self) -> Deferred[None]:
        """
        Say that the client is there, in a moment.
        """
        return deferLater(self.reactor, self.random.random() / 50, lambda: None)

    async def run(self, role: str, port: int) -> None:
        """
        Log in again and again, over a few connections.
        """
        if role != "client":
            factory: Any = self.connect(port)
            name = f"{role}-{os.getpid()}".encode()
            while await self.enter(factory, UsernamePassword(name, b"")) is None:
                pass
        while self.logins < LOGINS_PER_CLIENT:
            await self.visit(port)
        os.write(1, f"did {self.logins} {' '.join(map(str, self.refused))}\n".encode())
        os._exit(0)

    async def visit(self, port: int) -> None:
        """
        Log in several times over one connection, and leave.
        """
        factory: Any = self.connect(port)
        held = []
        for _ in range(self.random.randrange(1, 8)):
            held.append(await self.login(factory))
            if self.random.random() < 0.5:
                held.pop(self.random.randrange(len(held)))
        if self.random.random() < 0.3:
            held += await self.burst(factory)
        if self.random.random() < 0.3:
            factory.login(self.somebody(), self).addErrback(lambda failure: None)
        if self.random.random() < 0.2:
            await gatherResults([self.greet(player) for player in held if player is not None])
        self.leave(factory)

    def connect(self, port: int) -> Any:
        """
        Open a connection.
        """
        factory: Any = pb.PBClientFactory()
        factory.noisy = Factory.noisy = False
        self.reactor.connectTCP("127.0.0.1", port, factory)
        return factory

    def somebody(self) -> UsernamePassword:
        """
        Return the credentials of one of a few users.
        """
        return UsernamePassword(nameOf(self.random), b"")

    async def login(self, factory: Any) -> Any:
        """
        Log in once.
        """
        self.logins += 1
        return await self.enter(factory, self.somebody())

    async def burst(self, factory: Any) -> list[Any]:
        """
        Log in several times at once as one user, and return the avatars.
        """
        self.logins += BURST
        user = self.somebody()
        entering = [Deferred.fromCoroutine(self.enter(factory, user)) for _ in range(BURST)]
        return list(await gatherResults(entering))

    async def enter(self, factory: Any, credentials: UsernamePassword) -> Any:
        """
        Log in, and return the avatar, or C{None} if the login is refused.
        """
        try:
            return await factory.login(credentials, self)
        except pb.RemoteError as error:
            _, _, kind = error.remoteType.decode().rpartition("avatarkit.errors.")
            if kind not in REFUSALS:
                raise
            self.refused[REFUSALS.index(kind)] += 1
            return None

    def greet(self, player: Any) -> Deferred[Any]:
        """
        Call an avatar, whose session may have ended.
        """
        called: Deferred[Any] = player.callRemote("greet")
        return called.addErrback(
            lambda failure: failure.trap(*(f"avatarkit.errors.{each}" for each in ENDINGS))
        )

    def leave(self, factory: Any) -> None:
        """
        Disconnect, politely or not.
        """
        if self.random.random() < 0.5:
            factory.disconnect()
        else:
            factory._broker.transport.abortConnection()


async def soak(reactor: Any, logins: int, kills: int) -> None:
    """
    Run, report, and fail if anything is left.
    """
    deadline = reactor.callLater(60 + logins / 50, os._exit, 3)
    began = time.monotonic()
    server = Server(reactor)
    report = await server.run(logins, kills)
    deadline.cancel()
    print(json.dumps({**report, "seconds": round(time.monotonic() - began, 1)}))  # noqa: T201
    assert report["audit"] == []
    assert report["left"] == [0] * 10
    assert all(report["refused"].values())
    assert report["evicted"]
    assert report["given up"]
    assert report["kills"] == report["cancelled"] >= kills
    assert report["logins"] >= logins
    assert report["failed"] == 0
    assert report["grown"] < report["logins"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--logins", type=int, default=2000, help="how many (default %(default)s)")
    parser.add_argument("--kills", type=int, default=200, help="how many (default %(default)s)")
    parser.add_argument("--nursery", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nursery:
        nursery(options.nursery)
    else:
        react(lambda reactor: Deferred.fromCoroutine(soak(reactor, options.logins, options.kills)))
