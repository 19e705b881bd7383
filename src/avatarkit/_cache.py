"""
One avatar per avatar ID: the life of a cached avatar.

The avatar of an ID is that of an I{inner session} of the realm below, which the cache opens when
it needs the avatar and closes when the avatar is to go.  What happens to it is one machine per ID:

  - I{loading}: the inner session is opening, and every login that wants the avatar waits for it;
  - I{ready}: the avatar is there, and so many sessions use it;
  - I{retiring}: the inner session is closing; a login that meets it waits until that is done, and
    the avatar is then loaded anew.

An ID that is in none of these has no avatar.  Since an ID has one machine, and a machine one inner
session at a time, there are never two avatars of an ID.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from enum import Enum
from typing import Any

import attrs
from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ._awaiting import LATER, settle
from ._realm import Realm, Stackable, Target
from ._session import Session
from ._sources import InnerSessions, innerSession
from .errors import RealmClosed
from .interfaces import IAvatarSource

__all__ = ["AvatarCache"]


@implementer(IAvatarSource)
@attrs.define(eq=False, repr=False)
class AvatarCache(Stackable, Mapping[Hashable, Any]):
    """
    Keeps one avatar per avatar ID, for all sessions of that ID, and for ever after.

    It is a mapping from avatar ID to avatar, of the avatars that are ready; it cannot be written.

    The realm below is asked once, with no mind, however many logins want the avatar at a time.  If
    it fails, all of them fail, and the next login asks again.  An avatar that no login succeeded
    with is not kept.  Anonymous logins never share an avatar, and theirs are not kept.

    A cache wraps one target; to share its avatars between several realms, stack blocks on the
    realm that it answered.
    """

    _below: InnerSessions | None = attrs.field(default=None, init=False)
    _ready: dict[Hashable, _Life] = attrs.field(factory=dict, init=False)
    _unready: dict[Hashable, _Life] = attrs.field(factory=dict, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __call__(self, target: Target) -> Realm:
        """
        Answer a realm whose sessions share the avatars of the target.

        @param target: see L{Realm}.
        @raise TypeError: if the cache has a target already, or if the target has something in it
            that is useless without minds.
        """
        if self._below is not None:
            raise TypeError(f"{self!r} has a target already: make another cache for another one")
        realm = Realm(target)
        if realm.needsMinds:
            raise TypeError(
                f"{realm!r} needs minds, and below a cache there are none: stack it above the cache"
            )
        self._below = InnerSessions(realm)
        return Realm(self)

    def __repr__(self) -> str:
        return "AvatarCache()" if self._below is None else f"AvatarCache({self._below.realm!r})"

    def __getitem__(self, avatarId: Hashable) -> Any:
        return self._ready[avatarId].avatar

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._ready)

    def __len__(self) -> int:
        return len(self._ready)

    def asSource(self) -> AvatarCache:
        """
        Answer this, if it has got a target.
        """
        return self if self._below is not None else super().asSource()

    def acquire(self, session: Session) -> object:
        """
        Answer the avatar of the session's ID, or a Deferred of it.

        @raise RealmClosed: after L{close}.
        """
        if self._closing:
            raise RealmClosed(avatarId=session.avatarId)
        if session.avatarId == ANONYMOUS:
            return self._wrapped.acquire(session)
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
            return self._wrapped.release(session)
        self._ready[session.avatarId].leave(session)
        return None

    def close(self) -> Deferred[None]:
        """
        Retire all avatars, those in use as soon as they are not, and load none any more.

        @return: a Deferred that fires with C{None} when all of them are gone.
        """
        self._closing = True
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        lives = [*self._ready.values(), *self._unready.values()]
        ends = [life.whenGone() for life in lives]
        for life in lives:
            life.retireIfIdle()
        for end in ends:
            await end
        await self._wrapped.realm.close()

    @property
    def _wrapped(self) -> InnerSessions:
        assert self._below is not None
        return self._below


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
    @ivar users: how many sessions use the avatar.
    @ivar waiting: the logins that wait for it, first come first.
    @ivar proven: whether a login succeeded with it.
    """

    cache: AvatarCache
    avatarId: Hashable
    state: _State = _State.GONE
    inner: Session | None = None
    users: int = 0
    waiting: dict[Deferred[Any], Session] = attrs.field(factory=dict)
    proven: bool = False
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
        self.users += 1
        if self.inner.interface in session.interfaces:  # a foreign realm below has chosen it
            session.interface = self.inner.interface
        return self.inner.avatar

    def leave(self, session: Session) -> None:
        """
        Have one session less use the avatar.
        """
        self.proven = self.proven or session.loggedIn
        self._release()

    def join(self, session: Session) -> Deferred[Any]:
        """
        Answer a Deferred of the avatar, which is not ready; see to it that it gets loaded.
        """
        waiter: Deferred[Any] = Deferred(self._abandon)
        self.waiting[waiter] = session
        if self.state is _State.GONE:
            self._load()
        return waiter

    def retireIfIdle(self) -> None:
        """
        Retire the avatar if it is ready and nobody uses it.
        """
        if self.state is _State.READY and not self.users:
            self._retire()

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
        inner = self.inner = innerSession(self.cache._wrapped.realm, first, mind=None)

        def arrived(result: object) -> None:
            if inner is self.inner:  # otherwise it was given up meanwhile
                self._loaded(result)

        result = settle(maybeDeferred(inner.open), arrived)
        if result is not LATER:
            arrived(result)

    def _loaded(self, result: object) -> None:
        waiting, self.waiting = self.waiting, {}
        if isinstance(result, Failure):
            self._forget()
        else:
            self.state = _State.READY
            self.cache._ready[self.avatarId] = self.cache._unready.pop(self.avatarId)
            self.users = 1  # this method, so that the avatar stays while it is handed round
        for waiter, session in waiting.items():
            if waiter.called:  # cancelled by one that was told before it
                continue
            if isinstance(result, Failure):
                waiter.errback(_another(result))
            else:
                waiter.callback(self.use(session))
        if self.state is _State.READY:
            self._release()

    def _abandon(self, waiter: Deferred[Any]) -> None:
        left = self.waiting.pop(waiter, None)
        if left is not None and not self.waiting and self.state is _State.LOADING:
            self._retire()

    def _release(self) -> None:
        self.users -= 1
        if self.cache._closing or not self.proven:
            self.retireIfIdle()

    def _retire(self) -> None:
        inner, self.inner = self.inner, None
        assert inner is not None
        self.state = _State.RETIRING
        self.cache._ready.pop(self.avatarId, None)
        self.cache._unready[self.avatarId] = self
        inner.whenClosed().addCallback(self._retired)
        inner.logout()

    def _retired(self, closed: None) -> None:
        if self.waiting:
            self._load()
        else:
            self._forget()

    def _forget(self) -> None:
        self.state = _State.GONE
        del self.cache._unready[self.avatarId]
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(None)


def _another(failure: Failure) -> Failure:
    """
    Answer a failure of its own for one more of those who wait.
    """
    if not isinstance(failure.value, BaseException):  # one that came over the network
        return failure
    return Failure(failure.value, failure.type, failure.getTracebackObject())
