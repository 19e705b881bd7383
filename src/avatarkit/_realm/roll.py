"""
Which sessions a realm has, also by avatar ID, so that whatever concerns a user reaches all of their
sessions, logins in progress included.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic

import attrs
from twisted.internet.defer import Deferred, succeed

from .._tools.typevars import A
from .session import Session


@attrs.define(eq=False, repr=False)
class Roll(Generic[A]):
    """
    The sessions of a realm.

    @ivar sessions: the sessions that have not ended, oldest first, each with the ID that it is
        filed under: while it is refiled, its own is another.
    @ivar _ends: the Deferreds of L{whenEmpty}.
    @ivar _byId: the session of each ID, or a dict of them if there are several.
    """

    sessions: dict[Session[A], Hashable] = attrs.field(factory=dict, init=False)
    _ends: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _byId: dict[Hashable, Session[A] | dict[Session[A], None]] = attrs.field(
        factory=dict, init=False
    )

    def add(self, session: Session[A]) -> None:
        """
        File a session under its avatar ID.
        """
        avatarId = session._avatarId
        others = self._byId.setdefault(avatarId, session)
        if others is not session:
            if isinstance(others, dict):
                others[session] = None
            else:
                self._byId[avatarId] = {others: None, session: None}
        self.sessions[session] = avatarId

    def remove(self, session: Session[A]) -> None:
        """
        Remove a session.
        """
        avatarId = self.sessions.pop(session)
        sessions = self._byId.pop(avatarId)
        if isinstance(sessions, dict):
            del sessions[session]
            if sessions:
                self._byId[avatarId] = sessions
        if self._ends and not self.sessions:
            session.whenClosed().addCallback(self._emptied)

    def ending(self) -> list[Session[A]]:
        """
        Return the sessions that are closing.
        """
        return [each for each in self.sessions if each.ended]

    def whenEmpty(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when there is no session, and none is closing.
        """
        if not self.sessions:
            return succeed(None)
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        return end

    def _emptied(self, closed: None) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(None)

    def refile(self, session: Session[A]) -> None:
        """
        File a session again after its avatar ID has changed.
        """
        self.remove(session)
        self.add(session)

    def of(self, avatarId: Hashable) -> Iterable[Session[A]]:
        """
        Return the sessions of an avatar ID, oldest first.
        """
        sessions = self._byId.get(avatarId, ())
        return (sessions,) if isinstance(sessions, Session) else tuple(sessions)
