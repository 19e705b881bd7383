"""
A realm that keeps a greeter for each user, and creates an avatar for each login, which uses that
greeter: by hand as in the how-to, and with avatarkit.

    python docs/examples/cached_state.py

It prints what the same clients get from each realm, and exits:

    what              | by hand                   | avatarkit
    first login       | <1>hello alice, request 1 | <1>hello alice, request 1
    second login      | <2>hello alice, request 1 | <2>hello alice, request 1
    first login again | <3>hello alice, request 2 | <3>hello alice, request 2
    bob               | <1>hello bob, request 1   | <1>hello bob, request 1
    another interface | NotImplementedError       | NotImplementedError
"""

from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare
from twisted.cred.portal import IRealm
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import AvatarCache, PerConnection


class Greeter:
    """What a user's logins share.  The how-to's own Greeter has no name, and so fails."""

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()
        self.greetings = 0

    def hello(self) -> str:
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


class SimpleAvatar(pb.Avatar):
    """What each login has to itself."""

    def __init__(self, name: Any, greeter: Any) -> None:
        self.name, self.greeter = name, greeter
        self.requests = 0

    def perspective_greet(self) -> str:
        self.requests += 1
        return f"{self.greeter.hello()}, request {self.requests}"


@implementer(IRealm)
class HandWritten:
    """The how-to's way."""

    def __init__(self) -> None:
        self.greeters: dict[Any, Greeter] = {}

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId not in self.greeters:
            self.greeters[avatarId] = Greeter(avatarId)
        return pb.IPerspective, SimpleAvatar(avatarId, self.greeters[avatarId]), lambda: None


before = HandWritten()
fresh = PerConnection(lambda session: SimpleAvatar(session.avatarId, session.avatar))
after = fresh(AvatarCache()(Greeter))


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    first, second = await server.login(), await server.login()
    yield "first login", await first.ask("greet")
    yield "second login", await second.ask("greet")
    yield "first login again", await first.ask("greet")
    bob = await server.login("bob")
    yield "bob", await bob.ask("greet")


if __name__ == "__main__":
    compare(before, after, visit)
