"""
What avatarkit and the code around it promise each other.

L{IBlock} and L{IAvatarSource} are for those who write parts of a realm; L{IConnectionAware},
L{IMindAware} and L{IPresenceAware} are for avatars; L{IMind} and L{IDisconnectableMind} are for
minds of other kinds than Perspective Broker's; an L{IConnection} is what a session ends with.

A method that is said to be I{awaited} may return a L{Deferred<twisted.internet.defer.Deferred>} or
a coroutine, and the next step waits for it.  Any other return value is ignored, unless the method's
documentation says otherwise.
The method fails by raising, or if what it returned fails.
When a login ends, whatever it is waiting for is cancelled: a Deferred that holds a resource must
release it in its canceller, and a coroutine when C{CancelledError} is raised in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from ._realm.session import Session

__all__ = [
    "IAvatarSource",
    "IBlock",
    "IConnection",
    "IConnectionAware",
    "IDisconnectableMind",
    "IMind",
    "IMindAware",
    "IPresenceAware",
]


class IBlock(Interface):
    """
    An object that takes part in every session of a realm.

    The methods come in pairs, one that does something and one that undoes it: if C{admit} returned,
    C{release} is called exactly once, however the session ends; if C{admit} failed, C{release} is
    not called.
    The same holds for C{attached} and C{detached}.
    All four are awaited.

    A block may also have a method C{close}, without arguments, which is awaited: each realm that it
    is stacked into calls it once, when the realm is closed, or drained, and its last session has
    ended.  It ends what the block still keeps for sessions of that realm, such as timers.  The
    block goes on working for the other realms, if there are any.  When the time for closing is up,
    it is called all the same, and what it waits for is cancelled.

    Subclass L{avatarkit.Block} for a block whose methods do nothing yet.
    """

    def admit(session: Session) -> object:
        """
        A login begins; there is no avatar yet.

        C{False} as a result is a C{TypeError}: it would let in whom it is meant to refuse.

        @raise Exception: to refuse the login.  An L{avatarkit.LoginRefused} is sent to the client
            and not logged; anything else is logged and not sent.
        """

    def release(session: Session) -> object:
        """
        A session that C{admit} let in is over; its avatar is gone.
        """

    def attached(session: Session) -> object:
        """
        The session has its avatar, and the interface that the avatar is seen through.

        @raise Exception: to refuse the login after all.
        """

    def detached(session: Session) -> object:
        """
        A session that C{attached} was called for is ending; it still has its avatar.
        """


class IAvatarSource(Interface):
    """
    What a session gets its avatar from.
    """

    def acquire(session: Session) -> object:
        """
        Return an avatar for this session; awaited.

        @return: the avatar, or a Deferred or coroutine of it.
        """

    def release(session: Session) -> object:
        """
        The session no longer needs its avatar; awaited.
        """

    def close() -> object:
        """
        The realm is closing: let go of avatars that are kept, each as soon as no session uses it;
        awaited.
        """


class IConnectionAware(Interface):
    """
    An avatar that is told of logins and logouts, as in the how-to "Managing Clients of
    Perspectives".

    L{avatarkit.ConnectionCounter} calls every avatar that provides this interface or can be adapted
    to it.  The adapter is looked up for each call.
    """

    def connect() -> object:
        """
        A session of this avatar has begun; awaited.

        @raise Exception: to refuse the login.
        """

    def disconnect() -> object:
        """
        A session that C{connect} was called for has ended; awaited.
        """


class IPresenceAware(Interface):
    """
    An avatar that is told when its user has come, and when the user has gone.

    L{avatarkit.Presence} calls every avatar that provides this interface or can be adapted to it,
    before the observers, and in turn with them.  The adapter is looked up for each call.
    If a user has several avatars, as without an L{avatarkit.AvatarCache}, the one of the session
    that came first is told of the arrival, and the one of the session that went last of the
    departure, which may come after its C{logout} if there is a C{linger}.
    """

    def arrived() -> object:
        """
        The user's first session has begun; awaited, but not by the login.
        """

    def departed() -> object:
        """
        The user's last session has ended, and none has begun for a while; awaited, but not by the
        logout.
        """


# Any in the rest of this module: a mind is whatever the client, or the protocol, chose to send, and
# the arguments and the answer are up to the caller and the client.


class IMindAware(Interface):
    """
    An avatar that is told the minds of its clients, as in the how-to's chat server.

    L{avatarkit.MindRegistry} calls every avatar that provides this interface or can be adapted to
    it.  The adapter is looked up for each call.
    The avatar is not told of a session whose mind is C{None}.
    """

    def attached(mind: Any) -> object:
        """
        A client has logged in with this mind; awaited.

        @raise Exception: to refuse the login.
        """

    def detached(mind: Any) -> object:
        """
        The session that C{attached} was called for has ended; awaited.
        """


class IMind(Interface):
    """
    What a realm needs of a mind: a way to learn that the client is gone, and to call it.

    A L{twisted.spread.pb.RemoteReference} can be adapted to it.  Register an adapter for minds of
    another kind, with L{twisted.python.components.registerAdapter}, so that a client that leaves
    during its login is noticed with them as well.  A mind that cannot be adapted is not watched.
    """

    disconnected = Attribute("Whether the client is gone.")
    backlog = Attribute("How many bytes wait to be sent to the client; C{None} if not known.")

    def callRemote(name: str, /, *args: Any, **kw: Any) -> Deferred[Any] | None:
        """
        Call the client's C{remote_} method of that name.

        @return: a Deferred of the client's answer, which fails if the client goes first; C{None}
            with C{pbanswer=False}.
        @raise twisted.spread.pb.DeadReferenceError: if the client is gone.
        """

    def notifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with the mind when the client is gone.  Not called on a mind whose
        client is already gone.
        """

    def dontNotifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Take back a callback that was given to L{notifyOnDisconnect} of this object.  Not called
        when the client is gone.
        """


class IConnection(Interface):
    """
    What a session came through, and ends with: a connection of the network, or, on the web, the
    request, or the browser's session.
    """

    disconnected = Attribute("Whether it is over.")
    backlog = Attribute("How many bytes wait to be sent to the client; C{None} if not known.")
    lastReceived = Attribute("When anything arrived last, in the reactor's seconds.")
    lastActive = Attribute(
        "When its user last did something, in the reactor's seconds: over Perspective Broker, "
        "whose clients answer by themselves, made a call; elsewhere, sent anything."
    )

    def getPeer() -> object:
        """
        Return the client's L{IAddress<twisted.internet.interfaces.IAddress>}.
        """

    def getHost() -> object:
        """
        Return this side's L{IAddress<twisted.internet.interfaces.IAddress>}.
        """

    def notifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with this object when it is over.  Not called on one that is already
        over.
        """

    def dontNotifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Take back a callback that was given to L{notifyOnDisconnect}; harmless at any time.
        """

    def loseConnection() -> None:
        """
        Close the connection when everything is written, like
        L{twisted.internet.interfaces.ITransport}.
        """

    def abortConnection() -> None:
        """
        Close the connection now, like L{twisted.internet.interfaces.ITCPTransport}.
        """


class IDisconnectableMind(IMind):
    """
    A mind whose connection the server can close.
    """

    def loseConnection() -> None:
        """
        Close the connection when everything is written, like
        L{twisted.internet.interfaces.ITransport}.
        """

    def abortConnection() -> None:
        """
        Close the connection now, like L{twisted.internet.interfaces.ITCPTransport}.
        """
