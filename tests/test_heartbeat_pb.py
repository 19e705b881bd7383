"""
Clients that die, stop or are cut off, over real Perspective Broker, in processes of their own.
"""

from __future__ import annotations

from time import sleep
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred

from avatarkit import (
    Avatar,
    AvatarCache,
    ClientLost,
    ConnectionLimit,
    Heartbeat,
    MindRegistry,
    Session,
    TooManyConnections,
    Unresponsive,
)
from avatarkit.transports import WatchingFactory
from certificates import selfSigned
from pb import PBTestCase, reactor, refusal, transportOf
from severing import Wire
from test_farewell_pb import Program

# Any in this module: a reactor, factories, and what clients get.

#: The times of the heartbeat, in seconds.
INTERVAL, TIMEOUT = 0.4, 1.2


class Asked(Avatar):
    """
    An avatar that can be called.
    """

    def perspective_hello(self) -> str:
        """
        Return a greeting.
        """
        return "hello"


class DeadTestCase(PBTestCase):
    """
    A server, and a wire to it.
    """

    timeout = 60
    words: tuple[str, ...] = ()

    def stack(self, interval: float = INTERVAL, timeout: float = TIMEOUT) -> None:
        """
        Serve a realm with a heartbeat.
        """
        self.online = MindRegistry[Any](maximumBacklog=1000)
        limit, cache = ConnectionLimit[Any](1), AvatarCache[Any]()
        beating = Heartbeat[Any](interval, timeout=timeout)
        self.realm: Any = self.online(beating(limit(cache(lambda avatarId: Asked()))))
        self.serve(self.realm)
        self.wire = Wire(self.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.wire.close()))

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    async def hearer(self) -> Program:
        """
        Start a client in a process of its own, which logs in through the wire.
        """
        client = Program("hearer.py", str(self.wire.port), "alice", *self.words)
        self.addCleanup(client.end)
        assert await client.lines.get() == "in"
        return client

    def session(self) -> Session:
        """
        Return the session that there is.
        """
        session: Session
        (session,) = self.realm.sessions
        return session

    async def pause(self, seconds: float = 0.01) -> None:
        """
        Let some time pass.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(seconds, waiting.callback, None)
        await waiting

    async def assertDies(self, session: Session) -> None:
        """
        Check that a session is ended when its client has been silent for long, and not before, and
        that its connection is lost at once.
        """
        connection = session.connection
        assert connection is not None
        await session.whenClosed()
        silent = reactor.seconds() - connection.lastReceived
        assert TIMEOUT <= silent < TIMEOUT + 2
        assert isinstance(session.reason, Unresponsive)
        for _ in range(10):  # TLS takes some turns of the reactor
            await self.pause(0)
        assert connection.disconnected
        assert self.realm.audit() == []


class DeadTests(DeadTestCase):
    """
    Over TCP.
    """

    async def test_killed(self) -> None:
        """
        A client that is killed is lost at once, since its system closes the connection.
        """
        self.stack(30, 90)
        client = await self.hearer()
        session = self.session()
        client.signal("KILL")
        await session.whenClosed()
        assert isinstance(session.reason, ClientLost)

    async def test_stopped(self) -> None:
        """
        A client that is stopped dies in time.
        """
        self.stack()
        client = await self.hearer()
        client.signal("STOP")
        await self.assertDies(self.session())

    async def test_stoppedAndBehind(self) -> None:
        """
        So does one to which so much was pushed that the question cannot be written.
        """
        self.stack()
        client = await self.hearer()
        client.signal("STOP")
        session = self.session()
        for _ in range(20):
            session.mind.callRemote("news", "x" * 600000, pbanswer=False)
        await self.assertDies(session)

    async def test_severed(self) -> None:
        """
        A client whose wire is severed dies in time; then its user can log in again.
        """
        self.stack()
        await self.hearer()
        self.wire.sever()
        refused = await refusal(self.client().login())
        assert refused.check(TooManyConnections)
        await self.assertDies(self.session())
        await self.client().login()

    async def test_severedToServer(self) -> None:
        """
        So does one that hears the server, and is not heard.
        """
        self.stack()
        client = await self.hearer()
        self.wire.sever(toClient=False)
        await self.assertDies(self.session())
        assert await client.lines.get() == "ping"
        assert await client.lines.get() == "lost"

    async def test_severedToClient(self) -> None:
        """
        So does one that does not hear the server.
        """
        self.stack()
        await self.hearer()
        self.wire.sever(toServer=False)
        await self.assertDies(self.session())

    async def test_mended(self) -> None:
        """
        A wire that is mended in time is nothing to die of.
        """
        self.stack()
        await self.hearer()
        session = self.session()
        for _ in range(3):
            self.wire.sever()
            await self.pause(TIMEOUT / 3)
            self.wire.mend()
            await self.pause(TIMEOUT / 3)
        assert not session.ended

    async def test_answers(self) -> None:
        """
        A client that answers the questions and does nothing else stays.
        """
        self.stack()
        client = await self.hearer()
        for _ in range(5):
            assert await client.lines.get() == "ping"
        assert not self.session().ended

    async def test_half(self) -> None:
        """
        One that sends half a message and stops dies in time.
        """
        self.stack()
        client = self.client()
        await client.login()
        transport = transportOf(client)
        session = self.session()
        transport.write(b"\x07\x80\x07\x82mess")
        await self.pause(INTERVAL / 2)
        transport.pauseProducing()
        await self.assertDies(session)
        transport.resumeProducing()

    async def test_busy(self) -> None:
        """
        One that does something is never asked.
        """
        self.stack(1, 3)
        client = self.client()
        avatar = await client.login()
        began = reactor.seconds()
        while reactor.seconds() < began + 2.5:
            assert await avatar.callRemote("hello") == "hello"
            await self.pause(0.05)
        assert client.told.pending == []

    async def test_stalledServer(self) -> None:
        """
        A client that has answered is not ended since the server was too busy to read it.
        """
        self.stack()
        client = await self.hearer()
        session = self.session()
        assert await client.lines.get() == "ping"
        await self.pause(INTERVAL / 2)
        assert await client.lines.get() == "ping"
        sleep(TIMEOUT * 2)  # in which the answer waits
        await self.pause(TIMEOUT)
        assert not session.ended

    async def test_closed(self) -> None:
        """
        A realm that is closed leaves no timer, though a client was asked and has not answered.
        """
        self.stack()
        client = await self.hearer()
        client.signal("STOP")
        await self.pause(INTERVAL * 1.5)
        await self.realm.close()
        assert not self.realm.sessions
        self.wire.links[0].cut()


class DeadTLSTests(DeadTests):
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


class UnwatchedTests(DeadTestCase):
    """
    Over TCP, with nobody who watches the connections.
    """

    def listen(self, factory: Any) -> Any:
        """
        Listen.
        """
        return PBTestCase.listen(self, factory)

    async def test_severed(self) -> None:
        """
        A client that answers stays, and dies in time when its wire is severed.
        """
        self.stack()
        client = await self.hearer()
        for _ in range(4):
            assert await client.lines.get() == "ping"
        self.wire.sever()
        await self.assertDies(self.session())
