"""
Time comes in as an argument; the global reactor is what is used if there is none.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime


def clockOr(reactor: IReactorTime | None) -> Any:
    """
    Answer a reactor, the global one if none is given.
    """
    if reactor is None:
        from twisted.internet import reactor as globalReactor

        return globalReactor
    return reactor
