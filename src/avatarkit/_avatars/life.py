"""
The life of a cached avatar.

The avatar of an ID is that of an I{inner session} of the realm below, which is opened when the
avatar is needed and closed when it is to go.  What happens to it is one machine per ID:

  - I{loading}: the inner session is opening, and every login that wants the avatar waits for it;
  - I{ready}: the avatar is there, and so many sessions use it; if none does it is I{idle};
  - I{retiring}: the inner session is closing, or about to, because something below has ended it and
    the sessions that use it go first; a login that meets it waits until that is done, and the
    avatar is then loaded anew.

An ID that is in none of these has no avatar.  Since an ID has one machine, and a machine one inner
session at a time, there are never two avatars of an ID.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from .._realm.session import Session
from .._realm.sources import innerSession
from .._tools.awaiting import LATER, settle
from ..errors import RealmClosed

if TYPE_CHECKING:
    from .cache import AvatarCache


class State(Enum):
    GONE = "gone"
    LOADING = "loading"
    READY = "ready"
    RETIRING = "retiring"


@attrs.define(eq=False)
class Life:
    """
    What becomes of the avatar of one ID; the cache's books are kept from here.

    @ivar inner: the session that the avatar is of; C{None} while it is retiring.
    @ivar users: the sessions that use the avatar.
    @ivar handing: whether it is just being handed to those who waited for it.
    @ivar waiting: the logins that wait for it, first come first.
    @ivar proven: whether a login succeeded with it.
    @ivar timer: the call that will retire it, while it is idle.
    """

    cache: AvatarCache
    avatarId: Hashable
    state: State = State.GONE
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
            self.cache._wake(self)
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
        if self.state is State.GONE:
            self._load()
        return waiter

    def retire(self) -> Deferred[None]:
        """
        Let go of the avatar, which is idle.

        @return: a Deferred that fires with C{None} when it is gone.
        """
        self.cache._wake(self)
        self._withdraw()
        return self._end()

    def whenGone(self) -> Deferred[None]:
        """
        Answer a Deferred that fires with C{None} when the ID has no avatar any more.
        """
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        return end

    def _load(self) -> None:
        self.state, self.proven = State.LOADING, False
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
        self.state = State.READY
        self.cache._ready[self.avatarId] = self.cache._unready.pop(self.avatarId)
        self.handing = True
        while self.waiting and self.state is State.READY:  # those who are told may change both
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
        if not self.waiting and self.state is State.LOADING:
            self._end()

    def _settle(self) -> None:
        """
        See what becomes of the avatar if nobody uses it.
        """
        if self.users or self.handing:
            return
        if self.state is State.READY:
            self.cache._rest(self)
        else:
            self._end()

    def _condemn(self, act: Callable[[Session], object]) -> None:
        """
        Something below ends the avatar: whoever uses it has to go first.

        @param act: what ends a session that does.
        """
        if self in self.cache._idle:
            self.retire()
        elif self.state is State.READY:
            self.state = State.RETIRING
            self._withdraw()
            for session in tuple(self.users):
                act(session)

    def _withdraw(self) -> None:
        """
        Have the avatar given to nobody any more.
        """
        self.cache._unready[self.avatarId] = self.cache._ready.pop(self.avatarId)

    def _end(self) -> Deferred[None]:
        inner, self.inner = self.inner, None
        assert inner is not None
        self.state = State.RETIRING
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
        self.state = State.GONE
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
    with suppress(Exception):  # not every exception can be copied
        value = copy(value)
    return Failure(value, failure.type, failure.tb)
