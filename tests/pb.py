"""
Real Perspective Broker over loopback TCP: a server, and as many clients as a test wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import TestCase

reactor: Any = globalReactor


class Client(pb.Referenceable):
    """
    A client with its own connection, which is also the mind that it logs in with.

    @ivar told: the server's calls, as C{(name, args)}, in order.
    """

    def __init__(self, connect: Callable[[Any], object]) -> None:
        self.told: DeferredQueue[tuple[str, tuple[Any, ...]]] = DeferredQueue()
        self.avatars: list[Any] = []
        self.closed: Deferred[None] = Deferred()
        factory: Any = pb.PBClientFactory()
        self.factory = factory
        connectionLost = self.factory.clientConnectionLost

        def lost(*args: Any, **kw: Any) -> None:
            connectionLost(*args, **kw)
            self.closed.callback(None)

        self.factory.clientConnectionLost = lost
        connect(self.factory)

    def login(self, name: str = "alice", *, mind: bool = True) -> Deferred[Any]:
        """
        Log in with a password, and return what Perspective Broker returns.
        """
        credentials = UsernamePassword(name.encode(), b"secret")
        return self._keep(self.factory.login(credentials, self if mind else None))

    def loginAnonymously(self) -> Deferred[Any]:
        """
        Log in anonymously.
        """
        return self._keep(self.factory.login(Anonymous(), self))

    def _keep(self, login: Deferred[Any]) -> Deferred[Any]:
        """
        Keep the reference to the avatar: Perspective Broker logs out a client that drops it.
        """

        def keep(avatar: Any) -> Any:
            self.avatars.append(avatar)
            return avatar

        return login.addCallback(keep)

    def disconnect(self) -> Deferred[None]:
        """
        Close the connection, and return a Deferred that fires when it is closed on this side.
        """
        self.factory.disconnect()
        return self.closed

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Record what the server calls, and return its name with C{done}.
        """
        name = message if isinstance(message, str) else message.decode()
        self.told.put((name, broker.unserialize(args)))
        return broker.serialize(f"{name} done", self)


def transportOf(client: Client) -> Any:
    """
    Return a client's transport.
    """
    return client.factory._broker.transport


async def refusal(login: Deferred[Any]) -> Failure:
    """
    Wait for a login to fail, and return the failure that the client gets.
    """
    results: list[Any] = []
    await login.addBoth(results.append)
    (failure,) = results
    assert isinstance(failure, Failure), failure
    return failure


class PBTestCase(TestCase):
    """
    A test with a server; at its end, all connections are closed on both sides.
    """

    timeout = 10

    def setUp(self) -> None:
        """
        Start without clients.
        """
        self.clients: list[Client] = []
        self.connections: list[Deferred[None]] = []

    def serve(self, realm: Any) -> None:
        """
        Listen, with an account for every name that the tests use.
        """
        assert IRealm.providedBy(realm)
        users: Any = dict.fromkeys(("alice", "bob", "carol"), b"secret")
        checkers: Any = [
            InMemoryUsernamePasswordDatabaseDontUse(**users),
            AllowAnonymousAccess(),
        ]
        self.portal: Any = Portal(realm, checkers)
        factory: Any = pb.PBServerFactory(self.portal)
        buildProtocol = factory.buildProtocol

        def build(address: Any) -> Any:
            broker = buildProtocol(address)
            lost: Deferred[None] = Deferred()
            broker.notifyOnDisconnect(lambda: reactor.callLater(0, lost.callback, None))
            self.connections.append(lost)
            return broker

        factory.buildProtocol = build
        self.listening = self.listen(factory)
        self.port: int = self.listening.getHost().port

    def listen(self, factory: Any) -> Any:
        """
        Listen on a free TCP port; subclasses may use another transport.
        """
        return reactor.listenTCP(0, factory, interface="127.0.0.1")

    def connect(self, factory: Any) -> None:
        """
        Connect a client factory to the server.
        """
        reactor.connectTCP("127.0.0.1", self.port, factory)

    def client(self) -> Client:
        """
        Connect another client.
        """
        client = Client(self.connect)
        self.clients.append(client)
        return client

    def tearDown(self) -> Any:
        """
        Close everything, and wait until the server has noticed.
        """
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        for client in self.clients:
            client.disconnect()
        await self.listening.stopListening()
        for client in self.clients:
            await client.closed
        for lost in self.connections:
            await lost
