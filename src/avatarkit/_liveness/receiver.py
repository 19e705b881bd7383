"""
What a client of Perspective Broker hears when the server ends its session, and when it comes back.

All clients of a server that restarts are told so at the same moment, so each waits for a time of
its own before it logs in again.

The server is trusted with nothing: a message that is not what a L{Farewell<avatarkit.Farewell>}
sends is refused, and none makes the client come back sooner than it may, or at once again and
again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import uniform

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.spread import pb

from .._tools.checks import checkReactor
from .._tools.clock import clockOr

#: How many seconds a client waits at least before it comes back, and how many it is told to wait
#: at most.
LEAST, MOST = 1, 3600


@attrs.frozen
class Ending:
    """
    Why a server has ended a session, as its client was told.

    @ivar kind: the name of the reason, like C{"Kicked"}, see
        L{SessionEnded<avatarkit.SessionEnded>}.
    @ivar text: what the server says.
    @ivar mayReturn: after how many seconds the client may log in again by itself; 0: it must not.
    """

    kind: str
    text: str
    mayReturn: float


class SessionEndedReceiver(pb.Referenceable):
    """
    A mind to log in with, or to derive one from, that takes the call of a
    L{Farewell<avatarkit.Farewell>}, and comes back if it may.

    If the server says that the client may return after some seconds, C{connect} is called once or
    up to twice as many seconds later, at random, so that the clients of a server that restarts do
    not come all at once: a second later at least, and two hours at most.  If the server says that
    it must not, C{connect} is not called.  It is not called either when the connection is lost and
    the server has said nothing.

    For a C{Farewell} with a C{message} of another name, give C{remote_sessionEnded} that name in a
    subclass.

    @ivar kind: the name of the reason that the server gave last; C{None} until then.
    @ivar text: what it said; C{None} until then.
    @ivar mayReturn: after how many seconds the client may return, an hour at most; 0 if it must
        not, and until the server says anything.
    """

    kind: str | None = None
    text: str | None = None
    mayReturn: float = 0

    _log = Logger()

    def __init__(
        self,
        connect: Callable[[], object],
        *,
        reactor: IReactorTime | None = None,
        spread: Callable[[float, float], float] = uniform,
    ) -> None:
        """
        @param connect: called without arguments when it is time to log in again; what it returns
            does not matter.
        @param reactor: measures the time; the global reactor by default.
        @param spread: returns a number between two, by which C{mayReturn} is multiplied: at random
            by default.
        """
        for name, given in (("connect", connect), ("spread", spread)):
            if not callable(given):
                raise TypeError(f"{name} must be callable, not {given!r}")
        checkReactor(reactor)
        self._connect, self._reactor, self._spread = connect, reactor, spread
        self._pending: IDelayedCall | None = None
        self._stopped = False
        self._ending: Ending | None = None
        self._waiting: list[Deferred[Ending]] = []

    def sessionEnded(self, kind: str, text: str, mayReturn: float) -> object:
        """
        The server has ended the session: override it to tell the user.

        Call L{stop} in it if the client is not to come back.
        """

    def whenEnded(self) -> Deferred[Ending]:
        """
        Return a Deferred that fires when the server has said why it ends the session, at once if
        it has.

        @return: a Deferred of something with the attributes C{kind}, C{text} and C{mayReturn}.
        """
        if self._ending is not None:
            return succeed(self._ending)
        waiting: Deferred[Ending] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def stop(self) -> None:
        """
        Do not call C{connect} any more.
        """
        self._stopped = True
        self._forget()

    def remote_ping(self) -> None:
        """
        The server wants to know whether the client is there, see
        L{Heartbeat<avatarkit.Heartbeat>}.
        """

    def remote_sessionEnded(self, *args: object, **kw: object) -> None:
        """
        The server calls.

        @raise twisted.spread.pb.Error: if it does not send what a C{Farewell} does.
        """
        ending = None if kw else _endingOf(args)
        if ending is None:
            raise pb.Error("a farewell is a name, a text and a number of seconds")
        self._ending = ending
        self.kind, self.text, self.mayReturn = ending.kind, ending.text, ending.mayReturn
        self._forget()
        if ending.mayReturn and not self._stopped:
            wait = max(ending.mayReturn * self._spread(1, 2), LEAST)
            self._pending = clockOr(self._reactor).callLater(wait, self._return)
        try:
            self.sessionEnded(ending.kind, ending.text, ending.mayReturn)
        except Exception:
            self._log.failure("{hook!r} failed", hook=self.sessionEnded)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(ending)

    def _return(self) -> None:
        self._pending = None
        self._connect()

    def _forget(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()


def _endingOf(args: tuple[object, ...]) -> Ending | None:
    """
    Return what a server says, or C{None} if it is not what a server may say.
    """
    if len(args) != 3:
        return None
    kind, text, mayReturn = args
    if not (isinstance(kind, str) and isinstance(text, str)):
        return None
    if isinstance(mayReturn, bool) or not isinstance(mayReturn, (int, float)):
        return None
    # The opposite of a comparison, since no number is smaller or larger than NaN.
    return Ending(kind, text, min(mayReturn, MOST)) if mayReturn >= 0 else None
