"""
An avatar that is told of each login and logout, and knows how many clients it has: by hand as in
the how-to, and with avatarkit.

    python docs/examples/connection_aware.py

It prints what the same clients get from each realm, and exits:

    what                         | by hand             | avatarkit
    the first logs in            | alice has 1         | alice has 1
    the second logs in           | alice has 2         | alice has 2
    bob logs in                  | bob has 1           | bob has 1
    the first leaves             | alice has 1         | alice has 1
    a third, when both have left | alice has 1         | alice has 1
    another interface            | NotImplementedError | NotImplementedError
"""

from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare
from twisted.cred.portal import IRealm
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import Avatar, AvatarCache, ConnectionCounter


class CountingAvatar(pb.Avatar):
    """The how-to's way."""

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()
        self.connections = 0

    def connect(self) -> None:
        self.connections += 1

    def disconnect(self) -> None:
        self.connections -= 1

    def perspective_connections(self) -> str:
        return f"{self.name} has {self.connections}"


@implementer(IRealm)
class HandWritten:
    """The how-to's way, with the avatar above."""

    def __init__(self) -> None:
        self.avatars: dict[Any, CountingAvatar] = {}

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId not in self.avatars:
            self.avatars[avatarId] = CountingAvatar(avatarId)
        avatar = self.avatars[avatarId]
        avatar.connect()
        return pb.IPerspective, avatar, avatar.disconnect


class Player(Avatar):
    """The same, except that an avatarkit avatar counts its connections itself."""

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()

    def perspective_connections(self) -> str:
        return f"{self.name} has {self.connections}"


before = HandWritten()
after = ConnectionCounter()(AvatarCache()(Player))


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    first = await server.login()
    yield "the first logs in", await first.ask("connections")
    second = await server.login()
    yield "the second logs in", await first.ask("connections")
    bob = await server.login("bob")
    yield "bob logs in", await bob.ask("connections")
    await server.leave(first)
    yield "the first leaves", await second.ask("connections")
    await server.leave(second)
    third = await server.login()
    yield "a third, when both have left", await third.ask("connections")


if __name__ == "__main__":
    compare(before, after, visit)
