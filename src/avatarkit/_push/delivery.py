"""
A push: one message on its way to many minds, and what came of it.

A failure stays where it happened: what goes wrong with one mind is that mind's own result.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias, cast

import attrs
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, PBConnectionLost, RemoteReference

from .._clients.answers import readable
from .._clients.connections import connectionOf
from .._realm.session import isLeaving, lossOf
from ..errors import MindIsBehind
from .addressees import Addressee
from .bounds import Bounds
from .journal import KEPT, journalFor, mayComeBack
from .lines import lineOf
from .wire import Message, NotCallable

#: What a client answered, as in a L{DeferredList<twisted.internet.defer.DeferredList>}: whether
#: it did, and its answer or the L{Failure}.  Any: the answer is whatever the client sends.
Result: TypeAlias = tuple[bool, Any]


@attrs.define(eq=False)
class Push:
    """
    One message to some minds, and their answers.

    It lets go of the message when everything is sent, and of the rest when it is over, since all
    have answered or nobody waits for them any longer: an answer that never comes keeps none of it.

    @ivar addressees: whom it goes to; nobody any more when it is over.
    """

    _message: Message | None
    addressees: tuple[Addressee, ...]
    _answering: bool
    _results: list[Result | None] = attrs.field(factory=list, init=False)
    _unsent: int = attrs.field(init=False)
    _missing: int = attrs.field(default=0, init=False)
    _whenDone: Deferred[list[Result]] | None = attrs.field(default=None, init=False)
    _deadline: IDelayedCall | None = attrs.field(default=None, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._unsent = len(self.addressees)

    def whenDone(self, timeout: float | None, clock: IReactorTime) -> Deferred[list[Result]]:
        """
        Return a Deferred of the results; called before anything is sent, or never.
        """
        self._missing = self._unsent
        self._results = [None] * self._missing
        done = self._whenDone = Deferred(self._cancel)
        if not self._missing:
            self._done()
        elif timeout is not None:
            self._deadline = clock.callLater(timeout, self._late)
        return done

    def deliver(self, place: int) -> None:
        """
        Send the message to one of the minds, unless the push is over; never raises.
        """
        self._unsent -= 1
        message = self._message
        if message is None:
            return
        to = self.addressees[place]
        try:
            answer = _sendTo(to, message)
        except BaseException:  # as a Deferred does
            self._failed(place, to, Failure())
            return
        if not self._unsent:
            self._message = None
        if answer is KEPT:
            lost = PBConnectionLost("the client is away; it gets this if it comes back")
            self._settle(place, False, Failure(lost))
        elif answer is not None and isinstance(answer, Deferred):
            self._await(answer, place, to)
        elif self._answering:
            self._settle(place, True, answer)

    def keep(self) -> None:
        """
        Part of the push is sent later, when the caller has gone on, unless the push is over.
        """
        if self._message is not None:
            self._message.keep()

    def _await(self, answer: Deferred[object], place: int, to: Addressee) -> None:
        if not self._answering:
            answer.addErrback(self._notSent, to.mind)
            return
        if to.bounds is not None:
            to.bounds.sent(to.mind)
        take = partial(self._answered, place, to.bounds, id(connectionOf(to.mind)))
        if isinstance(to.mind, RemoteReference):
            line = lineOf(to.mind)
            line.owe(to.mind.broker, take)
            answer.addBoth(line.pay, take)
        else:
            answer.addBoth(take)

    def _answered(self, place: int, bounds: Bounds | None, connection: int, result: object) -> None:
        if bounds is not None:
            bounds.answered(connection)
        if self._results and isinstance(result, Failure):
            self._failed(place, self.addressees[place], readable(result))
        else:
            self._settle(place, True, result)

    def _failed(self, place: int, to: Addressee, failure: Failure) -> None:
        if isinstance(failure.value, (DeadReferenceError, PBConnectionLost)):
            if to.session is not None:
                to.session.logout(lossOf(to.session.connection))
        elif not self._answering:
            self._notSent(failure, to.mind)
        self._settle(place, False, failure)

    def _notSent(self, failure: Failure, mind: object) -> None:
        """
        Nobody waits for the result, but somebody should know.
        """
        if failure.check(NotCallable):
            self._log.warn("a push was left out: {reason}", reason=failure.getErrorMessage())
        elif not failure.check(MindIsBehind):
            self._log.failure("{mind} could not be told", failure=failure, mind=mind)

    def _settle(self, place: int, success: bool, result: object) -> None:
        """
        Note a result, if results are wanted, and still are: an answer may come too late.
        """
        if self._results:
            self._results[place] = (success, result)
            self._missing -= 1
            if not self._missing:
                self._done()

    def _done(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        results, self._results = self._results, []
        self._message, self.addressees = None, ()
        done, self._whenDone = self._whenDone, None
        assert done is not None
        done.callback(cast("list[Result]", results))  # none of them is missing

    def _late(self) -> None:
        self._giveUp(defer.TimeoutError, "the client did not answer in time")

    def _cancel(self, done: Deferred[list[Result]]) -> None:
        self._giveUp(CancelledError, "the push was cancelled")

    def _giveUp(self, reason: type[Exception], text: str) -> None:
        failure = Failure(reason(text))
        for place, result in enumerate(tuple(self._results)):
            if result is None:
                self._settle(place, False, failure)


def _sendTo(to: Addressee, message: Message) -> object:
    """
    Send a message to one client.

    @return: what C{callRemote} returns; C{KEPT} if it is sent when the client comes back.
    """
    mind, session, bounds = to
    if session is None:
        return message.send(mind)
    if session.ended and not isLeaving(session) and not mayComeBack(session):
        raise DeadReferenceError("the client left before its turn came")
    journal = None if message.passing else journalFor(session)
    if bounds is not None and (journal is None or journal.connected):
        bounds.check(mind, session)
    return message.send(mind) if journal is None else journal.push(message, mind)
