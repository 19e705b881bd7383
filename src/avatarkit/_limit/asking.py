"""
Whether the clients that hold the slots of a limit are still there.

Each client is asked one question at a time, which is shared by everybody who wants to know, and the
answer holds for some seconds: repeated logins at a full limit must not cause all its clients to be
asked each time.

A question is settled once, by whatever comes first: an answer, the end of the session, or the
timeout, even if the mind raises when it is asked, or when that is cancelled.  Those who wait are
woken in slices, so that many of them do not block the reactor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.spread.pb import DeadReferenceError

from .._clients.answers import GONE, isSignOfLife
from .._clients.minds import callRemoteOf, mindOf
from .._realm.session import Session, hasLeft
from .._tools.clock import clockOr, steadySeconds
from .._waiting.slices import Slices


@attrs.define(eq=False)
class Question:
    """
    A client that is asked whether it is there.

    @ivar alive: whether it is; C{None} until that is known.
    @ivar settledAt: when that became known.
    @ivar call: the Deferred of the client's answer.
    @ivar deadline: the call that settles the question when the client's time is up.
    @ivar waiting: those who want to know.
    """

    alive: bool | None = attrs.field(default=None, init=False)
    settledAt: float = attrs.field(default=0, init=False)
    call: Deferred[object] | None = attrs.field(default=None, init=False)
    deadline: IDelayedCall | None = attrs.field(default=None, init=False)
    waiting: OrderedDict[Deferred[None], None] = attrs.field(factory=OrderedDict, init=False)

    def whenSettled(self) -> Deferred[None]:
        """
        Return a Deferred that fires some time after the question is settled.
        """
        waiting: Deferred[None] = Deferred(self.waiting.__delitem__)
        self.waiting[waiting] = None
        return waiting

    def wakeOne(self) -> bool:
        """
        Wake one of those who want to know.

        @return: whether there was one left.
        """
        if not self.waiting:
            return False
        waiting, _nothing = self.waiting.popitem(last=False)
        waiting.callback(None)
        return True


@attrs.define(eq=False)
class Unresponsive:
    """
    The policy by which clients that are no longer there must go.

    @ivar message: the remote method that they are called with.
    @ivar timeout: how many seconds they have to answer.
    @ivar answerFresh: for how many seconds an answer holds.
    @ivar reactor: measures the time.
    @ivar _questions: the last question to each session that has not closed.
    """

    message: str
    timeout: float
    answerFresh: float
    reactor: IReactorTime | None
    _questions: dict[Session, Question] = attrs.field(factory=dict, init=False, repr=False)
    _slices: Slices = attrs.field(factory=Slices, init=False, repr=False)

    _log = Logger()

    async def __call__(self, session: Session, holders: Iterable[Session]) -> Iterable[Session]:
        """
        Ask all of them, and return those that gave no sign of life.
        """
        now = steadySeconds(clockOr(self.reactor))
        questions = [(holder, self._questionTo(holder, now)) for holder in holders]
        for _holder, question in questions:
            if question.alive is None:
                await question.whenSettled()
        return [holder for holder, question in questions if not question.alive]

    def _questionTo(self, holder: Session, now: float) -> Question:
        """
        Return the question that a client is being asked or has answered recently; otherwise ask it.
        """
        last = self._questions.get(holder)
        if last is not None and self._holds(last, holder, now):
            return last
        question = self._questions[holder] = Question()
        if last is None:
            holder.whenClosed().addCallback(lambda closed: self._forget(holder))
        if question.alive is None:
            self._ask(question, holder)
        return question

    def _holds(self, question: Question, holder: Session, now: float) -> bool:
        if not question.alive:
            return question.alive is None
        return now - question.settledAt < self.answerFresh and not _isDead(holder)

    def _forget(self, holder: Session) -> None:
        self._settle(self._questions.pop(holder), alive=False)

    def _ask(self, question: Question, holder: Session) -> None:
        call = question.call = maybeDeferred(self._call, holder)
        answered = call.addCallbacks(lambda answer: True, isSignOfLife)
        answered.addCallback(lambda alive: self._settle(question, alive=alive))
        if question.alive is None:
            clock = clockOr(self.reactor)
            question.deadline = clock.callLater(self.timeout, self._late, question, holder)

    def _call(self, holder: Session) -> object:
        try:
            mind = mindOf(holder.mind)
            if mind is None:
                mind = holder.mind
            if getattr(mind, "disconnected", False) or hasLeft(holder):
                raise DeadReferenceError("the client is gone")
            callRemote = callRemoteOf(mind)
            return None if callRemote is None else callRemote(self.message)
        except GONE:
            raise
        except BaseException:  # somebody's adapter, or mind; that says nothing about the client
            self._log.failure(
                "a client of {avatarId!r} could not be asked", avatarId=holder.avatarId
            )
            return None

    def _late(self, question: Question, holder: Session) -> None:
        self._settle(question, alive=False)
        assert question.call is not None
        try:
            question.call.cancel()
        except BaseException:  # somebody's canceller
            self._log.failure(
                "the question to a client of {avatarId!r} could not be cancelled",
                avatarId=holder.avatarId,
            )

    def _settle(self, question: Question, *, alive: bool) -> None:
        if question.alive is not None:
            return
        clock = clockOr(self.reactor)
        question.alive, question.settledAt = alive, steadySeconds(clock)
        if question.deadline is not None and question.deadline.active():
            question.deadline.cancel()
        self._slices.add(question.wakeOne, clock)


def _isDead(holder: Session) -> bool:
    """
    Return whether the client of a session is known to be gone.
    """
    try:
        return hasLeft(holder)
    except BaseException:  # somebody's adapter; the next question will say so
        return False
