"""
A client of Perspective Broker that comes back: it connects again when its connection is lost, takes
its session up where it was, and obeys when the server says that it must not return, or when.

L{ClientService<twisted.application.internet.ClientService>} makes the connections.  A connection
over which nothing arrives any more is lost too, though nobody says so: the client finds that out by
asking the server, when nothing has come for some time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import uniform
from typing import Any

from twisted.application.internet import ClientService, backoffPolicy
from twisted.application.service import Service
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.spread import pb

from .._tools.checks import checkSeconds
from .._tools.clock import clockOr
from .._waiting.awaiting import awaited
from ..errors import LoginRefused
from .dialing import DialingFactory
from .receiver import SessionEndedReceiver

# Any in this module: brokers, transports, credentials, and what is sent over the network.

#: How many seconds a connection has to close when the client stops.
CLOSING = 5


class ResumingClient(SessionEndedReceiver, Service):
    """
    A client that logs in, and does so again whenever it has lost its connection, until it is
    stopped, or the server says that it must not return.

    It is the mind that it logs in with, and a service: derive from it, give it C{remote_} methods
    for what the server pushes, override L{connected}, L{lost}, L{missed} and L{refused}, which may
    be coroutines, and L{sessionEnded}; and start it.

    At a server with a L{Resume<avatarkit.Resume>}, and in time, it has its avatar again, and gets
    what was pushed to it meanwhile: each push once, and in order.  Elsewhere it logs in anew.

    After a C{Farewell} it returns as a L{SessionEndedReceiver} does, if it may.  It does not return
    if its password is wrong.

    @ivar perspective: what its login returned; C{None} while it is not logged in.
    """

    perspective: Any = None

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        credentials: Any,
        *,
        interval: float = 30,
        timeout: float = 90,
        retryPolicy: Callable[[int], float] | None = None,
        reactor: IReactorTime | None = None,
        spread: Callable[[float, float], float] = uniform,
    ) -> None:
        """
        @param endpoint: where the server is.
        @param credentials: what C{PBClientFactory.login} takes.
        @param interval: for how many seconds nothing may arrive before the server is asked whether
            it is there, if it has a C{Resume}.
        @param timeout: after how many seconds without anything the connection counts as lost; also
            how long a login may take.
        @param retryPolicy: returns how many seconds to wait, given how many attempts have failed;
            by default a L{backoffPolicy<twisted.application.internet.backoffPolicy>}.
        @param reactor: measures the time; the global reactor by default.
        @param spread: see L{SessionEndedReceiver}.
        """
        checkSeconds("interval", interval)
        checkSeconds("timeout", timeout)
        if not 0 < interval < timeout:
            raise ValueError("interval must be more than 0, and less than timeout")
        if retryPolicy is not None and not callable(retryPolicy):
            raise TypeError(f"retryPolicy must be callable, not {retryPolicy!r}")
        super().__init__(self._connect, reactor=reactor, spread=spread)
        self._credentials, self._interval, self._timeout = credentials, interval, timeout
        self._policy = retryPolicy or backoffPolicy()
        self._failures = 0
        factory: Any = DialingFactory(
            self._built, self._ready, self._lost, clockOr(reactor).seconds
        )
        self._connecting = ClientService(endpoint, factory, self._pause, clockOr(reactor))
        self._token, self._received, self._resumed = b"", 0, False
        self._line: Any = None
        self._broker: Any = None
        self._deadline: IDelayedCall | None = None
        self._closed = True
        self._disconnecting: list[Deferred[None]] = []

    def connected(self, perspective: Any, resumed: bool) -> object:
        """
        The client is logged in: override it to begin.

        @param perspective: what the login returned; it is kept.
        @param resumed: whether this goes on where it was when the connection was lost.  If not,
            what was pushed meanwhile is lost, and the avatar may be another one.
        """

    def lost(self, reason: Failure) -> object:
        """
        The connection is lost, and the client will try again: override it to tell the user.
        """

    def missed(self, count: int) -> object:
        """
        The server has not kept as many pushes as were missed: override it to fetch what they said.
        It is called before the next push is.

        @param count: how many are lost.
        """

    def refused(self, reason: Failure) -> object:
        """
        The login has failed: override it to tell the user.

        The client tries again, unless its name or its password is wrong.
        """

    def startService(self) -> None:
        """
        Connect.
        """
        Service.startService(self)
        self._stopped = False
        self._connecting.startService()

    def stopService(self) -> Deferred[None]:
        """
        Log out, disconnect, and do not come back.

        If the connection is lost at the moment, the server is not told, and waits for the client
        until the window is over; the client can take that back when it is started again.

        @return: a Deferred that fires with C{None} when the connection is closed.
        """
        Service.stopService(self)
        self.stop()
        line = self._line
        if line is None:
            return self._disconnect()
        left = maybeDeferred(line.callRemote, "logout").addTimeout(CLOSING, clockOr(self._reactor))
        left.addCallbacks(self._hasLeft, lambda failure: None)
        return left.addCallback(lambda left: self._disconnect())

    def _hasLeft(self, answer: object) -> None:
        """
        The server does not wait for the client.
        """
        self._token = b""

    def remote_sessionEnded(self, *args: object, **kw: object) -> None:
        """
        The server has ended the session.
        """
        super().remote_sessionEnded(*args, **kw)
        self._token = b""
        self._disconnect()

    def remote_sessionClaim(self) -> tuple[bytes, int]:
        """
        The server asks whether the client comes back.
        """
        return self._token, self._received

    def remote_sessionTicket(self, token: object, resumed: object, line: object) -> None:
        """
        The server gives the client what it comes back with.
        """
        if not isinstance(token, bytes) or not isinstance(line, pb.RemoteReference):
            raise pb.Error("a ticket is a token, whether it was good, and a reference")
        self._token, self._resumed, self._line = token, resumed is True, line

    def remote_sessionReceived(self) -> int:
        """
        The server asks how far the client has got.
        """
        return self._received

    def remote_sessionPush(self, number: object, name: object, args: Any, kw: Any) -> object:
        """
        The server pushes.
        """
        if type(number) is not int or type(args) is not tuple or type(kw) is not dict:
            raise pb.Error("a push has a number, a name, and what the method is called with")
        missing = number - self._received - 1
        if missing < 0:
            return None
        self._received = number
        if missing:
            self._tell(self.missed, missing)
        name = name.decode() if isinstance(name, bytes) else name
        method = getattr(self, f"remote_{name}", None)
        if method is None:
            raise pb.NoSuchMethod(f"No such method: remote_{name}")
        return method(*args, **kw)

    def _built(self, broker: Any) -> None:
        """
        A connection is made: it must come to something.
        """
        self._broker = broker
        self._wait(self._timeout, partial(self._abort, broker))

    def _ready(self, broker: Any, factory: pb.PBClientFactory) -> None:
        """
        The server speaks Perspective Broker: log in.
        """
        self._resumed, self._line = False, None
        login: Any = factory.login(self._credentials, self)
        login.addCallbacks(self._loggedIn, self._notLoggedIn, (broker,), {}, (broker,))

    def _lost(self, reason: Failure) -> None:
        """
        A connection is lost.
        """
        there, self.perspective, self._broker, self._line = self.perspective, None, None, None
        self._wait(0, None)
        if there is not None and self._connecting.running:
            self._tell(self.lost, reason)

    def _loggedIn(self, perspective: Any, broker: Any) -> None:
        self.perspective, self._failures = perspective, 0
        self._wait(0, None)
        if self._line is not None:
            self._wait(self._interval, partial(self._look, broker))
        if self._connecting.running:  # it was not stopped just now
            self._tell(self.connected, perspective, self._resumed)

    def _notLoggedIn(self, reason: Failure, broker: Any) -> None:
        if broker is not self._broker or broker.disconnected:
            return
        wrong = reason.check(UnauthorizedLogin) and not reason.check(LoginRefused)
        if wrong:
            self._disconnect()
        else:
            broker.transport.loseConnection()
        self._tell(self.refused, reason)

    def _connect(self) -> None:
        """
        It is time to return.
        """
        if self.running:
            self._connecting.startService()

    def _disconnect(self) -> Deferred[None]:
        """
        Close the connection, by force if it takes too long, and make no other one.
        """
        broker, disconnected = self._broker, Deferred[None]()
        self._disconnecting.append(disconnected)
        if self._connecting.running:
            if broker is not None:
                self._wait(CLOSING, partial(self._abort, broker))
            self._closed = False
            stopping: Any = self._connecting.stopService()
            stopping.addCallback(self._isClosed)
        elif self._closed:
            self._isClosed()
        return disconnected

    def _isClosed(self, ignored: None = None) -> None:
        """
        There is no connection, and none is made.
        """
        self._closed = True
        waiting, self._disconnecting = self._disconnecting, []
        for each in waiting:
            each.callback(None)

    def _pause(self, attempts: int) -> float:
        """
        Return how many seconds to wait before the next attempt: a connection without a login is a
        failed one.
        """
        self._failures += 1
        return self._policy(self._failures)

    def _look(self, broker: Any) -> None:
        """
        Look whether anything has arrived, and ask the server if nothing has.
        """
        silence = clockOr(self._reactor).seconds() - broker.lastReceived
        if silence >= self._timeout:
            self._abort(broker)
            return
        if silence >= self._interval:
            asked = maybeDeferred(self._line.callRemote, "ping")
            asked.addErrback(lambda failure: None)  # any answer is one
        pause = self._interval - silence if silence < self._interval else self._timeout - silence
        self._wait(min(pause, self._interval), partial(self._look, broker))

    def _abort(self, broker: Any) -> None:
        broker.transport.abortConnection()

    def _wait(self, seconds: float, late: Callable[[], object] | None) -> None:
        """
        Wait for something, or for nothing.
        """
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        if late is not None:
            self._deadline = clockOr(self._reactor).callLater(seconds, late)

    def _tell(self, hook: Callable[..., object], *args: object) -> None:
        telling = maybeDeferred(lambda: awaited(hook(*args)))
        telling.addErrback(lambda failure: self._log.failure("{hook!r} failed", failure, hook=hook))
