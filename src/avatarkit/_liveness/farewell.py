"""
A client is told why the server ends its session.

It is told last, behind everything that was pushed to it, and first, before anything of its session
is undone; its connection is closed after that.  Nobody waits for its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.spread.pb import RemoteReference

from .._clients.minds import callRemoteOf
from .._push.lastword import LastWord, sendLast
from .._realm.block import Block
from .._realm.plan import Topmost
from .._realm.realm import isClosing
from .._realm.session import Session, backlogOf, hasLeft
from .._realm.targets import refuseTarget
from .._tools.checks import checkReactor, checkSeconds
from .._tools.saying import say
from .._tools.typevars import A
from .._waiting.timers import Timer, Timers
from ..errors import ClientLost, LoggedOut, RealmClosed, SessionEnded

#: How many seconds after the first look there is another one; then twice as many, and so on.
SOON = 0.01


@attrs.define(eq=False)
class Farewell(Block[A]):
    """
    Tells each client why its session has ended, by
    C{callRemote(message, kind, text, mayReturn)} of its mind.

    C{kind} is the name of the reason's class, C{text} its text, and C{mayReturn} the number of
    seconds after which the client may log in again by itself, 0 if it must not, see
    L{SessionEnded<avatarkit.SessionEnded>}.  Of a reason that is no C{SessionEnded} the client
    learns nothing but that the session has ended.

    A client that has logged out, or is gone, is not told, nor one that cannot be called.  The call
    arrives after all that was pushed to the client before, and before its connection is closed;
    what is pushed later does not arrive.  No answer is waited for, and a client without such a
    method does no harm.

    It must be on top of all other blocks but a L{CanonicalId<avatarkit.CanonicalId>}, so that a
    client is told before anything is undone.

    @ivar message: the name of the method, without C{remote_}.
    @ivar timeout: for how many seconds the end of a session waits until the call is written; then
        the call is left out, which is logged.
    @param reactor: measures the time; the global reactor by default.
    """

    needsMinds: ClassVar[bool] = True
    mustBeOutermost: ClassVar[Topmost] = Topmost(
        1, "since those around it would be undone before the client is told"
    )

    message: str = attrs.field(default="sessionEnded")
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _timers: Timers = attrs.field(init=False, repr=False)
    _waits: dict[_Wait, None] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checkSeconds("timeout", self.timeout)
        checkReactor(self._reactor)
        self._timers = Timers(self._reactor)

    @message.validator
    def _checkMessage(self, attribute: object, message: object) -> None:
        refuseTarget("Farewell", "the name of a remote method", message)
        if not isinstance(message, str):
            raise TypeError(f"message must be the name of a remote method, not {message!r}")

    def detached(self, session: Session[A]) -> Deferred[None] | None:
        """
        Tell the client.
        """
        given = session.reason
        if isinstance(given, (LoggedOut, ClientLost)) or hasLeft(session):
            return None
        if callRemoteOf(session.mind) is None:
            return None
        reason = given if isinstance(given, SessionEnded) else SessionEnded()
        args = (type(reason).__name__, str(reason), reason.mayReturn)
        word = sendLast(session, self.message, args, self._reactor)
        if word.written.called and not _mustLeave(session):
            return None
        return _Wait(self, session, word).begin()

    def close(self) -> None:
        """
        The time for closing a realm may be up: wait for none of its clients.
        """
        for each in [wait for wait in self._waits if isClosing(wait.session.realm)]:
            each.giveUp()

    def begun(self, wait: _Wait) -> None:
        """
        The end of a session begins to wait.
        """
        self._waits[wait] = None

    def over(self, wait: _Wait) -> None:
        """
        It goes on.
        """
        del self._waits[wait]

    def later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """
        Arrange for C{act} to be called.
        """
        return self._timers.start(seconds, act)


@attrs.define(eq=False)
class _Wait:
    """
    The end of a session that waits until its client's farewell is written.

    @ivar _over: fires when it goes on.
    @ivar _deadline: when it goes on in any case.
    @ivar _next: when to look again whether everything has left this process.
    @ivar _pause: how many seconds to wait between two looks.
    """

    _farewell: Farewell
    session: Session
    _word: LastWord
    _over: Deferred[None] = attrs.field(factory=Deferred, init=False)
    _deadline: Timer | None = attrs.field(default=None, init=False)
    _next: Timer | None = attrs.field(default=None, init=False)
    _pause: float = attrs.field(default=SOON, init=False)

    _log = Logger()

    def begin(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when there is nothing more to wait for.
        """
        self._farewell.begun(self)
        self._deadline = self._farewell.later(self._farewell.timeout, self._late)
        self._word.written.addCallback(self._written)
        return self._over

    def _written(self, ignored: None) -> None:
        if self._over.called:
            return
        if _mustLeave(self.session):
            self._next = self._farewell.later(0, self._look)
        else:
            self._end()

    def _look(self) -> None:
        if _hasLeftUs(self.session):
            self._end()
        else:
            self._next = self._farewell.later(self._pause, self._look)
            self._pause *= 2

    def _late(self) -> None:
        say(
            self._log.error,
            "the farewell to {avatarId!r} was not written in {timeout} seconds",
            avatarId=self.session.avatarId,
            timeout=self._farewell.timeout,
        )
        self.giveUp()

    def giveUp(self) -> None:
        """
        Go on, and leave the farewell out if it is not written.
        """
        self._end()
        self._word.withdraw()

    def _end(self) -> None:
        self._farewell.over(self)
        for timer in (self._deadline, self._next):
            if timer is not None:
                timer.cancel()
        self._over.callback(None)


def _mustLeave(session: Session) -> bool:
    """
    Return whether what is written must leave this process before the session has ended: when the
    last one has, the process may end too, and would take it along.
    """
    if not isinstance(session.reason, RealmClosed):
        return False
    backlog = backlogOf(session)
    # TLS encrypts it in the reactor's next turn, and it does not count until then.
    return backlog is not None and (backlog > 0 or isinstance(session.mind, RemoteReference))


def _hasLeftUs(session: Session) -> bool:
    """
    Return whether nothing waits to be sent to a client any more.
    """
    try:
        return hasLeft(session) or not backlogOf(session)
    except Exception:  # somebody's adapter
        return True
