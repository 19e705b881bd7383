"""
Sessions of users who do nothing.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .._realm.block import Block
from .._realm.session import Session
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.typevars import A


@attrs.define(eq=False)
class IdleLimit(Block[A]):
    """
    Disconnects sessions whose users have done nothing for some time: C{IdleLimit(900)}.

    What counts is L{Session.lastActive<avatarkit.Session.lastActive>}: over Perspective Broker a
    call, but never an answer, and elsewhere whatever arrives.  The time begins when the login is
    done.

    It needs to know the connections of sessions, so it stands above an
    L{AvatarCache<avatarkit.AvatarCache>}.

    @ivar seconds: after how many seconds.
    @ivar timeout: how many seconds the client then has to receive what was already sent.
    """

    needsMinds: ClassVar[bool] = True

    seconds: float
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _checks: dict[Session[A], IDelayedCall] = attrs.field(factory=dict, init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        checkSeconds("seconds", self.seconds)
        checkSeconds("timeout", self.timeout)
        checkReactor(self._reactor)
        if not self.seconds:
            raise ValueError("seconds must be more than 0")

    def attached(self, session: Session[A]) -> None:
        """
        Look at the session when it can have been idle for so long.

        @raise TypeError: if it has no connection.
        """
        if session.connection is None:
            raise TypeError(
                f"{session!r} has no connection, so nobody knows when its user is active: listen "
                "through a WatchingFactory"
            )
        self._checkIn(self.seconds, session)

    def detached(self, session: Session[A]) -> None:
        """
        Look no longer.
        """
        check = self._checks.pop(session)
        if check.active():
            check.cancel()

    def _checkIn(self, seconds: float, session: Session[A]) -> None:
        clock = clockOr(self._reactor)
        self._checks[session] = clock.callLater(seconds, self._check, session)

    def _check(self, session: Session[A]) -> None:
        active, clock = session.lastActive, clockOr(self._reactor)
        assert active is not None
        left = active + self.seconds - clock.seconds()
        if left > 0:
            self._checkIn(left, session)
            return
        self._log.info(
            "{avatarId!r} has done nothing for {seconds} seconds, and is disconnected",
            avatarId=session.avatarId,
            seconds=self.seconds,
        )
        session.disconnect(timeout=self.timeout, reactor=self._reactor)
