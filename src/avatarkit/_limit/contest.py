"""
A login that wants a slot where there is none.

A policy says who has to go.  It may take its time, and so may those who go.  Those who contest the
slots of a key take turns, and only whose turn it is displaces anybody; those who come meanwhile
wait for theirs, and then look again, so that a slot that was made for one is not taken by another.
It is nobody's turn while a policy waits, so that those who come meanwhile can share what it is
waiting for.
"""

from __future__ import annotations

from collections.abc import Hashable
from inspect import CORO_RUNNING, getcoroutinestate
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from .._clients.minds import shareConnection
from .._realm.session import Session
from .._tools.awaiting import awaited
from .._tools.clock import clockOr
from .._tools.turns import Turn
from .policies import Holders
from .slots import DEADLINE, Slots

if TYPE_CHECKING:
    from .limit import ConnectionLimit


@attrs.define(eq=False)
class Contest:
    """
    What has others go, so that a session gets in.

    @ivar limit: whose slots they are.
    @ivar session: who wants one.
    @ivar key: of which key.
    @ivar maximum: how many there are of that.
    """

    limit: ConnectionLimit
    session: Session
    key: Hashable
    maximum: int

    def begin(self, turn: Turn) -> Deferred[None]:
        """
        Answer a Deferred that fires with C{None} when the session has a slot, and fails when it is
        refused, or has ended.
        """
        contesting = self._contest(turn)
        contest = Deferred.fromCoroutine(contesting)

        def cancel(answer: Deferred[None]) -> None:
            if getcoroutinestate(contesting) != CORO_RUNNING:  # otherwise it sees for itself
                contest.cancel()

        answer: Deferred[None] = Deferred(cancel)

        def over(result: Any) -> None:
            if not answer.called:
                answer.callback(result)
            turn.end()  # only now, so that who is next finds this one where it is going to be

        contest.addBoth(over)
        return answer

    @property
    def _slots(self) -> Slots:
        return self.limit._slots

    @property
    def _clock(self) -> Any:
        return clockOr(self.limit._reactor)

    async def _contest(self, turn: Turn) -> None:
        """
        Take a slot, when somebody has gone for it.
        """
        goers: Any = None
        while True:
            await turn.take()
            goers = await self._makeRoom(goers)
            if self.session.ended:  # while this ran, so that there was nothing to cancel
                if goers is not None:
                    goers.addErrback(lambda failure: None)
                    goers.cancel()
                raise CancelledError
            if goers is None:
                self._slots.take(self.session, self.key)
                return
            turn.end()
            goers = await goers

    async def _makeRoom(self, goers: list[Session] | None) -> Deferred[list[Session]] | None:
        """
        Have those go who have to, until there is room.

        @param goers: who that is, if the policy has said so.
        @return: a Deferred of who has to go, if the policy has to be waited for.
        """
        slots = self._slots
        while not slots.haveRoom(self.key, self.maximum):
            holders = slots.of(self.key)
            staying = Holders(each for each in holders if not slots.isLeaving(each))
            staying.key, staying.excess = self.key, len(staying) - self.maximum + 1
            if staying.excess <= 0:
                await slots.untilGone(filter(slots.isLeaving, holders), self._clock)
                continue
            answer = self._decide(staying) if goers is None else goers
            if isinstance(answer, Deferred):
                return answer
            if not answer:
                raise self._refused()
            if self.session.ended:  # nobody has to go for one that has gone itself
                raise CancelledError
            self._displace(answer)
            await slots.untilGone(answer, self._clock)
            goers = None
        return None

    def _decide(self, holders: Holders) -> Any:
        """
        Answer who has to go, or a Deferred of that.
        """
        try:
            answer = self.limit.whenFull(self.session, holders)
            waiting = awaited(answer)
            if waiting is None:
                return _checkGoers(answer, holders)
        except Exception:
            raise self._policyFailed() from None
        return Deferred.fromCoroutine(self._decideLater(holders, waiting))

    async def _decideLater(self, holders: Holders, waiting: Deferred[Any]) -> list[Session]:
        try:
            return _checkGoers(await waiting, holders)
        except Exception as error:
            if self.session.ended and isinstance(error, CancelledError):
                raise
            raise self._policyFailed() from None

    def _displace(self, goers: list[Session]) -> None:
        """
        Have those go who have to and have not gone by themselves.
        """
        for goer in goers:
            if self._slots.isLeaving(goer):
                continue
            self._slots.going[goer] = self._clock.seconds()
            self.limit._displacements += 1
            self.limit._log.info(
                "a session of {avatarId!r} has to go: {key!r} may have {maximum}",
                avatarId=goer.avatarId,
                key=self.key,
                maximum=self.maximum,
            )
            if shareConnection(goer.mind, self.session.mind):
                goer.logout()
            else:
                goer.disconnect(timeout=DEADLINE, reactor=self.limit._reactor)

    def _policyFailed(self) -> Exception:
        self.limit._log.failure("whenFull of {limit} failed", limit=repr(self.limit))
        return self._refused()

    def _refused(self) -> Exception:
        return self.limit._refused(self.session, self.key, self.maximum)


def _checkGoers(answer: Any, holders: Holders) -> list[Session]:
    goers, there = list(answer or ()), set(holders)
    for goer in goers:
        if goer not in there:
            raise ValueError(f"{goer!r} holds no slot of {holders.key!r}")
    return goers
