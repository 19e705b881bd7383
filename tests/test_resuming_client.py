"""
A client that comes back, and whatever a server does to it.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, ConnectionCounter, Realm
from avatarkit._liveness import receiver, resuming
from pb import PBTestCase
from returning import Returner
from scripted import Boom

# Any in this module: reactors, and what a server sends.
reactor: Any = globalReactor


def clientOf(port: int, **kw: Any) -> Returner:
    """
    Return a client of a server on loopback.
    """
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    return Returner(endpoint, UsernamePassword(b"alice", b"secret"), **kw)


class ReceivingTests(SynchronousTestCase):
    """
    Without a network.
    """

    def setUp(self) -> None:
        """
        Have a client.
        """
        self.client = clientOf(1)
        self.push = self.client.remote_sessionPush

    def test_first(self) -> None:
        """
        At first it has no token, and has received nothing.
        """
        assert self.client.remote_sessionClaim() == (b"", 0)
        assert self.client.remote_sessionReceived() == 0

    def test_push(self) -> None:
        """
        A push is a call of its method, and is counted.
        """
        assert self.push(1, "news", (7,), {}) == 7
        assert self.push(2, b"news", (8, "more"), {}) == 8
        assert self.client.remote_sessionReceived() == 2
        assert self.client.heard == [7, 8]

    def test_double(self) -> None:
        """
        One that it has already is none.
        """
        self.push(1, "news", (7,), {})
        self.push(2, "news", (8,), {})
        for number in (0, 1, 2, -5):
            assert self.push(number, "news", (9,), {}) is None
        assert self.client.heard == [7, 8]

    def test_gap(self) -> None:
        """
        It is told how many are missing, before the next one.
        """
        self.push(4, "news", (7,), {})
        self.push(6, "news", (8,), {})
        assert self.client.heard == [("missed", 3), 7, ("missed", 1), 8]

    def test_failing(self) -> None:
        """
        A push whose method fails, or is not there, counts.
        """
        self.assertRaises(pb.NoSuchMethod, self.push, 1, "old", (), {})
        self.assertRaises(TypeError, self.push, 2, "news", (), {})
        assert self.client.remote_sessionReceived() == 2

    def test_nonsense(self) -> None:
        """
        What is no push, or no ticket, is refused.
        """
        wrong: list[tuple[Any, ...]] = [
            *((None, "news", (), {}), ("1", "news", (), {}), (True, "news", (), {})),
            *((1, "news", [], {}), (1, "news", (), [])),
        ]
        for each in wrong:
            self.assertRaises(pb.Error, self.push, *each)
        for token, line in (
            ("x", None),
            (b"x", None),
            (None, pb.RemoteReference(None, None, 1, 0)),
        ):
            self.assertRaises(pb.Error, self.client.remote_sessionTicket, token, True, line)
        assert self.client.remote_sessionClaim() == (b"", 0)

    def test_ticket(self) -> None:
        """
        It comes back with the last ticket that it was given; not if it was told that its session
        has ended.
        """
        line = pb.RemoteReference(None, None, 1, False)
        self.client.remote_sessionTicket(b"one", False, line)
        self.client.remote_sessionTicket(b"two", True, line)
        self.push(1, "news", (7,), {})
        assert self.client.remote_sessionClaim() == (b"two", 1)
        self.client.remote_sessionEnded("Kicked", "spam", 0)
        assert self.client.remote_sessionClaim() == (b"", 1)

    def test_raising(self) -> None:
        """
        A hook that raises is logged, and nothing else happens.
        """

        def fail(count: int) -> None:
            raise Boom

        async def failLater(count: int) -> None:
            raise Boom

        hooks: list[tuple[int, Any]] = [(2, fail), (4, failLater)]
        for number, hook in hooks:
            self.client.missed = hook  # type: ignore[method-assign]
            assert self.push(number, "news", (7,), {}) == 7
            assert len(self.flushLoggedErrors(Boom)) == 1

    def test_loggedInTooLate(self) -> None:
        """
        A login that succeeds when the client was stopped is none.
        """
        self.client._loggedIn(None, None)
        assert self.client.heard == []

    def test_arguments(self) -> None:
        """
        Arguments that make no sense are refused.
        """
        wrong: list[tuple[type[Exception], dict[str, Any]]] = [
            (TypeError, {"interval": "1"}),
            (TypeError, {"timeout": None}),
            (ValueError, {"interval": 0}),
            (ValueError, {"interval": 90}),
            (TypeError, {"retryPolicy": 5}),
            (TypeError, {"reactor": 5}),
            (TypeError, {"spread": 5}),
        ]
        for error, arguments in wrong:
            with self.assertRaises(error) as raised:
                clientOf(1, **arguments)
            assert next(iter(arguments)) in str(raised.exception)


class Silent(Protocol):
    """
    A server that says nothing, and keeps its connections.
    """

    def connectionMade(self) -> None:
        """
        Note it.
        """
        factory: Any = self.factory
        factory.made.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Note that it is lost.
        """
        factory: Any = self.factory
        factory.lost += 1


