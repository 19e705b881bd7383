"""
What asyncio promises, among what Twisted does.

Under Twisted's asyncio reactor an asyncio future is as good as a Deferred, and is made one.  Under
any other reactor nobody runs its loop, so that nothing would ever come of it.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, isfuture
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def explaining() -> Iterator[None]:
    """
    Explain the errors of asyncio, which say of its missing loop only that there is none.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) not in _ASYNCIOS:
            raise
        raise TypeError(_WRONG) from error


def _runs(loop: AbstractEventLoop) -> bool:
    """
    Return whether a loop runs, or will as soon as the reactor does.
    """
    reactor = sys.modules.get("twisted.internet.reactor")
    return loop.is_running() or getattr(reactor, "_asyncioEventloop", None) is loop
