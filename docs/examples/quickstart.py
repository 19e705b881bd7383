"""
A server and three clients in one process, over real connections on loopback.

    python docs/examples/quickstart.py

It prints each step as it happens, and exits:

    client 1 logs in: <1>hello alice
    client 2 logs in: <2>hello alice
    client 3 is refused: too many connections
    sessions of alice: 2
    client 1 heard: lunch is ready
    client 2 heard: lunch is ready
    client 2 leaves; sessions of alice: 1
    client 3 logs in: <3>hello alice
    client 1 heard: closing at noon
    client 3 heard: closing at noon
    the realm is closed; online: nobody
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

# The server: an avatar, and a realm that shares it, counts and limits its logins, and pushes to it.


class Player(avatarkit.Avatar):
    """What a user can do."""

    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()
        self.greetings = 0

    def perspective_greet(self) -> str:
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


online = avatarkit.MindRegistry()


@online
@avatarkit.ConnectionLimit(2)
@avatarkit.ConnectionCounter()
@avatarkit.AvatarCache()
def realm(avatarId: bytes) -> Player:
    return Player(avatarId)


# The clients.


class Client(pb.Referenceable):
    """A client that the server can push to."""

    def __init__(self, name: str) -> None:
        self.name = name

    def remote_notify(self, text: str) -> str:
        return f"{self.name} heard: {text}"

    async def login(self, reactor: Any, port: int) -> None:
        self.factory: Any = pb.PBClientFactory()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(self.factory)
        self.player = await self.factory.login(UsernamePassword(b"alice", b"secret"), self)


async def main(reactor: Any) -> None:
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    portal: Any = Portal(realm, [checker])
    server = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(server)
    port = listening.getHost().port

    first, second, third = Client("client 1"), Client("client 2"), Client("client 3")
    for client in (first, second):
        await client.login(reactor, port)
        print(f"{client.name} logs in: {await client.player.callRemote('greet')}")
    try:
        await third.login(reactor, port)
    except pb.RemoteError as refused:
        print(f"{third.name} is refused: {refused}")
        third.factory.disconnect()

    sessions = online.sessions(b"alice")
    print(f"sessions of alice: {len(sessions)}")
    for _success, answer in await online[b"alice"].callRemote("notify", "lunch is ready"):
        print(answer)

    second.factory.disconnect()
    await sessions[1].whenClosed()
    print(f"{second.name} leaves; sessions of alice: {len(online.sessions(b'alice'))}")
    await third.login(reactor, port)
    print(f"{third.name} logs in: {await third.player.callRemote('greet')}")
    for _success, answer in await online.everyone.callRemote("notify", "closing at noon"):
        print(answer)

    await realm.close()
    print(f"the realm is closed; online: {list(online) or 'nobody'}")
    for client in (first, third):
        client.factory.disconnect()
    await listening.stopListening()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
