"""
What may wait, and what does.

Hooks and factories may return a result or a promise of one.  These few functions are the only place
that tells the two apart, so that everything else can promise that a realm in which nothing waits
returns its result without a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Literal, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from .asyncs import promised
from .circles import Trip, breakCircle

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class Later(Enum):
    """
    What L{settle} returns instead of a result that is not there yet.
    """

    LATER = "later"


LATER = Later.LATER


# Any: what a hook returns is up to its author, and only those that wait for it know its type.
def awaited(result: object) -> Deferred[Any] | None:
    """
    Return a Deferred for what must be waited for, and C{None} for everything else.
    """
    if result is None:  # nearly always, and the questions below take their time to say no
        return None
    if not hasattr(type(result), "__await__"):
        return fail(result) if isinstance(result, Failure) else None
    promise: Any = promised(result)
    if isinstance(promise, Deferred):
        return promise
    trip = Trip(promise)
    waiting: Deferred[Any] = Deferred.fromCoroutine(_wait(trip))
    if not waiting.called:
        trip.waiting = waiting
        vars(waiting)["awaits"] = trip.awaits
    return waiting


async def _wait(trip: Trip) -> object:
    return await trip


def settle(
    waiting: Deferred[T], arrive: Callable[[T | Failure], object]
) -> T | Failure | Literal[Later.LATER]:
    """
    Take the result of a Deferred, now or later; one that waits for itself fails.

    @param arrive: called with the result, or the L{Failure}, if it is not there yet.
    @return: the result, or the L{Failure}, if it is there; otherwise L{LATER}.
    """
    early: T | Failure | Literal[Later.LATER] = LATER
    here = True

    def arrived(result: T | Failure) -> None:
        nonlocal early
        if here:
            early = result
        else:
            arrive(result)

    waiting.addBoth(arrived)
    if early is LATER:
        breakCircle(waiting)
    here = False
    return early


def cancel(waiting: Deferred[Any]) -> Failure | None:
    """
    Cancel a Deferred, even if its canceller raises: it then fails with C{CancelledError} all the
    same.

    @return: what the canceller raised.
    """
    try:
        waiting.cancel()
    except BaseException:
        failure = Failure()
    else:
        return None
    while isinstance(getattr(waiting, "result", None), Deferred):
        waiting = waiting.result  # type: ignore[assignment]  # it is chained to this one
    if not waiting.called:
        waiting.errback(CancelledError())
    return failure


def then(result: T | Awaitable[T], proceed: Callable[[T], U]) -> U | Deferred[U]:
    """
    Call C{proceed} with a result as soon as it is there.

    @return: what C{proceed} returns, or a Deferred of it.
    """
    waiting = awaited(result)
    if waiting is None:
        return proceed(result)  # type: ignore[arg-type]  # not an awaitable: just looked
    return waiting.addCallback(proceed)


def undoOnFailure(
    attempt: Callable[[], object],
    undo: Callable[P, object],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Deferred[object] | None:
    """
    Call C{attempt}, and if it fails, at once or later, C{undo} with the other arguments.

    @return: a Deferred if the attempt must be waited for.
    """
    try:
        waiting = awaited(attempt())
    except BaseException:
        undo(*args, **kwargs)
        raise
    if waiting is None:
        return None

    def failed(failure: Failure) -> Failure:
        undo(*args, **kwargs)
        return failure

    return waiting.addErrback(failed)
