"""
What waits for itself.

Somebody's code may wait, by way of ours, for something that waits for that very code: a C{logout}
that logs in as the avatar that is being logged out, for example.  Neither would ever finish.

Each Deferred waits for at most one other, so what it waits for in the end is found by going from
one to the next; a walk that comes back to where it was has found a circle.  A circle is closed by
whatever begins to wait last, so that is the place to look, with L{breakCircle}.

A Deferred shows what it waits for if it is chained to another, is a L{Waiting}, or stands for a
coroutine that a L{Trip} drives.  One that C{inlineCallbacks} or C{ensureDeferred} made shows it to
whoever knows where Twisted keeps it; but Twisted does not say when it begins to wait, so that a
circle which it closes is found only if it does so at once, or by whoever waits next.  A Deferred
that is fired by hand shows nothing, and deadlines end its circles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator, Iterator
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from .asyncs import explaining, promised

T = TypeVar("T")

# Any in this module: the type of what is waited for does not matter here.


class Waiting(Deferred[T], ABC):
    """
    A Deferred that can say what it waits for.
    """

    @abstractmethod
    def awaits(self) -> Deferred[Any] | None:
        """
        Return what it waits for now, if that is known.
        """

    def refuse(self) -> bool:
        """
        Fail, because it waits for itself.

        @return: whether it did; not every Deferred can.
        """
        return False


class Trip:
    """
    An awaitable on its way, which shows what it waits for.

    @ivar waiting: the Deferred that stands for it, if there is one yet.
    """

    waiting: Deferred[Any] | None = None
    _stop: object = None

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable

    def awaits(self) -> Deferred[Any] | None:
        """
        Return what it waits for now, if that is known.
        """
        return self._stop if isinstance(self._stop, Deferred) else None

    def __await__(self) -> Generator[Any, Any, Any]:
        """
        Drive the awaitable, and look for a circle at each stop.
        """
        steps: Any = self._awaitable.__await__()
        if not hasattr(steps, "close"):  # a plain iterator, whose stops are its own affair
            return (yield from steps)
        resume, result = steps.send, None
        try:
            while True:
                with explaining():
                    stop = resume(result)
                try:
                    self._stop = promised(stop)
                    if self.waiting is not None:
                        breakCircle(self.waiting)
                    resume, result = steps.send, (yield self._stop)
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:
                    resume, result = steps.throw, error
        except StopIteration as arrived:
            return arrived.value
        finally:
            self.waiting = self._stop = None
            del result  # an exception, perhaps, that this frame would keep alive


def path(start: Deferred[Any]) -> Iterator[Deferred[Any]]:
    """
    Return a Deferred, what it waits for, what that waits for, and so on; in a circle, up to the
    first that comes twice.
    """
    passed: set[Deferred[Any]] = set()
    each: Deferred[Any] | None = start
    while each is not None:
        yield each
        if each in passed:
            return
        passed.add(each)
        each = _next(each)


def breakCircle(start: Deferred[Any]) -> None:
    """
    If a Deferred waits for something that waits for itself, fail one Deferred of that circle, if
    one of them can.
    """
    passed = [*path(start)]
    last = passed.pop()
    if last not in passed:
        return
    for node in passed[passed.index(last) :]:
        if isinstance(node, Waiting) and node.refuse():
            return


def _next(waiting: Deferred[Any]) -> Deferred[Any] | None:
    """
    Return what a Deferred waits for, if it shows that.
    """
    if waiting.called:
        result = getattr(waiting, "result", None)
        return result if isinstance(result, Deferred) else None
    awaits = getattr(waiting, "awaits", None)
    found: Deferred[Any] | None = _inside(waiting) if awaits is None else awaits()
    return found


def _inside(waiting: Deferred[Any]) -> Deferred[Any] | None:
    """
    Return what a Deferred of Twisted's C{inlineCallbacks} waits for.

    Its canceller knows, in a variable C{status}, and so it does, itself or by way of a function
    that it calls, in all releases that there are.  What is not there is not found.
    """
    canceller = getattr(waiting, "_canceller", None)
    for function in (canceller, _variables(canceller).get("handleCancel")):
        found = getattr(_variables(function).get("status"), "waitingOn", None)
        if isinstance(found, Deferred):
            return found
    return None


def _variables(function: object) -> dict[str, object]:
    """
    Return the variables of the functions around it that a function uses.
    """
    if not isinstance(function, FunctionType):
        return {}
    with suppress(ValueError):  # one of them has no value yet
        cells = function.__closure__ or ()
        names = function.__code__.co_freevars
        return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    return {}
