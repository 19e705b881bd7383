"""
How far a client may be behind with what is pushed to it.

Perspective Broker has no back-pressure: what is sent to a client that has stopped reading waits in
the server's memory, and so does the Deferred of every answer that does not come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import Logger

from ._checks import checkCount
from ._mind import mindOf
from ._session import Session
from .errors import MindIsBehind

__all__ = ["Bounds", "disconnect", "skip"]


def skip(session: Session) -> None:
    """
    Do nothing about a client that is behind, beside leaving the push out for it: for C{whenBehind}
    of a L{MindRegistry<avatarkit.MindRegistry>}.

    In a module of tests for trial write C{avatarkit.skip}: a module that has a C{skip} is skipped.
    """


def disconnect(session: Session) -> None:
    """
    End the session of a client that is behind, and close its connection, see
    L{Session.disconnect<avatarkit.Session.disconnect>}: for C{whenBehind} of a
    L{MindRegistry<avatarkit.MindRegistry>}.
    """
    session.disconnect()


@attrs.define(eq=False)
class Bounds:
    """
    What the clients of a registry may be behind by, and those that are.

    @ivar maximumBacklog: how many bytes may wait to be sent to a client.
    @ivar maximumPending: how many pushes may wait for an answer of a client.
    @ivar whenBehind: what is called with the session of a client for each push that it is too far
        behind for.
    """

    maximumBacklog: int | None
    maximumPending: int | None
    whenBehind: Callable[[Session], object]
    _pending: dict[Session, int] = attrs.field(factory=dict, init=False)
    _behind: set[Session] = attrs.field(factory=set, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        for name in ("maximumBacklog", "maximumPending"):
            if getattr(self, name) is not None:
                checkCount(name, getattr(self, name), least=1)
        if not callable(self.whenBehind):
            raise TypeError(f"whenBehind is called with a session, and {self.whenBehind!r} is not")

    @property
    def bounding(self) -> bool:
        """
        Whether there is any bound.
        """
        return self.maximumBacklog is not None or self.maximumPending is not None

    def check(self, mind: Any, session: Session) -> None:
        """
        Look whether a client can take one more push.

        @raise MindIsBehind: if it cannot; C{whenBehind} has been told then.
        """
        pending, backlog = self._pending.get(session, 0), self._backlogOf(mind)
        late = self.maximumPending is not None and pending >= self.maximumPending
        if not late and (self.maximumBacklog is None or backlog <= self.maximumBacklog):
            self._behind.discard(session)
            return
        behind = MindIsBehind(avatarId=session.avatarId, backlog=backlog, pending=pending)
        if session not in self._behind:
            self._behind.add(session)
            avatarId = session.avatarId
            self._log.warn("{avatarId!r} is behind: {behind}", avatarId=avatarId, behind=behind)
        try:
            self.whenBehind(session)
        except Exception:
            self._log.failure("{whenBehind!r} failed", whenBehind=self.whenBehind)
        raise behind

    def sent(self, session: Session) -> None:
        """
        A client was sent something that it is to answer.
        """
        if not session.ended:
            self._pending[session] = self._pending.get(session, 0) + 1

    def answered(self, session: Session) -> None:
        """
        It has answered.
        """
        left = self._pending.pop(session, 1) - 1
        if left:
            self._pending[session] = left

    def forget(self, session: Session) -> None:
        """
        A session has ended.
        """
        self._pending.pop(session, None)
        self._behind.discard(session)

    def _backlogOf(self, mind: Any) -> int:
        backlog = None if self.maximumBacklog is None else getattr(mindOf(mind), "backlog", None)
        return backlog or 0
