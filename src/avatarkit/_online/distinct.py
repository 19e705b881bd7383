"""
Each mind once, however many sessions it has.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import attrs

from .._clients.minds import identityOf
from .._realm.keys import Key
from .._realm.session import Session
from .._tools.counting import countDown


@attrs.define(eq=False)
class DistinctMinds:
    """
    Counts the minds of sessions: in all, and for each key.

    @ivar keyOf: returns the key of a session.
    @ivar _sessions: how many sessions each mind has, and how many with each key.
    @ivar _minds: how many minds there are with each key.
    @ivar total: how many there are in all.
    """

    keyOf: Key
    _sessions: dict[Hashable, int] = attrs.field(factory=dict, init=False)
    _minds: dict[Hashable, int] = attrs.field(factory=dict, init=False)
    total: int = attrs.field(default=0, init=False)

    def __getitem__(self, key: Hashable) -> int:
        return self._minds.get(key, 0)

    def add(self, session: Session) -> None:
        """
        There is one more session.
        """
        key, mind = self.keyOf(session), identityOf(session.mind)
        self.total += self._countUp((mind,))
        if self._countUp((mind, key)):
            self._minds[key] = self[key] + 1

    def remove(self, session: Session) -> None:
        """
        There is one session less.
        """
        key, mind = self.keyOf(session), identityOf(session.mind)
        countDown(self._sessions, (mind,))
        self.total -= (mind,) not in self._sessions
        countDown(self._sessions, (mind, key))
        if (mind, key) not in self._sessions:
            countDown(self._minds, key)

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
