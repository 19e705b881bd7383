"""
Whose call it is.

What a client calls runs with its call as the current one, also after it has waited: the call is in
a C{ContextVar}, which C{await} and C{inlineCallbacks} keep.  Calls that wait are known to their
session, so that they can be cancelled when it ends, except the one that ends it.  A call that runs
at that moment, because what has ended the session was set off by it and is not its doing, cannot be
cancelled before it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import Error

from .._tools.failures import twin
from .._tools.saying import say
from .._waiting.awaiting import cancel
from ..errors import SessionEnded

# Any in this module: what methods of avatars return, and what goes to the wire.


class Held(Protocol):
    """
    A session, as far as what its client holds needs to know it.
    """

    aspect: Any
    reason: BaseException | None

    @property
    def ended(self) -> bool:
        """
        Whether it has ended.
        """

    @property
    def _isClosed(self) -> bool:
        """
        Whether the last of it is undone.
        """

    @property
    def _isWatched(self) -> bool:
        """
        Whether it ends by itself when its client leaves.
        """

    @property
    def _isLimited(self) -> bool:
        """
        Whether somebody wants to know of each call.
        """

    @property
    def _calls(self) -> dict[Call, None]:
        """
        The calls of its client that are suspended.
        """

    def _found(self, broker: Any) -> None: ...

    def _called(self, message: str) -> None: ...

    def _unsent(self, failure: Failure) -> Failure: ...

    def _end(self, reason: BaseException | None) -> None: ...


@attrs.define(eq=False)
class Call:
    """
    A call of a client, or something else that runs for its session.

    @ivar session: whose call it is.
    @ivar result: what the client waits for, if it has to wait.
    @ivar isCancelled: whether it is cancelled because the session has ended.
    @ivar isOver: whether the method has returned, and what it returned is there; also if it is not
        a call.
    @ivar isEnding: whether it has ended its session itself, and so goes on.
    @ivar isRunning: whether its coroutine runs, and does not wait.
    @ivar isDue: whether it is to be cancelled as soon as it waits.
    @ivar within: the call of another session that has ended this one, which is being undone.
    """

    session: Held
    result: Deferred[Any] | None = None
    isCancelled: bool = False
    isOver: bool = False
    isEnding: bool = False
    isRunning: bool = False
    isDue: bool = False
    within: Call | None = None


#: What is running: a call, a request, or what undoes something when a session ends.
CURRENT: ContextVar[Call | None] = ContextVar("avatarkit.currentSession", default=None)

_log = Logger()


def current() -> Held | None:
    """
    Return the session that what runs now belongs to.

    What was begun in a call may go on for ever, and with the reactor of asyncio even a connection
    that was made in one belongs to it: when the session is closed, only a call that is not over is
    still its.
    """
    running = CURRENT.get()
    if running is None or (running.isOver and running.session._isClosed):
        return None
    return running.session


def undoing(session: Held) -> Call:
    """
    Return what is running when a session that ends is undone.
    """
    within = CURRENT.get()
    while within is not None and within.session.reason is not None:  # which ends no more
        within = within.within
    return Call(session, isOver=True, within=within)


def ending(session: Held) -> Exception:
    """
    Return what is raised for a client that goes on when its session has ended: a copy of the
    reason, which several may raise, if the reason was written for clients.
    """
    reason = session.reason
    return twin(reason) if isinstance(reason, SessionEnded) else SessionEnded()


def checkCall() -> None:
    """
    Check that what runs now is no call of a session that has ended, which may not go further.

    @raise SessionEnded: if it is.
    """
    call = CURRENT.get()
    if call is not None and not call.isOver and call.session.reason is not None:
        raise ending(call.session)


def followed(call: Call, result: Any) -> Deferred[Any]:
    """
    Return a Deferred of what a method returned, a Deferred or a coroutine, which is cancelled when
    the session of the call ends, or now, if it has ended while the method ran.
    """
    session = call.session
    waiting: Deferred[Any] = started(call, result) if isinstance(result, CoroutineType) else result
    if waiting.called and not waiting.paused:
        return waiting
    call.result = waiting
    session._calls[call] = None
    waiting.addBoth(_over, call)
    if session.reason is not None and not call.isEnding:
        call.isCancelled = True
        _cancel(call, waiting)
    return waiting


def started(call: Call, coroutine: CoroutineType[Any, Any, Any]) -> Deferred[Any]:
    """
    Start a coroutine of a call.
    """
    return Deferred.fromCoroutine(_Steps(call, coroutine))


class _Steps(Coroutine[Any, Any, Any]):
    """
    A coroutine of a call, of which is known whether it runs: Twisted does not cancel one that does.
    """

    def __init__(self, call: Call, coroutine: CoroutineType[Any, Any, Any]) -> None:
        self.call, self.coroutine = call, coroutine

    def send(self, value: Any) -> Any:
        """
        Go on.
        """
        return self._step(self.coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """
        Go on with an error.
        """
        return self._step(self.coroutine.throw, *error)

    def close(self) -> None:
        """
        Go no further.
        """
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.coroutine.__await__()

    def _step(self, go: Callable[..., Any], *args: Any) -> Any:
        """
        Run until it waits, and cancel what it waits for if that is due.
        """
        call = self.call
        before, call.isRunning = call.isRunning, True
        try:
            waiting = go(*args)
        finally:
            call.isRunning = before
        if call.isDue and isinstance(waiting, Deferred):
            call.isDue = False
            _cancel(call, waiting)
        return waiting


def cancelCalls(session: Held, suspended: Iterable[Call]) -> None:
    """
    Cancel the calls of a session that ends, so that they do not go on with an avatar that is told
    that it is over.  A call that ends its own session goes on, also if it ends another one, and
    that is why this one ends.
    """
    running, calls = CURRENT.get(), dict.fromkeys(suspended)
    while running is not None:
        running.isEnding = running.isEnding or running.session is session
        calls.pop(running, None)
        running = running.within
    for call in calls:  # all of them, before one that is cancelled makes another fail
        call.isCancelled = True
    for call in calls:
        assert call.result is not None
        if call.isRunning:
            call.isDue = True
        else:
            _cancel(call, call.result)


def _cancel(call: Call, waiting: Deferred[Any]) -> None:
    """
    Cancel something that a call waits for.
    """
    failure = cancel(waiting)
    if failure is not None:
        sentence = "a call of {session!r} could not be cancelled"
        say(_log.failure, sentence, failure=failure, session=call.session)


def _over(result: Any, call: Call) -> Any:
    """
    A call is over; if it was cancelled because its session has ended, the client is told that and
    nothing else.
    """
    session, call.isOver = call.session, True
    session._calls.pop(call, None)
    if not call.isCancelled:
        return result
    if isinstance(result, Failure) and not _isExpected(result.value):
        sentence = "a call of {session!r} failed when it was cancelled"
        say(_log.failure, sentence, failure=result, session=session)
    return Failure(ending(session))


def _isExpected(error: BaseException | None) -> bool:
    """
    Return whether a call that is cancelled may well fail so.
    """
    while isinstance(error, FirstError):
        error = error.subFailure.value
    return isinstance(error, (CancelledError, asyncio.CancelledError, Error))


class Proxy:
    """
    What a login returns instead of an avatar.

    It has what the avatar has, and so its own names are such as no avatar has.

    @ivar _avatarkitSession: the session that it belongs to.
    """

    __slots__ = ()

    _avatarkitSession: Held


def avatarBehind(held: object) -> object:
    """
    Return the avatar that a client calls through what a login has returned.
    """
    return held._avatarkitSession.aspect if isinstance(held, Proxy) else held
