"""
Who has guessed how often.

There is a I{tally} for each name, and one for each address.  It counts failures, the first of which
are free.  After those, its attempts are checked one at a time, each some time after the last
failure.  An attempt with a name and an address needs its turn with both.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import ldexp

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

#: How many addresses or names a tally keeps apart; others are counted together.
APART = 100

#: How many wrong passwords a tally knows again, as in Dovecot's C{CHECKSUM_VALUE_PTR_COUNT}.
KNOWN_AGAIN = 10

#: What the others are filed under.
_OTHERS: Hashable = object()


@attrs.frozen
class Pace:
    """
    How slow attempts become; see L{ThrottledChecker<avatarkit.transports.ThrottledChecker>}.
    """

    delay: float
    maximumDelay: float
    forgetAfter: float
    maximumWaiting: int
    maximumWaitingTotal: int
    maximumKept: int


@attrs.define(eq=False, repr=False)
class Attempt:
    """
    An attempt to log in.

    @ivar mark: that of its name and password; C{None} if it has none.
    @ivar tallies: those that it counts for, and for each what it is filed under there: its address
        in that of its name, and its name in that of its address.
    @ivar turn: fires when it may be checked.
    """

    mark: bytes | None
    tallies: dict[Tally, Hashable] = attrs.field(factory=dict, init=False)
    turn: Deferred[None] = attrs.field(init=False)


@attrs.define(eq=False, repr=False)
class Tally:
    """
    The attempts for one name, or from one address.

    @ivar key: which: C{"name"} or C{"address"}, and the name or the address.
    @ivar free: how many failures cost nothing, at least 1.
    @ivar oneUser: whether a success forgives all failures, and not only those that were filed under
        the same.
    @ivar total: how many attempts have failed.
    @ivar failures: the same, by what they were filed under.
    @ivar known: the marks of the last of them, for an address: a program that goes on trying an old
        password must not slow down everybody there.
    @ivar since: when the last one failed.
    @ivar checking: how many attempts are being checked.
    @ivar waiting: the attempts that wait, and the place of each, lowest first.
    @ivar timer: looks whose turn it is when the delay is over.
    """

    key: tuple[str, Hashable]
    free: int
    oneUser: bool
    total: int = attrs.field(default=0, init=False)
    failures: dict[Hashable, int] = attrs.field(factory=dict, init=False)
    known: tuple[bytes, ...] = attrs.field(default=(), init=False)
    since: float = attrs.field(default=0, init=False)
    checking: int = attrs.field(default=0, init=False)
    waiting: dict[Attempt, int] = attrs.field(factory=dict, init=False)
    timer: IDelayedCall | None = attrs.field(default=None, init=False)

    @property
    def idle(self) -> bool:
        """
        Whether no attempt is being made.
        """
        return not (self.checking or self.waiting)

    def left(self, pace: Pace, now: float) -> float | None:
        """
        Return how many seconds an attempt must wait; C{None} until another one has ended.
        """
        if self.checking >= max(1, self.free - self.total):
            return None
        if self.total < self.free:
            return 0
        exponent = min(self.total - self.free, 64)  # no float is large enough for any
        return max(0.0, self.since + min(pace.maximumDelay, ldexp(pace.delay, exponent)) - now)

    def enter(self, attempt: Attempt) -> None:
        """
        Give an attempt its place among those that wait.
        """
        under = attempt.tallies[self]
        ahead = sum(each.tallies[self] == under for each in self.waiting)
        self.waiting[attempt] = self.failures.get(under, 0) + ahead

    def last(self) -> Attempt:
        """
        Return the attempt whose turn comes last.
        """
        return max(reversed(self.waiting), key=self.waiting.__getitem__)

    def count(self, attempt: Attempt, right: bool | None, now: float) -> None:
        """
        Take note of whether the password of an attempt was right; C{None} if nobody knows.
        """
        under = attempt.tallies[self]
        if right and self.oneUser:
            self.total, self.failures = 0, {}
        elif right:
            self.total -= self.failures.pop(under, 0)
        elif right is False and attempt.mark not in self.known:
            self._fail(attempt.mark, under, now)

    def _fail(self, mark: bytes | None, under: Hashable, now: float) -> None:
        if mark is not None and not self.oneUser:
            self.known = (*self.known, mark)[-KNOWN_AGAIN:]
        if under not in self.failures and len(self.failures) >= APART:
            under = _OTHERS
        self.failures[under] = self.failures.get(under, 0) + 1
        self.total += 1
        self.since = now

    def stopTimer(self) -> None:
        """
        Look no more by itself.
        """
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()
