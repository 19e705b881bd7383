"""
A chat server on loopback, with rooms, a list of who is in them, and at most three logins per name.

    python docs/examples/chat_server.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  Connect
to it with chat_client.py.  Whoever is away for a second has left.  It accepts any name; a real
server would check passwords.
"""

import argparse
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.spread import pb
from zope.interface import implementer

import avatarkit
from avatarkit.transports import WatchingFactory

online = avatarkit.MindRegistry(maximumBacklog=2**20)


class Guest(avatarkit.Avatar):
    """A login, which is in one room at a time."""

    room = "lobby"

    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()
        self.mind: Any = None
        self.here = online.select(lambda session: session.avatar.room == self.room)

    def attached(self, mind: Any) -> object:
        self.mind = mind
        return super().attached(mind)

    def arrived(self) -> None:
        self.tellOthers(f"{self.name} is here")

    def departed(self) -> None:
        self.tellOthers(f"{self.name} has left")

    def tellOthers(self, text: str) -> None:
        self.here.excluding(self.mind).callRemote("hear", text, pbanswer=False)

    def perspective_say(self, text: str) -> None:
        self.tellOthers(f"{self.name}: {text}")

    def perspective_enter(self, room: str) -> None:
        self.tellOthers(f"{self.name} has left")
        self.room = room
        self.tellOthers(f"{self.name} is here")

    def perspective_who(self) -> list[str]:
        sessions: list[Any] = [each for name in online for each in online.sessions(name)]
        return sorted({each.avatar.name for each in sessions if each.avatar.room == self.room})


realm = online(avatarkit.ConnectionLimit(3)(avatarkit.Presence(linger=1)(Guest)))


@implementer(ICredentialsChecker)
class AnyName:
    """Lets everybody in."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username


async def main(reactor: Any, port: int) -> None:
    checker: Any = AnyName()
    portal: Any = Portal(realm, [checker])
    factory = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
