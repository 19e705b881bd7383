"""
Sessions of users who do nothing.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._liveness.looking import Looking
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.typevars import A
from .._waiting.wheel import Wheel
from ..errors import IdleTooLong

#: How many ticks there are in the time that users may do nothing, and how many seconds a tick has
#: at most.
TICKS, LONGEST = 100, 1


@attrs.define(eq=False)
class IdleLimit(Looking[A]):
    """
    Disconnects sessions whose users have done nothing for some time: C{IdleLimit(900)}.

    What counts is L{Session.lastActive<avatarkit.Session.lastActive>}: over Perspective Broker a
    call, but never an answer, and elsewhere whatever arrives.  The login is an activity: the time
    begins when it is done.

    It needs to know the connections of sessions, so it stands above an
    L{AvatarCache<avatarkit.AvatarCache>}, and refuses a session without a connection, which would
    never be idle: listen through a L{WatchingFactory<avatarkit.transports.WatchingFactory>}.  A
    session that shares its connection with others is as active as they are.

    All sessions together have one timer.  A session is ended less than C{seconds / 100} seconds
    late, and a second at most.

    @ivar seconds: after how many seconds, more than 0.
    @ivar timeout: how many seconds the client then has to receive what was already sent.
    """

    needsMinds: ClassVar[bool] = True

    seconds: float = attrs.field()
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _begins: dict[Session[A], float] = attrs.field(factory=dict, init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        checkSeconds("timeout", self.timeout)
        checkReactor(self._reactor)
        self._wheel = Wheel(min(self.seconds / TICKS, LONGEST), self._look, self._reactor)

    @seconds.validator
    def _checkSeconds(self, attribute: object, seconds: object) -> None:
        refuseTarget("IdleLimit", "a number of seconds", seconds)
        checkSeconds("seconds", seconds, positive=True)

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
        self._wheel.put(session, self.seconds)

    def detached(self, session: Session[A]) -> None:
        """
        Look no longer.
        """
        self._begins.pop(session, None)
        super().detached(session)

    def _look(self, session: Session[A]) -> None:
        if session.ended:  # and takes its time to close
            return
        active, now = session.lastActive, clockOr(self._reactor).seconds()
        assert active is not None
        if not session.loggedIn:  # a block above this one waits: the time begins at the next look
            self._begins[session] = now + self.seconds
            self._wheel.put(session, self.seconds)
            return
        left = max(active, self._begins.get(session, active)) + self.seconds - now
        if left > 0:
            self._wheel.put(session, left)
            return
        self._log.info(
            "{avatarId!r} has done nothing for {seconds} seconds, and is disconnected",
            avatarId=session.avatarId,
            seconds=self.seconds,
        )
        session.disconnect(IdleTooLong(), timeout=self.timeout, reactor=self._reactor)
