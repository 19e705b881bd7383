"""
Tests for L{avatarkit.transports.IdleLimit}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, MindRegistry, Session
from avatarkit.testing import FakeConnection, MemoryPortal, login
from avatarkit.transports import IdleLimit
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
        error = self.assertRaises(TypeError, AvatarCache(), self.realm)
        assert "stack it above the cache" in str(error)

    def test_badArguments(self) -> None:
        """
        Wrong arguments are refused at once.
        """
        wrong: Any = "10"
        for seconds, error in ((0, ValueError), (-1, ValueError), (wrong, TypeError)):
            self.assertRaises(error, IdleLimit, seconds)
        self.assertRaises(TypeError, IdleLimit, 10, timeout=wrong)
        self.assertRaises(TypeError, IdleLimit, 10, reactor=wrong)
        self.assertRaises(TypeError, IdleLimit, Player)
