"""
What clients in processes of their own hear when their sessions end, over real Perspective Broker.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from time import sleep
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol

from avatarkit import (
    Avatar,
    AvatarCache,
    CanonicalId,
    ConnectionCounter,
    ConnectionLimit,
    Farewell,
    Kicked,
    MindGroup,
    MindRegistry,
    Session,
    displaceOldest,
)
from avatarkit.testing import FakeMind
from avatarkit.transports import WatchingFactory
from certificates import selfSigned
from logs import logged
from pb import PBTestCase, reactor

# Any in this module: a reactor, factories, and why a process ends.


class Program(ProcessProtocol):
    """
    A client or a server in a process of its own.

    @ivar lines: what it prints.
    """

    def __init__(self, name: str, *args: str) -> None:
        self.lines: DeferredQueue[str] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self._rest = b""
        script = str(Path(__file__).with_name(name))
        self.process = reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, script, *args],
            env=os.environ,
            childFDs={0: "w", 1: "r", 2: 2},
        )

    def outReceived(self, data: bytes) -> None:
        """
        Collect the lines that it prints.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.lines.put(line.decode())

    def processEnded(self, reason: Any) -> None:
        """
        Note that the process has ended.
        """
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(None)

    def signal(self, name: str) -> None:
        """
        Send a signal to it.
        """
        self.process.signalProcess(name)

    def end(self) -> Deferred[None]:
        """
        Kill it, unless it has ended.
        """
        if not self.ended.called:
            self.process.signalProcess(signal.SIGKILL)
        return self.ended


