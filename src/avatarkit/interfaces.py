"""
What avatarkit and the code around it promise each other.

L{IBlock} and L{IAvatarSource} are for those who write parts of a realm; L{IConnectionAware} and
L{IMindAware} are for avatars; L{IMind} is what a mind has to offer.

A method that is said to be I{awaited} may answer a L{Deferred<twisted.internet.defer.Deferred>} or
a coroutine, and what comes next waits for it; anything else that it answers is ignored, unless
its documentation says otherwise.
It fails by raising, or by the failure of what it answered.
What is waited for when a login ends is cancelled: a Deferred that holds something has to let go of
it in its canceller, and a coroutine when C{CancelledError} is raised in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from ._realm.session import Session

__all__ = [
    "IAvatarSource",
    "IBlock",
    "IConnectionAware",
    "IDisconnectableMind",
    "IMind",
    "IMindAware",
]


class IBlock(Interface):
    """
    An object that takes part in every session of a realm.

    Each pair of methods is done and undone: when C{admit} has returned, C{release} is called
    exactly once, whatever way the session ends; when it has failed, never.
    The same goes for C{attached} and C{detached}.
    All four are awaited.

    Subclass L{avatarkit.Block} to have one that does nothing in each of them.
    """

    def admit(session: Session) -> object:
        """
        A login begins: there is no avatar yet.

        @raise Exception: to refuse it; an L{avatarkit.LoginRefused} is told to the client and
            is not logged.
        """

    def release(session: Session) -> object:
        """
        A session ends that C{admit} had admitted: there is no avatar any more.
        """

    def attached(session: Session) -> object:
        """
        The session has its avatar, and the interface that it is seen through.

        @raise Exception: to refuse the login after all.
        """

    def detached(session: Session) -> object:
        """
        A session ends that C{attached} had seen; it still has its avatar.
        """


class IAvatarSource(Interface):
    """
    What a session gets its avatar from.
    """

    def acquire(session: Session) -> object:
        """
        Answer an avatar for this session; awaited.

        @return: the avatar, or a Deferred or coroutine of it.
        """

    def release(session: Session) -> object:
        """
        The session needs its avatar no longer; awaited.
        """

    def close() -> object:
        """
        The realm is closing: let go of avatars that are kept, each as soon as no session uses it;
        awaited.
        """


class IConnectionAware(Interface):
    """
    An avatar that wants to know of logins and logouts, as in the how-to "Managing Clients of
    Perspectives".

    L{avatarkit.ConnectionCounter} calls it, on every avatar that provides this interface or can
    be adapted to it (an adapter is looked up anew for each call).
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


class IMindAware(Interface):
    """
    An avatar that wants to know the minds of its clients, as in the how-to's chat server.

    L{avatarkit.MindRegistry} calls it, on every avatar that provides this interface or can be
    adapted to it (an adapter is looked up anew for each call).
    A session whose mind is C{None} is not told of: there is nothing to attach.
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
    What a realm can do with a mind: find out when the client is gone, and call it.

    A L{twisted.spread.pb.RemoteReference} is adapted to it.  Register an adapter for minds of
    another kind, with L{twisted.python.components.registerAdapter}, and a client that leaves
    during its login is noticed with them as well.  A mind that cannot be adapted is not watched.
    """

    disconnected = Attribute("Whether the client is gone.")
    backlog = Attribute("How many bytes wait to be sent to the client; C{None} if not known.")

    def callRemote(name: str, /, *args: Any, **kw: Any) -> object:
        """
        Call the client's C{remote_} method of that name.

        @return: a Deferred of what it answers.
        @raise twisted.spread.pb.DeadReferenceError: if the client is gone.
        """

    def notifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with the mind when the client is gone; not used on one that is.
        """

    def dontNotifyOnDisconnect(callback: Callable[[Any], object]) -> None:
        """
        Take back a callback that L{notifyOnDisconnect} of this object was given; not used when the
        client is gone.
        """


class IDisconnectableMind(IMind):
    """
    A mind whose connection can be closed from here.
    """

    def loseConnection() -> None:
        """
        Close the connection when what has been sent is written, as
        L{twisted.internet.interfaces.ITransport} has it.
        """

    def abortConnection() -> None:
        """
        Close the connection now, as L{twisted.internet.interfaces.ITCPTransport} has it.
        """
