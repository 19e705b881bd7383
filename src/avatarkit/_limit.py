"""
How many sessions there may be, and who has to go.

A login takes its slot in C{admit}, in one step with looking whether there is one, so that no number
of simultaneous slow logins can pass the limit; the slot is given back in C{release}, whatever way
the session ends.

When there is no slot a policy says who has to go.  It may take its time, and so may those who go.
Those who contest the slots of a key take turns, and only whose turn it is displaces anybody; those
who come meanwhile wait for theirs, and then look again, so that a slot that was made for one is not
taken by another.  It is nobody's turn while a policy waits, so that those who come meanwhile can
share what it is waiting for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from inspect import CORO_RUNNING, getcoroutinestate
from typing import Any, TypeAlias

import attrs
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ._audit import Audited
from ._awaiting import awaited
from ._checks import checkCount, checkReactor
from ._clock import clockOr
from ._mind import shareConnection
from ._policies import Holders, Policy, policy, refuse
from ._realm import Block, isTarget
from ._session import Session
from ._turns import Turn, Turns
from .errors import LoginRefused, TooManyConnections

__all__ = ["ConnectionLimit", "everyone"]

#: What is limited: a callable of the session that answers something hashable.
Key: TypeAlias = Callable[[Session], Hashable]

#: How many seconds those who have to go may take to do so.
DEADLINE = 5


@attrs.frozen(eq=False)
class _Everyone:
    def __call__(self, session: Session) -> Hashable:
        """
        Answer the same for every session.
        """
        return self

    def __repr__(self) -> str:
        return "everyone"


#: The key of a limit for all sessions together: C{ConnectionLimit(1000, key=everyone)}.  It is what
#: it answers: C{limit.sessions(everyone)}.
everyone = _Everyone()

_UNSAID: Any = object()


def avatarIdOf(session: Session) -> Hashable:
    """
    The key of a limit for each avatar ID.
    """
    return session.avatarId


@attrs.define(eq=False, repr=False)
class ConnectionLimit(Audited, Block):
    """
    Bounds how many sessions there may be, logins in progress included: of each avatar ID, unless
    said otherwise.

    @ivar maximum: how many there may be, at least 1; 1 unless said otherwise, as in the how-to.
    @ivar quota: instead of C{maximum}, a callable of the session that answers how many there may be
        for it, C{None} for any number; or a Deferred or coroutine of that.
    @ivar key: a callable of the session that answers what is limited, something hashable: the
        avatar ID unless said otherwise (anonymous logins have one avatar ID, and so one limit);
        L{everyone} for the whole server.
    @ivar whenFull: who has to go when there is no room, see L{avatarkit.refuse},
        L{avatarkit.displaceOldest} and L{avatarkit.displaceUnresponsive}, or write your own: a
        callable of the session and the sessions that are there, oldest first, that answers those of
        them that have to go, or a Deferred or coroutine of that.
    """

    maximum: int | None = attrs.field(default=_UNSAID)
    quota: Callable[[Session], Any] | None = attrs.field(default=None, kw_only=True)
    key: Key = attrs.field(default=avatarIdOf, kw_only=True)
    whenFull: Policy = attrs.field(default=refuse, kw_only=True, converter=policy)
    _reactor: IReactorTime | None = attrs.field(default=None, kw_only=True)
    _refusals: int = attrs.field(default=0, init=False)
    _displacements: int = attrs.field(default=0, init=False)
    _holders: dict[Hashable, dict[Session, None]] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _otherKeys: dict[Session, Hashable] = attrs.field(factory=dict, init=False)
    _going: dict[Session, float] = attrs.field(factory=dict, init=False)
    _revoked: set[Session] = attrs.field(factory=set, init=False)
    _turns: Turns = attrs.field(factory=Turns, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        said = self.maximum is not _UNSAID
        if said and self.quota is not None:
            raise TypeError("a limit has a maximum or a quota, not both")
        checkReactor(self._reactor)
        if not said:
            object.__setattr__(self, "maximum", 1 if self.quota is None else None)

    @maximum.validator
    def _checkMaximum(self, attribute: object, maximum: object) -> None:
        if isTarget(maximum):
            raise TypeError(
                f"ConnectionLimit takes a number, not {maximum!r}: "
                "write @ConnectionLimit(...) above a target, with the call"
            )
        if maximum is not _UNSAID:
            checkCount("a maximum", maximum, least=1)

    def __repr__(self) -> str:
        parts = {
            "": self.maximum,
            "quota=": self.quota,
            "key=": None if self.key is avatarIdOf else self.key,
            "whenFull=": None if self.whenFull is refuse else self.whenFull,
        }
        said = (f"{name}{part!r}" for name, part in parts.items() if part is not None)
        return f"ConnectionLimit({', '.join(said)})"

    @quota.validator
    @key.validator
    def _checkCallable(self, attribute: Any, value: object) -> None:
        if not callable(value) and not (value is None and attribute.name == "quota"):
            raise TypeError(f"{attribute.name} is a callable of a session, not {value!r}")

    @property
    def refusals(self) -> int:
        """
        How many logins have been refused.
        """
        return self._refusals

    @property
    def displacements(self) -> int:
        """
        How many sessions had to go.
        """
        return self._displacements

    def sessions(self, key: Hashable) -> tuple[Session, ...]:
        """
        Answer the sessions that hold the slots of a key (an avatar ID, unless the limit has a
        C{key} of its own), oldest first.
        """
        return tuple(self._holders.get(key, ()))

    def admit(self, session: Session) -> object:
        """
        Take a slot, if need be that of a session which has to go.

        @raise TooManyConnections: if there is none.
        @raise LoginRefused: if the limit's own key or quota is broken, which is logged; or if that
            raises it.
        """
        maximum, waiting = self.maximum, None
        try:
            key = _checkKey(self.key(session))
            if self.quota is not None:
                quota = self.quota(session)
                waiting = awaited(quota)
                maximum = _checkQuota(quota) if waiting is None else None
        except Exception as error:
            raise self._broken(session, error) from None
        if waiting is None:
            return self._enter(session, key, maximum)
        return Deferred.fromCoroutine(self._enterLater(session, key, waiting))

    def release(self, session: Session) -> None:
        """
        Give the slot back.
        """
        self._going.pop(session, None)
        if session in self._revoked:
            self._revoked.remove(session)
        else:
            self._give(session)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions have a slot that should not, and which do not that should.
        """
        there = {*self.passed(self.release)}
        kept = {session for holders in self._holders.values() for session in holders}
        for session in there - kept - self._revoked:
            yield f"{session!r} has no slot of {self!r}"
        for session in kept - there:
            yield f"{session!r} has a slot of {self!r} and should not"
        if not kept.issuperset(self._otherKeys) or not all(map(self._holds, kept)):
            yield f"{self!r} does not know which slot is whose"

    async def _enterLater(self, session: Session, key: Hashable, quota: Deferred[Any]) -> None:
        try:
            maximum = _checkQuota(await quota)
        except Exception as error:
            raise self._broken(session, error) from None
        waiting = self._enter(session, key, maximum)
        if waiting is not None:
            await waiting

    def _enter(self, session: Session, key: Hashable, maximum: int | None) -> Deferred[None] | None:
        """
        Take a slot if there is one and nobody waits for it; otherwise have somebody go for it.
        """
        if maximum is None or (key not in self._turns and self._hasRoom(key, maximum)):
            self._take(session, key)
            return None
        if self.whenFull is refuse or not maximum:
            raise self._refused(session, key, maximum)
        turn = self._turns.turn(key)
        contesting = self._contest(session, key, maximum, turn)
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

    async def _contest(self, session: Session, key: Hashable, maximum: int, turn: Turn) -> None:
        """
        Take a slot, when somebody has gone for it.
        """
        goers: Any = None
        while True:
            await turn.take()
            goers = await self._makeRoom(session, key, maximum, goers)
            if session.ended:  # while this ran, so that there was nothing to cancel
                if goers is not None:
                    goers.addErrback(lambda failure: None)
                    goers.cancel()
                raise CancelledError
            if goers is None:
                self._take(session, key)
                return
            turn.end()
            goers = await goers

    async def _makeRoom(
        self, session: Session, key: Hashable, maximum: int, goers: list[Session] | None
    ) -> Deferred[list[Session]] | None:
        """
        Have those go who have to, until there is room.

        @param goers: who that is, if the policy has said so.
        @return: a Deferred of who has to go, if the policy has to be waited for.
        """
        while not self._hasRoom(key, maximum):
            holders = self.sessions(key)
            leaving = [each for each in holders if self._isLeaving(each)]
            staying = Holders(each for each in holders if not self._isLeaving(each))
            staying.key, staying.excess = key, len(staying) - maximum + 1
            if staying.excess <= 0:
                await self._untilGone(leaving)
                continue
            answer = self._decide(session, staying, maximum) if goers is None else goers
            if isinstance(answer, Deferred):
                return answer
            if not answer:
                raise self._refused(session, key, maximum)
            if session.ended:  # nobody has to go for one that has gone itself
                raise CancelledError
            self._displace(session, key, maximum, answer)
            await self._untilGone(answer)
            goers = None
        return None

    def _decide(self, session: Session, holders: Holders, maximum: int) -> Any:
        """
        Answer who has to go, or a Deferred of that.
        """
        try:
            answer = self.whenFull(session, holders)
            waiting = awaited(answer)
            if waiting is None:
                return _checkGoers(answer, holders)
        except Exception:
            raise self._policyFailed(session, holders.key, maximum) from None
        return Deferred.fromCoroutine(self._decideLater(session, holders, maximum, waiting))

    async def _decideLater(
        self, session: Session, holders: Holders, maximum: int, waiting: Deferred[Any]
    ) -> list[Session]:
        try:
            return _checkGoers(await waiting, holders)
        except Exception as error:
            if session.ended and isinstance(error, CancelledError):
                raise
            raise self._policyFailed(session, holders.key, maximum) from None

    def _displace(
        self, session: Session, key: Hashable, maximum: int, goers: list[Session]
    ) -> None:
        """
        Have those go who have to and have not gone by themselves.
        """
        for goer in goers:
            if self._isLeaving(goer):
                continue
            self._displacements += 1
            self._going[goer] = clockOr(self._reactor).seconds()
            self._log.info(
                "a session of {avatarId!r} has to go: {key!r} may have {maximum}",
                avatarId=goer.avatarId,
                key=key,
                maximum=maximum,
            )
            if shareConnection(goer.mind, session.mind):
                goer.logout()
            else:
                goer.disconnect(timeout=DEADLINE, reactor=self._reactor)

    async def _untilGone(self, leaving: list[Session]) -> None:
        """
        Wait until sessions are closed, but not for ever: one whose closing hangs loses its slot
        when it has had its time.
        """
        clock = clockOr(self._reactor)
        since = [self._going.setdefault(each, clock.seconds()) for each in leaving]
        gone: Deferred[Any] = Deferred()
        DeferredList([each.whenClosed() for each in leaving]).chainDeferred(gone)
        try:
            if not gone.called:
                gone.addTimeout(max(min(since) + DEADLINE - clock.seconds(), 0), clock)
            await gone
        except defer.TimeoutError:
            for each in leaving:
                if self._going[each] + DEADLINE <= clock.seconds() and self._holds(each):
                    self._give(each)
                    self._revoked.add(each)
        finally:
            for each in leaving:
                if not self._holds(each):
                    self._going.pop(each, None)

    def _isLeaving(self, holder: Session) -> bool:
        return holder.ended or holder in self._going

    def _hasRoom(self, key: Hashable, maximum: int) -> bool:
        return len(self._holders.get(key, ())) < maximum

    def _keyOf(self, session: Session) -> Hashable:
        return self._otherKeys.get(session, session.avatarId)

    def _holds(self, session: Session) -> bool:
        return session in self._holders.get(self._keyOf(session), ())

    def _take(self, session: Session, key: Hashable) -> None:
        self._holders.setdefault(key, {})[session] = None
        if key is not session.avatarId:
            self._otherKeys[session] = key

    def _give(self, session: Session) -> None:
        key = self._otherKeys.pop(session, session.avatarId)
        holders = self._holders[key]
        del holders[session]
        if not holders:
            del self._holders[key]

    def _refused(self, session: Session, key: Hashable, maximum: int) -> TooManyConnections:
        self._refusals += 1
        self._log.info(
            "a login of {avatarId!r} is refused: {key!r} may have {maximum}",
            avatarId=session.avatarId,
            key=key,
            maximum=maximum,
        )
        return TooManyConnections(avatarId=session.avatarId, maximum=maximum)

    def _policyFailed(self, session: Session, key: Hashable, maximum: int) -> TooManyConnections:
        self._log.failure("whenFull of {limit} failed", limit=repr(self))
        return self._refused(session, key, maximum)

    def _broken(self, session: Session, error: Exception) -> Exception:
        """
        Answer what a login fails with whose key or quota failed, which is in the log, unless that
        was to refuse it, or because it has ended.
        """
        if session.ended and isinstance(error, CancelledError):
            return error
        self._refusals += 1
        if isinstance(error, LoginRefused):
            self._log.info("a login of {avatarId!r} is refused", avatarId=session.avatarId)
            return error
        self._log.failure(
            "the key or the quota of {limit} failed for {avatarId!r}",
            limit=repr(self),
            avatarId=session.avatarId,
        )
        return LoginRefused(avatarId=session.avatarId)


def _checkKey(key: Any) -> Hashable:
    hash(key)
    if hasattr(type(key), "__await__"):
        getattr(key, "close", lambda: None)()  # a coroutine that nobody will wait for
        raise TypeError(f"a key cannot be waited for: {key!r}")
    return key  # type: ignore[no-any-return]  # it can be hashed


def _checkQuota(quota: Any) -> int | None:
    if quota is not None:
        checkCount("a quota", quota)
    return quota  # type: ignore[no-any-return]  # just looked


def _checkGoers(answer: Any, holders: Holders) -> list[Session]:
    goers, there = list(answer or ()), set(holders)
    for goer in goers:
        if goer not in there:
            raise ValueError(f"{goer!r} holds no slot of {holders.key!r}")
    return goers
