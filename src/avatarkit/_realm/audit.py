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

    # An audit asks these of every session of a realm, several times: they look for themselves.

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
        Return the sessions that are in the hook that C{undo} would undo, on their way up.
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
        Return a sentence for each thing that does not agree; asked by
        L{Realm.audit<avatarkit.Realm.audit>}.
        """


def lookAfterMinds(sessions: Iterable[Session]) -> Iterator[str]:
    """
    Say which sessions have a client that is dead, or of which nobody can tell.
    """
    for session in sessions:
        if session.mind is None or session._above is not None or session.ended:
            continue
        try:
            if isDead(session.mind):
                yield f"the mind of {session!r} is dead"
        except BaseException:  # somebody's adapter
            yield f"the mind of {session!r} cannot say whether it is dead"
