"""
Tests for the order in which a L{avatarkit.transports.ThrottledChecker} has passwords checked, and
for what it keeps.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import TooManyAttempts
from avatarkit.testing import FakeConnection
from avatarkit.transports import ThrottledChecker
from logs import logged
from test_throttle import Checker

HERE, THERE = "192.0.2.1", "192.0.2.2"


class OrderCase(SynchronousTestCase):
    """
    A throttled checker that many ask.
    """

    def setUp(self) -> None:
        """
        Have one.
        """
        self.clock, self.checker, self.number = Clock(), Checker(), 0
        self.make()

    def make(self, **kwargs: Any) -> None:
        """
        Have another one.
        """
        self.throttle: Any = ThrottledChecker(self.checker, reactor=self.clock, **kwargs)
        self.tallies = self.throttle._tallies

    def attempt(self, name: Any = b"alice", host: str = HERE, *, right: bool = False) -> Any:
        """
        Try a password, another wrong one each time.
        """
        self.number += 1
        password = b"right" if right else b"%d" % self.number
        checker = self.throttle.forConnection(FakeConnection(host)) if host else self.throttle
        return checker.requestAvatarId(UsernamePassword(name, password))

    def guess(self, times: int, name: Any = b"alice", host: str = HERE) -> None:
        """
        Try wrong passwords, and wait until they have been refused.
        """
        for _ in range(times):
            attempt = self.attempt(name, host)
            self.clock.advance(0 if attempt.called else 60)
            self.failureResultOf(attempt, UnauthorizedLogin)

    def giveUp(self, attempts: list[Any]) -> None:
        """
        Cancel attempts, of which some may have been refused.
        """
        for each in attempts:
            each.cancel()
            self.failureResultOf(each, UnauthorizedLogin, CancelledError)

    def nothingIsKept(self) -> None:
        """
        Check that nothing is kept.
        """
        assert not self.tallies.kept
        assert self.tallies.waiting == 0
        assert not self.clock.getDelayedCalls()


class PassingTests(OrderCase):
    """
    Who goes first.
    """

    def test_userPasses(self) -> None:
        """
        However many attempts of one address wait for a name, the user, who comes from elsewhere, is
        the next one or the one after that.
        """
        self.guess(20)
        guesses = [self.attempt() for _ in range(100)]
        user = self.attempt(host=THERE, right=True)
        self.clock.advance(60)
        if not user.called:
            self.clock.advance(60)
        assert self.successResultOf(user) == b"alice"
        self.giveUp(guesses)

    def test_userPassesFresh(self) -> None:
        """
        So it is if that address has not failed yet, and only waits many times.
        """
        self.guess(4, host="192.0.2.3")
        guesses = [self.attempt() for _ in range(50)]
        user = self.attempt(host=THERE, right=True)
        self.clock.advance(2)
        self.clock.advance(4)
        assert self.successResultOf(user) == b"alice"
        assert sum(each.called for each in guesses) == 4  # the success has made three free again
        self.giveUp(guesses)

    def test_firstStays(self) -> None:
        """
        Of those with equal claims, the one that has come last is refused.
        """
        self.make(maximumWaiting=3)
        self.guess(3)
        waiting = [self.attempt(host=f"10.0.0.{number}") for number in range(3)]
        self.failureResultOf(self.attempt(host="10.0.0.9"), TooManyAttempts)
        self.giveUp(waiting)

    def test_lineIsFull(self) -> None:
        """
        A user who finds the line full takes the place of an attempt that would come later.
        """
        self.make(maximumWaiting=5)
        self.guess(10)
        guesses = [self.attempt() for _ in range(5)]
        self.failureResultOf(self.attempt(), TooManyAttempts)
        user = self.attempt(host=THERE, right=True)
        self.failureResultOf(guesses[4], TooManyAttempts)
        self.clock.advance(60)
        self.clock.advance(60)
        assert self.successResultOf(user) == b"alice"
        self.giveUp(guesses[:4])

    def test_neighboursPass(self) -> None:
        """
        Somebody who guesses the password of one user does not keep the neighbours at the same
        address from logging in for longer than one delay.
        """
        self.guess(20)
        guesses = [self.attempt() for _ in range(20)]
        neighbour = self.attempt(b"bob", right=True)
        self.clock.advance(60)
        assert self.successResultOf(neighbour) == b"bob"
        self.giveUp(guesses)

    def test_oldPassword(self) -> None:
        """
        A program that tries an old password for ever is slowed down, but not its neighbours.
        """
        checker = self.throttle.forConnection(FakeConnection(HERE))
        for _ in range(40):
            attempt = checker.requestAvatarId(UsernamePassword(b"alice", b"old"))
            self.clock.advance(0 if attempt.called else 60)
            self.failureResultOf(attempt, UnauthorizedLogin)
        self.failureResultOf(self.attempt(b"bob"), UnauthorizedLogin)
        waiting = checker.requestAvatarId(UsernamePassword(b"alice", b"old"))
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_oldPasswords(self) -> None:
        """
        Ten wrong passwords are known again, and no more.
        """
        self.make(freeForName=None)
        for _ in range(2):
            for number in range(11):
                credentials = UsernamePassword(b"alice", b"%d" % number)
                checker = self.throttle.forConnection(FakeConnection(HERE))
                attempt = checker.requestAvatarId(credentials)
                self.clock.advance(60)
                self.failureResultOf(attempt, UnauthorizedLogin)
        (tally,) = self.tallies.kept.values()
        assert tally.total == 22
        assert len(tally.known) == 10

    def test_spraying(self) -> None:
        """
        The same password for many names counts each time.
        """
        checker = self.throttle.forConnection(FakeConnection(HERE))
        attempts = [
            checker.requestAvatarId(UsernamePassword(b"%d" % number, b"password1"))
            for number in range(11)
        ]
        for each in attempts[:10]:
            self.failureResultOf(each, UnauthorizedLogin)
        self.assertNoResult(attempts[10])
        self.clock.advance(1)
        self.failureResultOf(attempts[10], UnauthorizedLogin)

    def test_deep(self) -> None:
        """
        Many that go on one after the other do so without calling each other.
        """
        self.make(maximumWaiting=1000)
        self.guess(20)
        attempts = [self.attempt(right=True) for _ in range(1000)]
        self.clock.advance(60)
        for each in attempts:
            assert self.successResultOf(each) == b"alice"

    def test_again(self) -> None:
        """
        A client that tries again at once when it is refused has its next attempt wait in turn.
        """
        self.guess(2)
        tries: list[Any] = []

        def again(result: Any) -> None:
            if len(tries) < 10:
                tries.append(self.attempt().addErrback(again))

        again(None)
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            self.clock.advance(seconds - 0.5)
            self.clock.advance(0.5)
        assert len(tries) == 10


class CeilingTests(OrderCase):
    """
    How much there may be.
    """

    def test_total(self) -> None:
        """
        Only so many attempts wait in all; what need not wait is not refused.
        """
        self.make(maximumWaitingTotal=3)
        self.guess(3)
        self.guess(3, b"bob")
        waiting = [self.attempt(name) for name in (b"alice", b"bob", b"alice")]
        with logged() as said:
            self.failureResultOf(self.attempt(b"bob"), TooManyAttempts)
        assert said == [f"info: an attempt from {HERE} is refused: too many wait"]
        self.failureResultOf(self.attempt(b"carol"), UnauthorizedLogin)
        self.giveUp(waiting)
        assert self.tallies.waiting == 0

    def test_refusedKeepsNothing(self) -> None:
        """
        Nothing is kept of a name that has only been refused.
        """
        self.make(maximumWaiting=0, freeFromAddress=1)
        self.guess(1)
        kept = dict(self.tallies.kept)
        self.failureResultOf(self.attempt(b"bob"), TooManyAttempts)
        assert self.tallies.kept == kept

    def test_refusalIsMute(self) -> None:
        """
        The refusal tells nothing of the name, and is an C{UnauthorizedLogin}.
        """
        self.make(maximumWaiting=0)
        self.guess(3)
        refused = self.failureResultOf(self.attempt(), UnauthorizedLogin).value
        assert str(refused) == TooManyAttempts.text

    def test_manyNames(self) -> None:
        """
        Of a hundred thousand names that are tried, only so many are kept, and those that were
        guessed most are among them.
        """
        self.make(maximumKept=1000, freeFromAddress=None)
        self.guess(4, b"victim")
        self.number = 0
        for number in range(100_000):
            self.attempt(b"%d" % number).addErrback(lambda failure: None)
        assert 900 < len(self.tallies.kept) <= 1000
        waiting = self.attempt(b"victim")
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_manyAddresses(self) -> None:
        """
        The failures for a name are kept apart for so many addresses, and counted for all.
        """
        for number in range(150):
            self.guess(1, host=f"10.0.0.{number}")
        tally = self.tallies.kept["name", b"alice"]
        assert tally.total == 150
        assert len(tally.failures) == 101

    def test_veryMany(self) -> None:
        """
        There is no number of failures at which the delay is no longer the longest.
        """
        self.guess(1100)
        waiting = self.attempt()
        self.clock.advance(59.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.failureResultOf(waiting, UnauthorizedLogin)

    def test_laundering(self) -> None:
        """
        Failures for so many names that they are not kept apart are not forgiven by one's own.
        """
        self.make(freeForName=None)
        for number in range(101):
            self.guess(1, b"%d" % number)
        self.guess(5, b"mallory")
        success = self.attempt(b"mallory", right=True)
        self.clock.advance(60)
        assert self.successResultOf(success) == b"mallory"
        (tally,) = self.tallies.kept.values()
        assert tally.total == 106

    def test_longNames(self) -> None:
        """
        Long names are told apart, and not kept.
        """
        self.guess(1, b"x" * 1_000_000)
        self.guess(1, "x" * 1_000_000)
        self.guess(1, "\ud800" * 1_000_000)
        names: list[Any] = [key for kind, key in self.tallies.kept if kind == "name"]
        assert [len(name) for name in names] == [16, 16]

    def test_quietBehindBusy(self) -> None:
        """
        An attempt that waits for long does not keep the quiet ones from being forgotten.
        """
        self.make(forgetAfter=10)
        self.guess(3, b"alice", "")
        check = self.checker.result = Deferred()
        busy = self.attempt(host="")
        self.clock.advance(60)
        self.checker.result = None
        self.guess(1, b"bob", "")
        self.clock.advance(11)
        self.guess(1, b"carol", "")
        assert [key for _kind, key in self.tallies.kept] == [b"carol", b"alice"]
        check.callback(b"alice")
        assert self.successResultOf(busy) == b"alice"

    def test_quietBehindSlow(self) -> None:
        """
        An attempt that was checked for long is as young as its failure.
        """
        self.make(forgetAfter=10)
        self.guess(1, b"dave", "")
        check = self.checker.result = Deferred()
        slow = self.attempt(host="")
        self.checker.result = None
        self.clock.advance(5)
        self.guess(1, b"bob", "")
        self.clock.advance(3)
        check.errback(UnauthorizedLogin())
        self.failureResultOf(slow, UnauthorizedLogin)
        self.clock.advance(8)
        self.guess(1, b"carol", "")
        assert [key for _kind, key in self.tallies.kept] == [b"alice", b"carol"]

    def test_delayedIsNotForgotten(self) -> None:
        """
        A delay holds until it is over, however short the time is after which failures are
        forgotten.
        """
        self.make(forgetAfter=0.5)
        self.guess(3, b"alice", "")
        self.clock.advance(0.6)
        self.guess(1, b"bob", "")
        waiting = self.attempt(host="")
        self.clock.advance(0.3)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.failureResultOf(waiting, UnauthorizedLogin)

    def test_cancelled(self) -> None:
        """
        Attempts that are cancelled while they wait leave nothing, whatever they wait for.
        """
        self.checker.results = []
        checked = [self.attempt() for _ in range(3)]
        waiting = [self.attempt() for _ in range(5)]
        self.giveUp(waiting)
        assert self.tallies.waiting == 0
        for each in self.checker.results:
            each.callback(b"alice")
        for each in checked:
            self.successResultOf(each)
        self.nothingIsKept()


class CountingTests(OrderCase):
    """
    What is counted.
    """

    def test_nobodysName(self) -> None:
        """
        Names need not be counted, and neither need addresses.
        """
        self.make(freeForName=None)
        self.guess(9)
        assert [kind for kind, _key in self.tallies.kept] == ["address"]
        self.make(freeFromAddress=None)
        self.guess(2)
        assert [kind for kind, _key in self.tallies.kept] == ["name"]
        self.make(freeForName=None, freeFromAddress=None)
        for _ in range(50):
            self.failureResultOf(self.attempt(), UnauthorizedLogin)
        self.nothingIsKept()

    def test_key(self) -> None:
        """
        What the same name is can be said; a key that fails fails the attempt.
        """
        self.make(key=lambda credentials: credentials.username.partition(b"@")[0])
        self.guess(3, b"alice@example.com")
        waiting = self.attempt(b"alice@example.org")
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.make(key=lambda credentials: 1 // 0)
        self.failureResultOf(self.attempt(), ZeroDivisionError)
        self.assertRaises(TypeError, self.make, key="username")

    def test_localSocket(self) -> None:
        """
        Clients of UNIX sockets have no address that could be counted.
        """
        connection: Any = FakeConnection()
        connection = type("Local", (FakeConnection,), {"getPeer": lambda self: object()})()
        checker = self.throttle.forConnection(connection)
        attempt = checker.requestAvatarId(UsernamePassword(b"alice", b"wrong"))
        self.failureResultOf(attempt, UnauthorizedLogin)
        assert [kind for kind, _key in self.tallies.kept] == ["name"]

    def test_publicKeys(self) -> None:
        """
        That a public key would do if it were signed is neither a failure nor a success.
        """
        from twisted.conch.error import ValidPublicKey

        self.guess(2)
        for _ in range(10):
            self.checker.result = Deferred()
            self.checker.result.errback(ValidPublicKey())
            self.failureResultOf(self.attempt(), ValidPublicKey)
        assert [tally.total for tally in self.tallies.kept.values()] == [2, 2]

    def test_cannotBeCancelled(self) -> None:
        """
        A checker that fails when it is cancelled is logged, and its attempt has ended all the same.
        """

        def fails(check: Deferred[Any]) -> None:
            raise ZeroDivisionError

        self.checker.result = Deferred(fails)
        attempt = self.attempt(host="")
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        (tally,) = self.tallies.kept.values()
        assert tally.idle
        assert tally.total == 1

    def test_coroutine(self) -> None:
        """
        The checker may be a coroutine.
        """

        async def check() -> bytes:
            return b"alice"

        self.checker.result = check()
        assert self.successResultOf(self.attempt()) == b"alice"
        self.nothingIsKept()
