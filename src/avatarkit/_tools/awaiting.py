"""
What may wait, and what does.

Hooks and factories may answer at once or later.  These few functions are the one place that tells
the two apart, so that everything else can promise that a realm in which nothing waits answers
without a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

T = TypeVar("T")


class _Later(Enum):
    LATER = "later"


#: What L{settle} answers instead of a result that is not there yet.
LATER = _Later.LATER


def awaited(answer: object) -> Deferred[Any] | None:
    """
    Answer a Deferred for what has to be waited for, and C{None} for everything else.
    """
    if answer is None:  # mostly, and what comes next takes its time to say no
        return None
    if not hasattr(type(answer), "__await__"):
        return fail(answer) if isinstance(answer, Failure) else None
    if isinstance(answer, Deferred):
        return answer
    return Deferred.fromCoroutine(_wait(answer))


async def _wait(answer: Any) -> Any:
    return await answer


def settle(waiting: Deferred[Any], arrive: Callable[[Any], None]) -> Any:
    """
    Take the result of a Deferred, now or later.

    @param arrive: called with the result, or the L{Failure}, if it is not there yet.
    @return: the result, or the L{Failure}, if it is there; otherwise L{LATER}.
    """
    early: Any = LATER
    here = True

    def arrived(result: Any) -> None:
        nonlocal early
        if here:
            early = result
        else:
            arrive(result)

    waiting.addBoth(arrived)
    here = False
    return early


def then(answer: T | Deferred[T], proceed: Callable[[T], Any]) -> Any:
    """
    Call C{proceed} with an answer, as soon as it is there.

    @return: what C{proceed} answers, or a Deferred of it.
    """
    waiting = awaited(answer)
    if waiting is None:
        return proceed(answer)  # type: ignore[arg-type]  # not a Deferred: just looked
    return waiting.addCallback(proceed)


def orUndo(
    attempt: Callable[[], object], undo: Callable[..., object], *arguments: Any
) -> Deferred[Any] | None:
    """
    Do something that may fail, and call C{undo(*arguments)} if it does, at once or later.

    @return: a Deferred if the attempt has to be waited for.
    """
    try:
        waiting = awaited(attempt())
    except BaseException:
        undo(*arguments)
        raise
    if waiting is None:
        return None

    def failed(failure: Failure) -> Failure:
        undo(*arguments)
        return failure

    return waiting.addErrback(failed)
