"""
Arguments that users give: a wrong one is refused where it is given, not where it is used.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime


def checkCount(what: str, number: object, *, least: int = 0) -> None:
    """
    Refuse what is not an int, or is too small.

    @raise TypeError: if it is not an int.
    @raise ValueError: if it is less than C{least}.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what} must be an int, not {number!r}")
    if number < least:
        raise ValueError(f"{what} must be at least {least}, not {number!r}")


def checkSeconds(
    what: str, seconds: object, *, orNone: bool = False, positive: bool = False
) -> None:
    """
    Refuse what is not a number of seconds.

    @param orNone: whether C{None} is allowed as well.
    @param positive: whether 0 is too little.
    @raise TypeError: if it is not a number.
    @raise ValueError: if it is negative, not finite, or too little.
    """
    if seconds is None and orNone:
        return
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what} must be a number of seconds, not {seconds!r}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{what} must be finite and at least 0, not {seconds!r}")
    if positive and not seconds:
        raise ValueError(f"{what} must be more than 0")


def checkYesOrNo(what: str, answer: object) -> None:
    """
    Refuse what is neither true nor false.

    @raise TypeError: if it is not a bool.
    """
    if not isinstance(answer, bool):
        raise TypeError(f"{what} must be a bool, not {answer!r}")


def checkHashable(what: str, thing: object) -> None:
    """
    Refuse what cannot be the key of a dict.

    @raise TypeError: if it is not hashable.
    """
    try:
        hash(thing)
    except TypeError:
        raise TypeError(f"{what} must be hashable, which {thing!r} is not") from None


def checkReactor(reactor: object) -> None:
    """
    Refuse what cannot tell the time; C{None} stands for the global reactor.

    @raise TypeError: if it does not provide L{IReactorTime}.
    """
    if reactor is not None and not IReactorTime.providedBy(reactor):
        raise TypeError(f"reactor must provide IReactorTime, which {reactor!r} does not")
