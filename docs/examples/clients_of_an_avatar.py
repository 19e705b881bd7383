"""
An avatar that knows its clients, so that one call on it reaches all of them: by hand ("cache the
avatars and give each one a set of current clients", says the how-to), and with avatarkit.

    python docs/examples/clients_of_an_avatar.py

It prints what the same clients get from each realm, and exits.  When one client's method fails, the
hand-written avatar loses the answers of the others:

    what               | by hand                           | avatarkit
    alice says hi      | phone heard hi, laptop heard hi   | phone heard hi, laptop heard hi
    bob says hi        | radio heard hi                    | radio heard hi
    the phone fails    | twisted.internet.defer.FirstError | laptop heard boom
    the phone has left | laptop heard boom                 | laptop heard boom
    another interface  | NotImplementedError               | NotImplementedError
"""

from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare
from twisted.cred.portal import IRealm
from twisted.internet.defer import gatherResults
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import Avatar, AvatarCache, MindRegistry


class HandWrittenAvatar(pb.Avatar):
    """
    Keeps its clients by C{id}: a set, which the how-to proposes, would compare the clients of two
    connections, which raises a TypeError.
    """

    def __init__(self) -> None:
        self.clients: dict[int, Any] = {}

    def perspective_say(self, text: str) -> Any:
        return gatherResults([each.callRemote("hear", text) for each in self.clients.values()])


@implementer(IRealm)
class HandWritten:
    """The how-to's way."""

    def __init__(self) -> None:
        self.avatars: dict[Any, HandWrittenAvatar] = {}

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        avatar = self.avatars.setdefault(avatarId, HandWrittenAvatar())
        avatar.clients[id(mind)] = mind
        return pb.IPerspective, avatar, lambda: avatar.clients.pop(id(mind))


class Player(Avatar):
    """The same, except that an avatarkit avatar keeps its clients itself, in C{minds}."""

    def __init__(self, name: bytes) -> None:
        pass

    def perspective_say(self, text: str) -> Any:
        answers: Any = self.minds.callRemote("hear", text)
        return answers.addCallback(lambda results: [each for heard, each in results if heard])


before = HandWritten()
after = MindRegistry()(AvatarCache()(Player))


class Device(pb.Referenceable):
    """A client."""

    def __init__(self, name: str) -> None:
        self.name = name

    def remote_hear(self, text: str) -> str:
        if text == "boom" and self.name == "phone":
            raise pb.Error("the battery is empty")
        return f"{self.name} heard {text}"


async def said(client: Any, text: str) -> str:
    try:
        return ", ".join(await client.ask("say", text)) or "nobody heard it"
    except pb.RemoteError as error:
        return str(error.remoteType.decode())


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    phone = await server.login("alice", Device("phone"))
    laptop = await server.login("alice", Device("laptop"))
    bob = await server.login("bob", Device("radio"))
    yield "alice says hi", await said(laptop, "hi")
    yield "bob says hi", await said(bob, "hi")
    yield "the phone fails", await said(laptop, "boom")
    await server.leave(phone)
    yield "the phone has left", await said(laptop, "boom")


if __name__ == "__main__":
    compare(before, after, visit)
