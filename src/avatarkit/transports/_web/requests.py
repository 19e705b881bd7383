"""
A request of the web, as what a login came through, and what is answered to a login that fails.

A TCP connection of HTTP carries one request after the other, and one of HTTP/2 several at a time,
perhaps of several users: so it is the request that a login ends with, and that a kick closes.  Over
HTTP/1.1 the TCP connection is closed with it; over HTTP/2 only the stream is, since others share
the connection.

Whether a client has left is noticed by who reads.  Twisted stops reading when a client has sent too
much besides a request that goes on, so a client that does so during its login is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.cred.credentials import IAnonymous
from twisted.cred.error import LoginFailed, Unauthorized, UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from ..._clients.connections import bufferedIn
from ..._clients.transports import Connection
from ..._realm.session import LoginResult
from ...errors import (
    LoggedOut,
    LoginAbandoned,
    LoginRefused,
    LoginTimedOut,
    RealmClosed,
    RealmFailed,
    TooManyAttempts,
    TooManyConnections,
    TooManyLogins,
    UnsupportedInterface,
)
from .._portals import Logins
from .._tapping import Tap, keepAlive

#: The refusals that have nothing to do with who asks: it may work later.
LATER = (TooManyConnections, TooManyLogins, RealmClosed, LoginAbandoned, LoginTimedOut)

#: The attribute of a transport that holds its L{_Visits}.
_VISITS = "_avatarkitVisits"

_log = Logger()


@attrs.define(eq=False, repr=False)
class RequestConnection(Connection):
    """
    A request that a login came in, which it ends with.

    @ivar transport: the request.
    @ivar logins: the logins that go on.
    @ivar whenReceived: called when something arrives.
    @ivar closing: whether its TCP connection is being closed.
    """

    keepAlive: bool = True
    whenReceived: Callable[[], object] | None = attrs.field(default=None, init=False)
    closing: bool = attrs.field(default=False, init=False)
    logins: Logins = attrs.field(init=False)
    _channel: Any = attrs.field(init=False)  # Any: HTTP/1.1 and HTTP/2 have different ones
    _wire: Any = attrs.field(init=False)  # Any: whatever a reactor makes of a connection

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        request = self.transport
        self.logins = Logins(self, self.keepReading)
        self._channel = getattr(request, "channel", None)
        self._wire = getattr(self._channel, "transport", None)
        if request.finished or self._channel is None:
            self._over()
            return
        request.notifyFinish().addBoth(self._finished)
        if self._wire is None:  # a stream of HTTP/2
            return
        _visitsOf(self._wire).going[self] = None
        if self.keepAlive:
            keepAlive(self._wire)

    @property
    def backlog(self) -> int | None:
        """
        How many bytes wait to be sent; C{None} if that is not known, as over HTTP/2.
        """
        return bufferedIn(self._wire)

    def getPeer(self) -> object:
        """
        Return the client's address.
        """
        peer: object = self.transport.getClientAddress()
        return peer

    def received(self) -> None:
        """
        Something has arrived: a body that the page reads, or what a WebSocket brings.
        """
        super().received()
        if self.whenReceived is not None:
            self.whenReceived()

    def loseConnection(self) -> None:
        """
        Close the TCP connection when everything is written; reset the stream of HTTP/2.
        """
        if self.disconnected or self.closing:
            return
        if self._wire is None:
            self.abortConnection()
            return
        self.closing = True
        self._wire.unregisterProducer()  # which is the channel; TLS would wait for it
        self._wire.loseConnection()

    def abortConnection(self) -> None:
        """
        Close the TCP connection now; reset the stream of HTTP/2.
        """
        if self.disconnected:
            return
        self.closing = True
        if self._wire is None:
            self._channel.abortConnection()
            self.transport.connectionLost(Failure(ConnectionAborted()))  # Twisted does not say so
        else:
            self._wire.abortConnection()

    def keepReading(self, busy: bool) -> None:
        """
        As long as a login goes on, cut the client off rather than stop reading.
        """
        if self._wire is None:  # HTTP/2 never stops
            return
        if busy:
            self._wire.pauseProducing = self._flooded
        else:
            vars(self._wire).pop("pauseProducing", None)

    def end(self) -> bool:
        """
        Log out, and let the request go on.

        @return: whether it had not ended yet.
        """
        before = self.disconnected
        self._over(LoggedOut())
        return not before

    def _flooded(self) -> None:
        _log.warn(
            "{peer} has sent too much while its login goes on: it is cut off", peer=self.getPeer()
        )
        self.abortConnection()

    def _finished(self, result: object) -> None:
        if isinstance(result, Failure):
            self._over()
        elif not self.closing:
            self._over(LoggedOut())

    def _over(self, reason: Exception | None = None) -> None:
        if self.disconnected:
            return
        self.reason = reason
        self.abandoned()
        if self._wire is not None:
            _visitsOf(self._wire).going.pop(self, None)
        self.logins.abandon()
        self.lost()


@attrs.define(eq=False)
class _Visits:
    """
    The requests that go on over a TCP connection, which learn from its transport what Twisted does
    not tell them: a request that becomes a WebSocket is never told what arrives, nor that the
    connection is lost, and one that is finished is not either.
    """

    going: dict[RequestConnection, None] = attrs.field(factory=dict, init=False)

    def takes(self, size: int) -> bool:
        """
        Something has arrived, which Twisted may have.
        """
        for visit in tuple(self.going):
            visit.received()
        return True

    def lost(self) -> None:
        """
        The TCP connection is lost.
        """
        for visit in tuple(self.going):
            visit._over()


def _visitsOf(wire: Any) -> _Visits:  # Any: as above
    """
    Return the requests that go on over a TCP connection.
    """
    visits: _Visits | None = vars(wire).get(_VISITS)
    if visits is None:
        visits = _Visits()
        setattr(wire, _VISITS, visits)
        Tap(wire, visits.takes, visits.lost)
    return visits


class Answer(Resource):
    """
    What is shown instead of an avatar.
    """

    isLeaf = True

    def __init__(self, code: int, text: str, retryAfter: int | None = None) -> None:
        super().__init__()
        self.code, self.text, self.retryAfter = code, text, retryAfter

    def render(self, request: Any) -> bytes:  # Any: requests are Twisted's, or somebody's
        """
        Show it.
        """
        request.setResponseCode(self.code)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        if self.retryAfter is not None:
            request.setHeader(b"retry-after", b"%d" % self.retryAfter)
        return self.text.encode()


def answerTo(failure: Failure, credentials: object, retryAfter: int) -> Answer | None:
    """
    Return what is answered to a login that has failed; C{None} stands for a 401, with which the
    browser asks for other credentials.

    A fault of the server's is logged.
    """
    reason = failure.value
    if isinstance(reason, TooManyAttempts):
        return Answer(429, str(reason), retryAfter)
    if isinstance(reason, LATER):
        return Answer(503, str(reason), retryAfter)
    if isinstance(reason, LoginRefused) and not IAnonymous.providedBy(credentials):
        return Answer(403, str(reason))
    if isinstance(reason, (Unauthorized, LoginFailed)):
        return None
    isLogged = isinstance(reason, (RealmFailed, UnsupportedInterface)) and reason.__cause__
    if not isLogged:
        _log.failure("a login over the web failed", failure=failure)
    return Answer(500, RealmFailed.text)


def reply(
    visit: RequestConnection, answer: Answer | None, abandoned: bool = False
) -> Deferred[LoginResult]:
    """
    Reply to a login that has failed; not if nobody is there, or will not be.

    @param abandoned: whether the login was ended from outside: if that was a kick, the connection
        is closed next, instead of an answer.
    """
    if visit.disconnected or visit.closing:
        return Deferred()
    if abandoned:
        soon: Deferred[None] = deferLater(visit.clock, 0)
        return soon.addCallback(lambda ignored: reply(visit, answer))
    if answer is None:
        return fail(UnauthorizedLogin())
    return succeed((IResource, answer, nothing))


def nothing() -> None:
    """
    Log out of what is logged out by others.
    """


def isAbandoned(failure: Failure) -> bool:
    """
    Return whether a login failed because it was ended from outside.
    """
    return isinstance(failure.value, LoginAbandoned)
