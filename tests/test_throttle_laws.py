"""
Laws of L{avatarkit.transports.ThrottledChecker}, whatever is tried in whatever order.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit.testing import FakeConnection
from avatarkit.transports import ThrottledChecker
from scripted import Boom
from test_throttle import Checker

#: What may happen: somebody tries, an answer comes, somebody leaves, time passes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("try"), st.integers(0, 2), st.integers(0, 1)),
        st.tuples(st.just("try"), st.just(0), st.integers(0, 1)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.integers(0, 2)),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("pass"), st.sampled_from((1, 2, 5, 61)), st.just(0)),
    ),
    min_size=15,
    max_size=60,
)


class LawTests(SynchronousTestCase):
    """
    What always holds.
    """

    @settings(max_examples=150, deadline=None)
    @given(STEPS)
    def test_laws(self, steps: list[tuple[str, int, int]]) -> None:
        """
        No more are checked than may be; whoever waits, waits for something that will come; and when
        all is done nothing is kept but failures.
        """
        self.clock, self.checker = Clock(), Checker()
        self.checker.results = []
        self.attempts: list[Deferred[Any]] = []
        self.faults: list[Failure] = []
        self.throttle: Any = ThrottledChecker(
            self.checker, freeFromAddress=5, maximumWaiting=4, reactor=self.clock
        )
        for number, (kind, first, second) in enumerate(steps):
            getattr(self, f"_{kind}")(first, second, number)
            self._check()
        for each in self.attempts:
            each.cancel()
        self._check()
        tallies = self.throttle._tallies
        assert tallies.waiting == 0
        assert all(each.idle and each.total for each in tallies.kept.values())
        assert not self.clock.getDelayedCalls()

    def _check(self) -> None:
        """
        Check what holds at any time.
        """
        assert not self.faults
        tallies, now = self.throttle._tallies, self.clock.seconds()
        waiting = {each for tally in tallies.kept.values() for each in tally.waiting}
        assert len(waiting) == tallies.waiting
        assert self.checker.results is not None
        timers = sum(not each.called for each in self.checker.results)
        for tally in tallies.kept.values():
            assert 0 <= tally.checking <= tally.free
            assert tally.total == sum(tally.failures.values())
            assert tally.total or not tally.idle
            assert len(tally.waiting) <= 4
            left = tally.left(tallies.pace, now)
            ticks = tally.timer is not None and tally.timer.active()
            assert ticks == bool(tally.waiting and left)
            timers += ticks
        assert len(self.clock.getDelayedCalls()) == timers
        for each in waiting:
            assert any(tally.left(tallies.pace, now) != 0 for tally in each.tallies)

    def _try(self, name: int, host: int, number: int) -> None:
        checker = self.throttle.forConnection(FakeConnection(f"192.0.2.{host}"))
        credentials = UsernamePassword(b"%d" % name, b"%d" % number)
        attempt: Deferred[Any] = checker.requestAvatarId(credentials)
        self.attempts.append(attempt.addErrback(self._refused))

    def _refused(self, failure: Failure) -> None:
        if not failure.check(UnauthorizedLogin, Boom, CancelledError, defer.TimeoutError):
            self.faults.append(failure)

    def _answer(self, which: int, answer: int, number: int) -> None:
        results = self.checker.results
        assert results is not None
        going = [each for each in results if not each.called]
        if going and answer:
            going[which % len(going)].errback((UnauthorizedLogin(), Boom("fault"))[answer - 1])
        elif going:
            going[which % len(going)].callback(b"somebody")

    def _leave(self, which: int, unused: int, number: int) -> None:
        if self.attempts:
            self.attempts[which % len(self.attempts)].cancel()

    def _pass(self, seconds: int, unused: int, number: int) -> None:
        self.clock.advance(seconds)
