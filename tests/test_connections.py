"""
Tests of what sessions know of their connections, and do with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionLimit,
    IConnection,
    IMind,
    MindIsBehind,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
    UnwatchableMind,
    displaceOldest,
    displaceUnresponsive,
)
from avatarkit._clients.connections import Partings
from avatarkit.testing import FakeConnection, FakeMind, MemoryPortal, login
from players import Client, Player
from realms import Foreign
from scripted import Boom, IThing, Thing

# Any in this module: minds, and what brokers have.

enter = partial(login, interface=IThing)


class BrokerTests(SynchronousTestCase):
    """
    Connections of Perspective Broker that nothing watches but the session's mind.
    """

    def setUp(self) -> None:
        """
        Serve players.
        """
        self.online = MindRegistry()
        self.realm = self.online(Player)
        self.portal = MemoryPortal(self.realm, watched=False)
        self.client = self.portal.connect()

    def logIn(self, mind: Any) -> Session:
        """
        Log in, and return the session.
        """
        before = {*self.realm.sessions}
        self.avatar = self.client.login(mind=mind)
        self.portal.pump()
        (session,) = {*self.realm.sessions} - before
        return session

    def test_known(self) -> None:
        """
        All sessions of a connection have the same, with or without a mind.
        """
        one, two = self.logIn(Client()), self.logIn(Client())
        assert IConnection.providedBy(one.connection)
        assert one.connection is two.connection
        for mind in (None, "x"):
            other = self.logIn(mind)
            assert other.connection is one.connection
            assert other.lastActive is not None

    def test_active(self) -> None:
        """
        A call is something that the user did; the answer to a push is not, but it has arrived.
        """
        session = self.logIn(Client())
        connection: Any = session.connection
        connection.lastActive = connection.lastReceived = 0
        self.online.everyone.callRemote("notify")
        self.portal.pump()
        assert connection.lastActive == 0
        assert connection.lastReceived > 0
        self.successResultOf(self.avatar).callRemote("name")
        self.portal.pump()
        assert connection.lastActive > 0
        assert session.lastActive == connection.lastActive

    def test_lost(self) -> None:
        """
        Whoever wants to know is told when it is lost, the last one first, and the broker is as it
        was.
        """
        session = self.logIn(Client())
        broker: Any = session.mind.broker
        told: list[object] = []
        connection: Any = session.connection
        connection.notifyOnDisconnect(lambda lost: told.append("first"))
        connection.notifyOnDisconnect(lambda lost: told.append("last"))
        assert {"dataReceived", "proto_message"} <= vars(broker).keys()
        self.client.drop()
        assert told == ["last", "first"]
        assert connection.disconnected
        assert not {"dataReceived", "proto_message"} & vars(broker).keys()
        assert self.realm.audit() == []

    def test_late(self) -> None:
        """
        Who asks for it when it is lost is given one that is lost.
        """
        session = self.logIn(Client())
        self.client.drop()
        connection: Any = session.connection
        assert connection.disconnected
        assert connection is session.connection

    def test_watched(self) -> None:
        """
        One that is watched is the same for all sessions, with or without a mind, and measures time
        with the factory's clock.
        """
        clock = Clock()
        self.portal = MemoryPortal(self.realm, reactor=clock)
        self.client = self.portal.connect()
        clock.advance(1)
        one: Any = self.logIn(Client())
        avatar = self.successResultOf(self.avatar)
        two: Any = self.logIn(None)
        connection = one.connection
        assert two.connection is connection
        assert connection.lastActive == 1
        clock.advance(1)
        self.online.everyone.callRemote("notify")
        self.portal.pump()
        assert (connection.lastReceived, one.lastActive) == (2, 1)
        clock.advance(1)
        avatar.callRemote("name")
        self.portal.pump()
        assert (connection.lastReceived, two.lastActive) == (3, 3)


class BelowTests(SynchronousTestCase):
    """
    Where in a stack the connection is known.
    """

    def seen(self, stack: Callable[[Any], Any]) -> tuple[object, object, object]:
        """
        Return the connection, the one of the outermost session, and the one that a block at the
        bottom sees.
        """
        found: list[object] = []

        class Seeing(Block):
            def admit(self, session: Session) -> None:
                found.append(session.connection)

        realm, connection = stack(Seeing()), FakeConnection()
        enter(realm, b"alice", connection=connection)
        (session,) = realm.sessions
        (below,) = found
        connection.disconnect()
        assert session.ended
        assert realm.audit() == []
        return connection, session.connection, below

    def test_flat(self) -> None:
        """
        In one realm.
        """
        connection, above, below = self.seen(lambda seeing: seeing(lambda avatarId: Thing()))
        assert above is below is connection

    def test_perConnection(self) -> None:
        """
        Through a PerConnection, whose function knows it too.
        """
        built: list[object] = []

        def build(session: Session) -> Thing:
            built.append(session.connection)
            return Thing()

        connection, above, below = self.seen(
            lambda seeing: PerConnection(build)(seeing(lambda avatarId: object()))
        )
        assert above is below is connection
        assert built == [connection]

    def test_foreign(self) -> None:
        """
        Around a realm that is not avatarkit's.
        """

        @implementer(IRealm)
        class Theirs(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return IThing, Thing(), lambda: None

        connection, above, below = self.seen(lambda seeing: ConnectionLimit(1)(seeing(Theirs())))
        assert above is below is connection

    def test_cache(self) -> None:
        """
        Not below a cache, whose avatars are shared.
        """
        connection, above, below = self.seen(
            lambda seeing: AvatarCache()(seeing(lambda avatarId: Thing()))
        )
        assert above is connection
        assert below is None


class ClosingTests(SynchronousTestCase):
    """
    What closes a connection.
    """

    def test_byForce(self) -> None:
        """
        A kick closes it by force at its deadline, even if it cannot be taken back that its loss is
        waited for.
        """

        class Broken(FakeConnection):
            def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
                if clock.seconds():
                    raise Boom("on purpose")

        clock, connection = Clock(), Broken(stalled=True)
        realm = Realm(lambda avatarId: Thing())
        enter(realm, b"alice", connection=connection)
        (session,) = realm.sessions
        session.disconnect(timeout=3, reactor=clock)
        assert connection.closings == ["lose"]
        clock.advance(3)
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert connection.closings == ["lose", "abort"]

    def test_displaced(self) -> None:
        """
        A limit that displaces closes the connection of who goes, but for the newcomer's own, where
        it only logs out.
        """
        realm = ConnectionLimit(1, whenFull=displaceOldest)(lambda avatarId: Thing())
        one, two = FakeConnection(), FakeConnection()
        enter(realm, b"alice", connection=one)
        (first,) = realm.sessions
        enter(realm, b"alice", connection=one)
        assert (first.ended, one.closings) == (True, [])
        enter(realm, b"alice", connection=two)
        assert (one.closings, two.closings) == (["lose"], [])
        assert [each.connection for each in realm.sessions] == [two]

    def test_unresponsive(self) -> None:
        """
        A client whose connection is known to be lost is not asked whether it is there, even if its
        mind does not know yet.
        """
        policy = displaceUnresponsive("ping", reactor=Clock())
        realm = ConnectionLimit(1, whenFull=policy)(lambda avatarId: Thing())
        mind, connection = FakeMind(), FakeConnection()
        enter(realm, b"alice", mind=mind, connection=connection)
        connection.disconnected = True
        later: Any = enter(realm, b"alice", mind=FakeMind(), connection=FakeConnection())
        assert mind.calls == []
        assert len(realm.sessions) == 1
        assert later is not None

    def test_audit(self) -> None:
        """
        An audit finds a session whose connection is lost.
        """
        realm = Realm(lambda avatarId: Thing())
        connection = FakeConnection()
        enter(realm, b"alice", connection=connection)
        (session,) = realm.sessions
        connection.disconnected = True
        assert realm.audit() == [f"the connection of {session!r} is lost"]


@implementer(IMind)
class Mute:
    """
    A mind that does not know its backlog.
    """

    disconnected = False
    backlog = None

    def callRemote(self, message: str, *args: Any, **kwargs: Any) -> Any:
        """
        Be called.
        """
        return "done"

    def notifyOnDisconnect(self, callback: Any) -> None:
        """
        Never tell.
        """

    dontNotifyOnDisconnect = notifyOnDisconnect


class BacklogTests(SynchronousTestCase):
    """
    What waits for a client whose mind does not say.
    """

    def test_bound(self) -> None:
        """
        The connection knows it, if anybody does.
        """
        online = MindRegistry(maximumBacklog=1000, whenBehind=lambda session: None)
        realm = online(lambda avatarId: Avatar())
        connection = FakeConnection(backlog=1001)
        login(realm, b"alice", mind=Mute(), connection=connection)
        login(realm, b"bob", mind=Mute())
        results = {
            name: self.successResultOf(online[name].callRemote("notify"))
            for name in (b"alice", b"bob")
        }
        assert results[b"alice"][0][1].check(MindIsBehind)
        assert results[b"bob"] == [(True, "done")]
        for backlog in (1000, None):
            connection.backlog = backlog
            result = self.successResultOf(online[b"alice"].callRemote("notify"))
            assert result == [(True, "done")]


class WatchableTests(SynchronousTestCase):
    """
    Realms that insist on knowing when a client leaves.
    """

    def test_refused(self) -> None:
        """
        No mind, and a mind that cannot be watched, are refused without a connection.
        """
        realm = Realm(lambda avatarId: Thing())
        realm.requireWatched = True
        for mind in (None, "x", 5):
            with self.assertRaises(UnwatchableMind) as caught:
                enter(realm, b"alice", mind=mind)
            assert caught.exception.avatarId == b"alice"
            assert isinstance(caught.exception, pb.Error)
            enter(realm, b"alice", mind=mind, connection=FakeConnection())
        enter(realm, b"alice", mind=FakeMind())
        assert len(realm.sessions) == 4

    def test_inherited(self) -> None:
        """
        A realm around such a realm is one as well.
        """
        realm = Realm(lambda avatarId: Thing())
        realm.requireWatched = True
        assert ConnectionLimit(1)(realm).requireWatched
        with self.assertRaises(TypeError):
            realm.requireWatched = 1  # type: ignore[assignment]  # on purpose


class PartingsTests(SynchronousTestCase):
    """
    L{Partings}.
    """

    def test_takenBack(self) -> None:
        """
        A call that another one takes back is not made, and one that raises is logged.
        """
        partings, told = Partings(), list[object]()

        def take(what: object) -> None:
            partings.discard(told.append, "never")

        def fail(what: object) -> None:
            raise Boom("on purpose")

        append = told.append
        partings.add(take, 0)
        partings.add(fail, 0)
        partings.add(append, "never")
        partings.add(append, "always")
        partings.discard(append, "nobody")
        partings.lost()
        partings.lost()
        assert told == ["always"]
        assert len(self.flushLoggedErrors(Boom)) == 1
