"""
Clients that nobody here wrote, and the ways in which they leave a server.

Import the module, and not the class, so that pytest does not collect it there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from avatarkit import AvatarCache, ConnectionCounter, ConnectionLimit, MindRegistry, Session
from avatarkit.transports import IdleLimit, WatchingFactory

# Any in this module: a reactor, a protocol's avatar, and what checkers are given.
reactor: Any = globalReactor

#: Runs a program in a process group of its own, so that all that it starts can be stopped.
ALONE = (
    "import os, sys; os.setpgid(0, 0); os.execvp(sys.argv[1], sys.argv[1:])"  # it takes our place
)


#: What OpenSSH must not ask, and where it must not look.
QUIETLY = [
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no"),
]


class Client(ProcessProtocol):
    """
    A program that is a client.

    @ivar output: what it has printed.
    @ivar whenEnded: fires when it is gone.
    """

    def __init__(
        self, argv: list[str], env: dict[str, str], typed: Iterable[tuple[bytes, bytes]]
    ) -> None:
        self.output, self._typed = b"", list(typed)
        self.whenEnded: Deferred[None] = Deferred()
        command = [sys.executable, "-c", ALONE, *argv]
        self.process = reactor.spawnProcess(
            self, sys.executable, command, env={**os.environ, **env}
        )
        self.group = self.process.pid

    def outReceived(self, data: bytes) -> None:
        """
        Keep what it prints, and type what it asks for.
        """
        self.output += data
        while self._typed and self._typed[0][0] in self.output:
            self.type(self._typed.pop(0)[1])

    errReceived = outReceived

    def type(self, text: bytes) -> None:
        """
        Type something into it.
        """
        self.transport.write(text)  # type: ignore[union-attr]  # there is one now

    def processEnded(self, reason: Failure) -> None:
        """
        It is gone.
        """
        reason.trap(ProcessDone, ProcessTerminated)
        self.whenEnded.callback(None)

    def signal(self, number: int) -> None:
        """
        Send a signal to it and to all that it has started.
        """
        if not self.whenEnded.called:
            os.killpg(self.group, number)

    def kill(self) -> Deferred[None]:
        """
        Kill it, and all that it has started.
        """
        self.signal(signal.SIGKILL)
        return self.whenEnded


@implementer(ICredentialsChecker)
class Passwords:
    """
    A checker of one user's password, which may wait.

    @ivar waiting: whether it waits.
    @ivar asked: the checks that wait.
    @ivar cancelled: how many were cancelled.
    """

    credentialInterfaces: tuple[Any, ...] = (IUsernamePassword,)

    def __init__(self, waiting: bool) -> None:
        self.waiting, self.cancelled = waiting, 0
        self.asked: list[Deferred[bytes]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Let alice in.
        """
        password = b"secret" if isinstance(credentials.username, bytes) else "secret"
        if not credentials.checkPassword(password):
            raise UnauthorizedLogin
        if not self.waiting:
            return b"alice"
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def _cancel(self, waiting: Deferred[bytes]) -> None:
        self.cancelled += 1


#: What a script does when it has logged in.
STAY = "print('logged in', flush=True); import time; time.sleep(60)"


async def until(holds: Callable[[], object], explain: Callable[[], str]) -> None:
    """
    Wait until something holds.

    @param explain: says what is wrong if it never does.
    """
    poll = LoopingCall(lambda: poll.stop() if holds() else None)
    done = poll.start(0.01)
    end = reactor.callLater(20, poll.stop)
    await done
    if end.active():
        end.cancel()
    assert holds(), explain()


