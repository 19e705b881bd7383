"""
A wire between clients and a server that can be cut at any byte, or go silent.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol

# Any in this module: reactors, ports and transports.
reactor: Any = globalReactor


class Half(Protocol):
    """
    One end of a wire.

    @ivar other: the other one.
    @ivar left: how many bytes that arrive here go on before the wire is cut; C{None}: all do.
    @ivar silent: whether nothing goes on, and nobody is told.
    """

    transport: Any

    def __init__(self, wires: Wires, other: Half | None = None) -> None:
        self.wires, self.other = wires, other
        self.left: int | None = None
        self.silent = False
        self.early = b""

    def connectionMade(self) -> None:
        """
        Connect to the server, or be connected.
        """
        self.wires.open += 1
        if self.other is not None:
            self.other.other = self
            self.wires.ends.append((self.other, self))
            early, self.other.early = self.other.early, b""
            self.other.dataReceived(early)
            return
        factory: Any = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: Half(self.wires, self)
        reactor.connectTCP("127.0.0.1", self.wires.serverPort, factory)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass it on.
        """
        if self.silent:
            return
        if self.other is None:
            self.early += data
            return
        if self.left is not None and len(data) >= self.left:
            self.other.transport.write(data[: self.left])
            self.left = None
            self.cut()
            return
        if self.left is not None:
            self.left -= len(data)
        self.other.transport.write(data)

    def cut(self) -> None:
        """
        Cut the wire: both ends are told, when they have received what was on its way.
        """
        for each in (self, self.other):
            if each is not None:
                each.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """
        The other end is told, unless this one has gone silent.
        """
        if self.other is not None and not self.silent:
            self.other.transport.loseConnection()
        self.wires.lost()


class Wires(Factory):
    """
    All wires to a server.

    @ivar ends: for each of them, the client's end and the server's.
    @ivar open: how many ends there are.
    """

    noisy = False

    def __init__(self, serverPort: int) -> None:
        self.serverPort = serverPort
        self.ends: list[tuple[Half, Half]] = []
        self.open = 0
        self._closed: Deferred[None] | None = None
        self._listening: Any = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def buildProtocol(self, address: Any) -> Half:
        """
        A client connects.
        """
        return Half(self)

    def cut(self) -> None:
        """
        Cut the newest.
        """
        self.ends[-1][0].cut()

    def cutAfter(self, toClient: int) -> None:
        """
        Cut the newest when so many more bytes have gone to its client.
        """
        self.ends[-1][1].left = toClient

    def silence(self, *, toServer: bool = True, toClient: bool = True) -> None:
        """
        Let nothing more through on the newest, in one direction or both, and tell nobody.
        """
        client, server = self.ends[-1]
        client.silent, server.silent = toServer, toClient

    def lost(self) -> None:
        """
        There is one end less.
        """
        self.open -= 1
        if not self.open and self._closed is not None:
            self._closed.callback(None)

    async def close(self) -> None:
        """
        Cut everything.
        """
        await maybeDeferred(self._listening.stopListening)
        self._closed = Deferred()
        if not self.open:
            return
        for ends in self.ends:
            for end in ends:
                end.transport.abortConnection()
        await self._closed
