"""
A realm that creates an avatar at a user's first login and uses it for every later one, from any
connection: by hand as in the how-to, and with avatarkit.

    python docs/examples/caching_realm.py

It prints what the same clients get from each realm, and exits:

    what                 | by hand             | avatarkit
    alice                | <1>hello alice      | <1>hello alice
    alice again          | <2>hello alice      | <2>hello alice
    after both have left | <3>hello alice      | <3>hello alice
    bob                  | <1>hello bob        | <1>hello bob
    another interface    | NotImplementedError | NotImplementedError
"""

from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare
from twisted.cred.portal import IRealm
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import AvatarCache


class SimpleAvatar(pb.Avatar):
    """Greets, and counts its greetings."""

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()
        self.greetings = 0

    def perspective_greet(self) -> str:
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


@implementer(IRealm)
class HandWritten:
    """The how-to's way."""

    def __init__(self) -> None:
        self.avatars: dict[Any, SimpleAvatar] = {}

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId not in self.avatars:
            self.avatars[avatarId] = SimpleAvatar(avatarId)
        return pb.IPerspective, self.avatars[avatarId], lambda: None


before = HandWritten()
after = AvatarCache()(SimpleAvatar)


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    first = await server.login()
    yield "alice", await first.ask("greet")
    second = await server.login()
    yield "alice again", await second.ask("greet")
    await server.leave(first)
    await server.leave(second)
    third = await server.login()
    yield "after both have left", await third.ask("greet")
    bob = await server.login("bob")
    yield "bob", await bob.ask("greet")


if __name__ == "__main__":
    compare(before, after, visit)
