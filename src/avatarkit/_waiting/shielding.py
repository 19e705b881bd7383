"""
Waiting for somebody else's Deferred, and giving up.

A Deferred may ignore being cancelled, and its canceller may raise.  Whoever waits for it goes on
all the same, and its later result must not reach them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .awaiting import cancel
from .timers import Timer

T = TypeVar("T")


@attrs.define(eq=False)
class Wait(Generic[T]):
    """
    A wait that can be given up.

    @ivar waiting: what is waited for; L{arrived} is its callback.
    @ivar proceed: called with its result, or its L{Failure}.
    @ivar timer: gives it up when its time is over.
    @ivar _late: called instead, when it was given up.
    """

    waiting: Deferred[T]
    proceed: Callable[[T | Failure], object]
    timer: Timer | None = attrs.field(default=None, init=False)
    _late: Callable[[T | Failure], object] | None = attrs.field(default=None, init=False)

    def arrived(self, result: T | Failure) -> None:
        """
        Take the result.
        """
        if self.timer is not None:
            self.timer.cancel()
        (self._late or self.proceed)(result)

    def giveUp(self, late: Callable[[T | Failure], object]) -> Failure | None:
        """
        Cancel what is waited for: whatever comes of it, now or later, is late.

        @return: what its canceller raised.
        """
        self._late = late
        return cancel(self.waiting)


def shielded(waiting: Deferred[T], notCancelled: Callable[[Failure], object]) -> Deferred[T]:
    """
    Return a Deferred of the same result, which fails at once if it is cancelled, whatever the
    other one then does.

    @param notCancelled: called with what the other one's canceller raises.
    """

    def cancel(shield: Deferred[T]) -> None:
        try:
            waiting.cancel()
        except BaseException:  # somebody's canceller
            notCancelled(Failure())

    def arrived(result: T | Failure) -> None:
        if not shield.called:
            shield.callback(result)  # a Failure starts the errbacks

    shield: Deferred[T] = Deferred(cancel)
    waiting.addBoth(arrived)
    return shield
