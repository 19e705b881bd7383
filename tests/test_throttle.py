"""
Tests for L{avatarkit.transports.ThrottledChecker}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import TooManyAttempts
from avatarkit.testing import FakeConnection
from avatarkit.transports import ThrottledChecker
from scripted import Boom


@implementer(ICredentialsChecker)
class Checker:
    """
    A checker whose only password is C{b"right"}.

    @ivar asked: the names that it was asked for.
    @ivar result: what it returns instead of an answer, if not C{None}.
    @ivar results: if it is a list, the Deferreds that it has returned instead.
    """

    credentialInterfaces = (IUsernamePassword, IAnonymous)

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.result: Any = None
        self.results: list[Deferred[Any]] | None = None
        self.cancelled = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Check the password.
        """
        self.asked.append(getattr(credentials, "username", None))
        if self.result is not None:
            return self.result
        if self.results is not None:
            self.results.append(Deferred(self._cancel))
            return self.results[-1]
        if getattr(credentials, "password", b"right") != b"right":
            raise UnauthorizedLogin
        return self.asked[-1]

    def _cancel(self, check: Deferred[Any]) -> None:
        self.cancelled += 1


class ThrottleTests(SynchronousTestCase):
    """
    A throttled checker.
    """

    def setUp(self) -> None:
        """
        Have one.
        """
        self.clock, self.checker = Clock(), Checker()
        self.throttle = self.make()

    def make(self, **kwargs: Any) -> Any:
        """
        Return a throttled checker.
        """
        return ThrottledChecker(self.checker, reactor=self.clock, **kwargs)

    def attempt(self, name: Any = b"alice", password: bytes = b"wrong", host: str = "") -> Any:
        """
        Try a password.
        """
        checker = self.throttle
        if host:
            checker = checker.forConnection(FakeConnection(host))
        return checker.requestAvatarId(UsernamePassword(name, password))

    def fails(self, times: int = 1, **kwargs: Any) -> None:
        """
        Try a wrong password, which is refused at once.
        """
        for _ in range(times):
            self.failureResultOf(self.attempt(**kwargs), UnauthorizedLogin)

    def waits(self, seconds: float, password: bytes = b"wrong", **kwargs: Any) -> Any:
        """
        Try a password, which is checked only after some time, and return the attempt.
        """
        asked = len(self.checker.asked)
        attempt = self.attempt(password=password, **kwargs)
        self.clock.advance(seconds - 0.01)
        self.assertNoResult(attempt)
        assert len(self.checker.asked) == asked
        self.clock.advance(0.02)
        assert len(self.checker.asked) == asked + 1
        return attempt

    def test_doubles(self) -> None:
        """
        Three failures for a name are free; after those each attempt waits, twice as long after each
        failure, up to a maximum.
        """
        self.fails(3)
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            self.failureResultOf(self.waits(seconds), UnauthorizedLogin)
        self.fails(name=b"bob")
        assert not self.clock.getDelayedCalls()

    def test_noneFree(self) -> None:
        """
        The first attempt does not wait, even if no failure is free.
        """
        for free in (0, 1):
            self.throttle = self.make(freeForName=free)
            self.fails()
            self.failureResultOf(self.waits(1), UnauthorizedLogin)
            self.failureResultOf(self.waits(2), UnauthorizedLogin)

    def test_success(self) -> None:
        """
        A success resets the name, and nothing is kept of it.
        """
        self.fails(4 - 1)
        assert self.successResultOf(self.waits(1, b"right")) == b"alice"
        assert not self.throttle._tallies.kept
        self.fails(3)

    def test_simultaneous(self) -> None:
        """
        Attempts that are being checked count as failures, so that many at a time gain nothing; when
        one succeeds the others go on.
        """
        self.throttle = self.make(checkTimeout=1000)
        results = self.checker.results = []
        first, second, third = (self.attempt() for _ in range(3))
        more = [self.attempt() for _ in range(3)]
        assert len(results) == 3
        results[0].errback(UnauthorizedLogin())
        self.failureResultOf(first, UnauthorizedLogin)
        assert len(results) == 3
        results[1].errback(UnauthorizedLogin())
        results[2].errback(UnauthorizedLogin())
        for each in (second, third):
            self.failureResultOf(each, UnauthorizedLogin)
        assert len(results) == 3
        self.clock.advance(1)
        assert len(results) == 4
        self.clock.advance(100)
        assert len(results) == 4
        results[3].callback(b"alice")
        assert len(results) == 6
        results[4].callback(b"alice")
        results[5].callback(b"alice")
        assert [self.successResultOf(each) for each in more] == [b"alice"] * 3

    def test_burst(self) -> None:
        """
        Users who log in at the same time from one address need not wait for each other for long:
        each success lets the next one be checked.
        """
        results = self.checker.results = []
        attempts = [self.attempt(str(n).encode(), b"right", host="192.0.2.1") for n in range(50)]
        done = 0
        while done < len(results):
            results[done].callback(done)
            done += 1
        assert [self.successResultOf(each) for each in attempts] == list(range(50))
        assert not self.throttle._tallies.kept
        assert not self.clock.getDelayedCalls()

    def test_address(self) -> None:
        """
        Failures from an address count whatever the name; one's own account forgives only one's own
        failures.
        """
        for number in range(10):
            self.fails(name=str(number).encode(), host="192.0.2.1")
        self.failureResultOf(self.waits(1, name=b"x", host="192.0.2.1"), UnauthorizedLogin)
        self.successResultOf(self.waits(2, b"right", name=b"mallory", host="192.0.2.1"))
        self.fails(name=b"y", host="192.0.2.1")
        self.failureResultOf(self.waits(4, name=b"y", host="192.0.2.1"), UnauthorizedLogin)
        self.fails(name=b"z", host="192.0.2.2")
        self.successResultOf(self.attempt(b"5", b"right", host="192.0.2.2"))

    def test_network(self) -> None:
        """
        A whole network of IPv6 is one address.
        """
        for number in range(10):
            self.fails(name=str(number).encode(), host=f"2001:db8::{number}")
        self.failureResultOf(self.waits(1, name=b"x", host="2001:db8::ffff"), UnauthorizedLogin)
        self.fails(name=b"y", host="2001:db8:1::1")

    def test_sameName(self) -> None:
        """
        A name is the same one however it is written; one that is not text counts as it is.
        """
        for name in (b"Alice", "alice", "\uff21lice"):
            self.fails(name=name)
        self.failureResultOf(self.waits(1), UnauthorizedLogin)
        self.fails(3, name=b"\xff")
        self.failureResultOf(self.waits(1, name=b"\xff"), UnauthorizedLogin)

    def test_nameless(self) -> None:
        """
        Credentials without a name are counted by address; without that they are only passed on.
        """
        self.checker.result = ()
        bound = self.throttle.forConnection(FakeConnection())
        for _ in range(20):
            for checker in (self.throttle, bound):
                assert self.successResultOf(checker.requestAvatarId(object())) == ()
        assert bound.credentialInterfaces == (IUsernamePassword, IAnonymous)

    def test_faults(self) -> None:
        """
        A checker that fails for another reason says nothing about the password.
        """
        for _ in range(20):
            self.checker.result = Deferred()
            self.checker.result.errback(Boom("database"))
            self.failureResultOf(self.attempt(), Boom)
        self.checker.result = None
        self.fails(3)

    def test_leaves(self) -> None:
        """
        An attempt whose client leaves while it is checked counts, and the check is cancelled; one
        that leaves while it waits does not.
        """
        self.checker.results = []
        for _ in range(3):
            attempt = self.attempt()
            attempt.cancel()
            self.failureResultOf(attempt, CancelledError)
        assert self.checker.cancelled == 3
        self.checker.results = None
        waiting = self.attempt()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        assert not self.clock.getDelayedCalls()
        self.failureResultOf(self.waits(1), UnauthorizedLogin)

    def test_ceiling(self) -> None:
        """
        Only so many may wait; others are refused without being checked.
        """
        self.throttle = self.make(maximumWaiting=2)
        self.fails(3)
        waiting = [self.attempt() for _ in range(2)]
        asked = len(self.checker.asked)
        self.failureResultOf(self.attempt(), TooManyAttempts)
        assert len(self.checker.asked) == asked
        self.clock.pump([1, 2])
        for each in waiting:
            self.failureResultOf(each, UnauthorizedLogin)
        self.failureResultOf(self.waits(4), UnauthorizedLogin)

    def test_forgets(self) -> None:
        """
        Nothing is kept of names that have been quiet.
        """
        self.throttle = self.make(forgetAfter=100)
        self.fails(3)
        self.clock.advance(99)
        self.fails(name=b"bob")
        assert len(self.throttle._tallies.kept) == 2
        self.clock.advance(2)
        self.fails(name=b"carol")
        assert [each.key for each in self.throttle._tallies.kept.values()] == [
            ("name", b"bob"),
            ("name", b"carol"),
        ]

    def test_bounded(self) -> None:
        """
        However many names are tried, only so many are kept, and that of a victim is among them.
        """
        self.throttle = self.make(maximumKept=100)
        self.fails(3)
        for number in range(10_000):
            self.fails(name=b"%d" % number)
        assert 80 < len(self.throttle._tallies.kept) <= 100
        self.failureResultOf(self.waits(1), UnauthorizedLogin)

    def test_boundedWhileWaiting(self) -> None:
        """
        What waits is never forgotten.
        """
        self.throttle = self.make(maximumKept=1, forgetAfter=0)
        results = self.checker.results = []
        attempts = [self.attempt(name) for name in (b"a", b"b", b"c")]
        assert len(self.throttle._tallies.kept) == 3
        for each in results:
            each.callback(b"a")
        assert [self.successResultOf(each) for each in attempts] == [b"a", b"a", b"a"]
        assert not self.throttle._tallies.kept

    def test_inner(self) -> None:
        """
        A checker that wants to know the connection learns of it.
        """
        connections: list[Any] = []

        def bind(connection: Any) -> Checker:
            connections.append(connection)
            return self.checker

        self.checker.forConnection = bind  # type: ignore[attr-defined]
        connection = FakeConnection()
        checker = self.throttle.forConnection(connection)
        result = checker.requestAvatarId(UsernamePassword(b"alice", b"right"))
        assert self.successResultOf(result) == b"alice"
        assert connections == [connection]

    def test_badArguments(self) -> None:
        """
        Wrong arguments are refused at once.
        """
        wrong: Any = object()
        self.assertRaises(TypeError, ThrottledChecker, wrong)
        for name in ("freeForName", "freeFromAddress", "maximumWaiting", "maximumKept"):
            self.assertRaises(TypeError, self.make, **{name: "3"})
        for name in ("delay", "maximumDelay", "forgetAfter"):
            self.assertRaises(ValueError, self.make, **{name: -1})
        self.assertRaises(ValueError, self.make, maximumKept=0)
        for prefix in (0, 129):
            self.assertRaises(ValueError, self.make, ipv6Prefix=prefix)
        self.assertRaises(TypeError, ThrottledChecker, self.checker, reactor=wrong)
