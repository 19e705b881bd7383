"""
Whether what the parts of a realm keep for their sessions agrees with the sessions that there are.

A part that keeps something says what it keeps too much or too little of; it finds the sessions in
the realms that it is stacked into, of which it is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet

import attrs

if TYPE_CHECKING:
    from .realm import Realm
    from .session import Session


@attrs.define(eq=False)
class Audited(ABC):
    """
    A part of a realm that keeps something for each session.
    """

    _realms: WeakSet[Realm] = attrs.field(factory=WeakSet, init=False, repr=False)

    def stacked(self, realm: Realm) -> None:
        """
        Take note of a realm that this is in.
        """
        self._realms.add(realm)

    def passed(self, undo: Callable[[Session], object]) -> Iterator[Session]:
        """
        Answer the sessions that will be undone by a hook of this.
        """
        for realm in self._realms:
            place = realm.placeOf(undo)
            yield from (session for session in realm.sessions if session.passed(place))

    def entering(self, undo: Callable[[Session], object]) -> Iterator[Session]:
        """
        Answer the sessions that are in what a hook of this would undo.
        """
        for realm in self._realms:
            place = realm.placeOf(undo)
            yield from (session for session in realm.sessions if session.isAt(place))

    @abstractmethod
    def audit(self) -> Iterable[str]:
        """
        Say, in a sentence each, what does not agree.
        """