class ServingCase(TestCase):
    """
    A server on loopback, and a real client.

    @ivar command: the client's command; C{PORT} in it stands for the server's port.
    @ivar typed: what is typed into the client, each when it has printed something.
    @ivar environment: what the client has in its environment besides.
    """

    timeout = 30
    command: list[str]
    typed: Sequence[tuple[bytes, bytes]] = ()
    environment: dict[str, str] = {}

    def makeFactory(self, portal: Portal) -> Any:
        """
        Return the protocol's factory.
        """
        raise NotImplementedError

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return an avatar.
        """
        raise NotImplementedError

    def makeChecker(self, waiting: bool) -> Any:
        """
        Return the checker.
        """
        return Passwords(waiting)

    def start(self, *blocks: Any, loading: bool = False, checking: bool = False) -> Client:
        """
        Serve, and start the client.

        @param blocks: blocks of the test's own, outermost.
        @param loading: whether avatars are loaded for ever.
        @param checking: whether the password is checked for ever.
        """
        self.limit, self.loads = ConnectionLimit(3), list[Deferred[Any]]()

        def make(avatarId: Any) -> Any:
            if not loading:
                return self.makeAvatar(avatarId)
            self.loads.append(Deferred())
            return self.loads[-1]

        realm = self.limit(ConnectionCounter()(AvatarCache()(make)))
        for block in (MindRegistry(), *blocks):
            realm = block(realm)
        self.realm = realm
        self.checker = self.makeChecker(checking)
        portal: Any = Portal(realm, [self.checker])
        self.watching = self.watch(self.makeFactory(portal), portal)
        listening = reactor.listenTCP(0, self.watching, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = str(listening.getHost().port)
        argv = [each.replace("PORT", port) for each in self.command]
        client = Client(argv, self.environment, self.typed)
        self.addCleanup(client.kill)
        self.client = client
        return client

    def hasNoticed(self, client: Client) -> bool:
        """
        Return whether a client knows that its connection is lost; C{True} if it would not look.
        """
        return True

    def watch(self, factory: Any, portal: Any) -> Any:
        """
        Return the factory to listen with.
        """
        return WatchingFactory(factory, portal)

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """
        Wait until something holds.
        """
        await until(holds, lambda: f"{what}; the client printed {self.client.output!r}")

    async def loggedIn(self) -> Session:
        """
        Return the session of the client when it has logged in.
        """
        await self.until(lambda: any(each.loggedIn for each in self.realm.sessions), "no login")
        (session,) = self.realm.sessions
        return session

    async def nothingIsLeft(self) -> None:
        """
        Check that nothing is left of the client.
        """
        await self.until(lambda: not self.realm.sessions, "the session is left")
        await self.until(lambda: not self.watching.protocols, "the connection is left")
        assert self.realm.audit() == []
        assert self.limit.sessions(b"alice") == ()


class ClientCase(ServingCase):
    """
    A real client in all ways of leaving.
    """

    async def test_killed(self) -> None:
        """
        A client that is killed is logged out.
        """
        client = self.start()
        await self.loggedIn()
        await client.kill()
        await self.nothingIsLeft()

    async def test_killedWhileLoading(self) -> None:
        """
        A client that is killed while its avatar is loaded leaves nothing.
        """
        client = self.start(loading=True)
        await self.until(lambda: self.loads, "no login")
        await client.kill()
        await self.nothingIsLeft()

    async def test_killedWhileChecked(self) -> None:
        """
        A client that is killed while its password is checked has the check cancelled.
        """
        client = self.start(checking=True)
        await self.until(lambda: self.checker.asked, "no login")
        assert not self.realm.sessions
        await client.kill()
        await self.nothingIsLeft()
        assert self.checker.cancelled == 1

    async def test_kicked(self) -> None:
        """
        A client that is kicked loses its connection, and notices if it looks.
        """
        client = self.start()
        session = await self.loggedIn()
        await session.disconnect(timeout=1)
        await self.nothingIsLeft()
        await self.until(lambda: self.hasNoticed(client), "the client has not noticed")

    async def test_kickedWhileStopped(self) -> None:
        """
        A client that has been stopped, and is kicked, loses its connection by the deadline.
        """
        client = self.start()
        session = await self.loggedIn()
        client.signal(signal.SIGSTOP)
        began = reactor.seconds()
        await session.disconnect(timeout=0.5)
        await self.nothingIsLeft()
        assert reactor.seconds() - began < 2

    async def test_kickedWhileStoppedLoading(self) -> None:
        """
        The same while its avatar is loaded.
        """
        client = self.start(loading=True)
        await self.until(lambda: self.loads, "no login")
        client.signal(signal.SIGSTOP)
        (session,) = self.realm.sessions
        await session.disconnect(timeout=0.5)
        await self.nothingIsLeft()

    async def test_idle(self) -> None:
        """
        A client that is left idle is disconnected.
        """
        self.start(IdleLimit(0.3, timeout=1))
        session = await self.loggedIn()
        await session.whenClosed()
        await self.nothingIsLeft()


class ScriptCase(ClientCase):
    """
    A client that is a Python program.

    @ivar program: what it does to log in; C{PORT} in it stands for the server's port.
    """

    program: str

    @property
    def command(self) -> list[str]:  # type: ignore[override]  # the same for each of them
        """
        Run the program.
        """
        return [sys.executable, "-c", f"{self.program}; {STAY}"]
