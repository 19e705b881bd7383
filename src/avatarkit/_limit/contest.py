"""
A login that wants a slot when there is none.

A policy says who must go.  It may take its time, and so may those who go.  Contenders for the slots
of a key are handled one at a time: only the one whose turn it is displaces anybody, and those who
come meanwhile wait for their turn and then look again, so that a slot that was made for one is not
taken by another.
While a policy waits it is nobody's turn, so that those who come meanwhile can share what it waits
for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from inspect import CORO_RUNNING, getcoroutinestate
from typing import Generic

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._clients.minds import shareConnection
from .._realm.session import Session
from .._tools.awaiting import awaited
from .._tools.turns import Turn
from .._tools.typevars import A
from .policies import Choice, Holders, Policy
from .slots import DEADLINE, Slots


@attrs.define(eq=False)
class Contest(Generic[A]):
    """
    Has others go, so that a session gets in.

    @ivar session: the session that wants a slot.
    @ivar key: the key that it wants a slot of.
    @ivar maximum: how many slots the key has.
    @ivar slots: the slots of all keys.
    @ivar policy: says who must go.
    @ivar clock: measures the time that those who go may take.
    @ivar displaced: called with each session that must go, before it does.
    @ivar refusal: called when nobody goes; returns what the login fails with.
    """

    session: Session[A]
    key: Hashable
    maximum: int
    slots: Slots[A]
    policy: Policy[A]
    clock: IReactorTime
    displaced: Callable[[Session[A]], None]
    refusal: Callable[[], Exception]

    _log = Logger()

    def begin(self, turn: Turn) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when the session has a slot, and fails when it is
        refused, or has ended.
        """
        contending = self._contend(turn)
        contest = Deferred.fromCoroutine(contending)
        return _cancellable(contest, contending, whenOver=turn.end)

    async def _contend(self, turn: Turn) -> None:
        """
        Take a slot, when somebody has gone for it.
        """
        chosen: list[Session[A]] | None = None
        while True:
            await turn.take()
            deciding = await self._makeRoom(chosen)
            self._checkWanted(deciding)
            if deciding is None:
                self.slots.take(self.session, self.key)
                return
            turn.end()
            chosen = await deciding

    async def _makeRoom(self, chosen: list[Session[A]] | None) -> Deferred[list[Session[A]]] | None:
        """
        Have those go who must, until there is room.

        @param chosen: who must go first, if the policy has said so already.
        @return: C{None} when there is room; a Deferred of who must go if the policy must be waited
            for.
        """
        while not self.slots.haveRoom(self.key, self.maximum):
            holders = self.slots.of(self.key)
            leaving = [each for each in holders if self.slots.isLeaving(each)]
            staying = self._staying(holders)
            if staying.excess <= 0:
                await self.slots.untilGone(leaving, self.clock)
                continue
            if chosen is None:
                decision = self._decide(staying)
                if isinstance(decision, Deferred):
                    return decision
                chosen = decision
            await self._displace(chosen)
            chosen = None
        return None

    def _staying(self, holders: tuple[Session[A], ...]) -> Holders[A]:
        """
        Return the holders who are not leaving anyway, and how many of them must go.
        """
        staying = Holders(each for each in holders if not self.slots.isLeaving(each))
        staying.key, staying.excess = self.key, len(staying) - self.maximum + 1
        return staying

    def _checkWanted(self, deciding: Deferred[list[Session[A]]] | None) -> None:
        """
        Go no further if the session has ended while this ran, when there was nothing to cancel.

        @param deciding: what the policy is doing, which then is in vain.
        """
        if not self.session.ended:
            return
        if deciding is not None:
            deciding.addErrback(lambda failure: None)
            deciding.cancel()
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
        except Exception:
            raise self._policyFailed() from None
        return Deferred.fromCoroutine(self._decideLater(holders, waiting))

    async def _decideLater(
        self, holders: Holders[A], choice: Awaitable[Choice[A]]
    ) -> list[Session[A]]:
        try:
            return _checkChoice(await choice, holders)
        except Exception as error:
            if self.session.ended and isinstance(error, CancelledError):
                raise
            raise self._policyFailed() from None

    async def _displace(self, chosen: list[Session[A]]) -> None:
        """
        Have those go who must and have not gone by themselves, and wait until they are gone.
        """
        if not chosen:
            raise self.refusal()
        if self.session.ended:  # nobody must go for one that has gone itself
            raise CancelledError
        for goer in chosen:
            if self.slots.isLeaving(goer):
                continue
            self.slots.going[goer] = self.clock.seconds()
            self.displaced(goer)
            if shareConnection(goer.mind, self.session.mind):
                goer.logout()
            else:
                goer.disconnect(timeout=DEADLINE, reactor=self.clock)
        await self.slots.untilGone(chosen, self.clock)

    def _policyFailed(self) -> Exception:
        self._log.failure(
            "whenFull={policy} failed for {key!r}", policy=repr(self.policy), key=self.key
        )
        return self.refusal()


def _cancellable(
    contest: Deferred[None],
    contending: Coroutine[Deferred[object], object, None],
    *,
    whenOver: Callable[[], None],
) -> Deferred[None]:
    """
    Return a Deferred of a contest that can be cancelled at any time, also from inside of it.

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
