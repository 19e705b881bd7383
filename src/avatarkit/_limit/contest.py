"""
A login that wants a slot when there is none.

A policy says who must go.  It may take its time, and so may those who go.  Contenders for the slots
of a key are handled one at a time: only the one whose turn it is displaces anybody, and those who
come meanwhile wait for their turn and then look again, so that a slot that was freed for one is not
taken by another.
While a policy waits it is nobody's turn, so that those who come meanwhile can share what it waits
for.  If a slot becomes free in the meantime it is taken, and the policy is cancelled.

Somebody else's code runs in between, and may end the session that contends.  So the session is
checked before anything is waited for, before anybody must go, and before the slot is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterable
from functools import partial
from inspect import CORO_RUNNING, getcoroutinestate
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import IPerspective

from .._realm.session import Session, whenFound
from .._tools.clock import steadySeconds
from .._tools.typevars import A
from .._waiting.awaiting import awaited
from .._waiting.shielding import shielded
from .._waiting.turns import Turn
from ..errors import Displaced
from ..interfaces import IConnection
from .policies import Choice, Holders, Policy
from .slots import DEADLINE, Slots

T = TypeVar("T")


@attrs.define(eq=False)
class Contest(Generic[A]):
    """
    Displaces sessions to make room for another.

    @ivar session: the session that wants a slot.
    @ivar key: the key that it wants a slot of.
    @ivar maximum: how many slots the key has.
    @ivar slots: the slots of all keys.
    @ivar turn: the session's turn at the key.
    @ivar policy: says who must go.
    @ivar clock: measures the time that those who go may take.
    @ivar displaced: called with each session that must go, before it does.
    @ivar refusal: called when nobody goes; returns what the login fails with.
    """

    session: Session[A]
    key: Hashable
    maximum: int
    slots: Slots[A]
    turn: Turn
    policy: Policy[A]
    clock: IReactorTime
    displaced: Callable[[Session[A]], None]
    refusal: Callable[[], Exception]

    _log = Logger()

    def begin(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when the session has a slot, and fails when it is
        refused, or has ended.
        """
        contending = self._contend()
        contest = Deferred.fromCoroutine(contending)
        return _cancellable(contest, contending, whenOver=self.turn.end)

    async def _contend(self) -> None:
        """
        Take a slot once somebody has left.
        """
        chosen: list[Session[A]] | None = None
        while True:
            await self._while(self.turn.take())
            deciding = await self._makeRoom(chosen)
            if deciding is None:
                self._checkWanted()
                self.slots.take(self.session, self.key)
                return
            self.turn.end()
            decided = self.turn.unless(self._haveRoom, deciding)
            chosen = await self._while(decided.addErrback(self._undecided))

    async def _makeRoom(self, chosen: list[Session[A]] | None) -> Deferred[list[Session[A]]] | None:
        """
        Displace those that must leave, and wait for them, until there is room.

        @param chosen: who must leave first, if the policy has decided already.
        @return: C{None} when there is room; a Deferred of who must leave if the policy must be
            waited for.
        """
        decision: Deferred[list[Session[A]]] | list[Session[A]] | None = chosen
        while not self._haveRoom():
            holders = self.slots.of(self.key)
            staying = self._staying(holders)
            if staying.excess <= 0:
                await self._untilRoom(filter(self.slots.isLeaving, holders))
                continue
            if decision is None:
                self._checkWanted()
                decision = self._decide(staying)
            if isinstance(decision, Deferred):
                return decision
            self._displace(decision)
            decision = None
        return None

    def _haveRoom(self) -> bool:
        return self.slots.haveRoom(self.key, self.maximum)

    def _staying(self, holders: tuple[Session[A], ...]) -> Holders[A]:
        """
        Return the holders who are not leaving anyway, and how many of them must go.
        """
        staying = Holders(each for each in holders if not self.slots.isLeaving(each))
        staying.key, staying.excess = self.key, len(staying) - self.maximum + 1
        return staying

    async def _untilRoom(self, leaving: Iterable[Session[A]]) -> None:
        """
        Wait until enough of those who are leaving have left, or the deadline of one has passed.
        """
        now = steadySeconds(self.clock)
        due = self.slots.due(leaving, self.key, now)
        late = deferLater(self.clock, max(due - now, 0), lambda: True)
        if await self._while(self.turn.unless(self._haveRoom, late)):
            self.slots.revoke(self.key, max(due, steadySeconds(self.clock)))

    async def _while(self, waiting: Deferred[T]) -> T:
        """
        Wait for something while the session is there.
        """
        if self.session.ended:
            waiting.addErrback(lambda failure: None)
            waiting.cancel()
            raise CancelledError
        return await waiting

    def _checkWanted(self) -> None:
        """
        Stop if the session has ended while this ran, when there was nothing to cancel.
        """
        if self.session.ended:
            raise CancelledError

    def _decide(self, holders: Holders[A]) -> list[Session[A]] | Deferred[list[Session[A]]]:
        """
        Return who must go, or a Deferred of that.
        """
        try:
            choice = self.policy(self.session, holders)
            waiting = awaited(choice)
            if waiting is None:
                return _checkChoice(choice, holders)  # type: ignore[arg-type]  # not an awaitable
        except BaseException:
            self._logFailed(Failure())
            raise self.refusal() from None
        deciding = shielded(waiting, self._notCancelled).addCallback(_checkChoice, holders)
        return deciding.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        """
        The policy has failed, perhaps because nobody needs it any more.
        """
        if not failure.check(CancelledError):
            self._logFailed(failure)
        return failure

    def _undecided(self, failure: Failure) -> Failure:
        """
        There is no decision.
        """
        if failure.check(CancelledError):
            if self.session.ended:
                return failure
            self._logFailed(failure)
        raise self.refusal()

    def _displace(self, chosen: list[Session[A]]) -> None:
        """
        Displace those that must leave and have not left by themselves.
        """
        self._checkWanted()  # nobody must go for one that has gone itself
        if not chosen:
            raise self.refusal()
        for goer in chosen:
            if self.slots.isLeaving(goer):
                continue
            self._checkWanted()
            self.slots.going[goer] = steadySeconds(self.clock)
            self.displaced(goer)
            self._dismiss(goer, Displaced(by=self.session))

    def _dismiss(self, goer: Session[A], reason: Displaced) -> None:
        """
        End a session, and close its connection, unless that is also the newcomer's: over
        Perspective Broker it may not be known before its avatar is sent.
        """
        session, connection = self.session, self.session.connection
        if connection is None and session.mind is None and IPerspective in session.interfaces:
            goer.logout(reason)
            whenFound(session, partial(self._close, goer))
        elif connection is not None and connection is goer.connection:
            goer.logout(reason)
        else:
            goer.disconnect(reason, timeout=DEADLINE, reactor=self.clock)

    def _close(self, goer: Session[A], connection: IConnection | None) -> None:
        if connection is None or connection is not goer.connection:
            goer.disconnect(timeout=DEADLINE, reactor=self.clock)

    def _logFailed(self, failure: Failure) -> None:
        self._log.failure(
            "whenFull={policy} failed for {key!r}",
            failure=failure,
            policy=repr(self.policy),
            key=self.key,
        )

    def _notCancelled(self, failure: Failure) -> None:
        self._log.failure(
            "whenFull={policy} could not be cancelled for {key!r}",
            failure=failure,
            policy=repr(self.policy),
            key=self.key,
        )


def _cancellable(
    contest: Deferred[None],
    contending: Coroutine[Deferred[object], object, None],
    *,
    whenOver: Callable[[], None],
) -> Deferred[None]:
    """
    Return a Deferred of a contest that can be cancelled at any time, even from inside it.

    The contest's own Deferred cannot: a policy may end the session that contends, and so cancel the
    contest while its coroutine runs.  Twisted would then cancel whatever the coroutine waited for
    last, or fail an assertion if it has not waited yet.  So a running contest is left alone: it
    looks at its session after each step, and ends itself.
    """

    def cancel(result: Deferred[None]) -> None:
        if getcoroutinestate(contending) != CORO_RUNNING:
            contest.cancel()

    outer: Deferred[None] = Deferred(cancel)

    def over(result: Failure | None) -> None:
        if not outer.called:
            outer.callback(result)  # a Failure starts the errbacks
        whenOver()  # only now, so that the next one finds this session where it is going to be

    contest.addBoth(over)
    return outer


def _checkChoice(choice: Choice[A], holders: Holders[A]) -> list[Session[A]]:
    goers, there = list(choice or ()), set(holders)
    for goer in goers:
        if goer not in there:
            raise ValueError(f"{goer!r} holds no slot of {holders.key!r}")
    return goers
