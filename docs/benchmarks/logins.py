"""
What logins cost: the four blocks stacked, compared with the how-to's hand-written realm.

    python docs/benchmarks/logins.py

Logs in directly, through C{Portal.login}, and through real Perspective Broker logins over loopback;
then measures the memory of a session, the import, and logins among more and more live sessions.
The two realms take turns in one process.  Times and ratios are medians of the rounds, and the
spread is the lowest and the highest ratio.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from timing import timed
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.spread import pb
from zope.interface import implementer

import avatarkit

reactor: Any = globalReactor
CREDENTIALS = UsernamePassword(b"alice", b"secret")


class Player(avatarkit.Avatar):
    """An avatar that counts its connections and knows its minds."""


class ByHandAvatar(pb.Avatar):
    """The same by hand."""

    def __init__(self) -> None:
        self.connections = 0
        self.minds: dict[int, Any] = {}

    def connect(self) -> None:
        self.connections += 1

    def disconnect(self) -> None:
        self.connections -= 1

    def attached(self, mind: Any) -> None:
        self.minds[id(mind)] = mind

    def detached(self, mind: Any) -> None:
        del self.minds[id(mind)]


@implementer(IRealm)
class HandWritten:
    """
    The how-to's realms in one: cached avatars that are told about connections and minds, a limit,
    and a table of who is online.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.avatars: dict[Any, ByHandAvatar] = {}
        self.online: dict[Any, dict[int, Any]] = {}

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId not in self.avatars:
            self.avatars[avatarId] = ByHandAvatar()
        avatar = self.avatars[avatarId]
        if avatar.connections >= self.maximum:
            raise ValueError("too many connections")
        avatar.connect()
        self.online.setdefault(avatarId, {})[id(mind)] = mind
        avatar.attached(mind)

        def logout() -> None:
            avatar.detached(mind)
            del self.online[avatarId][id(mind)]
            if not self.online[avatarId]:
                del self.online[avatarId]
            avatar.disconnect()

        return pb.IPerspective, avatar, logout


def stacked(maximum: int) -> avatarkit.Realm:
    """Return a realm that does the same with avatarkit."""
    limit = avatarkit.ConnectionLimit(maximum)
    counter, cache = avatarkit.ConnectionCounter(), avatarkit.AvatarCache()
    return avatarkit.MindRegistry()(limit(counter(cache(lambda avatarId: Player()))))


class Alongside(HandWritten):
    """
    The realm by hand, with a separate avatarkit login alongside each of its logins.
    """

    def __init__(self, maximum: int) -> None:
        super().__init__(maximum)
        self.alongside = bare(stacked(maximum))

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        self.alongside()
        return super().requestAvatar(avatarId, mind, *interfaces)


BROKER = pb.Broker()


def makeMind(number: int = 1) -> pb.RemoteReference:
    """Return a mind like those that Perspective Broker makes."""
    return pb.RemoteReference(None, BROKER, number, False)


def bare(realm: Any) -> Callable[[], object]:
    mind = makeMind()

    def login() -> None:
        realm.requestAvatar(b"alice", mind, pb.IPerspective)[2]()

    return login


def throughPortal(realm: Any) -> Callable[[], object]:
    users: Any = {"alice": b"secret"}
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(**users)
    portal: Any = Portal(realm, [checker])
    mind, logouts = makeMind(), list[Any]()

    def login() -> None:
        portal.login(CREDENTIALS, mind, pb.IPerspective).addCallback(logouts.append)
        logouts.pop()[2]()

    return login


async def throughPB(realm: Any, times: int) -> float:
    """Return how many seconds a login and its logout take over one connection."""
    users: Any = {"alice": b"secret"}
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(**users)
    portal: Any = Portal(realm, [checker])
    return await overLoopback(pb.PBServerFactory(portal), CREDENTIALS, times)


async def overLoopback(server: Any, credentials: Any, times: int) -> float:
    """Return how many seconds a login and its logout take over one connection to a server."""
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    factory: Any = pb.PBClientFactory()
    lost: Deferred[None] = Deferred()
    factory.clientConnectionLost = lambda *args: lost.callback(None)
    reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
    await factory.getRootObject()
    mind = pb.Referenceable()
    started = perf_counter()
    for _ in range(times):
        await factory.login(credentials, mind)  # dropping the reference logs out
    took = (perf_counter() - started) / times
    factory._broker.transport.loseConnection()
    await lost
    await port.stopListening()
    return took


