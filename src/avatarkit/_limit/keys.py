"""
What is limited, and how many sessions there may be of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from enum import Enum
from typing import TypeAlias

from .._realm.session import Session
from .._tools.checks import checkCount
from .._tools.typevars import A

#: What is limited: a callable of the session that returns something hashable.
Key: TypeAlias = Callable[[Session[A]], Hashable]

#: How many sessions there may be for one session: a number, or C{None} for any number.
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


def avatarIdOf(session: Session) -> Hashable:
    """
    The key of a limit for each avatar ID.
    """
    return session.avatarId


def checkedKey(key: Hashable) -> Hashable:
    """
    Return a key, which must be hashable.

    @raise TypeError: if it is not, or must be waited for.
    """
    hash(key)
    if hasattr(type(key), "__await__"):
        getattr(key, "close", lambda: None)()  # a coroutine that nobody will wait for
        raise TypeError(f"a key cannot be waited for: {key!r}")
    return key


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
