"""
Whether the records that the parts of a realm keep agree with the sessions that exist.

A part that keeps something reports what is missing from its records and what should not be there.
It compares them with the sessions of the realms that it is stacked into; each realm tells its parts
that they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol
from weakref import WeakSet

import attrs

from .._clients.minds import isDead
from .session import Session


class Stack(Protocol):
    """
    A realm, as far as a part that is stacked into it needs to know.
    """

    @property
    def sessions(self) -> AbstractSet[Session]:
        """
        The sessions that have not ended.
        """

    def _sessionsOf(self, avatarId: Hashable) -> Iterable[Session]:
        """
        Return the sessions of an avatar ID, oldest first, logins in progress included.
        """

    def _placeOf(self, undo: Callable[[Session], object]) -> int:
        """
        Return the place in the plan of the hook that C{undo} undoes.
        """


@attrs.define(eq=False)
class Audited(ABC):
    """
    A part of a realm that keeps something for each session.
    """

    _stacks: WeakSet[Stack] = attrs.field(factory=WeakSet, init=False, repr=False)

    def _stackedInto(self, stack: Stack) -> None:
        """
        Take note of a realm that this is part of.
        """
        self._stacks.add(stack)

    # An audit goes through every session several times, so these read attributes directly.

    def _sessionsPast(self, undo: Callable[[Session], object]) -> list[Session]:
        """
        Return the sessions for which a hook of this part is done, and not undone.
        """
        past: list[Session] = []
        for stack in self._stacks:
            place = stack._placeOf(undo)
            past += [each for each in stack.sessions if each._depth > place]
        return past

    def _sessionsAt(self, undo: Callable[[Session], object]) -> list[Session]:
        """
        Return the sessions whose login is in the hook that C{undo} undoes.
        """
        here: list[Session] = []
        for stack in self._stacks:
            place = stack._placeOf(undo)
            here += [each for each in stack.sessions if each._depth == place and each._isRising()]
        return here

    def _underWay(self, avatarId: Hashable) -> Iterator[Session]:
        """
        Return the sessions of an avatar ID that are not ending, logins in progress included.
        """
        for stack in self._stacks:
            yield from (each for each in stack._sessionsOf(avatarId) if not each.ended)

    @abstractmethod
    def audit(self) -> Iterable[str]:
        """
        Return a sentence for each disagreement; called by L{Realm.audit<avatarkit.Realm.audit>}.
        """


def lookAfterClients(sessions: Iterable[Session]) -> Iterator[str]:
    """
    Report sessions whose client is gone, or whose mind fails to say whether it is.
    """
    for session in sessions:
        if session._above is not None or session.ended:
            continue
        if session._connection is not None and session._connection.disconnected:
            yield f"the connection of {session!r} is lost"
        try:
            if isDead(session.mind):
                yield f"the mind of {session!r} is dead"
        except BaseException:  # somebody's adapter
            yield f"the mind of {session!r} cannot say whether it is dead"
