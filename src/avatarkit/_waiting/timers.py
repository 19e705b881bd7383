"""
Times that may be up for very many at once: a hundred thousand avatars whose last sessions ended
together, for example.

What is then done about each of them is done in slices, so that the reactor has its turn in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._tools.clock import clockOr
from .slices import SLICE


@attrs.define(eq=False)
class Timers:
    """
    Calls that are made after some time.

    @ivar reactor: measures the time; the global reactor by default.
    @ivar _due: the timers whose time is up, if others have used up the reactor's turn.
    @ivar _until: when that is the case; C{None} if no time is up in this turn.
    """

    reactor: IReactorTime | None = None
    _due: OrderedDict[Timer, None] = attrs.field(factory=OrderedDict, init=False)
    _until: float | None = attrs.field(default=None, init=False)

    def start(self, seconds: float, act: Callable[[], object]) -> Timer:
        """
        Arrange for C{act} to be called.
        """
        timer = Timer(self, act)
        timer.call = clockOr(self.reactor).callLater(seconds, self._up, timer)
        return timer

    def forget(self, timer: Timer) -> None:
        """
        The time of one is up, but it is not wanted any more.
        """
        self._due.pop(timer, None)

    def _up(self, timer: Timer) -> None:
        clock = clockOr(self.reactor)
        if self._until is None:
            self._begin(clock)
        assert self._until is not None
        if self._due or clock.seconds() >= self._until:
            self._due[timer] = None
        else:
            timer.act()

    def _begin(self, clock: IReactorTime) -> None:
        self._until = clock.seconds() + SLICE
        clock.callLater(0, self._goOn, clock)

    def _goOn(self, clock: IReactorTime) -> None:
        """
        The reactor has had its turn.
        """
        self._until = None
        if not self._due:
            return
        self._begin(clock)
        assert self._until is not None
        while self._due:
            self._due.popitem(last=False)[0].act()
            if clock.seconds() >= self._until:
                return


@attrs.define(eq=False)
class Timer:
    """
    A call that is made after some time.

    @ivar act: what is called.
    @ivar call: the call of the reactor.
    """

    _timers: Timers
    act: Callable[[], object]
    call: IDelayedCall | None = None

    def cancel(self) -> None:
        """
        Do not make the call; harmless if it is made.
        """
        assert self.call is not None
        if self.call.active():
            self.call.cancel()
        else:
            self._timers.forget(self)
