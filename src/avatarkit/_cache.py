"""
One avatar per avatar ID: the life of a cached avatar.

The avatar of an ID is that of an I{inner session} of the realm below, which the cache opens when
it needs the avatar and closes when the avatar is to go.  What happens to it is one machine per ID:

  - I{loading}: the inner session is opening, and every login that wants the avatar waits for it;
  - I{ready}: the avatar is there, and so many sessions use it; if none does it is I{idle};
  - I{retiring}: the inner session is closing, or about to, because something below has ended it and
    the sessions that use it go first; a login that meets it waits until that is done, and the
    avatar is then loaded anew.

An ID that is in none of these has no avatar.  Since an ID has one machine, and a machine one inner
session at a time, there are never two avatars of an ID.  Only an idle avatar is ever retired, so
nothing in use is evicted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from copy import copy
from enum import Enum
from typing import Any

import attrs
from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ._audit import Audited
from ._awaiting import LATER, settle
from ._checks import checkCount, checkReactor, checkSeconds
from ._clock import clockOr
from ._realm import Realm, Stackable, Target
from ._session import Session
from ._sources import InnerSessions, innerSession
from .errors import RealmClosed
from .interfaces import IAvatarSource

__all__ = ["AvatarCache"]


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
    _ready: dict[Hashable, _Life] = attrs.field(factory=dict, init=False)
    _unready: dict[Hashable, _Life] = attrs.field(factory=dict, init=False)
    _idle: dict[_Life, None] = attrs.field(factory=dict, init=False)
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
            life = _Life(self, session.avatarId)
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

    def _lives(self, avatarId: Hashable) -> _Life:
        return self._ready.get(avatarId) or self._unready[avatarId]

    def rest(self, life: _Life) -> None:
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

    def wake(self, life: _Life) -> None:
        """
        An avatar is idle no longer.
        """
        del self._idle[life]
        timer, life.timer = life.timer, None
        if timer is not None and timer.active():
            timer.cancel()


class _State(Enum):
    GONE = "gone"
    LOADING = "loading"
    READY = "ready"
    RETIRING = "retiring"


@attrs.define(eq=False)
class _Life:
    """
    What becomes of the avatar of one ID.

    @ivar inner: the session that the avatar is of; C{None} while it is retiring.
    @ivar users: the sessions that use the avatar.
    @ivar handing: whether it is just being handed to those who waited for it.
    @ivar waiting: the logins that wait for it, first come first.
    @ivar proven: whether a login succeeded with it.
    @ivar timer: the call that will retire it, while it is idle.
    """

    cache: AvatarCache
    avatarId: Hashable
    state: _State = _State.GONE
    inner: Session | None = None
    users: dict[Session, None] = attrs.field(factory=dict)
    handing: bool = False
    waiting: dict[Deferred[Any], Session] = attrs.field(factory=dict)
    proven: bool = False
    timer: Any = None
    _ends: list[Deferred[None]] = attrs.field(factory=list)

    @property
    def avatar(self) -> Any:
        """
        The avatar, if it is ready.
        """
        assert self.inner is not None
        return self.inner.avatar

    def use(self, session: Session) -> Any:
        """
        Have one more session use the avatar, which is ready, and answer it.
        """
        assert self.inner is not None
        if not (self.users or self.handing):
            self.cache.wake(self)
        self.users[session] = None
        if self.inner.interface in session.interfaces:  # a foreign realm below has chosen it
            session.interface = self.inner.interface
        return self.inner.avatar

    def leave(self, session: Session) -> None:
        """
        Have one session less use the avatar.
        """
        self.proven = self.proven or session.loggedIn
        del self.users[session]
        self._settle()

    def join(self, session: Session) -> Deferred[Any]:
        """
        Answer a Deferred of the avatar, which is not ready; see to it that it gets loaded.
        """
        waiter: Deferred[Any] = Deferred(self._abandon)
        self.waiting[waiter] = session
        if self.state is _State.GONE:
            self._load()
        return waiter

    def retire(self) -> Deferred[None]:
        """
        Let go of the avatar, which is idle.

        @return: a Deferred that fires with C{None} when it is gone.
        """
        self.cache.wake(self)
        self.cache._unready[self.avatarId] = self.cache._ready.pop(self.avatarId)
        return self._end()

    def whenGone(self) -> Deferred[None]:
        """
        Answer a Deferred that fires with C{None} when the ID has no avatar any more.
        """
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        return end

    def _load(self) -> None:
        self.state, self.proven = _State.LOADING, False
        self.cache._unready[self.avatarId] = self
        first = next(iter(self.waiting.values()))
        inner = self.inner = innerSession(self.cache.below, first, mind=None)

        def arrived(result: object) -> None:
            if inner is self.inner and result is not LATER:  # otherwise it was given up meanwhile
                self._loaded(result)

        arrived(settle(maybeDeferred(inner.open), arrived))

    def _loaded(self, result: object) -> None:
        if isinstance(result, Failure):
            self._forget(result)
            return
        assert self.inner is not None
        self.inner.above = self._condemn
        self.state = _State.READY
        self.cache._ready[self.avatarId] = self.cache._unready.pop(self.avatarId)
        self.handing = True
        while self.waiting and self.state is _State.READY:  # those who are told may change both
            waiter, session = self._next()
            waiter.callback(self.use(session))
        self.handing = False
        self._settle()

    def _next(self) -> tuple[Deferred[Any], Session]:
        """
        Answer the one that has waited longest.
        """
        waiter = next(iter(self.waiting))
        return waiter, self.waiting.pop(waiter)

    def _abandon(self, waiter: Deferred[Any]) -> None:
        self.waiting.pop(waiter, None)
        if not self.waiting and self.state is _State.LOADING:
            self._end()

    def _settle(self) -> None:
        """
        See what becomes of the avatar if nobody uses it.
        """
        if self.users or self.handing:
            return
        if self.state is _State.READY:
            self.cache.rest(self)
        else:
            self._end()

    def _condemn(self, act: Callable[[Session], object]) -> None:
        """
        Something below ends the avatar: whoever uses it has to go first.

        @param act: what ends a session that does.
        """
        if self in self.cache._idle:
            self.retire()
        elif self.state is _State.READY:
            self.state = _State.RETIRING
            self.cache._unready[self.avatarId] = self.cache._ready.pop(self.avatarId)
            for session in tuple(self.users):
                act(session)

    def _end(self) -> Deferred[None]:
        inner, self.inner = self.inner, None
        assert inner is not None
        self.state = _State.RETIRING
        inner.whenClosed().addCallback(self._retired)
        closed = inner.whenClosed()
        inner.above = None
        inner.logout()
        return closed

    def _retired(self, closed: None) -> None:
        if self.waiting and not self.cache._closing:
            self._load()
        else:
            self._forget(Failure(RealmClosed(avatarId=self.avatarId)))

    def _forget(self, reason: Failure) -> None:
        """
        Have no avatar any more, and tell those who still wait why.
        """
        self.state = _State.GONE
        del self.cache._unready[self.avatarId]
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(None)
        while self.waiting:
            waiter, _session = self._next()
            waiter.errback(_another(reason))


def _another(failure: Failure) -> Failure:
    """
    Answer a failure of its own for one more of those who wait, with an exception of its own, so
    that none of them adds to the traceback of the others.
    """
    value = failure.value
    if not isinstance(value, BaseException):  # one that came over the network
        twin = failure.__class__.__new__(failure.__class__)
        twin.__dict__.update(failure.__dict__)
        return twin
    try:
        value = copy(value)
    except Exception:  # not every exception can be
        return failure
    return Failure(value, failure.type, failure.tb)
