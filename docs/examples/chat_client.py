"""
A client of chat_server.py.

    python docs/examples/chat_client.py PORT NAME

It sends what you type, line by line, and prints what the others say.  "/who" asks who is in the
room; "/enter ROOM" moves to another one.  It exits at the end of its input, or when the connection
is lost.
"""

import argparse
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.spread import pb
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Terminal(LineReceiver, pb.Referenceable):
    """Queues what is typed, then None when the input ends, and prints what it hears."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.typed: DeferredQueue[str | None] = DeferredQueue()
        self.closed: Deferred[None] = Deferred()

    def show(self, text: str) -> None:
        self.sendLine(text.encode())

    def remote_hear(self, text: str) -> None:
        self.show(text)

    def lineReceived(self, line: bytes) -> None:
        self.typed.put(line.decode())

    def end(self) -> None:
        self.typed.put(None)

    readConnectionLost = writeConnectionLost = end

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)


async def obey(terminal: Terminal, avatar: Any, line: str) -> None:
    if line == "/who":
        terminal.show(", ".join(await avatar.callRemote("who")))
    elif line.startswith("/enter "):
        await avatar.callRemote("enter", line.removeprefix("/enter "))
    else:
        await avatar.callRemote("say", line)


async def talk(terminal: Terminal, factory: Any, name: str) -> None:
    try:
        avatar = await factory.login(UsernamePassword(name.encode(), b""), terminal)
        avatar.notifyOnDisconnect(lambda avatar: terminal.end())
        terminal.show(f"you are {name}")
        while (line := await terminal.typed.get()) is not None:
            await obey(terminal, avatar, line)
    except (pb.Error, pb.RemoteError, pb.PBConnectionLost) as error:
        terminal.show(f"failed: {error}")


async def main(reactor: Any, port: int, name: str) -> None:
    factory: Any = pb.PBClientFactory()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    terminal: Any = Terminal()
    stdio: Any = StandardIO(terminal)
    await talk(terminal, factory, name)
    factory.disconnect()
    stdio.loseConnection()
    await terminal.closed


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("name")
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port, asked.name)))
