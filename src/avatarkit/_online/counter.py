"""
How many sessions each avatar ID has, told to the avatar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import ClassVar

import attrs

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.keys import Key, Keys, avatarIdOf, keysOf
from .._realm.session import Session
from .._tools.adapting import adapted
from .._tools.kinds import Kinds
from .._tools.typevars import A
from .._waiting.awaiting import undoOnFailure
from ..interfaces import IConnectionAware
from .bases import connecting, disconnecting, isPlain
from .telling import NOT_CONNECTION_AWARE, sayIfMeant


@attrs.define(eq=False)
class ConnectionCounter(Audited, Block[A], Mapping[Hashable, int]):
    """
    Counts the sessions of each avatar ID, and tells avatars that are L{IConnectionAware}.

    With a C{key} it counts those of each key, and what is said here of avatar IDs goes for keys.

    It is a read-only mapping from avatar ID to number of sessions, of those that have any.  While
    an avatar's C{connect} runs its session already counts; while C{disconnect} runs, it no longer
    does.  Anonymous sessions are counted together.

    Below an L{AvatarCache<avatarkit.AvatarCache>} it counts avatars, which the cache says in the
    log.

    @ivar key: a callable of the session that returns what it is counted under, something hashable:
        by default the avatar ID.
    """

    countsSessions: ClassVar[bool] = True

    key: Key[A] = attrs.field(default=avatarIdOf, kw_only=True, repr=False)
    _keys: Keys[A] | None = attrs.field(init=False, repr=False)
    _counts: dict[Hashable, int] = attrs.field(factory=dict, init=False, repr=False)
    _total: int = attrs.field(default=0, init=False, repr=False)
    _kinds: Kinds = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keys = keysOf(self.key)
        self._kinds = Kinds(self._counts)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, avatarId: Hashable) -> int:
        if avatarId not in self._counts:
            self._kinds.missed(avatarId)
        return self._counts[avatarId]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def total(self) -> int:
        """
        How many sessions all avatar IDs have together.
        """
        return self._total

    def connections(self, avatarId: Hashable) -> int:
        """
        Return how many sessions an avatar ID has: 0 for a stranger.
        """
        return self.get(avatarId, 0)

    def attached(self, session: Session[A]) -> object:
        """
        Count the session, and tell the avatar.
        """
        aware = adapted(IConnectionAware, session.avatar)
        self._add(session.avatarId if self._keys is None else self._keys.note(session), 1)
        if aware is None:
            sayIfMeant(NOT_CONNECTION_AWARE, session.avatar, "connect", "disconnect")
            return None
        tell = aware.connect if isPlain(aware) else connecting(aware)
        return undoOnFailure(tell, self._subtract, session)

    def detached(self, session: Session[A]) -> object:
        """
        Stop counting the session, and tell the avatar.
        """
        self._subtract(session)
        aware = adapted(IConnectionAware, session.avatar)
        if aware is None:
            return None
        return aware.disconnect() if isPlain(aware) else disconnecting(aware)()

    def audit(self) -> Iterator[str]:
        """
        Say whose sessions are counted wrong.
        """
        sessions = [*self._sessionsPast(self.detached), *self._sessionsAt(self.detached)]
        there = Counter(map(avatarIdOf if self._keys is None else self._keys.of, sessions))
        for avatarId in {**self._counts, **there}:
            counted = self.connections(avatarId)
            if counted != there[avatarId]:
                yield (
                    f"{self!r} counts {counted} sessions of {avatarId!r}, "
                    f"and there are {there[avatarId]}"
                )
        if self._total != len(sessions):
            yield f"{self!r} counts {self._total} sessions in all, and there are {len(sessions)}"

    def _subtract(self, session: Session[A]) -> None:
        self._add(session.avatarId if self._keys is None else self._keys.forget(session), -1)

    def _add(self, avatarId: Hashable, change: int) -> None:
        self._total += change
        before = self._counts.get(avatarId, 0)
        if not before and type(avatarId) is not self._kinds.only:
            self._kinds.loggedIn(avatarId)
        count = before + change
        if count:
            self._counts[avatarId] = count
        else:
            del self._counts[avatarId]
