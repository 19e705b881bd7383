"""
Clients that are gone, and have left a connection that nobody has closed.

Whatever arrives over a connection is a sign of life, and costs nothing but the time that its
L{IConnection<avatarkit.IConnection>} notes.  Each session is looked at when its client can have
been silent for so long, and not before: if it was not, it is looked at again when it can have been.

What is measured is the client's silence, and never the server's: a ping has its full time to be
answered, not counting any in which the reactor was kept from its turns.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._clients.answers import isSignOfLife
from .._clients.minds import callRemoteOf
from .._clients.transports import Connection
from .._push.delivery import Push, Result
from .._push.lanes import lanesOf
from .._push.lines import find, reactorOf
from .._push.wire import Message
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.saying import say
from .._tools.typevars import A
from .._waiting.wheel import Wheel
from ..errors import MindIsBehind, Unresponsive
from ..interfaces import IConnection
from .looking import Looking

#: How many ticks there are in the shorter one of the two times of a heartbeat, and how many seconds
#: a tick has at most.
TICKS, LONGEST = 200, 0.5

#: How many pings a client may leave unanswered while it sends other things, before it gets no more.
UNANSWERED = 10


#: What is asked, and heard from: a connection, or a session whose connection is not known.
Line: TypeAlias = "IConnection | Session"


@attrs.define(eq=False)
class Ping:
    """
    What a client was asked, and has not answered.

    @ivar session: whose mind was called first; when it ends, this is forgotten.
    @ivar at: when it was called last.
    @ivar sent: the same, in the time in which the reactor had its turns.
    @ivar unanswered: how many of its calls have no answer.
    """

    session: Session
    at: float = 0
    sent: float = 0
    unanswered: int = 0


@attrs.define(eq=False)
class Heartbeat(Looking[A]):
    """
    Ends sessions whose clients are gone without a word: C{Heartbeat(interval=30, timeout=90)}.

    Whatever arrives over the connection of a session is a sign of life.  A client that has given
    none for C{interval} seconds is called once, by C{callRemote(message)} of its mind, behind
    whatever was pushed to it; any answer will do, an error too, such as that it has no such method.
    A client that is never silent for so long is never called.  One that has given no sign of life
    for C{timeout} seconds is disconnected as L{Unresponsive<avatarkit.Unresponsive>}: its session
    ends and its connection is aborted at once.

    A client is ended less than C{timeout / 100} seconds late.  It is never ended because the server
    was busy or asleep: it always has C{timeout - interval} seconds to answer, not counting any in
    which the reactor was kept from its turns.  A client to which so much was pushed that it may not
    be pushed to any more is not called, but ended all the same.

    Only a client that can be called is ended.  A session without a mind, or with one that cannot be
    called, as over most protocols but Perspective Broker, may be silent for ever.

    It needs minds, so it stands above an L{AvatarCache<avatarkit.AvatarCache>}; among the other
    blocks its place does not matter.

    @ivar interval: after how many seconds of silence a client is called, more than 0.
    @ivar timeout: after how many it is ended, more than C{interval}.
    @ivar message: the name of the method that is called, without C{remote_}.
    @param reactor: measures the time, and is the one that the connections use; the global reactor
        by default.
    """

    needsMinds: ClassVar[bool] = True

    interval: float = attrs.field(default=30)
    timeout: float = attrs.field(default=90, kw_only=True)
    message: str = attrs.field(default="ping", kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _call: Message = attrs.field(init=False, repr=False)
    _pings: dict[Line | None, Ping] = attrs.field(factory=dict, init=False, repr=False)
    _heard: dict[Line | None, float] = attrs.field(factory=dict, init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        refuseTarget("Heartbeat", "numbers of seconds", self.interval)
        checkSeconds("interval", self.interval)
        checkSeconds("timeout", self.timeout)
        if not 0 < self.interval < self.timeout:
            raise ValueError("interval must be more than 0, and timeout more than interval")
        if not isinstance(self.message, str):
            raise TypeError(f"message must be the name of a remote method, not {self.message!r}")
        checkReactor(self._reactor)
        tick = min(self.interval / TICKS, self._chance / TICKS, LONGEST)
        self._wheel = Wheel(tick, self._look, self._reactor)
        self._call = Message(self.message, (), {}, answering=True, toMany=True, passing=True)

    @property
    def _chance(self) -> float:
        """
        How many seconds a client has to answer.
        """
        return self.timeout - self.interval

    def attached(self, session: Session[A]) -> None:
        """
        Look at the session when its client can have been silent for so long.
        """
        if not self._looksAt(session):
            return
        if session.connection is None:
            self._heard[session] = clockOr(self._reactor).seconds()
        self._wheel.put(session, self.interval)

    def detached(self, session: Session[A]) -> None:
        """
        Look no longer.
        """
        super().detached(session)
        for line in (session, session.connection):
            self._heard.pop(line, None)
            ping = self._pings.get(line)
            if ping is not None and ping.session is session:
                del self._pings[line]

    def _looksAt(self, session: Session[A]) -> bool:
        """
        Return whether the session has a client that can be called.
        """
        return callRemoteOf(session.mind) is not None

    def _look(self, session: Session[A]) -> None:
        if session.ended:  # and takes its time to close
            return
        line = _lineOf(session)
        left = self._timeLeft(session, line)
        if session.ended:  # its mind was dead: others over the connection have not been asked
            self._pings.pop(line, None)
        elif left > 0:
            self._wheel.put(session, left)
        else:
            self._end(session)

    def _timeLeft(self, session: Session[A], line: Line) -> float:
        """
        Call the client if it is time to, and return after how many seconds to look at it again; 0
        or less if it is gone.
        """
        now = clockOr(self._reactor).seconds()
        heard = self._lastHeard(line)
        silent = now - heard
        if silent < self.interval:
            return self.interval - silent
        ping = self._pings.get(line)
        if ping is None or ping.at <= heard:
            ping = self._ask(session, line, now)
        left = self._chance - (self._wheel.awake() - ping.sent)
        return min(left, self.interval)  # for a client that answers is soon silent once more

    def _lastHeard(self, line: Line) -> float:
        """
        Return when there was a sign of life last.
        """
        if isinstance(line, Session):
            return self._heard[line]
        received: float = line.lastReceived
        return max(received, self._heard.get(line, received))

    def _ask(self, session: Session[A], line: Line, now: float) -> Ping:
        """
        Call the client, unless it has left too many calls unanswered.
        """
        ping = self._pings.setdefault(line, Ping(session))
        ping.at, ping.sent = now, self._wheel.awake()
        if ping.unanswered < UNANSWERED:
            ping.unanswered += 1
            (to,) = find([session.mind])
            push = Push(self._call, (to._replace(session=session),), True)
            clock = clockOr(reactorOf([to]) or self._reactor)
            push.whenDone(None, clock).addCallback(self._answered, ping, line)
            lanesOf(clock).push(push, clock)
        return ping

    def _answered(self, results: list[Result], ping: Ping, line: Line) -> None:
        ((success, answer),) = results
        ping.unanswered -= 1
        if not success and (answer.check(MindIsBehind) or not isSignOfLife(answer)):
            return
        if self._pings.get(line) is not ping:  # the session that asked has ended
            return
        if isinstance(line, Session) or line.lastReceived < ping.at:
            self._heard[line] = clockOr(self._reactor).seconds()
        if not ping.unanswered:
            del self._pings[line]

    def _end(self, session: Session[A]) -> None:
        say(
            self._log.info,
            "{avatarId!r} has given no sign of life for {timeout:g} seconds, and is disconnected",
            avatarId=session.avatarId,
            timeout=self.timeout,
        )
        connection = session.connection
        if isinstance(connection, Connection):
            connection.reason = Unresponsive()  # for other sessions, which end with it
        session.disconnect(Unresponsive(), timeout=0, reactor=self._reactor)


def _lineOf(session: Session) -> Line:
    connection = session.connection
    return session if connection is None else connection