class ServerTests(PBTestCase):
    """
    With real servers.
    """

    def start(self, client: Returner) -> Returner:
        """
        Start a client, which is stopped at the end.
        """
        client.startService()
        self.stops.append(client)
        return client

    def setUp(self) -> None:
        """
        Have a server without a C{Resume}.
        """
        super().setUp()
        self.stops: list[Returner] = []
        self.counter = ConnectionCounter[Any]()
        self.realm: Realm[Any] = self.counter(lambda avatarId: Avatar())
        self.serve(self.realm)

    async def _close(self) -> None:
        for client in self.stops:
            await client.stopService()
        await super()._close()

    async def test_elsewhere(self) -> None:
        """
        At a server without a C{Resume} it logs in anew each time.
        """
        client = self.start(clientOf(self.port, retryPolicy=lambda attempt: 0))
        await client.untilHeard("in")
        (session,) = self.realm.sessions
        await session.disconnect("spam")
        await client.until(lambda: client.heard.count("in") == 2)
        assert client.heard == ["in", "lost", "in"]

    async def test_attempts(self) -> None:
        """
        The more attempts have failed, the longer it waits; one that succeeds is a new beginning.
        """
        attempts: list[int] = []

        def policy(attempt: int) -> float:
            attempts.append(attempt)
            return 0

        await maybeDeferred(self.listening.stopListening)
        client = self.start(clientOf(self.port, retryPolicy=policy))
        while len(attempts) < 3:
            await self.pause()
        factory = self.listening.factory
        self.listening = reactor.listenTCP(self.port, factory, interface="127.0.0.1")
        await client.untilHeard("in")
        before = len(attempts)
        (session,) = self.realm.sessions
        await session.disconnect("spam")
        await client.until(lambda: client.heard.count("in") == 2)
        assert attempts[: before + 1] == [*range(1, before + 1), 1]

    def pause(self) -> Deferred[None]:
        """
        Let the reactor have some turns.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.01, waiting.callback, None)
        return waiting

    async def test_lostEarly(self) -> None:
        """
        A connection that is lost during a login is a failed attempt, and no refusal.
        """
        waits: list[Deferred[Avatar]] = []

        def make(avatarId: object) -> Deferred[Avatar] | Avatar:
            if waits:
                return Avatar()
            waits.append(Deferred())
            return waits[0]

        self.portal.realm = realm = Realm[Any](make)
        client = self.start(clientOf(self.port, retryPolicy=lambda attempt: 0))
        while not waits:
            await self.pause()
        (session,) = realm.sessions
        session.mind.broker.transport.abortConnection()
        await client.untilHeard("in")
        assert client.heard == ["in"]

    async def test_silentServer(self) -> None:
        """
        A server that takes the connection and says nothing is given up, and tried again.
        """
        server: Any = Factory.forProtocol(Silent)
        server.made, server.lost = [], 0
        listening = reactor.listenTCP(0, server, interface="127.0.0.1")
        client = clientOf(
            listening.getHost().port, interval=0.05, timeout=0.1, retryPolicy=lambda attempt: 0
        )
        client.startService()
        while len(server.made) < 3:
            await self.pause()
        await client.stopService()
        assert client.heard == []
        while server.lost < len(server.made):
            await self.pause()
        await maybeDeferred(listening.stopListening)

    async def test_stuckServer(self) -> None:
        """
        A client that stops does not wait long for a server that has stopped reading.
        """
        self.patch(resuming, "CLOSING", 0.1)
        client = clientOf(self.port)
        client.startService()
        await client.untilHeard("in")
        (session,) = self.portal.realm.sessions
        session.connection.transport.pauseProducing()
        client._broker.transport.write(b"x" * 10**7)
        stopped = [client.stopService(), client.stopService()]
        for each in stopped:
            await each
        await client.stopService()
        assert client.perspective is None
        session.connection.abortConnection()

    async def test_stoppedInside(self) -> None:
        """
        A client may be stopped, and started again, by what it is told.
        """
        client = clientOf(self.port)
        stopping: list[Deferred[None]] = []

        def connected(perspective: Any, resumed: bool) -> None:
            stopping.append(client.stopService())

        client.connected = connected  # type: ignore[method-assign]
        client.startService()
        while not stopping:
            await self.pause()
        await stopping[0]
        del client.connected
        self.start(client)
        await client.untilHeard("in")
        assert client.heard == ["in"]

    async def test_startedAgain(self) -> None:
        """
        One that was started again returns when it may.
        """
        self.patch(receiver, "LEAST", 0)
        client = self.start(clientOf(self.port))
        await client.untilHeard("in")
        await client.stopService()
        client.startService()
        await client.until(lambda: client.heard.count("in") == 2)
        client.remote_sessionEnded("Evicted", "again", 0.01)
        await client.until(lambda: client.heard.count("in") == 3)
        assert client.heard == ["in", "in", ("ended", "Evicted", 0.01), "in"]

    async def test_stoppedEarly(self) -> None:
        """
        So may one that has not connected yet, or waits.
        """
        client = clientOf(self.port)
        client.startService()
        await client.stopService()
        assert client.heard == []
        client = clientOf(1, retryPolicy=lambda attempt: 60)
        client.startService()
        while not client._failures:
            await self.pause()
        await client.stopService()
        assert client.heard == []

    async def test_notRunning(self) -> None:
        """
        One that was stopped does not come back, though it may.
        """
        client = clientOf(self.port, spread=lambda least, most: 0)
        client.startService()
        await client.untilHeard("in")
        await client.stopService()
        client.remote_sessionEnded("Evicted", "again", 1)
        client._connect()
        await self.pause()
        assert client.heard == ["in", ("ended", "Evicted", 1)]
