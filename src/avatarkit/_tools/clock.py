"""
Time comes in as an argument; the global reactor is the default, and is imported when it is needed.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IReactorTime


def clockOr(reactor: IReactorTime | None) -> IReactorTime:
    """
    Return a reactor, or the global one if none is given.
    """
    if reactor is None:
        from twisted.internet import reactor as globalReactor

        return cast(IReactorTime, globalReactor)
    return reactor
