"""
Logins over HTTP with C{Authorization} headers: a login lives as long as its request.

Twisted's own guard does the work, and this one only gives it another portal, for each request: one
that knows the request.  What the guard would have to say about a login that fails, other than that
the credentials are wrong, is a page that this portal returns for an avatar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

import attrs
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import guard
from twisted.web.resource import IResource
from zope.interface import Interface, implementer

from ..._realm.session import LoginResult
from ..._tools.checks import checkCount, checkReactor, checkYesOrNo
from ..._tools.clock import clockOr
from .._portals import Realms, checkPortal
from .requests import RequestConnection, answerTo, isAbandoned, reply

# Any in this module: requests and credential factories are Twisted's, or somebody's own.


@implementer(IResource)
class HTTPAuthSessionWrapper:
    """
    Asks for credentials, like L{twisted.web.guard.HTTPAuthSessionWrapper}, in whose place it is put
    with the same arguments; but a login ends with its request, whenever the browser leaves, and a
    refusal is told apart from a wrong password.

    The session's L{connection<avatarkit.Session.connection>} is the request.  To close it closes
    the TCP connection, or, over HTTP/2, resets the stream.

    What is answered when a login fails:
      - 401 if the credentials are wrong, with the challenges of the credential factories, and also
        if somebody is refused who sent none;
      - 403 for a L{LoginRefused<avatarkit.LoginRefused>}, with its text, except for those that say
        that it may work later:
      - 503 with C{Retry-After} for L{TooManyConnections<avatarkit.TooManyConnections>},
        L{TooManyLogins<avatarkit.TooManyLogins>}, L{RealmClosed<avatarkit.RealmClosed>},
        L{LoginTimedOut<avatarkit.LoginTimedOut>}, and a login that is ended while it waits;
      - 429 with C{Retry-After} for L{TooManyAttempts<avatarkit.TooManyAttempts>};
      - 500 for a fault, which is logged.
    """

    isLeaf = False

    def __init__(
        self,
        portal: Portal,
        credentialFactories: Iterable[Any],
        *,
        retryAfter: int = 10,
        keepAlive: bool = True,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param portal: whose avatars are, or can be adapted to,
            L{IResource<twisted.web.resource.IResource>}.
        @param credentialFactories: L{ICredentialFactory<twisted.web.iweb.ICredentialFactory>}
            providers.
        @param retryAfter: after how many seconds a browser that gets a 503 or a 429 may try again.
        @param keepAlive: whether to switch on the keep-alive of TCP; see
            L{WatchingFactory<avatarkit.transports.WatchingFactory>}.
        @param reactor: measures the time; the global reactor by default.
        @raise TypeError: if C{portal} is not a portal, or another argument is of a wrong type.
        """
        checkPortal(portal)
        checkCount("retryAfter", retryAfter)
        checkYesOrNo("keepAlive", keepAlive)
        checkReactor(reactor)
        self._portal, self._factories = portal, tuple(credentialFactories)
        self._retryAfter, self._keepAlive, self._reactor = retryAfter, keepAlive, reactor
        self._realms = Realms(portal)

    def render(self, request: Any) -> Any:
        """
        Log in, and render the avatar.
        """
        return self._guard(request).render(request)

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        """
        Log in, and return the avatar.
        """
        return self._guard(request).getChildWithDefault(path, request)

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Refuse: a wrapper has no children.
        """
        raise NotImplementedError("put children on the avatar")

    def _guard(self, request: Any) -> Any:
        portal = cast(Portal, PortalOfRequest(self, request))  # the guard asks it to log in only
        return guard.HTTPAuthSessionWrapper(portal, self._factories)

    def _visit(self, request: Any) -> RequestConnection:
        return RequestConnection(request, clockOr(self._reactor), keepAlive=self._keepAlive)

    def _logIn(self, request: Any, credentials: Any) -> Deferred[LoginResult]:
        """
        Log in for a request.

        @return: a Deferred of an avatar, or of a page that says why there is none; it fails if the
            credentials are wrong, and never fires if nobody waits for it any longer.
        """
        visit = self._visit(request)
        remember(request, visit.end)
        portal = visit.logins.portal(self._portal, self._realms)
        login: Any = portal.login(credentials, None, IResource)
        login.addErrback(self._failed, visit, credentials)
        return cast("Deferred[LoginResult]", login)

    def _failed(
        self, failure: Failure, visit: RequestConnection, credentials: object
    ) -> Deferred[LoginResult]:
        answer = None
        if not visit.disconnected:
            answer = answerTo(failure, credentials, self._retryAfter)
        return reply(visit, answer, isAbandoned(failure))


@attrs.frozen(eq=False)
class PortalOfRequest:
    """
    What a guard takes for its portal, for one request.
    """

    wrapper: HTTPAuthSessionWrapper
    request: Any

    def login(self, credentials: Any, mind: None, interface: Any) -> Deferred[LoginResult]:
        """
        Log in.
        """
        return self.wrapper._logIn(self.request, credentials)


class ILoggedIn(Interface):
    """
    What a request knows of its login: an object that can be called to log it out.
    """


def remember(request: Any, logOut: Callable[[], bool]) -> None:
    """
    Have a request know how to log out; one that has no components cannot.
    """
    with suppress(AttributeError):
        request.setComponent(ILoggedIn, logOut)


def logOut(request: Any) -> bool:
    """
    Log out whoever a request is logged in as.  The request itself goes on.

    With a L{CookieAuthSessionWrapper<avatarkit.transports.CookieAuthSessionWrapper>} the browser's
    session ends, and what it requests besides is cut off.  Call this before anything is written, so
    that the browser can be told; it then asks its user for the password again.

    With an L{HTTPAuthSessionWrapper<avatarkit.transports.HTTPAuthSessionWrapper>} only the login of
    this request ends, and the browser sends the password again with the next one.

    @return: whether it was logged in.
    """
    find = getattr(request, "getComponent", None)
    out: Callable[[], bool] | None = None if find is None else find(ILoggedIn)
    return out is not None and out()
