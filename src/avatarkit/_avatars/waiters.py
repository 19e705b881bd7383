"""
Logins that wait for an avatar.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, cast

from twisted.internet.defer import Deferred

from .._tools.typevars import A
from .._waiting.circles import Waiting


class Awaited(Protocol[A]):
    """
    What a login waits for: the life of the avatar.

    @ivar key: whose avatar it is.
    """

    key: Hashable

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
