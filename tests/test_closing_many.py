"""
Tests for closing a realm that has very many sessions: the reactor has its turns.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Block, Realm, RealmClosed, Session
from avatarkit._waiting.slices import AT_ONCE
from scripted import IThing, Thing, opened, waiting
from ticking import Ticking

MANY = 1000


class Ending(Block):
    """
    A block that knows when sessions end.

    @ivar ended: those that have.
    @ivar wait: what they wait for while they end.
    """

    def __init__(self) -> None:
        self.ended: list[Session] = []
        self.wait: Deferred[None] | None = None

    def detached(self, session: Session) -> object:
        """
        A session ends.
        """
        self.ended.append(session)
        return self.wait


class ManyTests(SynchronousTestCase):
    """
    L{Realm.close} and L{Realm.drain} with a thousand sessions.
    """

    def setUp(self) -> None:
        """
        Have them log in.
        """
        self.clock, self.ending = Ticking(), Ending()
        self.realm: Realm = self.ending(lambda avatarId: Thing())
        self.logouts = [self.login(number) for number in range(MANY)]

    def login(self, number: int) -> Any:
        """
        Log in, and return the logout.
        """
        return opened(self.realm.requestAvatar(number, None, IThing))[2]

    def turn(self) -> int:
        """
        Give the reactor a turn, and return how many sessions have ended in it.
        """
        before = len(self.ending.ended)
        self.clock.turn()
        return len(self.ending.ended) - before

    def test_close(self) -> None:
        """
        The first hundred end at once, the others a few in each turn, oldest first; nobody gets in
        meanwhile; and the Deferred fires when the last one is closed.
        """
        sessions = list(self.realm.sessions)
        closing = self.realm.close(timeout=None, reactor=self.clock)
        assert AT_ONCE <= len(self.ending.ended) < AT_ONCE + 10
        turns = 0
        while self.realm.sessions:
            self.assertNoResult(closing)
            self.assertRaises(RealmClosed, self.login, 0)
            assert 0 < self.turn() < 10
            turns += 1
        assert turns > 100
        assert self.ending.ended == sessions
        assert self.successResultOf(closing) is None
        assert self.clock.getDelayedCalls() == []

    def test_small(self) -> None:
        """
        A realm with a hundred sessions closes at once, however long that takes.
        """
        for logout in self.logouts[100:]:
            logout()
        closing = self.realm.close(timeout=None, reactor=self.clock)
        assert self.successResultOf(closing) is None
        assert not self.realm.sessions

    def test_meanwhile(self) -> None:
        """
        Sessions that log out by themselves meanwhile, and logins that wait, are no obstacle.
        """
        slow: Realm = self.ending(Realm(lambda avatarId: Deferred()))
        logins = [waiting(slow.requestAvatar(number, None, IThing)) for number in range(MANY)]
        closing = [
            realm.close(timeout=None, reactor=self.clock) for realm in (self.realm, slow, slow)
        ]
        for logout in self.logouts[::2]:
            logout()
        logins[-1].addErrback(lambda failure: None)
        logins[-1].cancel()
        while self.clock.turn():
            pass
        for each in closing:
            assert self.successResultOf(each) is None
        for login in logins[:-1]:
            self.failureResultOf(login, RealmClosed)

    def test_drain(self) -> None:
        """
        Draining does nothing to any of the sessions, and is over when the last one is closed.
        """
        draining = self.realm.drain()
        assert all(session._watchers is None for session in self.realm.sessions)
        self.ending.wait = Deferred()
        for logout in self.logouts:
            logout()
        self.assertNoResult(draining)
        self.ending.wait.callback(None)
        assert self.successResultOf(draining) is None
        assert self.successResultOf(self.realm.drain()) is None

    def test_deadline(self) -> None:
        """
        When time runs out, those that have not finished are logged, which takes its turns too.
        """
        logged: list[object] = []

        def observe(event: dict[str, Any]) -> None:
            if "timeout" in event:
                logged.append(event["avatarId"])

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.ending.wait = Deferred()
        closing = self.realm.close(timeout=60, reactor=self.clock)
        while self.turn():
            pass
        assert len(self.ending.ended) == MANY
        self.clock.rightNow += 60
        self.clock.turn()
        assert AT_ONCE <= len(logged) < AT_ONCE + 10
        self.assertNoResult(closing)
        self.ending.wait.callback(None)  # those that finish after all are not logged
        while self.clock.turn():
            pass
        assert self.successResultOf(closing) is None
        assert len(logged) < AT_ONCE + 10
        assert logged == sorted(logged)  # type: ignore[type-var]  # they are numbers
