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

from collections.abc import Callable
from types import CoroutineType
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from zope.interface import Interface, implementer

from .._tools.clock import clockOr
from ..errors import ClientLost
from .brokers import prepare
from .calls import CURRENT, Call, Held, Proxy, ending, followed

T = TypeVar("T")

# Any in this module: Twisted does not say what it calls perspectives with, or what avatars are.


#: What an avatar has that has no way of its own to be called.
_PLAIN = pb.Avatar.perspectiveMessageReceived


def perspectiveOf(session: Held) -> object:
    """
    Return what a login for L{IPerspective<twisted.spread.pb.IPerspective>} returns.

    An avatar that says itself how it is sent, like a C{Copyable}, a C{Cacheable} or a C{Viewable},
    is sent as it says, and nothing can stand before it then.  One that is a plain C{Referenceable}
    is called by its C{remote_} methods, as ever.
    """
    aspect, isLimited = session.aspect, session._isLimited
    if IJellyable.providedBy(aspect):
        if getattr(type(aspect), "jellyFor", None) is not pb.Referenceable.jellyFor:
            return SentAsItSays(session)
        return (LimitedReference if isLimited else ReferencePerspective)(session)
    if getattr(aspect.perspectiveMessageReceived, "__func__", None) is not _PLAIN:
        return (LimitedOwn if isLimited else OwnPerspective)(session)
    return (LimitedPerspective if isLimited else Perspective)(session)


@implementer(pb.IPerspective)
class Perspective(Proxy, pb.Jellyable):
    """
    One session's perspective of its avatar.

    It has what the avatar has, for code of the server that asks the portal itself, but is not the
    avatar: that is the session's C{avatar}.

    @ivar _avatarkitLook: the call that looks whether it was sent; C{None} when it was.
    """

    __slots__ = ("_avatarkitLook", "_avatarkitSession")

    _avatarkitSession: Held

    def __init__(self, session: Held) -> None:
        object.__setattr__(self, "_avatarkitSession", session)

    def __getattr__(self, name: str) -> Any:
        if name in Perspective.__slots__ or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self._avatarkitSession.aspect, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._avatarkitSession.aspect, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._avatarkitSession.aspect, name)

    def __conform__(self, interface: type[Interface]) -> Any:
        return interface(self._avatarkitSession.aspect, None)

    def __repr__(self) -> str:
        return f"<Perspective of {self._avatarkitSession!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} belongs to its session, and cannot be copied or pickled")

    def processUniqueID(self) -> int:
        """
        Return what stands for this among the objects that Perspective Broker knows.

        It is asked for when a login is done, before anything is sent.  In the next turn of the
        reactor it has been sent, or never will be.
        """
        session = self._avatarkitSession
        if not hasattr(self, "_avatarkitLook") and not session._isWatched:
            look = clockOr(None).callLater(0, _notSent, session)
            object.__setattr__(self, "_avatarkitLook", look)
        return id(self)

    def jellyFor(self, jellier: Any) -> Any:
        """
        Be sent as a reference, over a connection that is known now.
        """
        return _sent(self, jellier, lambda: [b"remote", jellier.invoker.registerReference(self)])

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The client calls: pass it on, unless the session has ended.

        This does what C{pb.Avatar} does, and knows more of it: whose call it is, that arguments
        may run somebody's code when they are unserialized, and what waits.

        @raise SessionEnded: if it has; nothing is unserialized then.
        """
        session = self._avatarkitSession
        if session.reason is not None:
            raise ending(session)
        call = Call(session)
        token = CURRENT.set(call)
        try:
            aspect = session.aspect
            args, kw = broker.unserialize(args, aspect), broker.unserialize(kw, aspect)
            method = getattr(aspect, "perspective_" + message)
            if session.reason is not None:
                raise ending(session)
            result = method(*args, **kw)
            if isinstance(result, (Deferred, CoroutineType)):
                result = followed(call, result)
            return broker.serialize(result, aspect, method, args, kw)
        finally:
            call.isOver = call.result is None
            CURRENT.reset(token)

    # What is asked for of an IPerspective, which others may call.
    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The same.
        """
        return self.remoteMessageReceived(broker, message, args, kw)


