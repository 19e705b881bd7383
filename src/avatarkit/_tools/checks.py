"""
Numbers and clocks that users give: what is none is refused when it is given.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime


def checkCount(what: str, number: object, *, least: int = 0) -> None:
    """
    Refuse what is not a whole number.

    @raise TypeError: if it is no whole number.
    @raise ValueError: if it is less than the least that it may be.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what} is a whole number, not {number!r}")
    if number < least:
        raise ValueError(f"{what} is at least {least}, not {number!r}")


def checkSeconds(what: str, seconds: object, *, orNone: bool = False) -> None:
    """
    Refuse what is no number of seconds.

    @param orNone: whether C{None} is allowed as well.
    @raise TypeError: if it is no number.
    @raise ValueError: if it is negative, or not finite.
    """
    if seconds is None and orNone:
        return
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what} is a number of seconds, not {seconds!r}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{what} is a finite number of seconds, at least 0, not {seconds!r}")


def checkReactor(reactor: object) -> None:
    """
    Refuse what cannot tell the time; C{None} stands for the global reactor.

    @raise TypeError: if it is no L{IReactorTime}.
    """
    if reactor is not None and not IReactorTime.providedBy(reactor):
        raise TypeError(f"a reactor provides IReactorTime, and {reactor!r} does not")
