"""
Attempts to log in whose passwords are not checked yet, since it is not their turn: how long they
wait is no fault of a checker's, and does not count as the time of a login.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred

#: By the C{id} of the credentials, which may be of any kind, what fires when it is their turn.
_turns: dict[int, Deferred[None]] = {}


@contextmanager
def inLine(credentials: object, turn: Deferred[None]) -> Iterator[None]:
    """
    Take note that credentials wait for their turn.
    """
    _turns[id(credentials)] = turn
    try:
        yield
    finally:
        del _turns[id(credentials)]


def turnOf(credentials: object) -> Deferred[None] | None:
    """
    Return what fires when it is the turn of credentials; C{None} if they do not wait.
    """
    return _turns.get(id(credentials))
