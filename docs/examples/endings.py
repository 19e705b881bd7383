"""
A change of password and a ban, with a server and its clients in one process, over real connections
on loopback.

    python docs/examples/endings.py

It prints each step as it happens, and exits:

    alice at home changes the password: 1 other session ended
    alice at work is disconnected; the reason: the password was changed
    alice at home is still there: hello alice
    bob bans carol: carol is banned
    carol is disconnected; the reason: spam
    carol comes back: you are banned
    sessions: alice, bob
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

# The server.

passwords: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"old", bob=b"b", carol=b"c")
moderators = {b"bob"}


class Banned(avatarkit.Kicked):
    """Somebody may not come back."""


class Bans(avatarkit.Block):
    """Who is banned, and a block that refuses them."""

    def __init__(self) -> None:
        self.names: set[object] = set()

    def admit(self, session: avatarkit.Session) -> None:
        if session.avatarId in self.names:
            raise avatarkit.LoginRefused("you are banned")


class Ended(avatarkit.Block):
    """Says why sessions end."""

    def detached(self, session: avatarkit.Session) -> None:
        if isinstance(session.reason, avatarkit.Kicked):
            reasons.append(str(session.reason))


reasons: list[str] = []
bans, online = Bans(), avatarkit.MindRegistry()


class User(avatarkit.Avatar):
    """What a user can do."""

    def __init__(self, avatarId: bytes) -> None:
        self.avatarId = avatarId

    def perspective_greet(self) -> str:
        return f"hello {self.avatarId.decode()}"

    def perspective_changePassword(self, password: bytes) -> str:
        passwords.users[self.avatarId] = password
        others = len(online.sessions(self.avatarId)) - 1
        mine = avatarkit.currentSession()
        online.disconnect(self.avatarId, "the password was changed", excluding=mine)
        return f"{others} other session ended"

    def perspective_ban(self, name: bytes, why: str) -> str:
        if self.avatarId not in moderators:
            raise pb.Error("you are no moderator")
        bans.names.add(name)  # first, so that nobody slips in
        online.disconnect(name, Banned(why))
        return f"{name.decode()} is banned"


realm = bans(online(Ended()(avatarkit.AvatarCache()(User))))


# The clients.


class Client(pb.Referenceable):
    """A client at some place."""

    async def login(self, reactor: Any, port: int, name: bytes, password: bytes) -> Any:
        self.factory: Any = pb.PBClientFactory()
        self.lost: Deferred[None] = Deferred()
        broker: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(self.factory)
        broker.notifyOnDisconnect(lambda: self.lost.callback(None))
        self.user = await self.factory.login(UsernamePassword(name, password), self)
        return self


async def main(reactor: Any) -> None:
    portal: Any = Portal(realm, [passwords])
    server = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(server)
    port = listening.getHost().port

    home = await Client().login(reactor, port, b"alice", b"old")
    work = await Client().login(reactor, port, b"alice", b"old")
    print("alice at home changes the password:", end=" ")
    print(await home.user.callRemote("changePassword", b"new"))
    await work.lost
    print(f"alice at work is disconnected; the reason: {reasons.pop()}")
    print(f"alice at home is still there: {await home.user.callRemote('greet')}")

    carol = await Client().login(reactor, port, b"carol", b"c")
    bob = await Client().login(reactor, port, b"bob", b"b")
    print(f"bob bans carol: {await bob.user.callRemote('ban', b'carol', 'spam')}")
    await carol.lost
    print(f"carol is disconnected; the reason: {reasons.pop()}")
    try:
        await carol.login(reactor, port, b"carol", b"c")
    except pb.RemoteError as refused:
        print(f"carol comes back: {refused}")
    carol.factory.disconnect()

    names: list[Any] = list(online)
    print(f"sessions: {', '.join(sorted(str(name, 'ascii') for name in names))}")
    await realm.close()
    for client in (home, bob):
        client.factory.disconnect()
    await listening.stopListening()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
