"""
Tests for how many may wait for a slot.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.spread import pb

from avatarkit import (
    Avatar,
    ConnectionLimit,
    LoginRefused,
    Session,
    TooManyConnections,
    TooManyWaiting,
    displaceOldest,
    displaceUnresponsive,
    everyone,
)
from avatarkit.testing import FakeMind, MemoryPortal
from limited import LimitTestCase
from scripted import Gate


class Silent(pb.Referenceable):
    """
    A client that does not answer.
    """

    def remote_ping(self) -> Deferred[None]:
        """
        Take one's time.
        """
        return Deferred()


class MaximumWaitingTests(LimitTestCase):
    """
    So many may wait for the slots of a key, and no more.
    """

    def test_refused(self) -> None:
        """
        The next one is refused at once, by an error of its own, which says how many may wait; its
        policy is not asked, and those of another key may wait as many.
        """
        asked: list[Session] = []

        def policy(session: Session, holders: Any) -> Any:
            asked.append(session)
            return Deferred()

        limit = self.limited(1, whenFull=policy, maximumWaiting=3)
        for name in (b"alice", b"bob"):
            self.login(name)
            challengers = [self.challenge(name) for _ in range(3)]
            error = self.assertRaises(TooManyWaiting, self.login, name)
            assert str(error) == "too many logins are waiting"
            assert (error.avatarId, error.maximum, error.maximumWaiting) == (name, 1, 3)
            assert isinstance(error, TooManyConnections)
            for challenger in challengers:
                challenger.addErrback(lambda failure: None)
        assert len(asked) == 6
        assert limit.refusals == 2
        event = self.events[-1]
        assert (event["avatarId"], event["key"], event["maximum"], event["maximumWaiting"]) == (
            b"bob",
            b"bob",
            1,
            3,
        )
        assert "wait" in event["log_format"]
        for session in tuple(self.realm.sessions):
            session.logout()
        assert limit._waiting == {}

    def test_placesAreFreed(self) -> None:
        """
        One that gives up, or gets in, or is refused, does not count any more.
        """
        gate = Gate()
        limit = self.limited(1, whenFull=displaceOldest(flapping=1), maximumWaiting=2)
        self.script.acts["detached 1"] = gate.deferred
        self.login()
        first, second = self.challenge(), self.challenge()
        self.assertRaises(TooManyWaiting, self.login)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.challenge()
        self.assertRaises(TooManyWaiting, self.login)
        del self.script.acts["detached 1"]
        gate.wait.callback(None)
        self.successResultOf(first)
        self.failureResultOf(third, TooManyConnections)
        assert limit._waiting == {}

    def test_withoutWaiting(self) -> None:
        """
        A login that need not wait does not find the places taken, however often it comes.
        """
        limit = self.limited(1, whenFull=displaceOldest(flapping=100), maximumWaiting=1)
        for _ in range(50):
            self.login()
        assert (limit.displacements, limit._waiting) == (49, {})

    def test_exact(self) -> None:
        """
        The number is not exceeded by those who come from inside of a contest.
        """
        limit = self.limited(1, whenFull=self.inside, maximumWaiting=1)
        self.login()
        challenger = self.challenge()
        self.assertRaises(TooManyWaiting, self.login)
        assert limit.refusals == 2
        challenger.cancel()
        self.failureResultOf(challenger, CancelledError)

    def inside(self, session: Session, holders: Any) -> Any:
        """
        Be a policy that logs in itself.
        """
        self.assertRaises(TooManyWaiting, self.login)
        return Deferred()

    def test_flood(self) -> None:
        """
        By default a thousand may wait, also of a limit for everyone.
        """
        policy = displaceUnresponsive(timeout=10, reactor=self.clock)
        limit = self.limited(1, key=everyone, whenFull=policy)
        self.login(mind=FakeMind())
        results: list[Any] = []
        for number in range(1000):
            self.challenge(number, FakeMind()).addBoth(results.append)
        for number in range(20):
            self.assertRaises(TooManyWaiting, self.login, number, FakeMind())
        self.clock.advance(10)
        assert (len(results), limit._waiting[everyone]) == (1, 999)
        for session in tuple(self.realm.sessions):
            session.logout()
        assert (len(results), limit._waiting) == (1000, {})

    def test_client(self) -> None:
        """
        A client of Perspective Broker gets it by name, and as what it is a kind of.
        """
        policy = displaceUnresponsive(reactor=self.clock)
        limit = self.limited(1, whenFull=policy, maximumWaiting=1)
        self.realm = limit(lambda name: Avatar())
        portal = MemoryPortal(self.realm)
        logins = []
        for _ in range(3):
            logins.append(portal.connect().login(mind=Silent()))
            portal.pump()
        self.successResultOf(logins[0])
        failure = self.failureResultOf(logins[2])
        assert failure.check(TooManyWaiting, TooManyConnections, LoginRefused) is not None
        assert failure.check(TooManyConnections) is not None
        assert failure.getErrorMessage() == "too many logins are waiting"
        self.assertNoResult(logins[1])
        self.clock.advance(10)
        portal.pump()
        self.successResultOf(logins[1])

    def test_bad(self) -> None:
        """
        What makes no sense is refused, also later.
        """
        limit = self.limited(maximumWaiting=5)
        assert repr(limit) == "ConnectionLimit(1, maximumWaiting=5)"
        bad: Any
        for bad, error in ((0, ValueError), (-1, ValueError), ("5", TypeError), (None, TypeError)):
            self.assertRaises(error, ConnectionLimit, maximumWaiting=bad)
            self.assertRaises(error, setattr, limit, "maximumWaiting", bad)
