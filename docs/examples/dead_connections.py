"""
Clients whose connection is dead, with a server and its clients in one process, over real
connections on loopback.

    python docs/examples/dead_connections.py

It takes two seconds, prints each step as it happens, and exits:

    alice logs in at home, bob logs in; the cable of alice's computer is pulled
    alice logs in at work: too many connections
    alice at home is ended: no sign of life
    alice logs in at work: hello alice
    bob, who has said nothing, is there: hello bob
"""

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.spread import pb

import avatarkit
from avatarkit.transports import WatchingFactory

# The server: a real one would ask after 30 seconds, and end after 90.


class User(avatarkit.Avatar):
    """What a user can do."""

    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()

    def perspective_greet(self) -> str:
        return f"hello {self.name}"


online = avatarkit.MindRegistry()
heartbeat = avatarkit.Heartbeat(interval=0.5, timeout=1.5)
realm = online(heartbeat(avatarkit.ConnectionLimit(1)(User)))


# The clients.


class Client(pb.Referenceable):
    """A client that answers when it is asked."""

    def remote_ping(self) -> None:
        pass

    async def login(self, reactor: Any, port: int, name: bytes) -> "Client":
        self.factory: Any = pb.PBClientFactory()
        server = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self.broker: Any = await server.connect(self.factory)
        self.user = await self.factory.login(UsernamePassword(name, b"secret"), self)
        return self

    def pullCable(self) -> None:
        """Hear nothing any more, and so answer nothing; nobody closes the connection."""
        self.broker.transport.pauseProducing()


async def main(reactor: Any) -> None:
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    portal: Any = Portal(realm, [checker])
    server = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(server)
    port = listening.getHost().port

    home = await Client().login(reactor, port, b"alice")
    bob = await Client().login(reactor, port, b"bob")
    print("alice logs in at home, bob logs in; the cable of alice's computer is pulled")
    home.pullCable()

    work = Client()
    try:
        await work.login(reactor, port, b"alice")
    except pb.RemoteError as refused:
        print(f"alice logs in at work: {refused}")
    work.factory.disconnect()

    (ghost,) = online.sessions(b"alice")
    await ghost.whenClosed()
    print(f"alice at home is ended: {ghost.reason}")
    await work.login(reactor, port, b"alice")
    print(f"alice logs in at work: {await work.user.callRemote('greet')}")
    print(f"bob, who has said nothing, is there: {await bob.user.callRemote('greet')}")

    await realm.close()
    home.broker.transport.abortConnection()
    for client in (work, bob):
        client.factory.disconnect()
    await listening.stopListening()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
