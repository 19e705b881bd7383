"""
Where an avatar is in its life, and what its life needs to know of the one who keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall

from .._realm.realm import Realm
from .._realm.session import Session
from .waiters import Waiter

# Any: it is all the same to who keeps a life what sort of avatar it is of.

#: The life of an avatar.
L = TypeVar("L")


class State(Enum):
    """
    Where the avatar of an ID is in its life.
    """

    GONE = "gone"
    LOADING = "loading"
    READY = "ready"
    RETIRING = "retiring"
    OVERDUE = "overdue"


class Keeper(Protocol[L]):
    """
    What keeps avatars, as far as each of them needs to know: it is told what becomes of them.
    """

    @property
    def below(self) -> Realm:
        """
        The realm that avatars come from.
        """

    @property
    def closing(self) -> bool:
        """
        Whether no more avatars are to be loaded.
        """

    @property
    def apart(self) -> bool:
        """
        Whether an ID may have an avatar for each interface.
        """

    @property
    def retireTimeout(self) -> float | None:
        """
        How many seconds an avatar may take to retire; C{None}: any number.
        """

    @property
    def lent(self) -> dict[Session, L]:
        """
        The sessions that use avatars, and the life of the avatar that each uses.
        """

    def file(self, life: L) -> None:
        """
        The avatar is ready.
        """

    def withdraw(self, life: L) -> None:
        """
        The avatar is loading, or retiring: nobody may have it now.
        """

    def drop(self, life: L) -> None:
        """
        The avatar, which was withdrawn, is gone.
        """

    def rest(self, life: L) -> None:
        """
        Nobody uses the avatar any more: retire it now, or later.
        """

    def wake(self, life: L) -> None:
        """
        The avatar, which rested, is used again, or retires.
        """

    def allow(self, late: Callable[[], object]) -> IDelayedCall | None:
        """
        An avatar is being retired: say so if that takes too long.
        """

    def giveUp(self, life: L) -> L:
        """
        The avatar takes too long to retire: it is overdue.

        @return: another life for its ID.
        """

    def forget(self, life: L) -> None:
        """
        The avatar, which was overdue, is gone.
        """

    def reroute(self, waiter: Waiter[Any], session: Session) -> None:
        """
        A login waited for the avatar, but needs one for another interface.
        """
