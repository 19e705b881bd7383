"""
How many sessions there may be, and who has to go.

A login takes its slot in C{admit}, in one step with looking whether there is one, so that no number
of simultaneous slow logins can pass the limit; the slot is given back in C{release}, whatever way
the session ends.

When there is no slot a L{Contest} sees to it that somebody goes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._realm.audit import Audited
from .._realm.realm import Block, isTarget
from .._realm.session import Session
from .._tools.awaiting import awaited
from .._tools.checks import checkCount, checkReactor
from .._tools.turns import Turns
from ..errors import LoginRefused, TooManyConnections
from .contest import Contest
from .policies import Policy, policy, refuse
from .slots import Slots

#: What is limited: a callable of the session that answers something hashable.
Key: TypeAlias = Callable[[Session], Hashable]


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
    _slots: Slots = attrs.field(factory=Slots, init=False, repr=False)
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
        return self._slots.of(key)

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
        self._slots.release(session)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions have a slot that should not, and which do not that should.
        """
        slots, there = self._slots, {*self.passed(self.release)}
        kept = {session for holders in slots.holders.values() for session in holders}
        for session in there - kept - slots.revoked:
            yield f"{session!r} has no slot of {self!r}"
        for session in kept - there:
            yield f"{session!r} has a slot of {self!r} and should not"
        if not kept.issuperset(slots.otherKeys) or not all(map(slots.isHeldBy, kept)):
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
        if maximum is None or (key not in self._turns and self._slots.haveRoom(key, maximum)):
            self._slots.take(session, key)
            return None
        if self.whenFull is refuse or not maximum:
            raise self._refused(session, key, maximum)
        return Contest(self, session, key, maximum).begin(self._turns.turn(key))

    def _refused(self, session: Session, key: Hashable, maximum: int) -> TooManyConnections:
        self._refusals += 1
        self._log.info(
            "a login of {avatarId!r} is refused: {key!r} may have {maximum}",
            avatarId=session.avatarId,
            key=key,
            maximum=maximum,
        )
        return TooManyConnections(avatarId=session.avatarId, maximum=maximum)

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
