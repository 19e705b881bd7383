"""
The session of a browser, which is known by a cookie.

The life of one:

  - I{opening}: its login goes on, and requests of the browser wait for it.  If all of them go, the
    login is cancelled.  No cookie leads here yet: requests join because they show the same
    credentials, and come from the same browser.
  - I{open}: its cookie is known, and each request that shows it is answered by the avatar.
  - I{over}: no request finds it any longer.  Some that did may still go on.
  - I{lost}: the last of those has gone.  Being lost is what its login ends with.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable
from functools import partial
from typing import Any

import attrs
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from ..._clients.minds import closeConnection
from ..._clients.transports import Connection
from ..._realm.session import LoginResult, Session
from ..._waiting.awaiting import then
from .._portals import Logins, Realms
from .browsers import Browsers, Origin
from .requests import RequestConnection, answerTo, isAbandoned, nothing, reply

# Any in this module: what a realm returns, and credentials, which have whatever attributes their
# factories give them.

#: How many seconds a request that is cut off has to receive what was already written.
PATIENCE = 5

_log = Logger()

_notClosed = partial(_log.failure, "the connection of a request could not be closed")


@attrs.define(eq=False, repr=False)
class Browser(Connection):
    """
    The session of a browser, as what a login came through.

    @ivar transport: the request that came last.
    @ivar origin: what is the same for the requests of one browser that log in at the same time.
    @ivar username: who logged in, if the credentials say so and hold no password.
    @ivar cookie: what the browser shows, once it is logged in.
    """

    browsers: Browsers[Browser] = attrs.field(kw_only=True)
    username: object = attrs.field(kw_only=True)
    origin: Origin = attrs.field(kw_only=True)
    cookie: bytes = attrs.field(init=False)
    result: LoginResult | None = attrs.field(default=None, init=False)
    _session: Session | None = attrs.field(default=None, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _logins: Logins = attrs.field(init=False)
    _visits: dict[RequestConnection, None] = attrs.field(factory=dict, init=False)
    _waiting: dict[RequestConnection, Deferred[LoginResult]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.cookie = secrets.token_urlsafe(32).encode()
        self._logins = Logins(self)

    @property
    def isOpening(self) -> bool:
        """
        Whether its login goes on.
        """
        return self.result is None and not self._over

    @property
    def isOpen(self) -> bool:
        """
        Whether it is logged in.
        """
        if self.result is None or self._over:
            return False
        return self._session is not None and not self._session.ended

    @property
    def backlog(self) -> int | None:
        """
        How many bytes wait to be sent, in all of its requests; C{None} if one does not know.
        """
        known = [each.backlog for each in self._visits]
        return None if None in known else sum(filter(None, known))

    def isOf(self, credentials: Any, proof: bytes) -> bool:
        """
        Return whether a request that shows the cookie and these credentials is one of this browser.

        Those that hold no password, as of HTTP digest, are other ones for each request.
        """
        if IAnonymous.providedBy(credentials) or secrets.compare_digest(proof, self.origin[0]):
            return True
        name = nameIn(credentials)
        return name is not None and name == self.username

    def join(self, visit: RequestConnection) -> bool:
        """
        A request of this browser has come.

        @return: whether it is the first.
        """
        self.transport = visit
        self.received()
        visit.whenReceived = self.received
        self._visits[visit] = None
        self.browsers.busy(self)
        visit.notifyOnDisconnect(self._left)
        return self.result is None and len(self._visits) == 1

    def wait(self, visit: RequestConnection) -> Deferred[LoginResult]:
        """
        Return a Deferred of what the login results in, for one of the requests that wait for it.
        """
        waiting = self._waiting[visit] = Deferred()
        visit.keepReading(True)
        return waiting

    def logIn(self, portal: Portal, realms: Realms, credentials: Any) -> None:
        """
        Log in.
        """
        mine: Any = self._logins.portal(portal, realms)
        mine.realm = _Counting(mine.realm, self)
        login = mine.login(credentials, None, IResource)
        login.addCallbacks(self._loggedIn, self._failed)

    def end(self, reason: Exception, but: RequestConnection | None = None) -> bool:
        """
        End the session, and cut off its requests except one.

        @param reason: why.
        @return: whether it had not ended yet.
        """
        before = self.disconnected
        for visit in self._leave():
            if visit is not but:
                closeConnection(visit, None, PATIENCE, self.clock, failed=_notClosed)
        self._lose(reason)
        return not before

    def loseConnection(self) -> None:
        """
        Close the connections of its requests when everything is written; its cookie is good for
        nothing from now on.
        """
        for visit in self._leave():
            visit.loseConnection()
        self._loseIfAlone()

    def abortConnection(self) -> None:
        """
        Close the connections of its requests now.
        """
        for visit in self._leave():
            visit.abortConnection()
        self._loseIfAlone()

    def _leave(self) -> tuple[RequestConnection, ...]:
        """
        Be found no longer; return the requests that go on.
        """
        self._over = True
        self.browsers.forget(self)
        return tuple(self._visits)

    def _left(self, visit: RequestConnection) -> None:
        del self._visits[visit]
        self._waiting.pop(visit, None)
        if self._visits:
            return
        if self.isOpen:
            self.browsers.idle(self)
        else:
            self._lose()

    def _loseIfAlone(self) -> None:
        if not self._visits:
            self._lose()

    def _lose(self, reason: Exception | None = None) -> None:
        if self.disconnected:
            return
        self._leave()
        self.reason = reason
        self.abandoned()
        self._logins.abandon()
        self.lost()

    def _sessionIs(self, session: Session) -> None:
        self._session = session
        session.whenClosed().addCallback(self._loggedOut)

    def _loggedOut(self, ignored: object) -> None:
        self._leave()
        self._loseIfAlone()

    def _loggedIn(self, result: LoginResult) -> None:
        self.result = result
        for _visit, waiting in self._takeWaiting():
            waiting.callback(result)

    def _failed(self, failure: Failure) -> None:
        waiting = self._takeWaiting()
        self._leave()
        if not waiting:
            return
        answer = answerTo(failure, None, self.browsers.retryAfter)
        for visit, each in waiting:
            reply(visit, answer, isAbandoned(failure)).chainDeferred(each)

    def _takeWaiting(self) -> list[tuple[RequestConnection, Deferred[LoginResult]]]:
        waiting, self._waiting = [*self._waiting.items()], {}
        for visit, _each in waiting:
            visit.keepReading(False)
        return waiting


@implementer(IRealm)
@attrs.frozen(eq=False)
class _Counting:
    """
    A realm that counts a browser before it is asked, and tells it its session.
    """

    realm: Any
    browser: Browser

    def requestAvatar(self, avatarId: Hashable, mind: object, *interfaces: Any) -> Any:
        """
        Log in.

        @raise TooManyConnections: if there are too many browsers.
        """
        self.browser.browsers.admit(self.browser)
        return then(self.realm.requestAvatar(avatarId, mind, *interfaces), self._told)

    def _told(self, result: LoginResult) -> LoginResult:
        logout: Any = result[2]  # of one of our realms, it is a session's
        self.browser._sessionIs(logout.__self__)
        return result


def nameIn(credentials: Any) -> object:
    """
    Return who credentials say that they are of, if they do, and hold no password to tell by.
    """
    hasPassword = hasattr(credentials, "password")
    return None if hasPassword else getattr(credentials, "username", None)


def shared(result: LoginResult) -> LoginResult:
    """
    Return a login as one of several requests has it: the guard logs out when a request is done.
    """
    return (*result[:2], nothing)
