"""
How far a client may be behind with what is pushed to it.

Perspective Broker has no back-pressure: what is sent to a client that has stopped reading waits in
the server's memory, and so does the Deferred of every answer that does not come.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from .._clients.connections import connectionOf
from .._realm.session import Session, backlogOf
from .._tools.checks import checkCount
from ..errors import Kicked, MindIsBehind


def skip(session: Session) -> None:
    """
    Do nothing about a client that is behind, except leave it out of the push; for use as
    C{whenBehind} of a L{MindRegistry<avatarkit.MindRegistry>}.

    In a trial test module, write C{avatarkit.skip}: trial skips a module that has a C{skip}.
    """


def disconnect(session: Session) -> None:
    """
    End the session of a client that is behind, and close its connection, see
    L{Session.disconnect<avatarkit.Session.disconnect>}; for use as C{whenBehind} of a
    L{MindRegistry<avatarkit.MindRegistry>}.
    """
    session.disconnect(Kicked("too far behind with what it was sent", mayReturn=1))


@attrs.define(eq=False)
class Bounds:
    """
    How far the clients of a registry may be behind, and which of them are.

    @ivar maximumBacklog: how many bytes may wait to be sent to a client.
    @ivar maximumPending: how many pushes may wait for a client's answer.
    @ivar whenBehind: called with the session of a client that falls behind.
    @ivar _pending: the connections that owe answers, by C{id}, and how many each owes.
    @ivar _behind: the connections that are behind, by C{id}.
    """

    maximumBacklog: int | None
    maximumPending: int | None
    whenBehind: Callable[[Session], object]
    _pending: dict[int, tuple[object, int]] = attrs.field(factory=dict, init=False)
    _behind: dict[int, object] = attrs.field(factory=dict, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        for name, number in (
            ("maximumBacklog", self.maximumBacklog),
            ("maximumPending", self.maximumPending),
        ):
            if number is not None:
                checkCount(name, number, least=1)
        if not callable(self.whenBehind):
            raise TypeError(f"whenBehind must be a callable of a session, not {self.whenBehind!r}")

    @property
    def bounding(self) -> bool:
        """
        Whether there is any bound.
        """
        return self.maximumBacklog is not None or self.maximumPending is not None

    def check(self, mind: object, session: Session) -> None:
        """
        Check that a client can take one more push.

        @raise MindIsBehind: if it cannot; C{whenBehind} is called first, unless it was already.
        """
        connection = connectionOf(mind)
        _, pending = self._pending.get(id(connection), (None, 0))
        backlog = 0 if self.maximumBacklog is None else backlogOf(session) or 0
        late = self.maximumPending is not None and pending >= self.maximumPending
        if not late and (self.maximumBacklog is None or backlog <= self.maximumBacklog):
            self._behind.pop(id(connection), None)
            return
        behind = MindIsBehind(avatarId=session.avatarId, backlog=backlog, pending=pending)
        if id(connection) not in self._behind:
            self._behind[id(connection)] = connection
            self._tell(session, behind)
        raise behind

    def sent(self, mind: object) -> None:
        """
        A client was sent something that it must answer.
        """
        connection = connectionOf(mind)
        _, pending = self._pending.get(id(connection), (None, 0))
        self._pending[id(connection)] = (connection, pending + 1)

    def answered(self, connection: int) -> None:
        """
        A client has answered, or its connection is lost.

        @param connection: the C{id} of the connection, which is what is counted: logging in again
            is not an answer.
        """
        kept, pending = self._pending.pop(connection)
        if pending > 1:
            self._pending[connection] = (kept, pending - 1)

    def forget(self, mind: object) -> None:
        """
        A client has logged out.
        """
        self._behind.pop(id(connectionOf(mind)), None)

    def _tell(self, session: Session, behind: MindIsBehind) -> None:
        self._log.warn(
            "{avatarId!r} is behind: {backlog} bytes and {pending} answers are outstanding",
            avatarId=session.avatarId,
            backlog=behind.backlog,
            pending=behind.pending,
        )
        try:
            self.whenBehind(session)
        except Exception:
            self._log.failure("{whenBehind!r} failed", whenBehind=self.whenBehind)
