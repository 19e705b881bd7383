"""
The states of an avatar's life, and what the life needs to know of its keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, TypeVar

from twisted.internet.interfaces import IReactorTime

from .._realm.realm import Realm
from .._realm.session import Session
from .._waiting.timers import Timer
from .waiters import Waiter

# Any: a keeper does not care what sort of avatar a life has.

#: The life of an avatar.
L = TypeVar("L")


class State(Enum):
    """
    The state of an ID's avatar.
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
    def reactor(self) -> IReactorTime | None:
        """
        What measures the time; C{None}: the global reactor.
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

    def dismiss(self, life: L) -> None:
        """
        The avatar is gone, and logins that waited for it are about to fail.
        """

    def dismissed(self, life: L) -> None:
        """
        They have failed.
        """

    def rest(self, life: L) -> None:
        """
        Nobody uses the avatar any more: retire it now, or later.
        """

    def wake(self, life: L) -> None:
        """
        The avatar, which rested, is used again, or retires.
        """

    def allow(self, late: Callable[[], object]) -> Timer | None:
        """
        An avatar is retiring: arrange for C{late} to be called if that takes too long.
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
