"""
What the examples of the how-to's six systems share: code that serves a realm, logs clients in, and
compares what the same clients get from two realms.

This is not a program in itself.
"""

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.spread import pb
from zope.interface import Interface

from avatarkit.transports import WatchingFactory

reactor: Any = globalReactor


class ISomethingElse(Interface):
    """An interface that no realm here serves."""


@attrs.define(eq=False)
class Client:
    """A client with a connection of its own, which keeps its avatar while it is logged in."""

    factory: Any = attrs.field(factory=pb.PBClientFactory)
    port: int = 0
    avatar: Any = None

    def ask(self, name: str, *args: object) -> Any:
        return self.avatar.callRemote(name, *args)


@attrs.define(eq=False)
class Server:
    """A realm served on loopback."""

    realm: Any
    logged: list[Any]
    clients: list[Client] = attrs.field(factory=list)
    gone: dict[int, Deferred[None]] = attrs.field(factory=dict)
    portal: Any = None
    listening: Any = None

    async def start(self) -> None:
        users: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
        self.portal = Portal(self.realm, [users])
        factory: Any = pb.PBServerFactory(self.portal)
        build = factory.buildProtocol

        def watched(address: Any) -> Any:
            broker, gone = build(address), Deferred[None]()
            self.gone[address.port] = gone
            broker.notifyOnDisconnect(lambda: reactor.callLater(0, gone.callback, None))
            return broker

        factory.buildProtocol = watched
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.listening = await endpoint.listen(WatchingFactory(factory, self.portal))

    async def login(self, name: str = "alice", mind: object = None) -> Client:
        client = Client()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.listening.getHost().port)
        connection: Any = await endpoint.connect(client.factory)
        client.port = connection.transport.getHost().port
        self.clients.append(client)
        credentials = UsernamePassword(name.encode(), b"secret")
        client.avatar = await client.factory.login(credentials, mind)
        return client

    async def refusal(self) -> Any:
        """Log in, expecting a refusal, and return the error that the client gets."""
        try:
            await self.login()
        except pb.RemoteError as refused:
            return refused
        raise AssertionError("the login was not refused")

    async def leave(self, client: Client) -> None:
        """Close a client's connection, and wait until the server has noticed."""
        self.clients.remove(client)
        client.factory.disconnect()
        await self.gone[client.port]

    async def somethingElse(self) -> str:
        """Log in for an interface that the realm does not serve, and return what happens."""
        try:
            await self.portal.login(UsernamePassword(b"alice", b"secret"), None, ISomethingElse)
        except NotImplementedError:
            return "NotImplementedError"
        return "an avatar"

    async def stop(self) -> None:
        for client in tuple(self.clients):
            await self.leave(client)
        await self.listening.stopListening()


Visit = Callable[[Server], AsyncIterator[tuple[str, object]]]


def compare(before: object, after: object, visit: Visit) -> None:
    """
    Serve two realms, one after the other, have the same clients visit both, and print what they get
    side by side.
    """
    logged: list[Any] = []
    begin: Any = globalLogBeginner.beginLoggingTo
    begin([logged.append], redirectStandardIO=False)
    comparing = _compare(before, after, visit, logged)

    def failed(failure: Any) -> Any:
        failure.printTraceback(sys.stderr)
        return failure

    react(lambda reactor: Deferred.fromCoroutine(comparing).addErrback(failed))


async def _compare(before: object, after: object, visit: Visit, logged: list[Any]) -> None:
    seen = [await _visited(realm, visit, logged) for realm in (before, after)]
    rows = [("what", "by hand", "avatarkit")]
    rows += [(what, old, new) for (what, old), (_what, new) in zip(*seen, strict=True)]
    what, old, _new = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        print(f"{row[0]:{what}} | {row[1]:{old}} | {row[2]}")


async def _visited(realm: object, visit: Visit, logged: list[Any]) -> list[tuple[str, str]]:
    server = Server(realm, logged)
    await server.start()
    seen = [(what, str(answer)) async for what, answer in visit(server)]
    await server.stop()
    return [*seen, ("another interface", await server.somethingElse())]
