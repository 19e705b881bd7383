"""
The refusals that clients receive, the reasons why sessions end, and the errors that report misuse
to the programmer.

A refusal is a L{LoginRefused<avatarkit.LoginRefused>}: a L{twisted.spread.pb.Error}, so that
Perspective Broker sends it by name and logs nothing, and both a
L{twisted.cred.error.LoginDenied} and an L{twisted.cred.error.UnauthorizedLogin}, since POP3 and
web guard know the first, and IMAP4, FTP, SSH and IRC know only the second.
Its text is what the client may read; what only the server should know is in its attributes, and
over Perspective Broker the client receives nothing but the name and the text.

L{TooManyConnections<avatarkit.TooManyConnections>}, L{TooManyLogins<avatarkit.TooManyLogins>},
L{RealmClosed<avatarkit.RealmClosed>} and L{LoginAbandoned<avatarkit.LoginAbandoned>} are refusals;
L{UnsupportedInterface<avatarkit.UnsupportedInterface>} and
L{MindIsBehind<avatarkit.MindIsBehind>} are not.
A client whose login fails with anything that was not written for clients receives
L{RealmFailed<avatarkit.RealmFailed>}.

A reason is a L{SessionEnded<avatarkit.SessionEnded>}: a session has one when it ends, and a client
that goes on calling receives it.  L{RealmClosed<avatarkit.RealmClosed>} and
L{LoginTimedOut<avatarkit.LoginTimedOut>} are both.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.spread import pb
from zope.interface import Interface

from ._tools.checks import checkSeconds
from ._tools.telling import Told

if TYPE_CHECKING:
    from ._realm.session import Session

__all__ = [
    "ClientLost",
    "Displaced",
    "Evicted",
    "IdleTooLong",
    "Kicked",
    "LoggedOut",
    "LoginAbandoned",
    "LoginRefused",
    "LoginTimedOut",
    "LoginWaitsForItself",
    "MindIsBehind",
    "RealmClosed",
    "RealmFailed",
    "SessionEnded",
    "TooManyAttempts",
    "TooManyCalls",
    "TooManyConnections",
    "TooManyLogins",
    "TooManyWaiting",
    "Unresponsive",
    "UnsupportedInterface",
    "UnwatchableMind",
]


class LoginRefused(Told, pb.Error, LoginDenied, UnauthorizedLogin):
    """
    The realm refused a login.

    Raise it, or a subclass, from a block's C{admit} to refuse a login.

    @ivar avatarId: whose login it was; not part of the text.
    """

    text: ClassVar[str] = "login refused"

    def __init__(self, text: str | None = None, *, avatarId: Hashable = None) -> None:
        super().__init__(self.text if text is None else text)
        self.avatarId = avatarId


class TooManyConnections(LoginRefused, ValueError):
    """
    The avatar ID has as many sessions as it may have.

    It is a C{ValueError} with this text because the how-to "Managing Clients of Perspectives"
    raises C{ValueError("too many connections")}.

    @ivar maximum: how many sessions there may be; not part of the text.
    """

    text = "too many connections"

    def __init__(
        self,
        text: str | None = None,
        *,
        avatarId: Hashable = None,
        maximum: int | None = None,
    ) -> None:
        super().__init__(text, avatarId=avatarId)
        self.maximum = maximum


class TooManyWaiting(TooManyConnections):
    """
    Too many logins wait for a slot already: this one is refused, and nobody is asked or displaced
    for it.

    It is a L{TooManyConnections}, the error that a login gets which has waited in vain.

    @ivar maximumWaiting: how many logins may wait; not part of the text.
    """

    text = "too many logins are waiting"

    def __init__(
        self,
        text: str | None = None,
        *,
        avatarId: Hashable = None,
        maximum: int | None = None,
        maximumWaiting: int | None = None,
    ) -> None:
        super().__init__(text, avatarId=avatarId, maximum=maximum)
        self.maximumWaiting = maximumWaiting


class TooManyLogins(LoginRefused):
    """
    Too many logins are in progress; a later one may succeed.

    @ivar maximum: how many logins may be in progress; not part of the text.
    """

    text = "too many logins are in progress"

    def __init__(
        self,
        text: str | None = None,
        *,
        avatarId: Hashable = None,
        maximum: int | None = None,
    ) -> None:
        super().__init__(text, avatarId=avatarId)
        self.maximum = maximum


class TooManyAttempts(LoginRefused):
    """
    Too many attempts to log in with a password wait to be checked, and this one was not.
    """

    text = "too many attempts; try again later"


class TooManyCalls(Told, pb.Error):
    """
    A client calls more often than a L{CallLimit<avatarkit.CallLimit>} allows, and this call was not
    made.
    """

    text: ClassVar[str] = "too many calls; slow down"

    def __init__(self, text: str | None = None) -> None:
        super().__init__(self.text if text is None else text)


class UnwatchableMind(LoginRefused):
    """
    The client cannot be watched, and the realm lets in only those whose leaving it would notice.
    """

    text = "log in with a mind that can be called: this server must notice when its client leaves"


class LoginAbandoned(LoginRefused):
    """
    The login ended before it was done: its client left, or its session was logged out.
    """

    text = "the login was abandoned"


class SessionEnded(Told, pb.Error):
    """
    A session has ended: why, as C{connectionLost} is told why a connection was lost.

    It is also what a client receives that goes on calling: its text is what the client may read.
    Make a subclass for a reason of your own.

    @ivar mayReturn: after how many seconds the client may log in again by itself; 0: it must not,
        unless its user wants to.
    """

    text: ClassVar[str] = "the session has ended"
    mayReturn: float = 0

    def __init__(self, text: str | None = None, *, mayReturn: float | None = None) -> None:
        """
        @raise TypeError: if C{mayReturn} is not a number.
        @raise ValueError: if it is less than 0.
        """
        super().__init__(self.text if text is None else text)
        if mayReturn is not None:
            checkSeconds("mayReturn", mayReturn)
            self.mayReturn = mayReturn


class LoggedOut(SessionEnded):
    """
    The client, or its protocol, has logged out.
    """

    text = "logged out"


class ClientLost(SessionEnded):
    """
    The client is gone: its connection was lost.
    """

    text = "the connection was lost"
    mayReturn = 1


class Displaced(SessionEnded):
    """
    Another login has taken the place of the session.

    @ivar by: the session of that login; C{None} if it is not known.  No client learns it.
    """

    text = "logged in elsewhere"

    def __init__(
        self,
        text: str | None = None,
        *,
        mayReturn: float | None = None,
        by: Session | None = None,
    ) -> None:
        super().__init__(text, mayReturn=mayReturn)
        self.by = by


class Kicked(SessionEnded):
    """
    Somebody on the server has ended the session, and may have said why.
    """

    text = "disconnected by the server"


class Evicted(SessionEnded):
    """
    The avatar had to go, see L{AvatarCache.evict<avatarkit.AvatarCache.evict>}.
    """

    text = "please log in again"
    mayReturn = 1


class IdleTooLong(SessionEnded):
    """
    The user has done nothing for too long.
    """

    text = "idle for too long"


class Unresponsive(SessionEnded):
    """
    The client gives no sign of life.
    """

    text = "no sign of life"
    mayReturn = 1


class _EndingRefusal(SessionEnded, LoginRefused):
    """
    A reason for which sessions end and logins are refused.
    """

    def __init__(
        self,
        text: str | None = None,
        *,
        mayReturn: float | None = None,
        avatarId: Hashable = None,
    ) -> None:
        super().__init__(text, mayReturn=mayReturn)
        self.avatarId = avatarId


class RealmClosed(_EndingRefusal):
    """
    The realm is closing, or closed, and accepts no more logins.
    """

    text = "the server is shutting down"
    mayReturn = 10


class LoginTimedOut(_EndingRefusal):
    """
    The login took too long.
    """

    text = "the login took too long"
    mayReturn = 10


class RealmFailed(Told, pb.Error):
    """
    A login failed for a reason that is none of the client's business: a factory or a hook raised
    something that is not a refusal, and the realm has logged it.

    It is not a refusal: most protocols treat it as a fault of the server.
    C{__cause__} is the original exception, if it was raised in this process.

    @ivar avatarId: whose login it was; not part of the text.
    """

    text: ClassVar[str] = "something went wrong on the server"

    def __init__(self, text: str | None = None, *, avatarId: Hashable = None) -> None:
        super().__init__(self.text if text is None else text)
        self.avatarId = avatarId


class UnsupportedInterface(Told, pb.Error, NotImplementedError):
    """
    The avatar can be seen through none of the interfaces that the login asked for.

    It is not a refusal but a fault in the server's configuration, and the realm logs it as one.
    It is a C{NotImplementedError}, as in every realm of Twisted's documentation, and a
    L{twisted.spread.pb.Error} only so that Perspective Broker does not log it again.

    @ivar avatarId: whose login it was; not part of the text that a client receives.
    @ivar interfaces: the interfaces that were asked for.
    """

    text: ClassVar[str] = "the interface is not supported"

    def __init__(
        self,
        text: str | None = None,
        *,
        avatarId: Hashable = None,
        interfaces: tuple[type[Interface], ...] = (),
    ) -> None:
        super().__init__(self.text if text is None else text)
        self.avatarId = avatarId
        self.interfaces = interfaces


class LoginWaitsForItself(RuntimeError):
    """
    The login would have waited for itself: what makes or retires the avatar waits for a login that
    needs this avatar.

    It is not a refusal but a mistake in the server's code.

    @ivar avatarId: whose login it was.
    """

    def __init__(self, *, avatarId: Hashable = None) -> None:
        super().__init__(
            f"the login of {avatarId!r} waits for itself: the factory or the logout of its avatar, "
            "or what they wait for, waits for this login; do not wait for it there"
        )
        self.avatarId = avatarId


class MindIsBehind(Exception):
    """
    A push was left out for a client that is too far behind with earlier ones.

    @ivar avatarId: who the client is logged in as.
    @ivar backlog: how many bytes wait to be sent to it; 0 if backlogs are not bounded.
    @ivar pending: how many pushes it has not answered; 0 if those are not bounded.
    """

    def __init__(self, *, avatarId: Hashable, backlog: int, pending: int) -> None:
        super().__init__(f"{backlog} bytes and {pending} answers are outstanding")
        self.avatarId = avatarId
        self.backlog = backlog
        self.pending = pending
