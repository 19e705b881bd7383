"""
One failure for several waiting logins: each gets its own copy, so that none of them adds to the
traceback of the others.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from types import FunctionType
from typing import Any, TypeVar

from twisted.python.failure import Failure

E = TypeVar("E", bound=BaseException)

# Any in this module: what an exception says of how it is made again.

#: What the author of a class writes who thinks of copies.
_OWN_WAYS = ("__copy__", "__reduce__", "__reduce_ex__")


def twin(error: E) -> E:
    """
    Return a copy of an exception, or the exception itself if it cannot be copied; without its
    traceback, which would grow each time that it is raised.

    By default Python copies an exception by calling its class with its C{args}.  A class with a
    constructor of its own may take other arguments, or make another text of these, so such a
    constructor is left out.
    """
    kind = type(error)
    with suppress(Exception):  # not every exception can be copied
        if any(isinstance(getattr(kind, way, None), FunctionType) for way in _OWN_WAYS):
            return copy(error)
        return _rebuilt(error)
    return error.with_traceback(None)


def _rebuilt(error: E) -> E:
    """
    Return a copy that is made as Python itself makes the exception, before any constructor of its
    author's.
    """
    reduced: Any = error.__reduce__()
    kind, args, *state = reduced
    made: E = kind.__new__(kind, *args)
    inits = (vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each))
    init = next(each for each in inits if not isinstance(each, FunctionType))
    init(made, *args)
    for each in state:
        made.__setstate__(each)
    return made


def copyOf(failure: Failure) -> BaseException:
    """
    Return a copy of what a failure is about, without its traceback, to be kept.
    """
    value = failure.value
    if isinstance(value, BaseException):
        return twin(value)
    return Exception(failure.getErrorMessage())  # it came over the network


def another(failure: Failure) -> Failure:
    """
    Return a copy of a failure for one more waiting login, with an exception of its own.

    A failure that came over the network has no exception, only its text, which no constructor
    takes: such a failure is copied attribute by attribute.  C{copy.copy} would go through
    C{Failure.__reduce__}, which drops what is not text.
    """
    value = failure.value
    if not isinstance(value, BaseException):
        copied = failure.__class__.__new__(failure.__class__)
        copied.__dict__.update(failure.__dict__)
        return copied
    return Failure(twin(value), failure.type, failure.tb)
