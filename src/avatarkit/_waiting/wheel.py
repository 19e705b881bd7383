"""
Looking at very many things, each when its time comes, with one timer for all of them.

Time is cut into I{ticks}, and what is to be looked at in the same tick is kept together, so that
putting something into the wheel, moving it and removing it cost the same however much is in it.
What is due is looked at in slices, so that the reactor has its turns in between.

The timer comes at every tick, also if nothing is due, so the wheel notices when the reactor was
kept from its turns: by a call that took long, or because the machine was asleep.  What was sent to
this process meanwhile waits to be read.  So the reactor has a turn first, in which it reads, and
only then the wheel goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil
from typing import Generic, TypeVar

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .._tools.clock import clockOr
from .slices import SLICE

H = TypeVar("H", bound=Hashable)

#: By how many ticks the timer may be late before the reactor counts as having been kept from it.
LATE = 10

#: The part of a tick that calculations with numbers of seconds may lose.
_LOST = 1e-6


@attrs.define(eq=False)
class Wheel(Generic[H]):
    """
    Calls C{due} with each thing that is put into it, once: not before its time, and, unless the
    reactor is busy, less than a tick after it.

    @ivar tick: how many seconds a tick has.
    @ivar reactor: measures the time; the global reactor by default.
    @ivar stalled: for how many seconds in all the reactor was kept from its turns.
    @ivar _slots: what is due in each tick, by its number.
    @ivar _places: in which slot each thing is.
    @ivar _tick: the number of the last tick.
    @ivar _timer: comes at the next one.
    @ivar _waits: whether it has been put off, for the reactor to have a turn.
    """

    tick: float
    due: Callable[[H], object]
    reactor: IReactorTime | None = None
    stalled: float = attrs.field(default=0, init=False)
    _slots: dict[int, dict[H, None]] = attrs.field(factory=dict, init=False)
    _places: dict[H, dict[H, None]] = attrs.field(factory=dict, init=False)
    _tick: int = attrs.field(default=0, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _waits: bool = attrs.field(default=False, init=False)

    _log = Logger()

    def things(self) -> set[H]:
        """
        Return what is in it.
        """
        return set(self._places)

    def awake(self) -> float:
        """
        Return the time, in seconds, without that for which the reactor was kept from its turns.
        """
        return clockOr(self.reactor).seconds() - self.stalled

    def put(self, thing: H, seconds: float) -> None:
        """
        Have something looked at after some seconds, and not when it was to be before.
        """
        clock = clockOr(self.reactor)
        now = clock.seconds()
        self._takeOut(thing, self._places.get(thing))
        if self._timer is None:
            self._timer = self._next(clock, now)
        number = max(ceil((now + seconds) / self.tick - _LOST), self._tick + 1)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
        slot[thing] = None
        self._places[thing] = slot

    def remove(self, thing: H) -> None:
        """
        Do not look at something; harmless if it is not in the wheel.
        """
        self._takeOut(thing, self._places.pop(thing, None))
        self._stopIfEmpty()

    def _takeOut(self, thing: H, slot: dict[H, None] | None) -> None:
        if slot is not None:
            slot.pop(thing, None)  # it is not there while it is looked at

    def _stopIfEmpty(self) -> None:
        if not self._places and self._timer is not None:
            self._slots.clear()
            timer, self._timer = self._timer, None
            timer.cancel()

    def _next(self, clock: IReactorTime, now: float) -> IDelayedCall:
        """
        Return the timer of the next tick.
        """
        self._tick = int(now / self.tick + _LOST)
        return clock.callLater((self._tick + 1) * self.tick - now, self._turn)

    def _turn(self) -> None:
        clock = clockOr(self.reactor)
        now = clock.seconds()
        assert self._timer is not None
        late = now - self._timer.getTime()
        timer = self._timer = self._next(clock, now)
        if late > LATE * self.tick:
            self.stalled += late
            self._waits = not self._waits  # not twice: it may always be late
        else:
            self._waits = False
        if self._waits or not self._look(clock, now + SLICE):
            timer.reset(0)
        self._stopIfEmpty()

    def _look(self, clock: IReactorTime, until: float) -> bool:
        """
        Look at what is due, until the time is up; return whether that was everything.
        """
        now = self._tick
        while self._slots and (number := min(self._slots)) <= now:
            slot = self._slots[number]
            while slot:
                if clock.seconds() >= until:
                    return False
                self._lookAt(slot.popitem()[0], slot)
            self._slots.pop(number, None)  # it is gone if nothing was left in any
        return True

    def _lookAt(self, thing: H, slot: dict[H, None]) -> None:
        try:
            self.due(thing)
        except Exception:
            self._log.failure("{due} failed", due=self.due)
        finally:
            # Not before: what is put into the wheel again takes the place that it has, and a large
            # dict that loses and gains keys is built anew every so often, which takes long.
            if self._places.get(thing) is slot:
                del self._places[thing]
