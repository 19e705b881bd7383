"""
How many sessions there may be.

Looking for a free slot and taking it are one step of C{admit}, so that no number of simultaneous
slow logins can pass the limit; the slot is given back in C{release}, however the session ends.

When there is no slot, a L{Contest<avatarkit._limit.contest.Contest>} makes room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from enum import Enum
from functools import partial
from typing import cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.keys import Key, avatarIdOf, checkedKey, checkKey
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkCount, checkReactor
from .._tools.clock import clockOr
from .._tools.counting import countDown
from .._tools.typevars import A
from .._waiting.awaiting import awaited
from .._waiting.shielding import shielded
from .._waiting.turns import Turns
from ..errors import LoginRefused, TooManyConnections, TooManyWaiting
from .allowances import Quota, checkedNumber
from .contest import Contest
from .policies import Policy, policy, refuse
from .slots import Slots


class _Unsaid(Enum):
    UNSAID = "1"

    def __repr__(self) -> str:
        return self.value


#: The default of a limit's maximum: 1, unless it has a quota.
_UNSAID = cast("int | None", _Unsaid.UNSAID)


#: How many logins may wait for the slots of a key, unless a limit says otherwise.
WAITING = 1000


@attrs.define(eq=False, repr=False)
class ConnectionLimit(Audited, Block[A]):
    """
    Bounds how many sessions there may be, including logins in progress: by default for each avatar
    ID.

    @ivar maximum: how many there may be, at least 1; by default 1, as in the how-to.
    @ivar quota: instead of C{maximum}, a callable of the session that returns how many there may be
        for it, C{None} for any number; or a Deferred or coroutine of that.
    @ivar key: a callable of the session that returns what is limited, something hashable: by
        default the avatar ID (anonymous logins have one avatar ID, and so one limit); L{everyone}
        for the whole server.
    @ivar whenFull: who must go when there is no room: L{avatarkit.refuse},
        L{avatarkit.displaceOldest}, L{avatarkit.displaceUnresponsive}, or your own: a callable of
        the session and the L{Holders<avatarkit.Holders>}, the sessions that are there, oldest
        first, that returns those of them that must go, or a Deferred or coroutine of that.
    @ivar maximumWaiting: how many logins may wait for the slots of a key at the same time, at least
        1; any more are refused.
    """

    maximum: int | None = attrs.field(default=_UNSAID)
    quota: Quota[A] | None = attrs.field(default=None, kw_only=True)
    key: Key[A] = attrs.field(default=avatarIdOf, kw_only=True, validator=checkKey)
    whenFull: Policy[A] = attrs.field(default=refuse, kw_only=True, converter=policy)
    maximumWaiting: int = attrs.field(default=WAITING, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(default=None, alias="reactor", kw_only=True)
    _refusals: int = attrs.field(default=0, init=False)
    _displacements: int = attrs.field(default=0, init=False)
    _waiting: Counter[Hashable] = attrs.field(factory=Counter, init=False)
    _turns: Turns = attrs.field(init=False)
    _slots: Slots[A] = attrs.field(init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        unsaid = self.maximum is _UNSAID
        if not unsaid and self.quota is not None:
            raise TypeError("a limit has a maximum or a quota, not both")
        checkReactor(self._reactor)
        if unsaid:
            object.__setattr__(self, "maximum", 1 if self.quota is None else None)
        self._turns = Turns(self._reactor)
        self._slots = Slots(self._turns)

    @maximum.validator
    def _checkMaximum(self, attribute: object, maximum: object) -> None:
        if maximum is _UNSAID:
            return
        refuseTarget("ConnectionLimit", "a number", maximum)
        checkCount("maximum", maximum, least=1)

    @quota.validator
    def _checkQuota(self, attribute: object, quota: object) -> None:
        if quota is not None and not callable(quota):
            raise TypeError(f"quota must be a callable of a session, not {quota!r}")

    @maximumWaiting.validator
    def _checkMaximumWaiting(self, attribute: object, maximumWaiting: object) -> None:
        checkCount("maximumWaiting", maximumWaiting, least=1)

    def __repr__(self) -> str:
        parts = {
            "": self.maximum,
            "quota=": self.quota,
            "key=": None if self.key is avatarIdOf else self.key,
            "whenFull=": None if self.whenFull is refuse else self.whenFull,
            "maximumWaiting=": None if self.maximumWaiting == WAITING else self.maximumWaiting,
        }
        given = (f"{name}{part!r}" for name, part in parts.items() if part is not None)
        return f"ConnectionLimit({', '.join(given)})"

    @property
    def refusals(self) -> int:
        """
        How many logins have been refused.
        """
        return self._refusals

    @property
    def displacements(self) -> int:
        """
        How many sessions were displaced.
        """
        return self._displacements

    def sessions(self, key: Hashable) -> tuple[Session[A], ...]:
        """
        Return the sessions that hold the slots of a key (an avatar ID, unless the limit has a
        C{key} of its own), oldest first.
        """
        return self._slots.of(key)

    def admit(self, session: Session[A]) -> object:
        """
        Take a slot, if necessary one held by a session that must go.

        @raise TooManyConnections: if there is none.
        @raise LoginRefused: if the limit's own key or quota fails, which is logged, or raises it.
        """
        maximum, waiting = self.maximum, None
        try:
            key = checkedKey(self.key(session))
            if self.quota is not None:
                quota = self.quota(session)
                waiting = awaited(quota)
                maximum = checkedNumber(quota) if waiting is None else None
        except Exception:
            raise self._broken(session, Failure()) from None
        if waiting is None:
            return self._enter(session, key, maximum)
        number = shielded(waiting, partial(self._notCancelled, session)).addCallback(checkedNumber)
        number.addErrback(partial(self._quotaFailed, session))
        return number.addCallback(partial(self._enterLate, session, key))

    def release(self, session: Session[A]) -> None:
        """
        Give the slot back.
        """
        self._slots.release(session)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions have a slot that they should not have, and which lack one.
        """
        slots, there = self._slots, {*self._sessionsPast(self.release)}
        kept = {session for holders in slots.holders.values() for session in holders}
        for session in there - kept - slots.revoked:
            yield f"{session!r} has no slot of {self!r}"
        for session in kept - there:
            yield f"{session!r} has a slot of {self!r} and should not"
        if not kept.issuperset(slots.otherKeys) or not all(map(slots.isHeldBy, kept)):
            yield f"{self!r} does not know which slot is whose"

    def _enterLate(
        self, session: Session[A], key: Hashable, maximum: int | None
    ) -> Deferred[None] | None:
        """
        Enter after the quota was waited for, unless the session has ended.
        """
        if session.ended:
            raise CancelledError
        return self._enter(session, key, maximum)

    def _enter(
        self, session: Session[A], key: Hashable, maximum: int | None
    ) -> Deferred[None] | None:
        """
        Take a slot if there is one and nobody waits for it, or the lost session that this one takes
        over has one; otherwise contend for one.
        """
        if self._slots.inherit(session, key):
            return None
        queue = self._turns.queues.get(key)
        free = queue is None or queue.isFree()
        if maximum is None or (free and self._slots.haveRoom(key, maximum)):
            self._slots.take(session, key)
            return None
        if self.whenFull is refuse or not maximum:
            raise self._refusal(session, key, maximum)
        if self._waiting[key] >= self.maximumWaiting:
            raise self._refusal(session, key, maximum, waiting=True)
        contest = Contest(
            session,
            key,
            maximum,
            self._slots,
            self._turns.turn(key),
            self.whenFull,
            clockOr(self._reactor),
            displaced=partial(self._displaced, key=key, maximum=maximum),
            refusal=partial(self._refusal, session, key, maximum),
        )
        self._waiting[key] += 1
        return contest.begin().addBoth(self._waited, key)

    def _waited(self, result: Failure | None, key: Hashable) -> Failure | None:
        countDown(self._waiting, key)
        return result

    def _displaced(self, goer: Session[A], key: Hashable, maximum: int) -> None:
        self._displacements += 1
        self._log.info(
            "a session of {avatarId!r} must go: {key!r} may have {maximum}",
            avatarId=goer.avatarId,
            key=key,
            maximum=maximum,
        )

    def _refusal(
        self, session: Session[A], key: Hashable, maximum: int, *, waiting: bool = False
    ) -> TooManyConnections:
        """
        Return the exception for a login that is refused.

        @param waiting: whether it is refused because too many wait already.
        """
        self._refusals += 1
        self._log.info(
            "a login of {avatarId!r} is refused: {key!r} may have {maximum}"
            + (", and {maximumWaiting} wait" if waiting else ""),
            avatarId=session.avatarId,
            key=key,
            maximum=maximum,
            maximumWaiting=self.maximumWaiting,
        )
        if not waiting:
            return TooManyConnections(avatarId=session.avatarId, maximum=maximum)
        return TooManyWaiting(
            avatarId=session.avatarId, maximum=maximum, maximumWaiting=self.maximumWaiting
        )

    def _quotaFailed(self, session: Session[A], failure: Failure) -> Failure:
        if session.ended and failure.check(CancelledError):
            return failure
        raise self._broken(session, failure)

    def _broken(self, session: Session[A], failure: Failure) -> Exception:
        """
        Return the exception for a login whose key or quota failed.  The failure is logged, unless
        it was meant as a refusal.
        """
        self._refusals += 1
        if isinstance(failure.value, LoginRefused):
            self._log.info("a login of {avatarId!r} is refused", avatarId=session.avatarId)
            return failure.value
        self._log.failure(
            "the key or the quota of {limit} failed for {avatarId!r}",
            failure=failure,
            limit=repr(self),
            avatarId=session.avatarId,
        )
        return LoginRefused(avatarId=session.avatarId)

    def _notCancelled(self, session: Session[A], failure: Failure) -> None:
        self._log.failure(
            "the quota of {limit} could not be cancelled for {avatarId!r}",
            failure=failure,
            limit=repr(self),
            avatarId=session.avatarId,
        )
