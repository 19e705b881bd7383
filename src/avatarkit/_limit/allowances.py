"""
How many sessions a limit allows, and the key for all of them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from enum import Enum
from typing import TypeAlias

from .._realm.session import Session
from .._tools.checks import checkCount
from .._tools.typevars import A

#: How many sessions the key of a session may have: a number, or C{None} for any number.
Quota: TypeAlias = Callable[[Session[A]], int | Awaitable[int | None] | None]


class _Everyone(Enum):
    #: The key of a limit for all sessions together: C{ConnectionLimit(1000, key=everyone)}.  It
    #: returns itself, so that C{limit.sessions(everyone)} are all sessions.
    everyone = "everyone"

    def __call__(self, session: Session) -> Hashable:
        """
        Return the same for every session.
        """
        return self

    def __repr__(self) -> str:
        return "everyone"


everyone = _Everyone.everyone


def checkedNumber(quota: object) -> int | None:
    """
    Return how many sessions a quota allows.

    @raise TypeError: if it is neither an int nor C{None}.
    @raise ValueError: if it is negative.
    """
    if quota is None:
        return None
    checkCount("a quota", quota)
    assert isinstance(quota, int)
    return quota