class OwnPerspective(Perspective):
    """
    A perspective of an avatar that has a way of its own to be called.
    """

    __slots__ = ()

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The client calls: pass it on, unless the session has ended.
        """
        return _passedOn(self, "perspectiveMessageReceived", broker, message, args, kw)


class ReferencePerspective(Perspective):
    """
    A perspective of an avatar that is called by its C{remote_} methods.
    """

    __slots__ = ()

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The client calls: pass it on, unless the session has ended.
        """
        return _passedOn(self, "remoteMessageReceived", broker, message, args, kw)


class SentAsItSays(OwnPerspective):
    """
    What stands before an avatar that says itself how it is sent, until that is sent.
    """

    __slots__ = ()

    def processUniqueID(self) -> int:
        """
        Return what the avatar says, when it is asked for as above.
        """
        session = self._avatarkitSession
        known: int = _orEnd(session, lambda: session.aspect.processUniqueID())
        super().processUniqueID()
        return known

    def jellyFor(self, jellier: Any) -> Any:
        """
        Send the avatar.
        """
        return _sent(self, jellier, lambda: jellier.jelly(self._avatarkitSession.aspect))


class LimitedPerspective(Perspective):
    """
    A perspective of a session whose realm has blocks that are told of calls.
    """

    __slots__ = ()

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        The client calls: pass it on, if all of those let it.
        """
        if self._avatarkitSession.reason is None:
            self._avatarkitSession._called(message)
        return super().remoteMessageReceived(broker, message, args, kw)


class LimitedOwn(LimitedPerspective, OwnPerspective):
    """
    One of an avatar that has a way of its own.
    """

    __slots__ = ()


class LimitedReference(LimitedPerspective, ReferencePerspective):
    """
    One of an avatar that is called by its C{remote_} methods.
    """

    __slots__ = ()


def _sent(perspective: Perspective, jellier: Any, send: Callable[[], Any]) -> Any:
    """
    Send something for a login, and look no more whether it is sent.
    """
    session, look = perspective._avatarkitSession, getattr(perspective, "_avatarkitLook", None)
    if look is not None and look.active():
        look.cancel()
    object.__setattr__(perspective, "_avatarkitLook", None)
    sent = _orEnd(session, send, jellier.invoker)
    session._found(jellier.invoker)
    return sent


def _orEnd(session: Held, send: Callable[[], T], broker: Any = None) -> T:
    """
    Send something for a login, and end its session if that cannot be sent: Twisted would leave it
    open, and would let the client have whatever was raised.

    @param broker: what it is sent with, if that is known: it cannot send when its connection is
        lost.
    """
    try:
        return send()
    except BaseException:
        if broker is not None and broker.disconnected:
            session._end(ClientLost())
            raise
        session._unsent(Failure()).raiseException()


def _notSent(session: Held) -> None:
    """
    Perspective Broker has taken a perspective for a client, and has not sent it: the connection was
    lost.
    """
    session._end(ClientLost())


def _passedOn(
    perspective: Perspective, way: str, broker: Any, message: str, args: Any, kw: Any
) -> Any:
    """
    Call an avatar in its own way, unless the session has ended.
    """
    session = perspective._avatarkitSession
    if session.reason is not None:
        raise ending(session)
    call = Call(session)
    token = CURRENT.set(call)
    try:
        prepare(broker)
        result = getattr(session.aspect, way)(broker, message, args, kw)
        isLater = isinstance(result, (Deferred, CoroutineType))
        return followed(call, result) if isLater else result
    finally:
        call.isOver = call.result is None
        CURRENT.reset(token)
