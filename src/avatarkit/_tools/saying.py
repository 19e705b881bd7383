"""
Logging about objects that belong to somebody else.

They may be half built, or broken: their names are asked for only when there is something to log,
and nothing that they or an observer of the log raise reaches the code that logs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from twisted.python.reflect import safe_repr


def say(log: Callable[..., None], sentence: str, **facts: object) -> None:
    """
    Log a sentence.

    Twisted catches what an observer raises unless it is a C{SystemExit} or the like: that would
    leave a session half closed.

    @param log: a method of a L{Logger<twisted.logger.Logger>}.
    """
    with suppress(BaseException):
        log(sentence, **facts)


def interfaceName(interface: object) -> str:
    """
    Return what an interface is called, or whatever somebody's realm has returned in its place.
    """
    return str(getattr(interface, "__name__", interface))


def nameOf(hook: Callable[..., object]) -> str:
    """
    Return what a hook is called in the log.
    """
    with suppress(Exception):
        hook = getattr(hook, "__wrapped__", hook)
        return str(hook.__qualname__)
    return str(safe_repr(hook))
