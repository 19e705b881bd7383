"""
The life of a cached avatar.

The avatar of an ID is that of an I{inner session} of the realm below, which is opened when the
avatar is needed and closed when the avatar must go.  Each ID has one machine:

  - I{gone}: the ID has no avatar;
  - I{loading}: the inner session is opening, and every login that wants the avatar waits for it;
  - I{ready}: the avatar is there, and some number of sessions use it; if none does it is I{idle};
  - I{retiring}: the inner session is closing, or is about to, because something below has ended it
    and the sessions that use it go first; a login that comes now waits until that is done, and the
    avatar is then loaded anew.

Since an ID has one machine, and a machine one inner session at a time, there are never two avatars
of an ID.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from copy import copy
from enum import Enum
from functools import partial
from typing import Generic, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._realm.inner import closeInner, innerSession, openInner, standOn
from .._realm.realm import Realm
from .._realm.session import LoginResult, Session
from .._tools.awaiting import LATER, settle
from .._tools.typevars import A
from ..errors import RealmClosed


class State(Enum):
    """
    Where the avatar of an ID is in its life.
    """

    GONE = "gone"
    LOADING = "loading"
    READY = "ready"
    RETIRING = "retiring"


class Keeper(Protocol[A]):
    """
    What keeps avatars, as far as each of them needs to know: it is told what becomes of them.
    """

    @property
    def below(self) -> Realm[A]:
        """
        The realm that avatars come from.
        """

    @property
    def closing(self) -> bool:
        """
        Whether no more avatars are to be loaded.
        """

    def file(self, life: Life[A]) -> None:
        """
        The avatar is ready.
        """

    def withdraw(self, life: Life[A]) -> None:
        """
        The avatar is loading, or retiring: nobody may have it now.
        """

    def drop(self, life: Life[A]) -> None:
        """
        The avatar, which was withdrawn, is gone.
        """

    def rest(self, life: Life[A]) -> None:
        """
        Nobody uses the avatar any more: retire it now, or later.
        """

    def wake(self, life: Life[A]) -> None:
        """
        The avatar, which rested, is used again, or retires.
        """


@attrs.define(eq=False)
class Life(Generic[A]):
    """
    What becomes of the avatar of one ID.

    @ivar keeper: what keeps it.
    @ivar inner: the session that the avatar belongs to; C{None} while it is retiring.
    @ivar users: the sessions that use the avatar.
    @ivar handing: whether it is just being handed to those who waited for it.
    @ivar waiting: the logins that wait for it, first come first.
    @ivar proven: whether a login has succeeded with it.
    """

    keeper: Keeper[A]
    avatarId: Hashable
    state: State = State.GONE
    inner: Session[A] | None = None
    users: dict[Session, None] = attrs.field(factory=dict)
    handing: bool = False
    waiting: dict[Deferred[A], Session] = attrs.field(factory=dict)
    proven: bool = False
    _ends: list[Deferred[None]] = attrs.field(factory=list)

    @property
    def avatar(self) -> A:
        """
        The avatar, if it is ready.
        """
        assert self.inner is not None
        return self.inner.avatar

    @property
    def unused(self) -> bool:
        """
        Whether nobody uses it, nor is about to.
        """
        return not (self.users or self.handing)

    def use(self, session: Session) -> A:
        """
        Have one more session use the avatar, which is ready, and return it.
        """
        assert self.inner is not None
        if self.unused:
            self.keeper.wake(self)
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

    def join(self, session: Session) -> Deferred[A]:
        """
        Return a Deferred of the avatar, which is not ready; see to it that it is loaded.
        """
        waiter: Deferred[A] = Deferred(self._abandon)
        self.waiting[waiter] = session
        if self.state is State.GONE:
            self._load()
        return waiter

    def retire(self) -> Deferred[None]:
        """
        Let go of the avatar, which is idle.

        @return: a Deferred that fires with C{None} when it is gone.
        """
        self.keeper.wake(self)
        self.keeper.withdraw(self)
        return self._end()

    def whenGone(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when the ID has no avatar any more.
        """
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        return end

    def _load(self) -> None:
        self.state, self.proven = State.LOADING, False
        self.keeper.withdraw(self)
        first = next(iter(self.waiting.values()))
        inner = self.inner = innerSession(self.keeper.below, first, mind=None)

        early = settle(openInner(inner), partial(self._arrived, inner))
        if early is not LATER:
            self._arrived(inner, early)
        del early  # which this frame and the traceback of a failure would keep alive together

    def _arrived(self, inner: Session[A], result: LoginResult | Failure) -> None:
        if inner is self.inner:  # otherwise it was given up meanwhile
            self._loaded(result)

    def _loaded(self, result: LoginResult | Failure) -> None:
        if isinstance(result, Failure):
            self._forget(result)
            return
        assert self.inner is not None
        standOn(self.inner, self._condemn)
        self.state = State.READY
        self.keeper.file(self)
        self.handing = True
        while self.waiting and self.state is State.READY:  # those who are told may change both
            waiter, session = self._next()
            waiter.callback(self.use(session))
        self.handing = False
        self._settle()

    def _next(self) -> tuple[Deferred[A], Session]:
        """
        Return the login that has waited longest, and no longer have it wait.
        """
        waiter = next(iter(self.waiting))
        return waiter, self.waiting.pop(waiter)

    def _abandon(self, waiter: Deferred[A]) -> None:
        self.waiting.pop(waiter, None)
        if not self.waiting and self.state is State.LOADING:
            self._end()

    def _settle(self) -> None:
        """
        See what becomes of the avatar if nobody uses it.
        """
        if not self.unused:
            return
        if self.state is State.READY:
            self.keeper.rest(self)
        else:
            self._end()

    def _condemn(self, act: Callable[[Session], object]) -> None:
        """
        Something below ends the avatar: the sessions that use it must go first.

        @param act: ends such a session.
        """
        if self.state is not State.READY:
            return
        if self.unused:
            self.retire()
            return
        self.state = State.RETIRING
        self.keeper.withdraw(self)
        for session in tuple(self.users):
            act(session)

    def _end(self) -> Deferred[None]:
        inner, self.inner = self.inner, None
        assert inner is not None
        self.state = State.RETIRING
        inner.whenClosed().addCallback(self._retired)
        return closeInner(inner)

    def _retired(self, closed: None) -> None:
        if self.waiting and not self.keeper.closing:
            self._load()
        else:
            self._forget(Failure(RealmClosed(avatarId=self.avatarId)))

    def _forget(self, reason: Failure) -> None:
        """
        Have no avatar any more, and tell those who still wait why.
        """
        self.state = State.GONE
        self.keeper.drop(self)
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(None)
        while self.waiting:
            waiter, _session = self._next()
            waiter.errback(_another(reason))


def _another(failure: Failure) -> Failure:
    """
    Return a copy of a failure for one more of those who wait, with an exception of its own, so that
    none of them adds to the traceback of the others.

    A failure that came over the network has no exception, only its text, and no constructor that
    would take that: such a one is made anew from its attributes.  C{copy.copy} would go through
    C{Failure.__reduce__}, which drops what is not text.
    """
    value = failure.value
    if not isinstance(value, BaseException):
        twin = failure.__class__.__new__(failure.__class__)
        twin.__dict__.update(failure.__dict__)
        return twin
    with suppress(Exception):  # not every exception can be copied
        value = copy(value)
    return Failure(value, failure.type, failure.tb)
