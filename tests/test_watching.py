"""
Tests for L{WatchingFactory}: what it does with a connection, and when.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import IConnection, LoginAbandoned, Realm
from avatarkit.transports import WatchingFactory
from scripted import IThing, Thing
from watched import SECRET, Anybody, Server, WatchingCase
from wires import Wire, connect

# Any in this module: protocols and factories, which have whatever attributes they have.


class LossTests(WatchingCase):
    """
    A connection that is lost.
    """

    def test_order(self) -> None:
        """
        First what goes on is cancelled, then the protocol learns of it, then the rest is logged
        out, newest first.
        """
        waiting: Deferred[Any] = Deferred(lambda cancelled: self.said.append("cancelled"))
        self.serve(b"alice", b"bob", waiting)
        wire, server = self.connect()
        wire.deliver(b"a\r\nb\r\nc\r\n")
        for session in self.realm.sessions:
            name = str(session.avatarId)
            session.whenClosed().addCallback(lambda _, name: self.said.append(name), name)
        wire.leave()
        assert self.said == ["cancelled", "protocol", "b'bob'", "b'alice'"]
        assert server.logins[2].check(LoginAbandoned)
        self.nothingIsLeft()

    def test_connection(self) -> None:
        """
        A session knows its connection.
        """
        self.serve()
        wire, _server = self.connect()
        wire.deliver(b"alice\r\n")
        (session,) = self.realm.sessions
        connection: Any = session.connection
        assert IConnection.providedBy(connection)
        assert connection is wire.protocol.connection
        assert connection.getPeer().host == "192.0.2.7"
        assert connection.getHost() == wire.getHost()
        assert repr(connection) == f"<Connection from {wire.getPeer()}>"
        told: list[object] = []
        connection.notifyOnDisconnect(told.append)
        connection.notifyOnDisconnect(self.fail)
        connection.dontNotifyOnDisconnect(self.fail)
        wire.leave()
        assert (connection.disconnected, told) == (True, [connection])
        assert repr(connection) == f"<Connection from {wire.getPeer()}, lost>"

    def test_time(self) -> None:
        """
        A connection knows when something arrived last, by the factory's clock.
        """
        self.serve()
        clock = self.factory.clock()
        clock.advance(3)
        wire, _server = self.connect()
        connection = wire.protocol.connection
        assert connection.lastReceived == connection.lastActive == 3
        clock.advance(4)
        wire.deliver(b"alice\r\n")
        (session,) = self.realm.sessions
        assert connection.lastReceived == session.lastActive == 7

    def test_late(self) -> None:
        """
        Whoever logs in when the connection is lost is refused, and nobody is asked.
        """
        self.serve(None)
        wire, server = self.connect()
        portal = server.portal
        server.connectionLost = lambda reason: server.lineReceived(b"alice")
        wire.leave()
        self.failureResultOf(portal.login(SECRET, None, IThing), LoginAbandoned)
        assert server.logins[0].check(LoginAbandoned)
        assert self.portal.checkers[IUsernamePassword].results == [None]
        self.nothingIsLeft()

    def test_lateLogin(self) -> None:
        """
        A checker that does not bear being cancelled lets nobody in.
        """
        waiting: Deferred[Any] = Deferred(lambda cancelled: cancelled.callback(b"alice"))
        self.serve(waiting)
        wire, server = self.connect()
        wire.deliver(b"alice\r\n")
        wire.leave()
        assert server.logins[0].check(LoginAbandoned)
        self.nothingIsLeft()

    def test_cancelled(self) -> None:
        """
        A protocol may cancel its login, which then fails as it does without being watched.
        """
        self.serve(Deferred())
        _wire, server = self.connect()
        login = server.portal.login(SECRET, None, IThing)
        login.cancel()
        assert not self.failureResultOf(login).check(LoginAbandoned)

    def test_transport(self) -> None:
        """
        What was replaced on the transport is its own again, even if only the protocol is told of
        the loss.
        """
        self.serve()
        names = {"connectionLost", "pauseProducing", "resumeProducing"}
        for told in ("the transport", "the protocol"):
            wire, _server = self.connect()
            assert names <= vars(wire).keys()
            if told == "the transport":
                wire.leave()
            else:
                wire.protocol.connectionLost(Failure(ConnectionDone()))
            assert names.isdisjoint(vars(wire)), told

    def test_cycles(self) -> None:
        """
        What stands for a connection goes with it, without the garbage collector.
        """
        self.serve(b"alice", Deferred())
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        wire, server = self.connect()
        wire.deliver(b"a\r\nb\r\n")
        kept = [ref(wire.protocol), ref(wire.protocol.connection), ref(server), ref(server.portal)]
        kept += [ref(wire), *map(ref, self.realm.sessions)]
        wire.leave()
        del wire.protocol  # as Twisted's transports do
        server.logins.clear()  # whose failures have frames
        del wire, server
        assert [each() for each in kept] == [None] * 6


class TransportTests(WatchingCase):
    """
    Transports of other kinds.
    """

    def test_bare(self) -> None:
        """
        A transport that has no more than it must have, and slots, will do; its connection ends
        when its protocol is told.
        """

        class Bare:
            __slots__ = ()
            disconnecting = False

            def write(self, data: bytes) -> None:
                pass

            def pauseProducing(self) -> None:
                pass

            def loseConnection(self) -> None:
                closed.append(True)

            def getPeer(self) -> str:
                return "somebody"

        closed: list[bool] = []
        self.serve(Deferred())
        watched = self.factory.buildProtocol(None)
        watched.makeConnection(Bare())
        watched.dataReceived(b"alice\r\n")
        watched.connection.abortConnection()  # as well as it can
        assert closed == [True]
        assert watched.connection.backlog is None
        watched.connectionLost(Failure(ValueError()))
        watched.connection.abortConnection()
        assert closed == [True]
        self.nothingIsLeft()

    def test_keepAlive(self) -> None:
        """
        The keep-alive of TCP is switched on, unless told otherwise, or unless it cannot be.
        """
        self.serve()
        wire, _server = self.connect()
        assert wire.keptAlive

        def fail(on: bool) -> None:
            raise OSError("the other end is gone")

        wire = Wire()
        wire.protocol = self.factory.buildProtocol(None)
        wire.setTcpKeepAlive = fail  # type: ignore[method-assign]  # on purpose
        wire.protocol.makeConnection(wire)
        assert not wire.lost
        self.factory.keepAlive = False
        wire, _server = self.connect()
        assert not hasattr(wire, "keptAlive")

    def test_interfaces(self) -> None:
        """
        What a protocol provides, what watches it provides as well, and passes on.
        """

        @implementer(IHalfCloseableProtocol)
        class Half(Server):
            def readConnectionLost(self) -> None:
                self.said.append("half")

            def writeConnectionLost(self) -> None:
                pass

        self.serve(protocol=Half)
        wire, _server = self.connect()
        half: Any = IHalfCloseableProtocol(wire.protocol)
        half.readConnectionLost()
        assert self.said == ["half"]
        self.serve()
        wire, _server = self.connect()
        assert not IHalfCloseableProtocol.providedBy(wire.protocol)

    def test_none(self) -> None:
        """
        If the factory builds no protocol, there is none.
        """
        self.serve()
        self.factory.wrappedFactory.buildProtocol = lambda address: None
        assert connect(self.factory).protocol is None

    def test_reactor(self) -> None:
        """
        The time is the global reactor's by default.
        """
        from twisted.internet import reactor

        portal = Portal(Realm(lambda avatarId: Thing()))
        assert WatchingFactory(Factory(), portal).clock() is reactor


class NestedTests(WatchingCase):
    """
    A L{WatchingFactory} around another one.
    """

    def test_same(self) -> None:
        """
        A login that is watched twice ends with its connection all the same.
        """
        self.serve(b"alice", Deferred())
        inner = self.factory
        self.factory = WatchingFactory(inner, self.portal, reactor=Clock())
        wire = connect(self.factory)
        assert self.factory.protocols == {wire.protocol: 1}
        wire.deliver(b"alice\r\nbob\r\n")
        (session,) = self.realm.sessions
        wire.leave()
        assert session.ended
        assert self.said == ["protocol"]
        assert inner.protocols == {}
        self.nothingIsLeft()

    def test_two(self) -> None:
        """
        A protocol with two portals can have both watched.
        """

        class Both(Server):
            other: Any

            def lineReceived(self, line: bytes) -> None:
                self.other.login(SECRET, None, IThing).addBoth(self.logins.append)
                super().lineReceived(line)

        def build() -> Any:
            built = Both()
            built.other = other
            return built

        self.serve(protocol=build)
        otherRealm = Realm(lambda avatarId: Thing())
        other: Any = Portal(otherRealm, [Anybody()])
        self.factory = WatchingFactory(self.factory, other)
        wire = connect(self.factory)
        wire.deliver(b"alice\r\n")
        assert len(self.realm.sessions) == len(otherRealm.sessions) == 1
        wire.leave()
        assert not otherRealm.sessions
        self.nothingIsLeft()


class LooseTests(SynchronousTestCase):
    """
    A protocol that says nothing of itself.
    """

    def test_noInterfaces(self) -> None:
        """
        What logs in need not be one of Twisted's protocols.
        """

        class Loose:
            def makeConnection(self, transport: Any) -> None:
                self.login = self.portal.login(SECRET, None, IThing)

            def connectionLost(self, reason: Failure) -> None:
                pass

            def __init__(self) -> None:
                self.portal: Any = portal

        class Building:
            def buildProtocol(self, address: object) -> Loose:
                return Loose()

        realm = Realm(lambda avatarId: Thing())
        portal: Any = Portal(realm, [Anybody()])
        wire = connect(WatchingFactory(Building(), portal))
        assert len(realm.sessions) == 1
        wire.leave()
        assert not realm.sessions
