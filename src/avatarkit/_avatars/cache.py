"""
One avatar per avatar ID: which avatars there are, and how long they are kept.

What becomes of each of them is its L{Life}.  Only an idle avatar is ever retired, so nothing in use
is evicted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import attrs
from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from .._realm.audit import Audited
from .._realm.realm import Realm, Stackable, Target
from .._realm.session import Session
from .._realm.sources import InnerSessions
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.clock import clockOr
from ..errors import RealmClosed
from ..interfaces import IAvatarSource
from .life import Life


@implementer(IAvatarSource)
@attrs.define(eq=False, repr=False)
class AvatarCache(Audited, Stackable, Mapping[Hashable, Any]):
    """
    Keeps one avatar per avatar ID, for all sessions of that ID, and for some time after the last
    of them: for ever, unless said otherwise.

    It is a mapping from avatar ID to avatar, of the avatars that are ready; it cannot be written.

    The realm below is asked once, with no mind, however many logins want the avatar at a time.  If
    it fails, all of them fail, and the next login asks again.  An avatar that no login succeeded
    with is not kept.  Anonymous logins never share an avatar, and theirs are not kept.

    To retire an avatar is to end its inner session: its C{logout} is called, if it has one, and may
    wait.  A login that comes meanwhile waits for that, and gets a new avatar.

    A cache wraps one target; to share its avatars between several realms, stack blocks on the
    realm that it answered.

    @ivar idleTimeout: how many seconds an avatar is kept after its last session; C{None}: for ever,
        0: not at all.
    @ivar maximumIdle: how many avatars that are not in use are kept, those longest not in use being
        retired first; C{None}: all.
    """

    idleTimeout: float | None = attrs.field(default=None, kw_only=True)
    maximumIdle: int | None = attrs.field(default=None, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(default=None, kw_only=True)
    _wrapped: InnerSessions | None = attrs.field(default=None, init=False)
    _ready: dict[Hashable, Life] = attrs.field(factory=dict, init=False)
    _unready: dict[Hashable, Life] = attrs.field(factory=dict, init=False)
    _idle: dict[Life, None] = attrs.field(factory=dict, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    @idleTimeout.validator
    def _seconds(self, attribute: object, seconds: object) -> None:
        checkSeconds("an idleTimeout", seconds, orNone=True)

    @maximumIdle.validator
    def _wholeNumber(self, attribute: object, maximum: object) -> None:
        if maximum is not None:
            checkCount("a maximumIdle", maximum)

    @_reactor.validator
    def _time(self, attribute: object, reactor: object) -> None:
        checkReactor(reactor)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __call__(self, target: Target) -> Realm:
        """
        Answer a realm whose sessions share the avatars of the target.

        @param target: see L{Realm}.
        @raise TypeError: if the cache has a target already, or if the target has something in it
            that is useless without minds.
        """
        if self._wrapped is not None:
            raise TypeError(f"{self!r} has a target already: make another cache for another one")
        realm = Realm(target)
        if realm.needsMinds:
            raise TypeError(
                f"{realm!r} needs minds, and below a cache there are none: stack it above the cache"
            )
        self._wrapped = InnerSessions(realm, minds=False)
        return Realm(self)

    def __repr__(self) -> str:
        return "AvatarCache()" if self._wrapped is None else f"AvatarCache({self.below!r})"

    def __getitem__(self, avatarId: Hashable) -> Any:
        return self._ready[avatarId].avatar

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._ready)

    def __len__(self) -> int:
        return len(self._ready)

    def asSources(self) -> tuple[Any, ...]:
        """
        Answer this, if it has got a target.
        """
        return super().asSources() if self._wrapped is None else (self,)

    @property
    def below(self) -> Realm:
        """
        The realm that the avatars come from.
        """
        return self._anonymous.below

    def retire(self, avatarId: Hashable) -> Deferred[bool]:
        """
        Retire an avatar now, if it is there and idle.

        @return: a Deferred that fires with whether it was, when its logout is done.
        """
        life = self._ready.get(avatarId)
        if life is None or life not in self._idle:
            return succeed(False)
        return life.retire().addCallback(lambda closed: True)

    def acquire(self, session: Session) -> object:
        """
        Answer the avatar of the session's ID, or a Deferred of it.

        @raise RealmClosed: after L{close}.
        """
        if self._closing:
            raise RealmClosed(avatarId=session.avatarId)
        if session.avatarId == ANONYMOUS:
            return self._anonymous.acquire(session)
        life = self._ready.get(session.avatarId)
        if life is not None:
            return life.use(session)
        life = self._unready.get(session.avatarId)
        if life is None:
            life = Life(self, session.avatarId)
        return life.join(session)

    def release(self, session: Session) -> object:
        """
        The session needs the avatar no longer.
        """
        if session.avatarId == ANONYMOUS:
            return self._anonymous.release(session)
        self._lives(session.avatarId).leave(session)
        return None

    def close(self) -> Deferred[None]:
        """
        Retire all avatars, those in use as soon as they are not, and load none any more.

        @return: a Deferred that fires with C{None} when all of them are gone.
        """
        self._closing = True
        return succeed(None) if self._wrapped is None else Deferred.fromCoroutine(self._close())

    def audit(self) -> Iterator[str]:
        """
        Say which avatars have users that they should not have, or lack some that they should, or
        are wrongly idle.
        """
        lives = [*self._ready.values(), *self._unready.values()]
        for kept, there, what in (
            ({each for life in lives for each in life.users}, self.passed(self.release), "uses"),
            (
                {each for life in lives for each in life.waiting.values()},
                self.entering(self.release),
                "waits for",
            ),
        ):
            named = {each for each in there if each.avatarId != ANONYMOUS}
            for session in kept.symmetric_difference(named):
                yield f"{session!r} {what} an avatar of {self!r}, or does not, against its word"
        for life in self._ready.values():
            if (life in self._idle) is bool(life.users):
                yield f"the avatar of {life.avatarId!r} in {self!r} is wrongly idle, or not idle"

    async def _close(self) -> None:
        lives = [*self._ready.values(), *self._unready.values()]
        ends = [life.whenGone() for life in lives]
        while self._idle:
            next(iter(self._idle)).retire()
        for end in ends:
            await end
        await self._anonymous.close()

    @property
    def _anonymous(self) -> InnerSessions:
        assert self._wrapped is not None
        return self._wrapped

    def _lives(self, avatarId: Hashable) -> Life:
        return self._ready.get(avatarId) or self._unready[avatarId]

    def _rest(self, life: Life) -> None:
        """
        Keep an avatar that nobody uses any more, for as long as it may be kept.
        """
        self._idle[life] = None
        if self._closing or not life.proven or self.idleTimeout == 0:
            life.retire()
            return
        if self.idleTimeout is not None:
            life.timer = clockOr(self._reactor).callLater(self.idleTimeout, life.retire)
        while self.maximumIdle is not None and len(self._idle) > self.maximumIdle:
            next(iter(self._idle)).retire()

    def _wake(self, life: Life) -> None:
        """
        An avatar is idle no longer.
        """
        del self._idle[life]
        timer, life.timer = life.timer, None
        if timer is not None and timer.active():
            timer.cancel()