async def compare(
    name: str,
    rounds: int,
    measure: Callable[[Any], Awaitable[float]],
    make: Callable[[int], Any] = stacked,
) -> None:
    """Print a row: the time by hand, the other time, and their ratio."""
    took = []
    for _ in range(rounds):
        took.append((await measure(HandWritten(9)), await measure(make(9))))
    hand, ours = (statistics.median(each[way] for each in took) * 1e6 for way in (0, 1))
    ratios = sorted(ours / hand for hand, ours in took)
    print(
        f"| {name} | {hand:.2f} us | {ours:.2f} us | {statistics.median(ratios):.2f} "
        f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |",
        flush=True,
    )


def fill(count: int) -> tuple[Any, list[Any]]:
    """Return a realm with C{count} live sessions, five for each avatar ID."""
    realm: Any = stacked(9)
    minds = [makeMind(n) for n in range(count)]
    return realm, [
        realm.requestAvatar(n // 5, mind, pb.IPerspective) for n, mind in enumerate(minds)
    ]


def growth(rounds: int) -> None:
    """Print what a login and its logout cost among more and more live sessions."""
    print("\n<!-- growth -->")
    print("| live sessions | login and logout | ratio to 100 sessions | spread |")
    print("|---|---|---|---|")
    sizes = (100, 10_000, 1_000_000)
    filled = [fill(size) for size in sizes]
    gc.freeze()
    logins = [bare(realm) for realm, _ in filled]
    took = [[timed(login, 2000) for login in logins] for _ in range(rounds)]
    for index, size in enumerate(sizes):
        ratios = sorted(each[index] / each[0] for each in took)
        middle = statistics.median(each[index] for each in took) * 1e6
        print(
            f"| {size:,} | {middle:.2f} us | {statistics.median(ratios):.2f} "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


def memory(count: int) -> None:
    """Print how many bytes a live session takes, not counting its mind and its avatar."""
    realm, kept = fill(1000)
    del realm, kept
    minds = [makeMind(n) for n in range(count)]
    bytesTaken = []
    makers: tuple[Any, ...] = (HandWritten, stacked)
    for make in makers:
        realm = make(9)
        for n in range(count // 5):
            realm.requestAvatar(n, makeMind(), pb.IPerspective)[2]()  # make the avatars first
        gc.collect()
        tracemalloc.start()
        logins = [
            realm.requestAvatar(n // 5, mind, pb.IPerspective)[2] for n, mind in enumerate(minds)
        ]
        gc.collect()
        bytesTaken.append(tracemalloc.get_traced_memory()[0] / count)
        tracemalloc.stop()
        del logins
    hand, ours = bytesTaken
    print("\n<!-- memory -->")
    print(f"Bytes per session, five per avatar: {hand:.0f} by hand, {ours:.0f} with avatarkit.")


def imports(rounds: int) -> None:
    """Print how long the import takes when Twisted is already loaded."""
    code = (
        "import time, twisted.spread.pb, twisted.application.service, twisted.cred.portal; "
        "started = time.perf_counter(); import avatarkit; print(time.perf_counter() - started)"
    )
    took = [
        float(subprocess.check_output([sys.executable, "-c", code]))  # noqa: S603  # our own
        for _ in range(rounds)
    ]
    print("\n<!-- import -->")
    print(f"Importing avatarkit once Twisted is loaded: {statistics.median(took) * 1000:.0f} ms.")


async def main(reactor: Any, *arguments: str) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--few", action="store_true", help="skip the million sessions")
    asked = options.parse_args(arguments)

    async def measureBare(realm: Any) -> float:
        return timed(bare(realm), 3000)

    async def measurePortal(realm: Any) -> float:
        return timed(throughPortal(realm), 3000)

    async def measurePB(realm: Any) -> float:
        return await throughPB(realm, 200)

    print("<!-- logins -->")
    print("| login and logout | by hand | avatarkit | ratio | spread |")
    print("|---|---|---|---|---|")
    await compare("bare", asked.rounds, measureBare)
    await compare("through `Portal.login`", asked.rounds, measurePortal)
    await compare("through Perspective Broker on loopback", asked.rounds, measurePB)
    await compare("the same, by hand with avatarkit alongside", asked.rounds, measurePB, Alongside)
    memory(10_000)
    imports(5)
    if not asked.few:
        growth(asked.rounds)


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
