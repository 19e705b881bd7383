"""
One login, from the moment the realm is asked until its logout is done: an undo stack.

A realm's I{plan} is the order of all its hooks, each a pair of something to do and something to
undo.  A session is a cursor in that plan.  Opening moves it up, one hook at a time, to the top;
closing moves it down to the bottom, undoing what it passes.  A login that fails half way turns
round where it is.  There is no second way in and no second way out, so these rules are kept here,
once, for every block:

  - I{Last in, first out}: there is one cursor, and it moves by one.
  - I{Once}: the cursor passes a hook only when it returned, and passes it downward only once;
    a session that is going down never turns up again.
  - I{A synchronous stack answers synchronously}: the cursor moves on at once, unless a hook
    really waits; then the session goes on from where it was when that hook is done.
  - I{A failure stays where it happened}: what fails on the way down is logged, and the cursor
    moves on.
  - I{A client that leaves during the login leaves nothing behind}: Twisted's protocols do not say
    so, so the session watches its mind while it waits on its way up, and turns round when the mind
    is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from .._clients.minds import closeConnection, mindOf
from .._tools.adapting import adapted
from .._tools.awaiting import LATER, awaited, settle
from .._tools.checks import checkReactor, checkSeconds
from ..errors import LoginAbandoned, UnsupportedInterface

if TYPE_CHECKING:
    from .realm import Realm


#: What a realm answers to a login: the interface, the aspect, and the logout.
Answer: TypeAlias = tuple[type[Interface], object, Callable[[], None]]

#: What is done when a session passes on its way up, and what undoes it on its way down.
Hook: TypeAlias = tuple[Callable[["Session"], object], Callable[["Session"], object]]


class State(Enum):
    """
    Where a session is in its life; it only ever moves forward.
    """

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


OPENING, OPEN, CLOSING, CLOSED = State


def nameOf(hook: Callable[..., object]) -> str:
    """
    Answer what a hook is called in the log.
    """
    return getattr(hook, "__qualname__", repr(hook))


@attrs.define(eq=False, repr=False)
class Session:
    """
    One login.

    Sessions are made by a realm and compare by identity: two logins of one user, even over one
    connection, are two sessions.

    @ivar realm: the realm that was asked.
    @ivar avatarId: who logs in, as the credentials checker said.
    @ivar mind: the client, or C{None}.
    @ivar interfaces: the interfaces that the login asked for.
    @ivar interface: the one of them that the avatar is seen through; C{None} until it is chosen.
    @ivar avatar: the avatar; C{None} until the session has it.
    @ivar aspect: the avatar, seen through C{interface}.
    @ivar loggedIn: whether the login has succeeded; stays true after the logout.
    @ivar above: if this is an inner session, what calls something with each session that stands
        upon it.  They are ended first, and end this one when they have gone.
    """

    realm: Realm
    avatarId: Hashable
    mind: Any
    interfaces: tuple[type[Interface], ...]
    interface: type[Interface] | None = None
    avatar: Any = None
    aspect: Any = None
    loggedIn: bool = False
    above: Callable[[Callable[[Session], object]], None] | None = None
    _state: State = OPENING
    _depth: int = 0
    _waiting: Deferred[Any] | None = None
    _login: Deferred[Answer] | None = None
    _reason: Failure | None = None
    _watched: Any = None
    _watchers: list[Deferred[None]] | None = None

    _log = Logger()

    def __repr__(self) -> str:
        seenAs = "" if self.interface is None else f" as {self.interface.__name__}"
        return f"<Session of {self.avatarId!r}{seenAs}, {self._state.value}>"

    def open(self) -> Answer | Deferred[Answer]:
        """
        Log in; called once, by the realm.

        @return: C{(interface, aspect, logout)}, or a Deferred of it if something waits.
            Cancelling the Deferred ends the session.
        @raise Exception: what the hook that failed raised, when everything is undone.
        """
        self._ascend()
        if self._state is OPEN:
            return self._answer()
        if self._state is CLOSED:
            return self._fail(self._takeReason())
        login = self._login = Deferred(self._cancelled)
        if self._state is OPENING:
            try:
                self._watch()
            except Exception:  # somebody's adapter
                self._abandon(Failure())
        return login

    def logout(self) -> None:
        """
        End the session, if it has not ended yet; harmless whenever it is called.

        A login that is still going on fails with L{LoginAbandoned}.
        """
        self.end(None)

    def end(self, reason: Exception | None) -> None:
        """
        End the session as L{logout} does, and say what a login that is still going on fails with.
        """
        if self.above is not None:
            self.above(Session.logout)
        elif self._state is OPEN:
            self._state = CLOSING
            self._descend()
        elif self._state is OPENING:
            self._abandon(self._abandonment() if reason is None else Failure(reason))

    def disconnect(
        self, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        End the session, and close the client's connection: politely, and if it is still there
        after some time, for good.

        A client whose connection cannot be closed is logged out all the same.  An inner session,
        below an L{AvatarCache<avatarkit.AvatarCache>} say, ends when those have been disconnected
        that stand upon it.

        @param timeout: how many seconds the client has to take what has been sent to it.
        @param reactor: what measures the time, the global reactor if not given.
        @return: a Deferred that fires with C{None} when the session is closed.
        """
        checkSeconds("a timeout", timeout)
        checkReactor(reactor)
        closed = self.whenClosed()
        if self.above is not None:
            self.above(lambda each: each.disconnect(timeout=timeout, reactor=reactor))
            return closed
        self.logout()
        try:
            closeConnection(self.mind, timeout, reactor)
        except Exception:  # somebody's adapter
            self._log.failure("a mind of {avatarId!r} cannot be closed", avatarId=self.avatarId)
        return closed

    def whenClosed(self) -> Deferred[None]:
        """
        Answer a new Deferred that fires with C{None} when the last undo is done.
        """
        if self._state is CLOSED:
            return succeed(None)
        if self._watchers is None:
            self._watchers = []
        watcher: Deferred[None] = Deferred()
        self._watchers.append(watcher)
        return watcher

    def see(self) -> None:
        """
        Choose the first interface asked for that fits the avatar, as
        L{twisted.words.service.WordsRealm} does; called by the realm.

        A source that has chosen one already is respected.

        @raise UnsupportedInterface: if none does.
        """
        if self.interface is not None:
            self.aspect = self.avatar
            return
        for interface in self.interfaces:
            aspect = adapted(interface, self.avatar)
            if aspect is not None:
                self.interface, self.aspect = interface, aspect
                return
        names = " or ".join(each.__name__ for each in self.interfaces)
        raise UnsupportedInterface(
            f"the avatar of {self.avatarId!r}, a {type(self.avatar).__qualname__}, "
            f"does not provide {names}",
            avatarId=self.avatarId,
            interfaces=self.interfaces,
        )

    @property
    def ended(self) -> bool:
        """
        Whether the session is closing, or closed.
        """
        return self._state is not OPEN and self._state is not OPENING

    def passed(self, place: int) -> bool:
        """
        Answer whether the hook at a place of the plan is done and not undone.
        """
        return self._depth > place

    def isAt(self, place: int) -> bool:
        """
        Answer whether the session is, on its way up, in the hook at a place of the plan.
        """
        inside = self._state is OPENING or self._waiting is not None
        return inside and self._depth == place

    @property
    def stage(self) -> str:
        """
        The name of the hook that a session waits for.
        """
        do, undo = self.realm.plan[self._depth]
        return nameOf(undo if self._waiting is None else do)

    def _ascend(self) -> None:
        for do, _undo in self.realm.plan[self._depth :]:
            if self._state is not OPENING:
                break
            try:
                answer = do(self)
                waiting = None if answer is None else awaited(answer)
            except BaseException:
                self._turn(Failure())
                break
            if waiting is None:
                self._depth += 1
            elif not self._wait(waiting):
                return
        if self._watched is not None and self._watched.disconnected:
            self._turn(self._abandonment())  # it died, and has not come to say so
        if self._state is OPENING:
            self._opened()
        else:
            self._descend()

    def _wait(self, waiting: Deferred[Any]) -> bool:
        """
        Wait for a hook on the way up; answer whether it is done already.
        """
        self._waiting = waiting
        result = settle(waiting, self._resume)
        if result is not LATER:
            self._done(result)
            return True
        if self._state is not OPENING:  # the hook ended its own session, and waits all the same
            self._cancel(waiting)
        return False

    def _resume(self, result: object) -> None:
        self._done(result)
        self._ascend()

    def _done(self, result: object) -> None:
        self._waiting = None
        if isinstance(result, Failure):
            self._turn(result)
        else:
            self._depth += 1

    def _turn(self, reason: Failure) -> None:
        """
        Go no further up.  The first reason is the one that the login fails with.
        """
        self._state = CLOSING
        self._unwatch()
        if self._reason is None:
            self._reason = reason

    def _abandon(self, reason: Failure) -> None:
        """
        Go no further up, nor wait for what is waited for.
        """
        self._turn(reason)
        if self._waiting is not None:
            self._cancel(self._waiting)

    def _cancel(self, waiting: Deferred[Any]) -> None:
        try:
            waiting.cancel()
        except Exception:
            self._log.failure(
                "{hook} of a session of {avatarId!r} could not be cancelled",
                hook=self.stage,
                avatarId=self.avatarId,
            )
            if not waiting.called:
                waiting.errback(CancelledError())

    def _abandonment(self) -> Failure:
        return Failure(LoginAbandoned(avatarId=self.avatarId))

    def _watch(self) -> None:
        """
        Wait for the client to go, for as long as the login waits.
        """
        mind = mindOf(self.mind)
        if mind is None:
            return
        if mind.disconnected:
            self.logout()
        else:
            mind.notifyOnDisconnect(self._mindGone)
            self._watched = mind

    def _unwatch(self) -> None:
        mind, self._watched = self._watched, None
        try:
            if mind is not None and not mind.disconnected:
                mind.dontNotifyOnDisconnect(self._mindGone)
        except Exception:  # somebody's adapter
            self._log.failure("a mind of {avatarId!r} is still watched", avatarId=self.avatarId)

    def _mindGone(self, mind: object) -> None:
        self.logout()

    def _descend(self, failed: object = None) -> None:
        """
        Undo what is left to undo.

        @param failed: the L{Failure} of the undo that was waited for last, if it failed.
        """
        plan = self.realm.plan
        while True:
            if isinstance(failed, Failure):
                self._undoFailed(failed, plan[self._depth][1])
            if not self._depth:
                break
            self._depth -= 1
            try:
                answer = plan[self._depth][1](self)
                waiting = None if answer is None else awaited(answer)
                failed = None if waiting is None else settle(waiting, self._descend)
            except BaseException:
                failed = Failure()
            if failed is LATER:
                return
        self._closed()

    def _undoFailed(self, failure: Failure, undo: Callable[[Session], object]) -> None:
        self._log.failure(
            "{hook} failed while a session of {avatarId!r} was closing",
            failure=failure,
            hook=nameOf(undo),
            avatarId=self.avatarId,
        )

    def _answer(self) -> Answer:
        assert self.interface is not None
        return self.interface, self.aspect, self.logout

    def _fail(self, reason: Failure) -> Deferred[Answer]:
        """
        Raise why the login failed; answer it, if it came over the network and cannot be raised.
        """
        if not isinstance(reason.value, BaseException):
            return fail(reason)
        try:
            raise reason.value.with_traceback(reason.tb)
        finally:
            del reason  # which this frame and the traceback would keep alive together

    def _opened(self) -> None:
        self._state = OPEN
        self.loggedIn = True
        self._unwatch()
        login, self._login = self._login, None
        if login is not None:
            login.callback(self._answer())

    def _closed(self) -> None:
        self._state = CLOSED
        login, self._login = self._login, None
        if login is not None:
            login.errback(self._takeReason())
        watchers, self._watchers = self._watchers or [], None
        for watcher in watchers:
            watcher.callback(None)

    def _takeReason(self) -> Failure:
        reason, self._reason = self._reason, None
        assert reason is not None
        return reason

    def _cancelled(self, login: Deferred[Answer]) -> None:
        self._login = None
        self.end(CancelledError())
        self._reason = None
