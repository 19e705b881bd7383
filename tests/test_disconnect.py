"""
Tests for ending a session together with its connection.
"""

from __future__ import annotations

from avatarkit import MindGroup, MindRegistry
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from minds import stalled
from scripted import Boom, Gate


class DisconnectTests(LimitTestCase):
    """
    L{Session.disconnect}, L{MindRegistry.disconnect} and L{MindGroup.disconnect}.
    """

    def test_polite(self) -> None:
        """
        The session is logged out and its connection closed; it is not aborted if the client leaves
        in time.
        """
        self.limited()
        mind = stalled()
        session = self.login(mind=mind)
        closed = session.disconnect(reactor=self.clock)
        self.successResultOf(closed)
        assert (session.ended, mind.closings) == (True, ["lose"])
        mind.disconnect()
        assert self.clock.getDelayedCalls() == []
        self.successResultOf(session.disconnect(reactor=self.clock))
        assert mind.closings == ["lose"]

    def test_abort(self) -> None:
        """
        If the client is still there after the timeout, its connection is aborted.
        """
        self.limited()
        mind = stalled()
        self.login(mind=mind).disconnect(timeout=3, reactor=self.clock)
        self.clock.advance(2.9)
        assert mind.closings == ["lose"]
        self.clock.advance(0.1)
        assert mind.closings == ["lose", "abort"]

    def test_others(self) -> None:
        """
        A session whose mind cannot be disconnected, or is None, is only logged out.
        """
        self.limited()
        for mind in (None, object()):
            session = self.login(mind=mind)
            self.successResultOf(session.disconnect(reactor=self.clock))
            assert session.ended
        self.assertRaises(ValueError, session.disconnect, timeout=-1)

    def test_broken(self) -> None:
        """
        If closing a connection fails, that is logged, and the other clients are disconnected.
        """

        class Broken(FakeMind):
            def loseConnection(self) -> None:
                raise Boom

        self.limited(9)
        online = MindRegistry()
        self.realm = online(self.realm)
        minds = [Broken(), FakeMind()]
        for mind in minds:
            self.login(mind=mind)
        self.successResultOf(online.everyone.disconnect(reactor=self.clock))
        assert (list(online), minds[1].closings) == ([], ["lose"])
        assert len(self.flushLoggedErrors(Boom)) == 1
        session = self.login()
        self.assertRaises(TypeError, session.disconnect, reactor="x")
        assert not session.ended

    def test_closing(self) -> None:
        """
        The Deferred fires when the session is closed, not when the connection is.
        """
        self.limited()
        gate = Gate()
        self.script.acts["release 0"] = gate.deferred
        closed = self.login().disconnect(reactor=self.clock)
        self.assertNoResult(closed)
        gate.wait.callback(None)
        assert self.successResultOf(closed) is None

    def test_registry(self) -> None:
        """
        An operator can disconnect an avatar ID, or a group.
        """
        self.limited(9)
        online = MindRegistry()
        self.realm = online(self.realm)
        minds = [stalled() for _ in range(3)]
        for mind in minds[:2]:
            self.login(mind=mind)
        self.login(mind=None)
        self.login(b"bob", minds[2])
        assert self.successResultOf(online.disconnect(b"alice", reactor=self.clock)) is None
        assert list(online) == [b"bob"]
        assert [mind.closings for mind in minds] == [["lose"], ["lose"], []]
        self.successResultOf(online.disconnect(b"nobody", reactor=self.clock))
        self.successResultOf(online.everyone.disconnect(timeout=1, reactor=self.clock))
        assert list(online) == []
        self.clock.advance(1)
        assert minds[2].closings == ["lose", "abort"]
        self.assertRaises(TypeError, MindGroup([FakeMind()]).disconnect)
