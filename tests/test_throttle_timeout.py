"""
Tests for how long a check of a L{avatarkit.transports.ThrottledChecker} may take.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit.transports import ThrottledChecker
from logs import logged
from scripted import Boom
from test_throttle import Checker
from test_throttle_order import HERE, THERE, OrderCase
from ticking import NoTimers

#: What a checker may answer.
ANSWERS = (b"alice", Failure(UnauthorizedLogin()))

TEXT = "the check took longer than 60 seconds"


class TimeoutTests(OrderCase):
    """
    Checks that take long.
    """

    def late(self, attempt: Any) -> None:
        """
        Check that an attempt is given up when its time is up, and leaves nothing.
        """
        self.clock.advance(59.9)
        self.assertNoResult(attempt)
        self.clock.advance(0.1)
        assert str(self.failureResultOf(attempt, defer.TimeoutError).value) == TEXT
        self.nothingIsKept()

    def test_placeIsFree(self) -> None:
        """
        Checks that never end are cancelled, and others for the name can go on.
        """
        self.checker.results = []
        hanging = [self.attempt(right=True) for _ in range(3)]
        owner = self.attempt(right=True, host=THERE)
        self.clock.advance(59.9)
        assert self.checker.cancelled == 0
        self.checker.results = None
        self.assertNoResult(owner)
        self.clock.advance(0.1)
        assert self.checker.cancelled == 3
        for each in hanging:
            assert str(self.failureResultOf(each, defer.TimeoutError).value) == TEXT
        assert self.successResultOf(owner) == b"alice"
        self.nothingIsKept()

    def test_accusesNobody(self) -> None:
        """
        A check that takes too long is neither a failure nor a success.
        """
        self.guess(2)
        self.checker.result = Deferred()
        attempt = self.attempt()
        self.clock.advance(60)
        self.failureResultOf(attempt, defer.TimeoutError)
        assert [each.total for each in self.tallies.kept.values()] == [2, 2]
        assert all(each.idle for each in self.tallies.kept.values())

    def test_log(self) -> None:
        """
        The log names the checker, and where the attempt came from if that is known.
        """
        self.make(checkTimeout=0.5)
        for host, known in ((HERE, HERE), ("2001:db8::7", "2001:db8::/64"), ("", "")):
            self.checker.result = Deferred()
            attempt = self.attempt(host=host)
            with logged() as said:
                self.clock.advance(0.5)
            assert said == [
                f"error: {self.checker!r} is given up: it took longer than 0.5 seconds to check an "
                f"attempt from {known or 'an unknown address'}"
            ]
            refused = self.failureResultOf(attempt, defer.TimeoutError).value
            assert str(refused) == "the check took longer than 0.5 seconds"

    def test_inTime(self) -> None:
        """
        When a check ends in time, however it ends, no timer is left.
        """
        self.checker.results = []
        attempts = [self.attempt() for _ in range(3)]
        assert len(self.clock.getDelayedCalls()) == 3
        self.clock.advance(59.9)
        self.checker.results[0].callback(b"alice")
        self.checker.results[1].errback(UnauthorizedLogin())
        assert len(self.clock.getDelayedCalls()) == 1
        attempts[2].cancel()
        assert not self.clock.getDelayedCalls()
        assert self.successResultOf(attempts[0]) == b"alice"
        self.failureResultOf(attempts[1], UnauthorizedLogin)
        self.failureResultOf(attempts[2], CancelledError)

    def test_atOnce(self) -> None:
        """
        For a check that ends at once there is no timer.
        """

        async def check() -> bytes:
            return b"alice"

        self.throttle = ThrottledChecker(self.checker, reactor=NoTimers())
        self.failureResultOf(self.attempt(), UnauthorizedLogin)
        assert self.successResultOf(self.attempt(right=True)) == b"alice"
        for result in (succeed(b"alice"), check()):
            self.checker.result = result
            assert self.successResultOf(self.attempt()) == b"alice"

    def test_cannotBeCancelled(self) -> None:
        """
        If a check fails to be cancelled, that is logged, and its attempt ends all the same; a late
        answer goes nowhere.
        """

        def fails(check: Deferred[Any]) -> None:
            raise ZeroDivisionError

        for answer in ANSWERS:
            check = self.checker.result = Deferred(fails)
            self.late(self.attempt())
            assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
            check.callback(answer)
            self.nothingIsKept()

    def test_goesOn(self) -> None:
        """
        So it is with a coroutine that goes on when it is cancelled.
        """
        first: Deferred[bytes] = Deferred()
        second: Deferred[bytes] = Deferred()

        async def check() -> bytes:
            try:
                return await first
            except CancelledError:
                return await second

        self.checker.result = check()
        self.late(self.attempt())
        second.errback(UnauthorizedLogin())
        self.nothingIsKept()

    def test_answersWhenCancelled(self) -> None:
        """
        What a check answers when it is cancelled counts for nothing.
        """
        self.guess(1)
        for answer in ANSWERS:

            def say(check: Deferred[Any], answer: Any = answer) -> None:
                check.callback(answer)

            self.checker.result = Deferred(say)
            attempt = self.attempt()
            self.clock.advance(60)
            self.failureResultOf(attempt, defer.TimeoutError)
            assert [each.total for each in self.tallies.kept.values()] == [1, 1]

    def test_failsWhenCancelled(self) -> None:
        """
        A check that fails for another reason when it is cancelled is logged as well.
        """
        self.checker.result = Deferred(lambda check: check.errback(Boom("half done")))
        attempt = self.attempt()
        with logged(LogLevel.error) as said:
            self.late(attempt)
        assert said[0] == f"critical: {self.checker!r} could not be cancelled"
        assert len(said) == 2
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_nobodysName(self) -> None:
        """
        A check that counts for nobody is given up as well.
        """
        self.make(freeForName=None)
        self.checker.result = Deferred()
        self.late(self.attempt(host=""))

    def test_ownTimeout(self) -> None:
        """
        A checker may have a timeout of its own, which is a fault like any other.
        """
        check: Deferred[Any] = Deferred()
        self.checker.result = check.addTimeout(5, self.clock)
        attempt = self.attempt()
        with logged() as said:
            self.clock.advance(5)
        self.failureResultOf(attempt, defer.TimeoutError)
        assert not said
        self.nothingIsKept()


class ArgumentTests(SynchronousTestCase):
    """
    How long may be said.
    """

    def test_badTimeouts(self) -> None:
        """
        A check may take a finite time, and some.
        """
        checker = Checker()
        others: tuple[Any, ...] = ("60", None, True)
        for nothing in (0, 0.0, -1, float("inf"), float("nan")):
            self.assertRaises(ValueError, ThrottledChecker, checker, checkTimeout=nothing)
        for other in others:
            self.assertRaises(TypeError, ThrottledChecker, checker, checkTimeout=other)
        assert ThrottledChecker(checker).checkTimeout == 60
