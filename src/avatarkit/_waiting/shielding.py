"""
Waiting for what belongs to somebody else, and giving that up.

A Deferred may not mind being cancelled, and its canceller may raise.  Whoever waits for it goes on
all the same, and what it comes to later must not reach them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def shielded(waiting: Deferred[T], notCancelled: Callable[[Failure], object]) -> Deferred[T]:
    """
    Return a Deferred of the same result, which fails at once if it is cancelled, whatever the
    other one then does.

    @param notCancelled: called with what the other one's canceller raises.
    """

    def cancel(shield: Deferred[T]) -> None:
        try:
            waiting.cancel()
        except BaseException:  # as a Deferred has it
            notCancelled(Failure())

    def arrived(result: T | Failure) -> None:
        if not shield.called:
            shield.callback(result)  # a Failure starts the errbacks

    shield: Deferred[T] = Deferred(cancel)
    waiting.addBoth(arrived)
    return shield
