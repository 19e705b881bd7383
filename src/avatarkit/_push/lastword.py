"""
The last push to a client, when its session has ended.

It goes through the lanes, behind all that was pushed to the client before: until it is sent, the
session stays within reach for that, and its connection is not closed politely, whichever of the
sessions that share it is to close it.  What is pushed later does not reach the client any more.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, PBConnectionLost

from .._clients.transports import Connection
from .._realm.session import Session, takeLeave
from .._tools.clock import clockOr
from .._tools.saying import say
from .addressees import Addressee
from .journal import journalFor
from .lanes import lanesOf
from .lines import find, reactorOf
from .wire import Message


@attrs.define(eq=False)
class LastWord:
    """
    One call of a C{remote_} method, whose answer nobody waits for.

    @ivar addressees: whom it goes to: the client alone.
    @ivar written: fires with C{None} when it is sent, cannot be, or is withdrawn.
    """

    addressees: tuple[Addressee, ...]
    _message: Message
    written: Deferred[None] = attrs.field(factory=Deferred, init=False)

    _log = Logger()

    def deliver(self, place: int) -> None:
        """
        Send it, unless it was withdrawn; never raises.
        """
        if self.written.called:
            return
        to = self.addressees[place]
        journal = journalFor(to.session)
        if journal is not None:
            journal.finish()
        try:
            answer = self._message.send(to.mind)
        except BaseException:  # somebody's mind
            self._notSent(Failure())
        else:
            if isinstance(answer, Deferred):
                answer.addErrback(self._notSent if answer.called else _refused)
        self.withdraw()

    def keep(self) -> None:
        """
        What it says does not change.
        """

    def withdraw(self) -> None:
        """
        Do not send it, if it has not been sent.
        """
        if not self.written.called:
            self.written.callback(None)

    def _notSent(self, failure: Failure) -> None:
        if not failure.check(DeadReferenceError, PBConnectionLost):
            say(
                self._log.failure,
                "{mind} could not be told that its session has ended",
                failure=failure,
                mind=self.addressees[0].mind,
            )


def _refused(failure: Failure) -> None:
    """
    The client has no such method, or fails: that is its own affair.
    """


def sendLast(
    session: Session, name: str, args: tuple[object, ...], reactor: IReactorTime | None
) -> LastWord:
    """
    Call the client of a session that has just ended, and has a mind.

    @param reactor: measures the time, unless a registry that knows the mind does.
    """
    message = Message(name, args, {}, answering=False, toMany=False)
    word = LastWord((Addressee(session.mind, session),), message)
    takeLeave(session, word.written)
    clock = clockOr(reactorOf(tuple(find([session.mind]))) or reactor)
    lanesOf(clock).push(word, clock)
    connection = None if word.written.called else session.connection
    if isinstance(connection, Connection):
        connection.stayUntil(word.written)
    return word
