"""
Tests for L{avatarkit.transports.IdleLimit}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, Block, MindRegistry, PerConnection, Session
from avatarkit.testing import FakeConnection, MemoryPortal, login
from avatarkit.transports import IdleLimit
from logs import logged
from players import Client, Player


class IdleTests(SynchronousTestCase):
    """
    Users who do nothing.
    """

    def setUp(self) -> None:
        """
        Have a realm that ends sessions after ten seconds.
        """
        self.clock = Clock()
        self.online: MindRegistry[Any] = MindRegistry(reactor=self.clock)
        realm: Any = IdleLimit(10, timeout=3, reactor=self.clock)(self.online(Player))
        self.realm = realm

    def tearDown(self) -> None:
        """
        No timer is left.
        """
        for session in tuple(self.realm.sessions):
            session.logout()
        assert not self.clock.getDelayedCalls()

    def login(self, connection: FakeConnection) -> Session:
        """
        Log in.
        """
        login(self.realm, b"alice", connection=connection)
        session: Session = list(self.realm.sessions)[-1]
        return session

    def test_idle(self) -> None:
        """
        A session ends when its user has done nothing for ten seconds, counted from the login, and
        its connection is closed, by force if need be.
        """
        self.clock.advance(100)
        stalled = FakeConnection(stalled=True)
        session = self.login(stalled)
        self.clock.advance(9.9)
        assert not session.ended
        self.clock.advance(0.2)
        assert session.ended
        assert stalled.closings == ["lose"]
        self.clock.advance(3)
        assert stalled.closings == ["lose", "abort"]

    def test_closedLate(self) -> None:
        """
        Sessions that are not closed when the time for closing their realm is up leave no timer, and
        those of other realms are looked at.
        """
        limit: IdleLimit[Any] = IdleLimit(10, reactor=self.clock)
        below, other = limit(Player), limit(Player)
        hanging: Deferred[None] = Deferred()

        class Hangs(Block):
            def detached(self, session: Session) -> object:
                return hanging

        realm = Hangs()(below)
        realm.closeTimeout = None
        login(realm, b"alice", connection=FakeConnection())
        login(other, b"bob", connection=FakeConnection())
        closing = realm.close(timeout=3, reactor=self.clock)
        assert len(self.clock.getDelayedCalls()) == 2
        self.clock.advance(3)
        self.successResultOf(closing)
        assert len(self.clock.getDelayedCalls()) == 1
        hanging.callback(None)
        self.clock.advance(8)
        assert [set(other.sessions), realm.audit()] == [set(), []]

    def test_active(self) -> None:
        """
        It goes on as long as the user does something.
        """
        connection = FakeConnection()
        session = self.login(connection)
        for now in range(8, 80, 8):
            self.clock.advance(8)
            connection.lastActive = now
        assert not session.ended
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(9.9)
        assert not session.ended
        self.clock.advance(0.2)
        assert session.ended

    def pb(self, *, watched: bool) -> tuple[MemoryPortal, Any]:
        """
        Return a portal, and the avatar that a client has got.
        """
        portal = MemoryPortal(self.realm, watched=watched, reactor=self.clock)
        avatars: list[Any] = []
        portal.connect().login("alice", mind=Client()).addCallback(avatars.append)
        portal.pump()
        return portal, avatars[0]

    def test_calls(self) -> None:
        """
        Over Perspective Broker a call is something that the user does, and an answer is not.
        """
        portal, avatar = self.pb(watched=True)
        (session,) = self.realm.sessions
        for _ in range(5):
            self.clock.advance(8)
            avatar.callRemote("name")
            portal.pump()
        assert not session.ended
        for _ in range(3):
            self.clock.advance(4)
            if not session.ended:
                self.online.everyone.callRemote("notify")
                portal.pump()
                assert session.connection.lastReceived == self.clock.seconds()
        assert session.ended
        portal.pump()

    def test_noConnection(self) -> None:
        """
        A session without a connection is refused, and the error says what to do.
        """
        error = self.assertRaises(TypeError, login, self.realm, b"alice")
        assert "listen through a WatchingFactory" in str(error)
        assert self.realm.audit() == []

    def test_belowCache(self) -> None:
        """
        It cannot be stacked below a cache.
        """
        error = self.assertRaises(TypeError, AvatarCache(), IdleLimit(10)(Player))
        assert "stack it above the cache" in str(error)

    def test_slowLogin(self) -> None:
        """
        The time begins when the login is done, and a login that takes long is not ended.
        """
        waiting: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def attached(self, session: Session[Any]) -> object:
                waiting.append(Deferred())
                return waiting[-1]

        self.realm = Slow()(self.realm)
        portal, avatars = MemoryPortal(self.realm, reactor=self.clock), list[Any]()
        portal.connect().login("alice").addCallback(avatars.append)
        portal.pump()
        self.clock.pump([8] * 5)
        (session,) = self.realm.sessions
        assert not session.ended
        waiting.pop(0).callback(None)
        portal.pump()
        self.clock.advance(9.9)
        assert not session.ended
        self.clock.pump([1] * 10)
        assert session.ended
        portal.pump()

    def test_slowLogout(self) -> None:
        """
        A session that ends, and takes its time, is not ended again.
        """
        waiting: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def detached(self, session: Session[Any]) -> object:
                waiting.append(Deferred())
                return waiting[-1]

        self.realm = Slow()(self.realm)
        connection = FakeConnection()
        session = self.login(connection)
        session.logout()
        with logged() as said:
            self.clock.advance(11)
        assert said == []
        assert connection.closings == []
        assert self.realm.audit() == []
        assert not self.clock.getDelayedCalls()
        waiting[0].callback(None)

    def test_close(self) -> None:
        """
        All sessions together have one timer, which closing the realm stops.
        """
        for _ in range(3):
            self.login(FakeConnection())
        assert len(self.clock.getDelayedCalls()) == 1
        closed = self.realm.close(timeout=None)
        self.successResultOf(closed)
        assert not self.clock.getDelayedCalls()

    def test_perConnection(self) -> None:
        """
        It may stand below a L{PerConnection}: the sessions above end first.
        """
        below = IdleLimit[Any](10, reactor=self.clock)(Player)
        self.realm = PerConnection(lambda session: session.avatar)(below)
        self.realm = MindRegistry[Any](reactor=self.clock)(self.realm)
        session = self.login(FakeConnection())
        self.clock.advance(10)
        assert session.ended
        assert not below.sessions

    def test_withoutWatching(self) -> None:
        """
        A session of Perspective Broker with a mind has a connection without a WatchingFactory.
        """
        portal, _avatar = self.pb(watched=False)
        (session,) = self.realm.sessions
        assert session.connection is not None
        session.disconnect(reactor=self.clock)
        portal.pump()
        self.clock.advance(5)

    def test_audit(self) -> None:
        """
        The audit says whose timer is missing, and whose is left.
        """
        session = self.login(FakeConnection())
        limit = self.realm.blocks[0]
        limit._wheel.remove(session)
        assert self.realm.audit() == [f"{session!r} is not looked at by {limit!r}"]
        limit._wheel.put(session, 10)
        assert self.realm.audit() == []
        session.logout()
        limit._wheel.put(session, 10)
        assert self.realm.audit() == [f"{session!r} is still looked at by {limit!r}"]
        limit._wheel.remove(session)

    def test_badArguments(self) -> None:
        """
        Wrong arguments are refused at once.
        """
        wrong: Any = "10"
        for seconds, error in ((0, ValueError), (-1, ValueError), (wrong, TypeError)):
            self.assertRaises(error, IdleLimit, seconds)
        self.assertRaises(TypeError, IdleLimit, 10, timeout=wrong)
        self.assertRaises(TypeError, IdleLimit, 10, reactor=wrong)
        error = self.assertRaises(TypeError, IdleLimit, Player)
        assert "write @IdleLimit(...) above a target" in str(error)
