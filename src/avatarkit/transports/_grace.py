"""
Clients that have connected and not yet logged in: they have some time, and no more.

All connections of a factory have the same time, so the one that came first is the first whose time
is up: a single timer waits for that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._tools.clock import setAgain, steadySeconds
from .._waiting.slices import AT_ONCE


class Newcomer(Protocol):
    """
    A connection over which nobody has logged in.
    """

    @property
    def isLoggingIn(self) -> bool:
        """
        Whether a login goes on.
        """

    def tooSlow(self) -> None:
        """
        Cut it off: its time is up.
        """


@attrs.define(eq=False)
class Grace:
    """
    The connections over which nobody has logged in.

    @ivar seconds: how long each may stay; one whose login goes on then may stay as long again.
    """

    seconds: float
    clock: Callable[[], IReactorTime]
    _until: dict[Newcomer, float] = attrs.field(factory=dict, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    def begin(self, newcomer: Newcomer) -> None:
        """
        Somebody has connected.
        """
        clock = self.clock()
        self._until[newcomer] = steadySeconds(clock) + self.seconds
        if self._timer is None:
            self._timer = clock.callLater(self.seconds, self._look)
        else:
            setAgain(self._timer, self.seconds, clock)

    def end(self, newcomer: Newcomer) -> None:
        """
        They have logged in, or left.
        """
        self._until.pop(newcomer, None)
        if not self._until and self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """
        Look at those whose time is up, at most a hundred at once.

        Meanwhile the timer, which has fired, stays in its place: nobody else sets one.
        """
        try:
            for _ in range(AT_ONCE):
                if not self._lookAtOldest():
                    break
        finally:
            self._timer = None
            if self._until:
                left = next(iter(self._until.values())) - steadySeconds(self.clock())
                self._timer = self.clock().callLater(max(left, 0), self._look)

    def _lookAtOldest(self) -> bool:
        """
        Look at one; return whether its time was up.
        """
        oldest, until = next(iter(self._until.items()), (None, 0.0))
        now = steadySeconds(self.clock())
        if oldest is None or until > now:
            return False
        del self._until[oldest]
        if oldest.isLoggingIn:
            self._until[oldest] = now + self.seconds
        else:
            oldest.tooSlow()
        return True
