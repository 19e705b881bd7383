"""
The pushes to a client that may come back: numbered, and kept until it is known to have them.

A client whose connection is lost has received some of what was sent, and nobody knows how much; it
says so when it comes back, and gets the rest over its new connection, in order and before anything
newer.  Each push reaches it as a call of C{sessionPush} with the number of the push, so that it
knows what it has already.

The sessions of such a client, first the lost one and then the one that takes it over, share a
journal.  A push that goes to both is one push.

An answer to a push says too little about the others, and may take its time, so from time to time
the client is asked which number it has reached.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any
from weakref import WeakSet

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError

from .._realm.session import Session, journalOf
from .._tools.clock import clockOr
from .._waiting.slices import SLICE
from .wire import Message

#: Into how many parts a backlog is divided: the client is asked how far it has got when one of them
#: is full.
PARTS = 4


class Kept(Enum):
    """
    What L{Journal.push} returns for a push that is sent later, if the client comes back.
    """

    KEPT = "kept"


KEPT = Kept.KEPT


@attrs.define(eq=False, repr=False)
class Journal:
    """
    The pushes to a client.

    @ivar last: the number of the last push.
    @ivar over: whether the client cannot come back any more.
    @ivar _kept: the last pushes, those that the client is not known to have.
    @ivar _next: the number of the first push that is still to be sent.
    @ivar _mind: the client, while it is connected.
    @ivar _asked: the number of the last push when it was asked last how far it has got.
    @ivar _seen: the pushes that were here since there may be two sessions that they go to.
    @ivar _goingOn: sends more of what waits.
    """

    backlog: int
    last: int
    _reactor: IReactorTime | None
    over: bool = attrs.field(default=False, init=False)
    _kept: deque[Message] = attrs.field(factory=deque, init=False)
    _next: int = attrs.field(init=False)
    _mind: Any = attrs.field(default=None, init=False)  # Any: a client may log in with anything
    _asked: int = attrs.field(init=False)
    _seen: WeakSet[Message] | None = attrs.field(default=None, init=False)
    _goingOn: IDelayedCall | None = attrs.field(default=None, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._asked, self._next = self.last, self.last + 1

    @property
    def connected(self) -> bool:
        """
        Whether the client is there.
        """
        return self._mind is not None

    @property
    def _first(self) -> int:
        """
        The number of the first push that is kept.
        """
        return self.last - len(self._kept) + 1

    def push(self, message: Message, mind: object) -> object:
        """
        Send a message to the client, now if it is there, and once more when it comes back without
        it.

        @param mind: the client, as whoever pushes knows it: the mind of a lost session, perhaps.
        @return: what C{callRemote} of that mind returns; C{KEPT} if it is not sent to that.
        @raise Exception: what C{callRemote} raises.
        """
        if self._seen is not None:
            if message in self._seen:
                return KEPT
            self._seen.add(message)
        self.last += 1
        self._kept.append(message)
        if len(self._kept) > self.backlog:
            self._kept.popleft()
            self._next = max(self._next, self._first)
        if self._mind is None or self._next < self.last:
            message.keep()
            return KEPT
        toAnother = mind is not self._mind
        answer = self._sendNow(message, toAnother=toAnother)
        return KEPT if toAnother else answer

    def begin(self, mind: Any) -> None:
        """
        The client is there: it gets what waits for it, when the reactor has had its turn, since it
        is still to be told that it is logged in; and then what comes.
        """
        self._mind = mind
        if self._waits():
            self._goingOn = clockOr(self._reactor).callLater(0, self._goOn)

    def interrupt(self) -> None:
        """
        The client is gone, and may come back.
        """
        self._mind = None
        if self._seen is None:
            self._seen = WeakSet()
        goingOn, self._goingOn = self._goingOn, None
        if goingOn is not None:
            goingOn.cancel()

    def resume(self, received: int) -> None:
        """
        The client is coming back.

        @param received: the number of the last push that it has got.
        """
        self._known(received)
        self._next = self._first

    def finish(self) -> None:
        """
        Send what waits, at once: nothing comes after it.
        """
        while self._waits():
            self._sendNext()

    def close(self) -> None:
        """
        The client does not come back.
        """
        self.over = True
        self.interrupt()
        self._kept.clear()

    def _waits(self) -> bool:
        """
        Return whether there is something to be sent, and somebody to send it to.
        """
        return self._mind is not None and self._next <= self.last

    def _sendNow(self, message: Message, *, toAnother: bool) -> object:
        """
        Send what has just been pushed.
        """
        try:
            answer = self._send(message, again=toAnother)
        except DeadReferenceError:
            self.interrupt()
            raise
        except BaseException:
            self._kept.pop()
            self.last -= 1  # it cannot be sent, and is no gap
            raise
        finally:
            message.keep()
        self._next += 1
        self._ask()
        return answer

    def _sendNext(self) -> None:
        """
        Send the first of those that wait; nobody waits for the answer any more.
        """
        try:
            self._send(self._kept[self._next - self._first], again=True)
        except DeadReferenceError:
            self.interrupt()
            return
        except BaseException:
            self._notSent(Failure())
        self._next += 1
        self._ask()

    def _send(self, message: Message, *, again: bool) -> object:
        answer = message.send(self._mind, self._next, again=again)
        if again and isinstance(answer, Deferred):
            answer.addErrback(self._notSent)
        return answer

    def _notSent(self, failure: Failure) -> None:
        self._log.failure("a push cannot be sent again", failure=failure)

    def _goOn(self) -> None:
        """
        Send some of what waits, and the rest when the reactor has had its turn.
        """
        self._goingOn = None
        clock = clockOr(self._reactor)
        until = clock.seconds() + SLICE
        while self._waits():
            self._sendNext()
            if clock.seconds() >= until and self._waits():
                self._goingOn = clock.callLater(0, self._goOn)
                return

    def _ask(self) -> None:
        """
        Ask the client how far it has got, if it was not asked for some time.
        """
        number = self._next - 1
        if (number - self._asked) * PARTS < self.backlog:
            return
        self._asked = number
        question = Message("sessionReceived", (), {}, answering=True, toMany=False)
        answer = maybeDeferred(question.send, self._mind)
        answer.addCallbacks(self._told, lambda failure: None)

    def _told(self, received: object) -> None:
        if isinstance(received, int) and received < self._next:
            self._known(received)

    def _known(self, received: int) -> None:
        """
        Forget what the client has.
        """
        while self._kept and self._first <= received:
            self._kept.popleft()


def journalFor(session: Session | None) -> Journal | None:
    """
    Return the journal of a session's client, if it has one.
    """
    journal = None if session is None else journalOf(session)
    return journal if isinstance(journal, Journal) else None


def mayComeBack(session: Session) -> bool:
    """
    Return whether a session has ended whose client may come back, or has.
    """
    journal = journalFor(session)
    return journal is not None and not journal.over


def laneOf(session: Session | None, connection: object) -> int:
    """
    Return what the pushes to a client have in common: its journal, if there is one, whatever
    connection it has; otherwise the connection.
    """
    journal = journalFor(session)
    return id(connection if journal is None else journal)
