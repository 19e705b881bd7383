"""
Time comes in as an argument; the global reactor is what is used if there is none.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

__all__ = ["checkSeconds", "clockOr"]


def clockOr(reactor: IReactorTime | None) -> Any:
    """
    Answer a reactor, the global one if none is given.
    """
    if reactor is None:
        from twisted.internet import reactor as globalReactor

        return globalReactor
    return reactor


def checkSeconds(what: str, seconds: object) -> None:
    """
    Refuse what is neither C{None} nor a number of seconds.

    @raise TypeError: if it is no number.
    @raise ValueError: if it is negative, or not a number at all.
    """
    if seconds is None:
        return
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what} is a number of seconds, or None, not {seconds!r}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{what} is a finite number of seconds, at least 0, not {seconds!r}")
