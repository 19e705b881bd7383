"""
Tests of connections that several sessions share, and that are closed: all that is still written
arrives first.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from avatarkit import Avatar, AvatarCache, Farewell, MindGroup, MindRegistry, currentSession
from avatarkit._clients.transports import Connection
from avatarkit._push.lanes import SLICE
from avatarkit.testing import MemoryPortal
from avatarkit.transports import WatchingFactory
from certificates import selfSigned
from pb import PBTestCase, reactor
from ticking import Ticking

# Any in this module: factories, what the server calls, and what Perspective Broker returns.


class Hearing(pb.Referenceable):
    """
    A mind that notes what it hears, with its number.
    """

    def __init__(self, number: int, heard: list[tuple[int, str]]) -> None:
        self.number, self.heard = number, heard

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Note it.
        """
        name = message if isinstance(message, str) else message.decode()
        self.heard.append((self.number, name))
        return broker.serialize(None, self)


class Leaver(Avatar):
    """
    A user who can be thrown out by their own call.
    """

    def perspective_leave(self) -> str:
        """
        Leave, and say goodbye.
        """
        session: Any = currentSession()
        session.disconnect("left")
        return "goodbye"

    async def perspective_leaveLater(self) -> str:
        """
        The same in a coroutine.
        """
        return self.perspective_leave()


class SharedTests(PBTestCase):
    """
    Over TCP, through a L{WatchingFactory}.
    """

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    def stack(self) -> None:
        """
        Serve a realm with a farewell.
        """
        self.online: MindRegistry = MindRegistry()
        self.realm = Farewell()(self.online(AvatarCache()(lambda avatarId: Leaver())))
        self.serve(self.realm)

    async def enter(self) -> tuple[Any, list[Any]]:
        """
        Log in three times over one connection, with three minds.
        """
        self.heard: list[tuple[int, str]] = []
        client = self.client()
        login, minds = client.factory.login, [Hearing(each, self.heard) for each in range(3)]
        for mind in minds:
            client.factory.login = lambda credentials, ignored, mind=mind: login(credentials, mind)
            await client.login()
        return client, client.avatars

    async def test_allAreTold(self) -> None:
        """
        Whatever ends the sessions, each mind is told, and the connection is closed then.
        """
        self.stack()
        for end in (
            lambda: self.realm.disconnect(b"alice", "spam"),
            lambda: self.online.disconnect(b"alice", "spam"),
            lambda: self.online.everyone.disconnect("spam"),
            lambda: [each.disconnect("spam") for each in tuple(self.realm.sessions)],
        ):
            client, _held = await self.enter()
            end()
            await client.closed
            assert self.heard == [(each, "sessionEnded") for each in range(3)]

    async def test_answered(self) -> None:
        """
        A call that disconnects its own session is answered.
        """
        self.stack()
        for name in ("leave", "leaveLater"):
            client, held = await self.enter()
            assert await held[0].callRemote(name) == "goodbye"
            await client.closed
            assert self.heard == [(0, "sessionEnded")]


class SharedTLSTests(SharedTests):
    """
    The same over TLS.
    """

    def setUp(self) -> None:
        """
        Make a certificate.
        """
        super().setUp()
        self.certificate = selfSigned()

    def listen(self, factory: Any) -> Any:
        """
        Listen with the certificate.
        """
        watching: Any = self.watching(factory)
        options = self.certificate.options()
        return reactor.listenSSL(0, watching, options, interface="127.0.0.1")

    def watching(self, factory: Any) -> Any:
        """
        Watch the connections.
        """
        return WatchingFactory(factory, self.portal)

    def connect(self, factory: Any) -> None:
        """
        Connect.
        """
        reactor.connectSSL("127.0.0.1", self.port, factory, ssl.CertificateOptions())


class SharedUnwatchedTLSTests(SharedTLSTests):
    """
    The same without a L{WatchingFactory}.
    """

    def watching(self, factory: Any) -> Any:
        """
        Watch nothing.
        """
        return factory


class Coarse(Ticking):
    """
    A clock with which one message is sent in each turn.
    """

    def seconds(self) -> float:
        """
        Let so much time pass that one message is left in a turn: the lanes look twice for it.
        """
        self.rightNow += SLICE * 0.4
        return self.rightNow


class BusyTests(SynchronousTestCase):
    """
    Last words that wait for their turn.
    """

    def words(self, *, watched: bool) -> list[int]:
        """
        End three sessions that share a connection, one message a turn; return who is told.
        """
        clock = Coarse()
        online: MindRegistry = MindRegistry(reactor=clock)
        farewell: Farewell = Farewell(timeout=100, reactor=clock)
        realm = farewell(online(AvatarCache()(lambda avatarId: Avatar())))
        portal = MemoryPortal(realm, watched=watched, reactor=clock)
        connection, heard = portal.connect(), list[tuple[int, str]]()
        logins = [connection.login("alice", mind=Hearing(each, heard)) for each in range(3)]
        portal.pump()
        everyone = MindGroup([*online.everyone] * 10, reactor=clock)
        everyone.callRemote("news", pbanswer=False)
        realm.disconnect(b"alice", "spam", timeout=100, reactor=clock)
        for _ in range(60):
            portal.pump()
            clock.turn()
        assert connection.lost
        assert heard[:30] == [(each, "news") for each in range(3)] * 10
        assert len(logins) == 3
        assert realm.audit() == []
        return [each for each, _name in heard[30:]]

    def test_eachIsWritten(self) -> None:
        """
        The connection is closed when the last of them is written, and not when the first one is.
        """
        for watched in (True, False):
            assert self.words(watched=watched) == [0, 1, 2]


class Encrypted:
    """
    A transport that notes when it is closed.
    """

    def __init__(self) -> None:
        self.closings = 0
        alsoProvides(self, ISSLTransport)  # of which only this is needed

    def loseConnection(self) -> None:
        """
        Note it.
        """
        self.closings += 1


class ConnectionTests(SynchronousTestCase):
    """
    A connection over TLS.
    """

    def setUp(self) -> None:
        """
        Have one.
        """
        self.clock, self.transport = Clock(), Encrypted()
        self.connection = Connection(self.transport, self.clock)

    def test_nextTurn(self) -> None:
        """
        However often it is closed, its transport is closed once, in the next turn of the reactor,
        and not at all if it is lost before.
        """
        self.connection.loseConnection()
        self.connection.loseConnection()
        assert self.transport.closings == 0
        self.clock.advance(0)
        self.connection.loseConnection()
        self.clock.advance(0)
        assert self.transport.closings == 1
        other = Connection(self.transport, self.clock)
        other.loseConnection()
        other.lost()
        self.clock.advance(0)
        assert self.transport.closings == 1

    def test_lastWords(self) -> None:
        """
        It stays until the last words are written that it learns of before that.
        """
        first, second = Deferred[None](), Deferred[None]()
        self.connection.stayUntil(first)
        self.connection.loseConnection()
        first.callback(None)
        self.connection.stayUntil(second)
        self.clock.advance(1)
        assert self.transport.closings == 0
        second.callback(None)
        self.clock.advance(0)
        assert self.transport.closings == 1
