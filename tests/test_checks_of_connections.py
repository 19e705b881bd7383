"""
Tests for L{avatarkit.testing.checkConnection}, and for the connections that avatarkit has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import IConnection, LoginAbandoned, Realm, Session
from avatarkit.testing import FakeConnection, MemoryPortal, checkConnection, login
from players import Client, Player
from realms import Foreign
from scripted import Boom


def fakeConnection() -> tuple[FakeConnection, Callable[[], object]]:
    """
    Return a fake connection, and what makes its client leave.
    """
    connection = FakeConnection()
    return connection, connection.disconnect


def connected(*, watched: bool, mind: bool) -> tuple[IConnection | None, Callable[[], object]]:
    """
    Return the connection of a session that a client of Perspective Broker has, and what makes the
    client leave.
    """
    realm = Realm(Player)
    portal = MemoryPortal(realm, watched=watched)
    client = portal.connect("192.0.2.7")
    kept = client.login(mind=Client() if mind else None)
    portal.pump()
    (session,) = realm.sessions

    def leave() -> None:
        assert kept.called  # without a reference to its avatar the client is logged out
        client.drop()

    return session.connection, leave


class ConnectionContractTests(SynchronousTestCase):
    """
    L{checkConnection} and the connections that it is given.
    """

    def test_fake(self) -> None:
        """
        L{FakeConnection} passes.
        """
        checkConnection(fakeConnection)

    def test_real(self) -> None:
        """
        The connections of Perspective Broker pass, watched from outside or through the mind.
        """
        for watched, mind in ((True, False), (True, True), (False, True)):
            checkConnection(partial(connected, watched=watched, mind=mind))

    def test_none(self) -> None:
        """
        Without a watcher and without a mind it is known when the avatar is sent.
        """
        assert IConnection.providedBy(connected(watched=False, mind=False)[0])

    def broken(self, promise: str, **changes: Any) -> None:
        """
        Check that a broken connection is caught.
        """
        kind = type("Broken", (FakeConnection,), changes)

        def makeBroken() -> tuple[object, Callable[[], object]]:
            connection = kind()
            return connection, connection.disconnect

        error = self.assertRaises(AssertionError, checkConnection, makeBroken)
        assert promise in str(error), error

    def test_broken(self) -> None:
        """
        A connection that breaks a promise is caught, and the sentence says which.
        """

        def lost(self: FakeConnection) -> None:
            FakeConnection.disconnect(self)
            self.disconnected = False

        def told(self: FakeConnection) -> None:
            self.disconnected = True
            self._partings.lost()

        def always(value: object) -> property:
            return property(lambda self: value, lambda self, given: None)

        def gone(self: FakeConnection) -> Any:
            if self.disconnected:
                raise Boom
            return IPv4Address("TCP", "192.0.2.1", 1)

        self.broken("while its client is there", disconnected=always(True))
        self.broken("when its client is gone", disconnect=lost)
        self.broken("a backlog is an int", backlog=always("much"))
        self.broken("lastActive is a number", lastActive=always(None))
        self.broken("calls ['last', 'first'], not ['first', 'last']", disconnect=told)
        self.broken("nothing fails during what is asked", getPeer=gone)

        half: Any = type("Half", (), {})
        implementer(IConnection)(half)
        error = self.assertRaises(AssertionError, checkConnection, lambda: (half(), half))
        assert "it implements IConnection: " in str(error)


class FakeConnectionTests(SynchronousTestCase):
    """
    L{FakeConnection} and L{login}.
    """

    def test_ends(self) -> None:
        """
        A login over a connection ends with it, and cannot begin afterwards.
        """
        realm, connection = Realm(Player), FakeConnection("192.0.2.1")
        login(realm, b"alice", connection=connection)
        (session,) = realm.sessions
        assert session.connection is connection
        assert repr(connection) == "<FakeConnection from 192.0.2.1>"
        connection.disconnect()
        assert session.ended
        assert repr(connection) == "<FakeConnection from 192.0.2.1, lost>"
        assert (
            self.assertRaises(
                LoginAbandoned, login, realm, b"alice", connection=connection
            ).avatarId
            == b"alice"
        )

    def kicked(self, connection: FakeConnection) -> Session:
        """
        Return a session that is kicked.
        """
        realm, clock = Realm(Player), Clock()
        login(realm, b"alice", connection=connection)
        (session,) = realm.sessions
        session.disconnect(timeout=3, reactor=clock)
        clock.advance(3)
        return session

    def test_closings(self) -> None:
        """
        It remembers how it was closed; one whose client has stopped reading is aborted.
        """
        for stalled, closings in ((False, ["lose"]), (True, ["lose", "abort"])):
            connection = FakeConnection(stalled=stalled)
            assert self.kicked(connection).ended
            assert connection.closings == closings
            assert connection.disconnected

    def test_foreign(self) -> None:
        """
        A realm that is not avatarkit's cannot be given a connection.
        """
        error = self.assertRaises(
            TypeError, login, Foreign(), b"alice", connection=FakeConnection()
        )
        assert "knows nothing of connections" in str(error)

    def test_addresses(self) -> None:
        """
        It has addresses, and so has a connection in memory.
        """
        assert FakeConnection("192.0.2.9").getPeer() == IPv4Address("TCP", "192.0.2.9", 50000)
        assert FakeConnection().getHost() == IPv4Address("TCP", "127.0.0.1", 8787)
        connection = connected(watched=True, mind=False)[0]
        assert connection is not None
        assert connection.getPeer() == IPv4Address("TCP", "192.0.2.7", 50000)
        assert connection.getHost() == IPv4Address("TCP", "127.0.0.1", 8787)
