"""
Logins that wait for an avatar.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._tools.circles import Waiting
from .._tools.typevars import A


class Awaited(Protocol[A]):
    """
    What a login waits for: the life of the avatar.
    """

    def hindrance(self) -> Deferred[object] | None:
        """
        Return what the life waits for, if that is known.
        """

    def abandon(self, waiter: Waiter[A]) -> None:
        """
        The login waits no longer.
        """

    def refuse(self, waiter: Waiter[A]) -> None:
        """
        The login waits for itself.
        """


class Waiter(Waiting[A]):
    """
    A login that waits for an avatar: the Deferred that it waits for.

    @ivar life: the life of the avatar.
    """

    def __init__(self, life: Awaited[A]) -> None:
        super().__init__(cast("Callable[[Deferred[A]], None]", _abandon))
        self.life = life

    def awaits(self) -> Deferred[object] | None:
        """
        Return what the avatar's life waits for.
        """
        return self.life.hindrance()

    def refuse(self) -> bool:
        """
        Fail, because it waits for itself.
        """
        self.life.refuse(self)
        return True


def _abandon(waiter: Waiter[A]) -> None:
    waiter.life.abandon(waiter)


def another(failure: Failure) -> Failure:
    """
    Return a copy of a failure for one more of those who wait, with an exception of its own, so that
    none of them adds to the traceback of the others.

    A failure that came over the network has no exception, only its text, and no constructor that
    would take that: such a one is made anew from its attributes.  C{copy.copy} would go through
    C{Failure.__reduce__}, which drops what is not text.
    """
    value = failure.value
    if not isinstance(value, BaseException):
        twin = failure.__class__.__new__(failure.__class__)
        twin.__dict__.update(failure.__dict__)
        return twin
    with suppress(Exception):  # not every exception can be copied
        value = copy(value)
    return Failure(value, failure.type, failure.tb)
