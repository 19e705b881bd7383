"""
Whose turn it is to have a password checked.

Attempts for a name that wait are ordered by their addresses: one goes before another if fewer
failures and waiting attempts for this name came from where it comes from.  So somebody who guesses
all the time is passed by the user, who comes from elsewhere.  Those from an address are ordered by
name in the same way.

Room to wait is shared: if too many wait in all, one goes of the tally with the most, and of those
the one whose turn would come last.  So nobody can take all places, except with so many names and
addresses that each of them has hardly any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from itertools import islice
from operator import attrgetter

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from ..._tools.clock import clockOr, steadySeconds
from ...errors import TooManyAttempts
from .tally import Attempt, Pace, Tally

#: Among how many that were not used for long those are that are forgotten first.
LOOKED_AT = 64


@attrs.define(eq=False, repr=False)
class Lines:
    """
    The tallies for which attempts wait, by how many, so that the one with the most is found at once
    among however many there are.

    @ivar longest: how many wait where the most do.
    @ivar _byLength: those for which so many wait, the last to come to that number at the end.  It
        takes an C{OrderedDict} to find the end at once when others have gone from there.
    """

    longest: int = attrs.field(default=0, init=False)
    _byLength: dict[int, OrderedDict[Tally, None]] = attrs.field(factory=dict, init=False)

    def enter(self, attempt: Attempt) -> None:
        """
        Give an attempt its place in each of its tallies.
        """
        for tally in attempt.tallies:
            tally.enter(attempt)
            self._file(tally, len(tally.waiting) - 1)

    def leave(self, attempt: Attempt) -> None:
        """
        Take it out of them.
        """
        for tally in attempt.tallies:
            del tally.waiting[attempt]
            self._file(tally, len(tally.waiting) + 1)

    def last(self) -> Attempt:
        """
        Return the attempt whose turn comes last where the most wait.
        """
        return next(reversed(self._byLength[self.longest])).last()

    def _file(self, tally: Tally, before: int) -> None:
        """
        File a tally under how many wait, which is one more or one less than before.
        """
        now = len(tally.waiting)
        if before:
            del self._byLength[before][tally]
            if not self._byLength[before]:
                del self._byLength[before]
        if now:
            self._byLength.setdefault(now, OrderedDict())[tally] = None
        if self.longest not in self._byLength or now > self.longest:
            self.longest = now


@attrs.define(eq=False, repr=False)
class Tallies:
    """
    All tallies.

    @ivar kept: by key, those that were used last at the end.
    @ivar waiting: how many attempts wait in all.
    @ivar _toLookAt: the tallies of which somebody's turn may have come.
    """

    pace: Pace
    reactor: IReactorTime | None
    kept: OrderedDict[tuple[str, Hashable], Tally] = attrs.field(factory=OrderedDict, init=False)
    waiting: int = attrs.field(default=0, init=False)
    _lines: Lines = attrs.field(factory=Lines, init=False)
    _toLookAt: dict[Tally, None] = attrs.field(factory=dict, init=False)
    _looking: bool = attrs.field(default=False, init=False)

    def of(self, key: tuple[str, Hashable], free: int, *, oneUser: bool) -> Tally:
        """
        Return the tally of a name or an address; see L{Tally}.
        """
        if key not in self.kept:
            self.kept[key] = Tally(key, max(free, 1), oneUser)
        self.kept.move_to_end(key)
        return self.kept[key]

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
        self._lines.enter(attempt)
        self._look(attempt.tallies)
        if not attempt.turn.called:
            self._refuseSome(attempt)
        self._forget()
        return attempt.turn

    def ended(self, attempt: Attempt, right: bool | None) -> None:
        """
        An attempt has been checked; see L{Tally.count}.
        """
        now = steadySeconds(clockOr(self.reactor))
        for tally in attempt.tallies:
            tally.checking -= 1
            tally.count(attempt, right, now)
            self.kept.move_to_end(tally.key)
            self._drop(tally)
        self._look(attempt.tallies)
        self._forget()

    def _look(self, tallies: Iterable[Tally]) -> None:
        """
        Let those go on whose turn it is, one after the other, however many more that brings.
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
        now = steadySeconds(clockOr(self.reactor))
        while (attempt := self._next(tally, now)) is not None:
            firsts = [self._next(each, now) for each in attempt.tallies]
            goer = next((each for each in firsts if each is not attempt), attempt)
            assert goer is not None
            for each in goer.tallies:
                each.checking += 1
            self._leave(goer)
            goer.turn.callback(None)
        left = tally.left(self.pace, now)
        tally.stopTimer()
        if tally.waiting and left:
            tally.timer = clockOr(self.reactor).callLater(left, self._look, (tally,))

    def _next(self, tally: Tally, now: float) -> Attempt | None:
        """
        Return the attempt of a tally whose turn it is, if there is one.
        """
        if tally.left(self.pace, now) != 0:
            return None
        for attempt in sorted(tally.waiting, key=tally.waiting.__getitem__):
            if all(each.left(self.pace, now) == 0 for each in attempt.tallies):
                return attempt
        return None

    def _refuseSome(self, attempt: Attempt) -> None:
        """
        Refuse those that would be the last where too many wait, perhaps the one that has come now.
        """
        for tally in attempt.tallies:
            if len(tally.waiting) > self.pace.maximumWaiting:
                self._refuse(tally.last())
        if self.waiting > self.pace.maximumWaitingTotal:
            self._refuse(self._lines.last())

    def _refuse(self, attempt: Attempt) -> None:
        self._leave(attempt)
        attempt.turn.errback(TooManyAttempts())

    def _leave(self, attempt: Attempt) -> None:
        """
        An attempt waits no longer.
        """
        self.waiting -= 1
        self._lines.leave(attempt)
        for tally in attempt.tallies:
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
        Forget the tallies that have been quiet for long; and if there are too many, the lowest of
        those that have been quiet longest: other attempts do not make a high one be forgotten.
        """
        now, busy = steadySeconds(clockOr(self.reactor)), 0
        while self.kept and busy < LOOKED_AT:
            tally = next(iter(self.kept.values()))
            if not tally.idle:
                self.kept.move_to_end(tally.key)
                busy += 1
            elif now - tally.since >= self.pace.forgetAfter and not tally.left(self.pace, now):
                del self.kept[tally.key]
            else:
                break
        while len(self.kept) > self.pace.maximumKept:
            quiet = [each for each in islice(self.kept.values(), LOOKED_AT) if each.idle]
            if not quiet:
                return
            for tally in sorted(quiet, key=attrgetter("total"))[: len(quiet) // 8 + 1]:
                del self.kept[tally.key]
