"""
The life of a cached avatar.

The avatar of an ID is that of an I{inner session} of the realm below, which is opened when the
avatar is needed and closed when the avatar must go.  Each ID has one machine:

  - I{gone}: the ID has no avatar;
  - I{loading}: the inner session is opening, and every login that wants the avatar waits for it;
  - I{ready}: the avatar is there, and some number of sessions use it; if none does it is I{idle};
  - I{retiring}: the inner session is closing, or is about to, because something below has ended it
    and the sessions that use it go first; a login that comes now waits until that is done, and the
    avatar is then loaded anew;
  - I{overdue}: that took too long, and nobody waits for it any more.  This machine stays with the
    old avatar until it is gone, and the ID has a new machine.

Since an ID has one machine, and a machine one inner session at a time, there are never two avatars
of an ID, unless one of them is overdue.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from .._realm.inner import (
    awaitedBy,
    closeInner,
    discardInner,
    endSession,
    expireAbove,
    innerSession,
    inTheWayOf,
    openInner,
    standOn,
)
from .._realm.session import LoginResult, Session
from .._tools.failures import another
from .._tools.typevars import A
from .._waiting.awaiting import LATER, settle, then
from .._waiting.slices import forEach
from .._waiting.timers import Timer
from ..errors import LoginWaitsForItself, RealmClosed
from .keeping import Keeper, State
from .waiters import Waiter


@attrs.define(eq=False)
class Life(Generic[A]):
    """
    What becomes of the avatar of one ID.

    @ivar keeper: what keeps it.
    @ivar key: whose avatar it is: an avatar ID, or what the cache's key made of it.
    @ivar inner: the session that the avatar belongs to; C{None} while there is none.
    @ivar users: the sessions that use the avatar.
    @ivar handing: whether it is being handed to those who waited for it.
    @ivar waiting: the logins that wait for it, in order of arrival.
    @ivar proven: whether a login has succeeded with it.
    @ivar reason: why the avatar must go, or the last session that used it has ended.
    @ivar _ends: the Deferreds of L{whenGone}.
    @ivar _deadline: the call that gives the avatar up.
    """

    keeper: Keeper[Life[A]]
    key: Hashable
    state: State = State.GONE
    inner: Session[A] | None = None
    users: dict[Session, None] = attrs.field(factory=dict)
    handing: bool = False
    waiting: dict[Waiter[A], Session] = attrs.field(factory=dict)
    proven: bool = False
    reason: BaseException | None = None
    _ends: list[Deferred[None]] = attrs.field(factory=list)
    _deadline: Timer | None = None

    _log = Logger()

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
        Add a session to the avatar's users, and return the avatar, which is ready.
        """
        assert self.inner is not None
        if self.unused:
            self.keeper.wake(self)
        self.users[session] = None
        self.keeper.lent[session] = self
        if self.inner.interface is not Interface:  # a foreign realm below has chosen it
            session.interface = self.inner.interface
        return self.inner.avatar

    def leave(self, session: Session) -> None:
        """
        Remove a session from the avatar's users.
        """
        self.proven = self.proven or session.loggedIn
        if self.state is State.READY:
            self.reason = session.reason
        del self.users[session]
        self._settle()

    def suits(self, session: Session) -> bool:
        """
        Return whether it is, or may become, an avatar for the interfaces that a session asks for: a
        realm of somebody else's below may have made it for only one.
        """
        inner = self.inner
        if inner is None or self.state is State.LOADING or inner.interface is Interface:
            return True
        return inner.interface in session.interfaces or inner.interfaces == session.interfaces

    def join(self, session: Session) -> Deferred[A]:
        """
        Return a Deferred of the avatar, which is not ready, and make sure that it is loaded.
        """
        waiter = Waiter(self)
        self.adopt(waiter, session)
        return waiter

    def adopt(self, waiter: Waiter[A], session: Session) -> None:
        """
        Let a login wait for this avatar, which is not ready.
        """
        waiter.life = self
        self.waiting[waiter] = session
        if self.state is State.GONE:
            self._load()
        else:
            self.allowTime()

    def retire(self, reason: BaseException | None = None) -> Deferred[None]:
        """
        Let go of the avatar, which is idle.

        @param reason: why; by default, why the last session that used it has ended.
        @return: a Deferred that fires with C{None} when it is gone, or given up.
        """
        self.reason = reason or self.reason
        gone = self.whenGone()
        self._withhold()
        self._end()
        return gone

    def evict(self, reason: Exception, *, discard: bool) -> Deferred[bool]:
        """
        Let go of the avatar, whatever its state: end the sessions that use it, and the logins that
        wait for it.

        @param reason: why the sessions end.
        @param discard: whether to do so without telling the avatar.
        @return: a Deferred that fires when it is gone, or given up, with whether there was one.
        """
        state, free = self.state, self.state is State.LOADING or self.unused
        gone = succeed(None) if state is State.GONE else self.whenGone()
        if discard and self.inner is not None:
            discardInner(self.inner)
        users, waiting = tuple(self.users), tuple(self.waiting.items())
        if state is State.LOADING or state is State.READY:
            self.reason = reason
            self._withhold()
        for waiter, session in waiting:
            endSession(session, reason)
            if waiter in self.waiting:  # the session does not wait yet, but will
                waiter.cancel()
        for session in users:
            endSession(session, reason)
        if free and (state is State.LOADING or state is State.READY):
            self._end()
        else:
            self.allowTime()
        return gone.addCallback(lambda gone: state is not State.GONE)

    def whenGone(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when the avatar is gone, or given up.
        """
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        self.allowTime()
        return end

    def allowTime(self) -> None:
        """
        Give the avatar up if it is retiring and takes too long.
        """
        if self.state is State.RETIRING and self._deadline is None:
            self._deadline = self.keeper.allow(self._giveUp)

    def stopTimer(self) -> None:
        """
        Stop timing how long it takes to be gone.
        """
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def hindrance(self) -> Deferred[object] | None:
        """
        Return what the logins that wait for the avatar are waiting for in turn, if that is known.
        """
        return None if self.inner is None else awaitedBy(self.inner)

    def abandon(self, waiter: Waiter[A]) -> None:
        """
        A login no longer waits for the avatar.
        """
        session = self.waiting.pop(waiter, None)
        if not self.waiting and self.state is State.LOADING:
            self.reason = None if session is None else session.reason
            self._end()

    def refuse(self, waiter: Waiter[A]) -> None:
        """
        A login waits for itself.
        """
        session = self.waiting.pop(waiter)
        waiter.errback(LoginWaitsForItself(avatarId=session.avatarId))
        self.abandon(waiter)

    def inTheWay(self) -> str:
        """
        Return a description, for the log and the audit, of what keeps the avatar from being gone.
        """
        assert self.inner is not None
        session = next(iter(self.users), self.inner)
        return f"{inTheWayOf(session)} ({type(self.inner.avatar).__qualname__})"

    def _load(self) -> None:
        self.state, self.proven, self.reason = State.LOADING, False, None
        self.keeper.withdraw(self)
        first = next(iter(self.waiting.values()))
        inner = self.inner = innerSession(self.keeper.below, first, client=False, late=self._late)

        early = settle(openInner(inner), partial(self._arrived, inner))
        if early is not LATER:
            self._arrived(inner, early)
        del early  # which this frame and the traceback of a failure would keep alive together

    def _arrived(self, inner: Session[A], result: LoginResult | Failure) -> None:
        if inner is self.inner and self.state is State.LOADING:  # otherwise it was given up
            self._loaded(result)

    def _loaded(self, result: LoginResult | Failure) -> None:
        if isinstance(result, Failure):
            self._explain(result)
            self._forget(result)
            return
        assert self.inner is not None
        standOn(self.inner, self._condemn)
        self.state = State.READY
        self.keeper.file(self)
        self.handing = True
        then(forEach(self.waiting, self._hand, self.keeper.reactor), self._handed)

    def _hand(self, waiter: Waiter[A]) -> None:
        """
        Hand the avatar to a login, unless those who got it before have changed that.
        """
        if self.state is not State.READY or waiter not in self.waiting:
            return
        session = self.waiting.pop(waiter)
        if self.suits(session):
            waiter.callback(self.use(session))
        else:
            self.keeper.reroute(waiter, session)

    def _handed(self, ignored: None) -> None:
        self.handing = False
        self._settle()

    def _explain(self, failure: Failure) -> None:
        """
        Log the likely reason if a realm of somebody else's has failed because it got no mind.
        """
        missed = any(session.mind is not None for session in self.waiting.values())
        if self.keeper.apart and missed and failure.check(AttributeError, TypeError):
            self._log.error(
                "{below} was asked for the avatar of {avatarId!r} with the mind None, as all that "
                "is below an AvatarCache, and failed: {error!r}; if it needs minds, do not put a "
                "cache around it",
                below=repr(self.keeper.below),
                avatarId=self.key,
                error=failure.value,
            )

    def _settle(self) -> None:
        """
        Let the avatar rest, or end it, if nobody uses it.
        """
        if not self.unused:
            return
        if self.state is State.READY:
            self.keeper.rest(self)
        else:
            self._end()

    def _late(self, reason: Exception) -> None:
        """
        Loading takes too long: the logins that wait for it fail, and those that come now wait until
        the avatar is gone.
        """
        if self.state is not State.LOADING:
            return
        self.reason = reason
        self._withhold()
        failing = forEach(
            tuple(self.waiting.values()), partial(expireAbove, reason), self.keeper.reactor
        )
        then(failing, lambda ignored: self._end())

    def _condemn(self, reason: BaseException | None, act: Callable[[Session], object]) -> None:
        """
        Something below ends the avatar: the sessions that use it must go first.

        @param reason: why.
        @param act: ends such a session.
        """
        if self.state is not State.READY:
            return
        if self.unused:
            self.retire(reason)
            return
        self.reason = reason
        self._withhold()
        forEach(self.users, act, self.keeper.reactor)

    def _withhold(self) -> None:
        """
        Let nobody have the avatar any more.
        """
        if self.state is State.READY and self.unused:
            self.keeper.wake(self)
        self.keeper.withdraw(self)
        self.state = State.RETIRING

    def _end(self) -> None:
        """
        Close the inner session, which nobody uses.
        """
        assert self.inner is not None
        if self.state is not State.OVERDUE:
            self.state = State.RETIRING
        closeInner(self.inner, self.reason).addCallback(self._retired)
        self.allowTime()

    def _giveUp(self) -> None:
        self._log.error(
            "the avatar of {avatarId!r} is given up: it was to retire, and {hook} did not finish "
            "in {seconds} seconds",
            avatarId=self.key,
            hook=self.inTheWay(),
            seconds=self.keeper.retireTimeout,
        )
        self._deadline = None
        self.state = State.OVERDUE
        heir = self.keeper.giveUp(self)
        heir.waiting, self.waiting = self.waiting, {}
        heir._ends, self._ends = self._ends, []
        for waiter in heir.waiting:
            waiter.life = heir
        heir._over()

    def _retired(self, closed: None) -> None:
        self.stopTimer()
        if self.state is State.OVERDUE:
            self.keeper.forget(self)
        else:
            self._over()

    def _over(self) -> None:
        """
        The avatar is gone: tell those who asked, and load it anew if anybody wants it.
        """
        self.state, self.inner = State.GONE, None
        self._tellEnds()
        if self.state is not State.GONE:  # somebody who was told has logged in
            return
        if self.waiting and not self.keeper.closing:
            self._load()
        else:
            self._forget(None)

    def _forget(self, failure: Failure | None) -> None:
        """
        Let go of this life, and fail the logins that still wait.

        @param failure: why; C{None}: because no more avatars are loaded.
        """
        asked = () if self.inner is None else self.inner.interfaces
        self.state, self.inner = State.GONE, None
        self.keeper.drop(self)
        self._tellEnds()
        if not self.waiting:
            return
        self.keeper.dismiss(self)
        failing = forEach(self.waiting, partial(self._fail, failure, asked), self.keeper.reactor)
        then(failing, lambda ignored: self.keeper.dismissed(self))

    def _fail(
        self, failure: Failure | None, asked: tuple[type[Interface], ...], waiter: Waiter[A]
    ) -> None:
        """
        Fail a login that waits, unless it has given up.

        @param asked: the interfaces that the failure is about.
        """
        session = self.waiting.pop(waiter, None)
        if session is None:
            return
        if failure is None:
            waiter.errback(RealmClosed(avatarId=session.avatarId))
        elif self.keeper.apart and session.interfaces != asked:
            self.keeper.reroute(waiter, session)
        else:
            waiter.errback(another(failure))

    def _tellEnds(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(None)
