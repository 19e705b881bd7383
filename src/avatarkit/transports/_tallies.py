"""
Who has guessed how often, and whose turn it is to have a password checked.

There is a I{tally} for each name, and one for each address.  It counts failures, the first of which
are free.  After those, its attempts are checked one at a time, each some time after the last
failure.  An attempt that has a name and an address needs its turn with both.

Attempts that wait for a tally do not stand in one line.  Those for a name are ordered by what their
addresses have to answer for: one goes before another if fewer failures and earlier attempts for
this name came from where it comes from.  So somebody who guesses all the time, and keeps the line
full, is passed by the user, who comes from elsewhere.  Those from an address are ordered by name in
the same way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from enum import Enum
from itertools import islice
from math import ldexp

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._tools.clock import clockOr
from ..errors import TooManyAttempts

#: How many failures a tally keeps apart by what they were for; more are counted together.
APART = 100

#: How many wrong passwords a tally knows again, as in Dovecot's C{CHECKSUM_VALUE_PTR_COUNT}.
KNOWN_AGAIN = 10

#: Of how many tallies that were not used for long the one that matters least is forgotten.
LOOKED_AT = 100


class _Others(Enum):
    OTHERS = "others"


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


@attrs.define(eq=False)
class Attempt:
    """
    An attempt to log in.

    @ivar mark: tells it from attempts with another password; C{None} if that is not known.
    @ivar tallies: those that it counts for, and for each what it is filed under there: its address
        in that of its name, and its name in that of its address.
    @ivar turn: fires when it may be checked.
    """

    mark: bytes | None
    tallies: dict[Tally, Hashable] = attrs.field(factory=dict, init=False)
    turn: Deferred[None] = attrs.field(init=False)


@attrs.define(eq=False)
class Tally:
    """
    The attempts for one name, or from one address.

    @ivar key: which.
    @ivar free: how many failures cost nothing, at least 1.
    @ivar oneUser: whether a success forgives all failures, and not only those that were filed under
        the same.
    @ivar total: how many attempts have failed.
    @ivar failures: the same, by what they were filed under.
    @ivar known: the marks of the last of them, in the tally of an address: a program that goes on
        trying an old password must not slow down everybody there.
    @ivar since: when the last one failed.
    @ivar checking: how many attempts are being checked.
    @ivar waiting: the attempts that wait, and the place of each, lowest first.
    @ivar timer: looks whose turn it is when the delay is over.
    """

    key: Hashable
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
        place = self.failures.get(under, 0)
        place += sum(each.tallies[self] == under for each in self.waiting)
        self.waiting[attempt] = place

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
            if attempt.mark is not None and not self.oneUser:
                self.known = (*self.known, attempt.mark)[-KNOWN_AGAIN:]
            if under not in self.failures and len(self.failures) >= APART:
                under = _Others.OTHERS
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


@attrs.define(eq=False)
class Tallies:
    """
    All tallies, those that were used last at the end.

    @ivar waiting: how many attempts wait in all.
    @ivar _toLookAt: the tallies of which somebody's turn may have come.
    """

    pace: Pace
    reactor: IReactorTime | None
    kept: OrderedDict[Hashable, Tally] = attrs.field(factory=OrderedDict, init=False)
    waiting: int = attrs.field(default=0, init=False)
    _toLookAt: dict[Tally, None] = attrs.field(factory=dict, init=False)
    _looking: bool = attrs.field(default=False, init=False)

    def of(self, key: Hashable, free: int, *, oneUser: bool) -> Tally:
        """
        Return the tally of a name or an address; see L{Tally}.
        """
        tally = self.kept.get(key)
        if tally is None:
            tally = self.kept[key] = Tally(key, free, oneUser)
        self.kept.move_to_end(key)
        return tally

    def enter(self, attempt: Attempt) -> Deferred[None]:
        """
        Have an attempt wait for its turn.

        @return: a Deferred that fires with C{None} when it may be checked, and fails with
            L{TooManyAttempts<avatarkit.TooManyAttempts>} if too many wait.
        """
        if not attempt.tallies:
            return succeed(None)
        attempt.turn = Deferred(lambda turn: self._leave(attempt))
        self.waiting += 1
        for tally in attempt.tallies:
            tally.enter(attempt)
        self._look(attempt.tallies)
        if not attempt.turn.called:
            self._refuseSome(attempt)
        self._forget()
        return attempt.turn

    def ended(self, attempt: Attempt, right: bool | None) -> None:
        """
        An attempt has been checked; see L{Tally.count}.
        """
        now = clockOr(self.reactor).seconds()
        for tally in attempt.tallies:
            tally.checking -= 1
            tally.count(attempt, right, now)
            self.kept.move_to_end(tally.key)
            self._drop(tally)
        self._look(attempt.tallies)
        self._forget()

    def _look(self, tallies: Iterable[Tally]) -> None:
        """
        Let those go on whose turn it is, one after the other: what they do may bring more of them.
        """
        self._toLookAt.update(dict.fromkeys(tallies))
        if self._looking:
            return
        self._looking = True
        try:
            while self._toLookAt:
                self._lookAt(self._toLookAt.popitem()[0])
        finally:
            self._looking = False

    def _lookAt(self, tally: Tally) -> None:
        now = clockOr(self.reactor).seconds()
        for attempt in sorted(tally.waiting, key=tally.waiting.__getitem__):
            if tally.left(self.pace, now) != 0:
                break
            free = all(each.left(self.pace, now) == 0 for each in attempt.tallies)
            if free and attempt in tally.waiting:
                for each in attempt.tallies:
                    each.checking += 1
                self._leave(attempt)
                attempt.turn.callback(None)
        left = tally.left(self.pace, now)
        tally.stopTimer()
        if tally.waiting and left:
            tally.timer = clockOr(self.reactor).callLater(left, self._look, (tally,))

    def _refuseSome(self, attempt: Attempt) -> None:
        """
        Refuse those that wait last where too many wait; that may be the attempt that has come last.
        """
        if self.waiting > self.pace.maximumWaitingTotal:
            self._refuse(attempt)
        for tally in attempt.tallies:
            if len(tally.waiting) > self.pace.maximumWaiting:
                self._refuse(tally.last())

    def _refuse(self, attempt: Attempt) -> None:
        self._leave(attempt)
        attempt.turn.errback(TooManyAttempts())

    def _leave(self, attempt: Attempt) -> None:
        """
        An attempt waits no longer.
        """
        self.waiting -= 1
        for tally in attempt.tallies:
            del tally.waiting[attempt]
            if not tally.waiting:
                tally.stopTimer()
            self._drop(tally)

    def _drop(self, tally: Tally) -> None:
        """
        Keep nothing where there is nothing to keep.
        """
        if tally.idle and not tally.total:
            self.kept.pop(tally.key, None)

    def _forget(self) -> None:
        """
        Forget the tallies that have been quiet for long; and if there are too many, the one with
        the fewest failures of those that have been quiet longest: trying many other names, or from
        many other addresses, does not make a high one be forgotten.
        """
        now, busy = clockOr(self.reactor).seconds(), 0
        while self.kept and busy < LOOKED_AT:
            tally = next(iter(self.kept.values()))
            if not tally.idle:
                self.kept.move_to_end(tally.key)
                busy += 1
            elif now - tally.since >= self.pace.forgetAfter:
                del self.kept[tally.key]
            else:
                break
        while len(self.kept) > self.pace.maximumKept:
            quiet = [each for each in islice(self.kept.values(), LOOKED_AT) if each.idle]
            if not quiet:
                break
            del self.kept[min(quiet, key=lambda each: each.total).key]
