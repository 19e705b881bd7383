"""
What a client holds of its session: an object of the session's own, which stands before the avatar.

An avatar may be shared, and may outlive the sessions that use it, so a client must not hold the
avatar itself: it would go on calling it when its session has ended, and the avatar would not know
who calls.  Over Perspective Broker a login therefore returns a L{Perspective}, which passes calls
on as long as the session has not ended, and says whose session a call belongs to.

It is a L{Jellyable<twisted.spread.jelly.Jellyable>} for three reasons: Perspective Broker sends it
as it says; in C{jellyFor} it learns over which connection, also of a client that has no mind; and
it can tell that it was taken for a client and never sent, because the connection was lost just
before: Twisted loses the logout then.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from zope.interface import Interface, implementer

from .._tools.clock import clockOr
from ..errors import ClientLost
from .calls import CURRENT, Call, Held, StandIn, ending

# Any in this module: Twisted does not say what it calls perspectives with, or what avatars are.


def perspectiveOf(session: Held) -> object:
    """
    Return what a login for L{IPerspective<twisted.spread.pb.IPerspective>} returns.

    An avatar that says itself how it is sent, like a C{Copyable}, a C{Cacheable} or a C{Viewable},
    is sent as it says, and nothing can stand before it.  One that is a plain C{Referenceable} is
    called by its C{remote_} methods, as ever.
    """
    aspect = session.aspect
    if not IJellyable.providedBy(aspect):
        return Perspective(session)
    plain = getattr(type(aspect), "jellyFor", None) is pb.Referenceable.jellyFor
    return ReferencePerspective(session) if plain else aspect


@implementer(pb.IPerspective)
class Perspective(StandIn, pb.Jellyable):
    """
    One session's perspective of its avatar.

    It has what the avatar has, for code of the server that asks the portal itself, but is not the
    avatar: that is the session's C{avatar}.
    """

    __slots__ = ("_check", "_session", "_taken")

    _session: Held

    def __init__(self, session: Held) -> None:
        object.__setattr__(self, "_session", session)

    def __getattr__(self, name: str) -> Any:
        if name in Perspective.__slots__ or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self._session.aspect, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._session.aspect, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._session.aspect, name)

    def __conform__(self, interface: type[Interface]) -> Any:
        return interface(self._session.aspect, None)

    def __repr__(self) -> str:
        return f"<Perspective of {self._session!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} belongs to its session, and cannot be copied or pickled")

    def processUniqueID(self) -> int:
        """
        Return what stands for this among the objects that Perspective Broker knows.

        It is asked for when a login is done, before anything is sent.
        """
        if not hasattr(self, "_taken"):
            self._is("_taken", True)
            if not self._session._isWatched:
                self._is("_check", clockOr(None).callLater(0, self._settle))
        return id(self)

    def jellyFor(self, jellier: Any) -> list[object]:
        """
        Be sent as a reference, over a connection that is known now.
        """
        broker = jellier.invoker
        self._is("_taken", False)
        self._stopLooking()
        try:
            luid = broker.registerReference(self)
        except BaseException:
            self._session._end(None)
            raise
        self._session._found(broker)
        return [b"remote", luid]

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The client calls: pass it on, unless the session has ended.

        @raise SessionEnded: if it has; nothing is unserialized then.
        """
        session = self._session
        if session.ended:
            raise ending(session)
        session._called(message)
        token = CURRENT.set(session)
        try:
            return self._receive(session.aspect, broker, message, args, kw)
        finally:
            CURRENT.reset(token)

    perspectiveMessageReceived = remoteMessageReceived

    def _settle(self) -> None:
        """
        End the session if Perspective Broker has taken this for a client, and has not sent it.
        """
        self._stopLooking()
        if getattr(self, "_taken", False):
            self._session._end(ClientLost())

    def _receive(self, aspect: Any, broker: Any, message: str, args: Any, kw: Any) -> Any:
        receive = aspect.perspectiveMessageReceived
        if getattr(receive, "__func__", None) is not _PLAIN:
            return receive(broker, message, args, kw)
        args, kw = broker.unserialize(args, aspect), broker.unserialize(kw, aspect)
        method = getattr(aspect, f"perspective_{message}")
        if self._session.ended:  # what was unserialized may run somebody's code
            raise ending(self._session)
        result = self._awaited(method(*args, **kw))
        return broker.serialize(result, aspect, method, args, kw)

    def _awaited(self, result: object) -> object:
        """
        Return what a method returned, or a Deferred of it if it waits, which is cancelled when the
        session ends.
        """
        session = self._session
        call = Call(session, iscoroutine(result))
        if call.isCoroutine:
            result = _begun(call, result)
        if not isinstance(result, Deferred) or (result.called and not result.paused):
            return result
        if session.ended:  # the call has ended it, and waits all the same
            return result
        call.result = result
        session._calls[call] = None
        return result.addBoth(_over, call)

    def _is(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _stopLooking(self) -> None:
        check = getattr(self, "_check", None)
        if check is not None and check.active():
            check.cancel()


def _begun(call: Call, coroutine: Any) -> Deferred[Any]:
    """
    Return a Deferred of what a coroutine returns, and have it know that it is a call.
    """
    token = CURRENT.set(call)
    try:
        return Deferred.fromCoroutine(coroutine)
    finally:
        CURRENT.reset(token)


def _over(result: Any, call: Call) -> Any:
    """
    A call is over; if it was cancelled because its session has ended, the client is told so.
    """
    session = call.session
    session._calls.pop(call, None)
    isCancelled = isinstance(result, Failure) and result.check(CancelledError)
    return Failure(ending(session)) if isCancelled and session.ended else result


class ReferencePerspective(Perspective):
    """
    A perspective of an avatar that is called by its C{remote_} methods.
    """

    __slots__ = ()

    def _receive(self, aspect: Any, broker: Any, message: str, args: Any, kw: Any) -> Any:
        return aspect.remoteMessageReceived(broker, message, args, kw)


#: What an avatar has that has no way of its own to be called.
_PLAIN = pb.Avatar.perspectiveMessageReceived
