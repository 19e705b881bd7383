"""
Each mind once, however many sessions it has.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import attrs

from .._clients.minds import identityOf
from .._realm.session import Session
from .._tools.counting import countDown


@attrs.define(eq=False)
class DistinctMinds:
    """
    How many minds there are among sessions: all of them, and those of each avatar ID.

    @ivar _sessions: how many sessions each mind has, and how many with each avatar ID.
    @ivar _minds: how many minds there are with each avatar ID.
    @ivar total: how many there are in all.
    """

    _sessions: dict[Hashable, int] = attrs.field(factory=dict, init=False)
    _minds: dict[Hashable, int] = attrs.field(factory=dict, init=False)
    total: int = attrs.field(default=0, init=False)

    def __getitem__(self, avatarId: Hashable) -> int:
        return self._minds.get(avatarId, 0)

    def add(self, session: Session) -> None:
        """
        There is one more session.
        """
        alone, withId = _keysOf(session)
        self.total += self._countUp(alone)
        if self._countUp(withId):
            self._minds[session.avatarId] = self[session.avatarId] + 1

    def remove(self, session: Session) -> None:
        """
        There is one less.
        """
        alone, withId = _keysOf(session)
        countDown(self._sessions, alone)
        self.total -= alone not in self._sessions
        countDown(self._sessions, withId)
        if withId not in self._sessions:
            countDown(self._minds, session.avatarId)

    def _countUp(self, key: Hashable) -> bool:
        """
        Count one more; return whether it is the first.
        """
        self._sessions[key] = self._sessions.get(key, 0) + 1
        return self._sessions[key] == 1


def firsts(sessions: Iterable[Session]) -> Iterator[Session]:
    """
    Return the first session of each mind.
    """
    seen: set[Hashable] = set()
    for session in sessions:
        key = identityOf(session.mind)
        if key not in seen:
            seen.add(key)
            yield session


def _keysOf(session: Session) -> tuple[Hashable, Hashable]:
    mind = identityOf(session.mind)
    return (mind,), (mind, session.avatarId)