class FarewellTests(PBTestCase):
    """
    Over TCP.
    """

    timeout = 30
    words: tuple[str, ...] = ()

    def stack(self, **kw: Any) -> None:
        """
        Serve a realm with four blocks and a farewell on top.
        """
        self.online = MindRegistry()
        self.limit = ConnectionLimit(1, whenFull=displaceOldest)
        cached = ConnectionCounter()(AvatarCache()(lambda avatarId: Avatar()))
        self.realm = CanonicalId()(Farewell(**kw)(self.online(self.limit(cached))))
        self.serve(self.realm)

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    def start(self, name: str, *args: str) -> Program:
        """
        Start a program.
        """
        program = Program(name, *args, *self.words)
        self.addCleanup(program.end)
        return program

    async def hearer(self, name: str = "alice", *, port: object = None) -> Program:
        """
        Start a client, which logs in.
        """
        client = self.start("hearer.py", str(port or self.port), name)
        assert await client.lines.get() == "in"
        return client

    def session(self, name: bytes = b"alice") -> Session:
        """
        Return the session of a user.
        """
        (session,) = self.online.sessions(name)
        return session

    async def test_kicked(self) -> None:
        """
        A client that is kicked is told why, and the last thing after that is that its connection is
        closed.
        """
        self.stack()
        client = await self.hearer()
        self.online.everyone.callRemote("news", 1, pbanswer=False)
        await self.session().disconnect("spam")
        heard = [await client.lines.get() for _ in range(3)]
        assert heard == ["news|1", "sessionEnded|Kicked|spam|0", "lost"]
        await client.ended

    async def test_displaced(self) -> None:
        """
        So is one whose place another connection takes.
        """
        self.stack()
        first = await self.hearer()
        second = await self.hearer()
        heard = [await first.lines.get() for _ in range(2)]
        assert heard == ["sessionEnded|Displaced|logged in elsewhere|0", "lost"]
        assert self.session().loggedIn
        assert second.lines.pending == []

    async def test_closed(self) -> None:
        """
        When the realm closes, all are told when they may come back, before it is closed.
        """
        self.stack()
        clients = [await self.hearer(name) for name in ("alice", "bob", "carol")]
        sessions = list(self.realm.sessions)
        await self.realm.close()
        backlogs = [each.connection.backlog for each in sessions if each.connection is not None]
        assert backlogs == [0, 0, 0]
        for client in clients:
            told = "sessionEnded|RealmClosed|the server is shutting down|10"
            assert await client.lines.get() == told

    async def test_stops(self) -> None:
        """
        A client is told by a server whose process ends as soon as its realm is closed.
        """
        self.stack()
        server = self.start("leaver.py")
        client = await self.hearer(port=await server.lines.get())
        server.signal("TERM")
        heard = [await client.lines.get() for _ in range(2)]
        assert heard == ["sessionEnded|RealmClosed|the server is shutting down|10", "lost"]
        await server.ended

    async def test_loggedOut(self) -> None:
        """
        A client that is logged out is told, and keeps its connection.
        """
        self.stack()
        client = await self.hearer()
        session = self.session()
        session.logout(Kicked("come back", mayReturn=2.5))
        session.mind.callRemote("still here", pbanswer=False)
        heard = [await client.lines.get() for _ in range(2)]
        assert heard == ["sessionEnded|Kicked|come back|2.5", "still here"]
        connection = session.connection
        assert connection is not None
        assert not connection.disconnected

    async def test_behind(self) -> None:
        """
        A thousand pushes that wait for their turn when a client is kicked arrive before it is told.
        """
        self.stack()
        client = await self.hearer()
        ended: list[Deferred[None]] = []
        session = self.session()

        def push() -> None:
            for number in range(1000):
                self.online.everyone.callRemote("news", number, "x" * 1000, pbanswer=False)
            ended.append(session.disconnect("spam"))
            self.online.everyone.callRemote("news", "never", pbanswer=False)
            sleep(0.01)  # longer than a slice

        MindGroup([FakeMind({"go": push})]).callRemote("go")
        assert not ended[0].called
        heard = [(await client.lines.get()).split("|")[:2] for _ in range(1000)]
        assert heard == [["news", str(number)] for number in range(1000)]
        last = [await client.lines.get() for _ in range(2)]
        assert last == ["sessionEnded|Kicked|spam|0", "lost"]
        await ended[0]

    async def fill(self, client: Program, session: Session) -> None:
        """
        Stop a client, and push to it until it is far behind.
        """
        client.signal("STOP")
        for _ in range(20):
            session.mind.callRemote("news", "x" * 600000, pbanswer=False)
        connection = session.connection
        assert connection is not None
        while connection.backlog is not None and connection.backlog > 10**7:
            await self.pause()
        assert connection.backlog

    def pause(self) -> Deferred[None]:
        """
        Let the reactor have some turns.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.01, waiting.callback, None)
        return waiting

    async def test_stopped(self) -> None:
        """
        The session of a client that has stopped reading ends at once, and its connection is closed
        by force when the time is up.
        """
        self.stack()
        client = await self.hearer()
        session = self.session()
        await self.fill(client, session)
        began = reactor.seconds()
        closed = session.disconnect("spam", timeout=0.3)
        assert closed.called
        connection = session.connection
        assert connection is not None
        while not connection.disconnected:
            await self.pause()
        assert 0.25 < reactor.seconds() - began < 2

    async def test_stoppedAtTheEnd(self) -> None:
        """
        A realm that closes does not wait longer for such a client than the farewell may take.
        """
        self.stack(timeout=0.3)
        client = await self.hearer()
        await self.fill(client, self.session())
        began = reactor.seconds()
        with logged() as said:
            await self.realm.close()
        assert said == ["error: the farewell to b'alice' was not written in 0.3 seconds"]
        assert 0.25 < reactor.seconds() - began < 2


class FarewellTLSTests(FarewellTests):
    """
    The same over TLS.
    """

    words = ("tls",)

    def listen(self, factory: Any) -> Any:
        """
        Listen with a certificate.
        """
        options = selfSigned().options()
        watching: Any = WatchingFactory(factory, self.portal)
        return reactor.listenSSL(0, watching, options, interface="127.0.0.1")

    def connect(self, factory: Any) -> None:
        """
        Connect.
        """
        reactor.connectSSL("127.0.0.1", self.port, factory, ssl.CertificateOptions())
