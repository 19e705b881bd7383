"""
What Perspective Broker sends to a client when an exception reaches that client.

By default it sends a copy of the whole failure, which has in it, whatever C{unsafeTracebacks} says,
the path of each file and the name of each function that the exception passed through.
An object that can jelly itself decides what is sent: our own refusals are such objects, and a
refusal of somebody else's is made one.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

from twisted.spread.pb import CopyableFailure, Jellyable


class Told(Exception, Jellyable):
    """
    An exception that was written for the client, which receives its name and its text and nothing
    else.
    """

    def jellyFor(self, jellier: Any) -> Any:  # Any: Twisted does not say what goes to the wire
        """
        Return what is sent: a failure without a traceback.
        """
        return jellier.jelly(CopyableFailure(self))


def withoutTraceback(error: BaseException) -> None:
    """
    Have clients receive the name and the text of somebody else's exception and nothing else, unless
    it decides for itself what is sent.

    It stays the same object, which its owner may know, and gets a subclass of its class that looks
    like it.
    """
    if hasattr(error, "jellyFor"):
        return
    with suppress(Exception):  # a class that allows no subclass, or not this one
        error.__class__ = _told(type(error))  # type: ignore[arg-type]  # classes are hashable


@lru_cache(maxsize=1000)
def _told(kind: type[BaseException]) -> type[BaseException]:
    like = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind, Jellyable), {**like, "jellyFor": Told.jellyFor})
