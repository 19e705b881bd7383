"""
What asyncio promises, among what Twisted does.

Under Twisted's asyncio reactor an asyncio future is as good as a Deferred, and is made one.  Under
any other reactor nobody runs its loop, so that nothing would ever come of it.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, _get_running_loop, isfuture
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred

# Any in this module: what is waited for is its author's affair.

#: What asyncio says when its loop does not run, and when what it waits for is not understood.
_ASYNCIOS = ("no running event loop", "await wasn't used with future")
_WRONG = (
    "this waits for asyncio, whose loop does not run: await Deferreds, or install Twisted's "
    "asyncio reactor, twisted.internet.asyncioreactor, and wait once that runs"
)


def promised(promise: object) -> object:
    """
    Return a Deferred for an asyncio future, and anything else as it is.

    @raise TypeError: if nobody runs the future's loop.
    """
    if not isfuture(promise):
        return promise
    if not _runs(promise.get_loop()):
        raise TypeError(_WRONG)
    return Deferred.fromFuture(promise)


def coroutineOf(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any] | Generator[Any, Any, Any]:
    """
    Return what waits for an awaitable, for a Deferred to run.
    """
    reactor = sys.modules.get("twisted.internet.reactor")
    if _get_running_loop() is None and not hasattr(reactor, "_asyncioEventloop"):
        return _waiting(awaitable)
    return _adapting(awaitable)


async def _waiting(awaitable: Awaitable[Any]) -> object:
    """
    Wait where asyncio's loop does not run.
    """
    try:
        return await awaitable
    except RuntimeError as error:
        if str(error) not in _ASYNCIOS:
            raise
        raise TypeError(_WRONG) from error


def _adapting(awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
    """
    Wait where it runs, which costs a little more: what is waited for on the way may be asyncio's.
    """
    steps: Any = awaitable.__await__()
    if not hasattr(steps, "send"):  # a plain iterator, whose stops are its own affair
        return (yield from steps)
    resume, result = steps.send, None
    try:
        while True:
            stop = resume(result)
            try:
                resume, result = steps.send, (yield promised(stop))
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                resume, result = steps.throw, error
    except StopIteration as arrived:
        return arrived.value
    finally:
        del result  # an exception, perhaps, that this frame would keep alive


def _runs(loop: AbstractEventLoop) -> bool:
    """
    Return whether a loop runs, or will as soon as the reactor does.
    """
    reactor = sys.modules.get("twisted.internet.reactor")
    return loop.is_running() or getattr(reactor, "_asyncioEventloop", None) is loop
