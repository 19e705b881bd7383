"""
A realm that refuses a login when the user already has the maximum number of connections, one by
default: by hand as in the how-to, and with avatarkit.

    python docs/examples/limit.py

It prints what the same clients get from each realm, and exits.  They get the same, except for the
name of the error; and with avatarkit a refused login is not logged as an error:

    what                       | by hand              | avatarkit
    the first logs in          | alice has 1          | alice has 1
    the second is refused      | too many connections | too many connections
    the error's name           | builtins.ValueError  | avatarkit.errors.TooManyConnections
    errors in the server's log | 1                    | 0
    bob logs in                | bob has 1            | bob has 1
    after the first has left   | alice has 1          | alice has 1
    another interface          | NotImplementedError  | NotImplementedError
"""

from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare
from twisted.cred.portal import IRealm
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import Avatar, AvatarCache, ConnectionCounter, ConnectionLimit


class Player(Avatar):
    """An avatar with C{connect}, C{disconnect} and C{connections}; see connection_aware.py."""

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()

    def perspective_connections(self) -> str:
        return f"{self.name} has {self.connections}"


@implementer(IRealm)
class HandWritten:
    """The how-to's way."""

    def __init__(self, maximum: int = 1) -> None:
        self.maximum = maximum
        self.avatars: dict[Any, Player] = {}

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId not in self.avatars:
            self.avatars[avatarId] = Player(avatarId)
        avatar = self.avatars[avatarId]
        if avatar.connections >= self.maximum:
            raise ValueError("too many connections")
        avatar.connect()
        return pb.IPerspective, avatar, avatar.disconnect


before = HandWritten()
after = ConnectionLimit()(ConnectionCounter()(AvatarCache()(Player)))


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    first = await server.login()
    yield "the first logs in", await first.ask("connections")
    logged = len(server.logged)
    refused = await server.refusal()
    yield "the second is refused", refused
    yield "the error's name", refused.remoteType.decode()
    errors = [event for event in server.logged[logged:] if event.get("isError")]
    yield "errors in the server's log", len(errors)
    bob = await server.login("bob")
    yield "bob logs in", await bob.ask("connections")
    await server.leave(first)
    third = await server.login()
    yield "after the first has left", await third.ask("connections")


if __name__ == "__main__":
    compare(before, after, visit)
