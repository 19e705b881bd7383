"""
What a client answers, read with care.

A failure that comes over the network has whatever attributes the client sent: Perspective Broker
sets them unchecked.  Attributes that every failure has may be missing or be something else, and
C{check} may be a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.spread.pb import CopiedFailure, DeadReferenceError, PBConnectionLost, ProtocolError

#: The failures of a call that got no answer.
GONE = (defer.TimeoutError, DeadReferenceError, PBConnectionLost, ConnectionLost, ConnectionDone)


def isSignOfLife(failure: Failure) -> bool:
    """
    Return whether a call that failed was answered.
    """
    return isinstance(failure, CopiedFailure) or not failure.check(*GONE)


def readable(failure: Failure) -> Failure:
    """
    Return the failure that a client answered with, or a C{ProtocolError} if it cannot be read like
    any other.
    """
    state: Mapping[Any, object] = vars(failure)  # Any: a client may send names that are not names
    if isinstance(state.get("value"), BaseException) or _isRemote(failure, state):
        return failure
    return Failure(ProtocolError("the client answered with a failure that cannot be read"))


def _isRemote(failure: Failure, state: Mapping[Any, object]) -> bool:
    """
    Return whether a failure is as Perspective Broker copies one: all of it is text, and its methods
    are its own.
    """
    mine = type(failure)
    for name in state:
        if not isinstance(name, str) or callable(getattr(mine, name, None)):
            return False
    parents: object = getattr(failure, "parents", None)
    texts = (state.get("type"), state.get("value"), state.get("traceback"))
    return isinstance(parents, list) and all(_isText(each) for each in (*texts, *parents))


def _isText(thing: object) -> bool:
    if isinstance(thing, bytes):
        with suppress(UnicodeDecodeError):
            thing = thing.decode("utf-8")
    return isinstance(thing, str)
