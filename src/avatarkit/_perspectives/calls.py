"""
Whose call it is.

What a client calls runs with its session as the current one, also after it has waited: the session
is in a C{ContextVar}, which C{await} and C{inlineCallbacks} keep.  Calls that wait are known to
their session, so that they can be cancelled when it ends.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .._tools.failures import twin
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

    def _end(self, reason: BaseException | None) -> None: ...


@attrs.define(eq=False)
class Call:
    """
    A call of a client that waits for something.

    @ivar session: whose call it is.
    @ivar isCoroutine: whether the method that was called is a coroutine, of which is known when it
        runs.
    @ivar result: what the client waits for.
    """

    session: Held
    isCoroutine: bool
    result: Deferred[Any] | None = None


#: The session whose client is calling, or that is being undone, or the call itself if its method
#: is a coroutine.
CURRENT: ContextVar[Held | Call | None] = ContextVar("avatarkit.currentSession", default=None)

_log = Logger()


def current() -> Held | None:
    """
    Return the session that what runs now belongs to.
    """
    running = CURRENT.get()
    return running.session if isinstance(running, Call) else running


def ending(session: Held) -> Exception:
    """
    Return what is raised for a client that goes on when its session has ended: a copy of the
    reason, which several may raise, if the reason was written for clients.
    """
    reason = session.reason
    return twin(reason) if isinstance(reason, SessionEnded) else SessionEnded()


def cancelCalls(session: Held) -> None:
    """
    Cancel the calls of a session that ends, so that they do not go on with an avatar that is told
    that it is over.

    A call that ends its own session goes on.  Of those that are no coroutines nobody knows which is
    running, and so all of them do if one may be.
    """
    running = CURRENT.get()
    for call in tuple(session._calls):
        if call is running or (running is session and not call.isCoroutine):
            continue
        assert call.result is not None
        failure = cancel(call.result)
        if failure is not None:
            _log.failure("a call of {session!r} could not be cancelled", failure, session=session)


class Proxy:
    """
    What a login returns instead of an avatar.

    @ivar _session: the session that it belongs to.
    """

    __slots__ = ()

    _session: Held

    @property
    def _avatar(self) -> Any:
        return self._session.aspect


def avatarBehind(held: object) -> object:
    """
    Return the avatar that a client calls through what a login has returned.
    """
    return held._avatar if isinstance(held, Proxy) else held
