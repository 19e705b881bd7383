"""
Whether what the parts of a realm keep for their sessions agrees with the sessions that exist.

A part that keeps something says what it keeps too much or too little of.  It finds the sessions in
the realms that it is stacked into, which tell it so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol
from weakref import WeakSet

import attrs

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
        Return where in the plan something is undone.
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

    def _sessionsPast(self, undo: Callable[[Session], object]) -> Iterator[Session]:
        """
        Return the sessions for which a hook of this part is done, and not undone.
        """
        for stack in self._stacks:
            place = stack._placeOf(undo)
            yield from (each for each in stack.sessions if each._hasPassed(place))

    def _sessionsAt(self, undo: Callable[[Session], object]) -> Iterator[Session]:
        """
        Return the sessions that are in the hook that C{undo} would undo.
        """
        for stack in self._stacks:
            place = stack._placeOf(undo)
            yield from (each for each in stack.sessions if each._isAt(place))

    def _underWay(self, avatarId: Hashable) -> Iterator[Session]:
        """
        Return the sessions of an avatar ID that are not ending, logins in progress included.
        """
        for stack in self._stacks:
            yield from (each for each in stack._sessionsOf(avatarId) if not each.ended)

    @abstractmethod
    def audit(self) -> Iterable[str]:
        """
        Return a sentence for each thing that does not agree; asked by
        L{Realm.audit<avatarkit.Realm.audit>}.
        """
