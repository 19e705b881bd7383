"""
What waits for itself.

Somebody's code may wait, by way of ours, for what waits for that very code: a C{logout} that logs
in as the avatar that is being logged out, for example.  Nothing would ever come of that.

Each Deferred waits for one other at the most, so that what it waits for in the end is found by
going from one to the next; who comes back has found a circle.  A circle is closed by whatever
begins to wait last, so it is there that somebody must look, with L{breakCircle}.

A Deferred shows what it waits for if it is chained to another, is one of L{Waiting}, or stands for
a coroutine that a L{Trip} drives.  A Deferred that C{inlineCallbacks} made does not show it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from .asyncs import explaining, promised

T = TypeVar("T")

# Any in this module: it is of no importance here what is waited for.


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

        @return: whether it did; it need not be able to.
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


def breakCircle(start: Deferred[Any]) -> None:
    """
    See whether what a Deferred waits for waits for itself, and if so have one of those fail that
    can.
    """
    path = {start: None}
    each = _next(start)
    while each is not None and each not in path:
        path[each] = None
        each = _next(each)
    if each is None:
        return
    passed = list(path)
    for node in passed[passed.index(each) :]:
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
    found: Deferred[Any] | None = None if awaits is None else awaits()
    return found
