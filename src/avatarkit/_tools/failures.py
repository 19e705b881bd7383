"""
One failure for several waiting logins: each gets its own copy, so that none of them adds to the
traceback of the others.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TypeVar

from twisted.python.failure import Failure

E = TypeVar("E", bound=BaseException)


def twin(error: E) -> E:
    """
    Return a copy of an exception, or the exception itself if it cannot be copied.
    """
    with suppress(Exception):  # not every exception can be copied
        return copy(error)
    return error


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
