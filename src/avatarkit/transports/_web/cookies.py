"""
Logins over HTTP with cookies: a login is the session of a browser.

The credentials come in an C{Authorization} header, like those of
L{HTTPAuthSessionWrapper<avatarkit.transports.HTTPAuthSessionWrapper>}.  A login that succeeds gives
the browser a cookie, and a request that shows the cookie is answered by the same avatar without a
login.  The cookie is a new one for each login: whoever knows what was in the browser before, or has
put it there, knows nothing of use.

Requests that log in at the same time, as a browser's do that opens several pages, share one login
if they show the same credentials and come from the same browser, which is known by the cookie that
it was given with the demand for credentials, or by its TCP connection.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any

from twisted.cred.credentials import IAnonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from ..._realm.session import LoginResult
from ..._tools.checks import checkCount, checkSeconds, checkYesOrNo
from ..._tools.clock import clockOr
from ...errors import LoggedOut
from .browser import Browser, nameIn, shared
from .browsers import Browsers, Origin, hashOf
from .requests import Answer, RequestConnection
from .wrapper import HTTPAuthSessionWrapper, remember

# Any in this module: requests and credentials are Twisted's, or somebody's own.

#: The cookie of a browser that has logged out.
LOGGED_OUT = b"out"


#: What is said of each page, if it says nothing else: a cache that others share does not store it,
#: and a browser asks whether it is still good.  RFC 9111 keeps them from what was asked for with an
#: C{Authorization} header, and not from what a cookie brings.
NOT_SHARED = b"private, no-cache"


@implementer(IResource)
class CookieAuthSessionWrapper(HTTPAuthSessionWrapper):
    """
    Like L{HTTPAuthSessionWrapper<avatarkit.transports.HTTPAuthSessionWrapper>}, but a login is the
    session of a browser, which lasts for many requests.

    It ends when its page calls L{logOut<avatarkit.transports.logOut>}, when the browser has
    requested nothing for C{timeout} seconds, when it sends other credentials, and when the session
    is ended by anything else: kicked, displaced, logged out, closed.  If the browser leaves while
    it logs in, the login is cancelled.

    The session's L{connection<avatarkit.Session.connection>} is the browser's session; its address
    is that of the last request.  To close it closes the TCP connections of the requests that go on,
    or, over HTTP/2, resets their streams.

    A login without credentials, if the portal allows it, ends with its request and has no cookie.

    Pages are C{Cache-Control: private, no-cache} unless they say something else.
    """

    def __init__(
        self,
        portal: Portal,
        credentialFactories: Iterable[Any],
        *,
        timeout: float = 900,
        maximum: int = 10_000,
        cookieName: str = "session",
        secure: bool = True,
        sameSite: str = "lax",
        retryAfter: int = 10,
        keepAlive: bool = True,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param timeout: after how many seconds without a request a browser is logged out.
        @param maximum: how many browsers may be logged in; others get a 503.  One whose password is
            still being checked does not count.
        @param cookieName: what the cookie is called; if it is C{Secure}, C{__Host-} stands before
            it, so that no other site can set it.
        @param secure: whether the cookie is C{Secure}, that is, never sent over plain HTTP.  Over
            TLS it always is.  C{False} is for development, since anybody on the way can read it.
        @param sameSite: C{"lax"}, C{"strict"}, or C{"none"}: whether requests that other sites make
            a browser send carry the cookie.
        @raise ValueError: if C{sameSite} is something else, or C{"none"} without C{secure}; or if
            C{cookieName} cannot be the name of a cookie.
        """
        super().__init__(
            portal,
            credentialFactories,
            retryAfter=retryAfter,
            keepAlive=keepAlive,
            reactor=reactor,
        )
        checkSeconds("timeout", timeout)
        checkCount("maximum", maximum, least=1)
        checkYesOrNo("secure", secure)
        if sameSite not in ("lax", "strict", "none") or (sameSite == "none" and not secure):
            raise ValueError(
                'sameSite must be "lax" or "strict", or, with secure=True, "none", '
                f"not {sameSite!r}"
            )
        if not isinstance(cookieName, str) or not cookieName.isidentifier():
            raise ValueError(f"cookieName must be an identifier, not {cookieName!r}")
        self._cookieName, self._secure, self._sameSite = cookieName, secure, sameSite
        self._key = secrets.token_bytes(32)
        self._browsers = Browsers[Browser](timeout, maximum, partial(clockOr, reactor), retryAfter)

    def _logIn(self, request: Any, credentials: Any) -> Deferred[LoginResult]:
        request.setHeader(b"cache-control", NOT_SHARED)
        cookie, proof = request.getCookie(self._nameFor(request)), self._proofOf(request)
        browser = self._browsers.known(cookie)
        if browser is not None and not browser.isOf(credentials, proof):
            browser.end(LoggedOut())
            browser = None
        if browser is None and IAnonymous.providedBy(credentials):
            login = super()._logIn(request, credentials)
            return login.addErrback(self._challenged, request, cookie)
        if browser is None and cookie == LOGGED_OUT:
            self._setCookie(request, b"")
            return fail(UnauthorizedLogin())
        visit = self._visit(request)
        if visit.disconnected:
            return Deferred()
        origin = (proof, _originOf(request, cookie))
        browser = browser or self._browsers.opening(origin)
        browser = browser or self._new(visit, credentials, origin)
        return self._serve(request, visit, browser, credentials)

    def _new(self, visit: RequestConnection, credentials: Any, origin: Origin) -> Browser:
        """
        Return a browser that is about to log in.
        """
        browser = Browser(
            visit,
            visit.clock,
            browsers=self._browsers,
            username=nameIn(credentials),
            origin=origin,
        )
        self._browsers.logsIn(browser)
        return browser

    def _serve(
        self, request: Any, visit: RequestConnection, browser: Browser, credentials: Any
    ) -> Deferred[LoginResult]:
        """
        Serve a request of a browser.
        """
        remember(request, partial(self._logOut, request, visit, browser))
        begins = browser.join(visit)
        if browser.result is not None:
            return succeed(self._entered(browser.result, request, browser))
        waiting = browser.wait(visit).addCallback(self._entered, request, browser)
        if begins:
            browser.logIn(self._portal, self._realms, credentials)
        return waiting

    def _entered(self, result: LoginResult, request: Any, browser: Browser) -> LoginResult:
        """
        Give the browser its cookie, if it has not shown it.
        """
        if isinstance(result[1], Answer):
            return result
        if not browser.isOpen:  # another request was first, and has logged out
            raise UnauthorizedLogin
        if request.getCookie(self._nameFor(request)) != browser.cookie:
            self._setCookie(request, browser.cookie)
        return shared(result)

    def _logOut(self, request: Any, visit: RequestConnection, browser: Browser) -> bool:
        ended = browser.end(LoggedOut(), visit)
        if ended:
            self._setCookie(request, LOGGED_OUT)
        return ended

    def _challenged(self, failure: Failure, request: Any, cookie: bytes | None) -> Failure:
        """
        Somebody is asked for credentials: let the requests that bring them be known as those of one
        browser.
        """
        if cookie is None:
            self._setCookie(request, secrets.token_urlsafe(32).encode())
        return failure

    def _setCookie(self, request: Any, cookie: bytes) -> None:
        request.addCookie(
            self._nameFor(request),
            cookie,
            path=b"/",
            max_age=None if cookie else b"0",
            secure=self._isSecure(request),
            httpOnly=True,
            sameSite=self._sameSite,
        )

    def _nameFor(self, request: Any) -> bytes:
        return (b"__Host-" if self._isSecure(request) else b"") + self._cookieName.encode()

    def _isSecure(self, request: Any) -> bool:
        return self._secure or bool(request.isSecure())

    def _proofOf(self, request: Any) -> bytes:
        header = request.getHeader(b"authorization") or b""
        return hmac.digest(self._key, header, "sha256")


def _originOf(request: Any, cookie: bytes | None) -> Hashable:
    """
    Return what is the same for the requests that one browser sends at the same time, and for no
    others, as far as that can be told.
    """
    if cookie:
        return hashOf(cookie)
    if request.clientproto == b"HTTP/2":  # many at a time over one TCP connection
        address: Hashable = request.getClientAddress()
        return address
    return object()
