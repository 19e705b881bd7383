"""
A wire that can be severed: clients connect through it to a server on loopback.

A severed wire is not a lost connection.  Neither end is told: what they send just does not arrive,
and waits in their own buffers, as when a cable is pulled.  Each direction can be severed by itself,
and when the wire is mended, what waited arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol

# Any in this module: a reactor, its ports and its transports.
reactor: Any = globalReactor


class End(Protocol):
    """
    One of the two places where the wire ends: at the client, or at the server.

    @ivar other: the other one, when it is there.
    @ivar lost: whether the connection at this end is lost.
    """

    transport: Any
    other: End | None = None
    lost = False

    def __init__(self, made: Callable[[End], object], ended: Callable[[], object]) -> None:
        self._made, self._ended = made, ended

    def connectionMade(self) -> None:
        """
        Say so.
        """
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass it on; nothing is read before there is another end, or when the wire is severed.
        """
        assert self.other is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        The other end loses its connection too.
        """
        self.lost = True
        if self.other is not None:
            self.other.transport.loseConnection()
        self._ended()

    def read(self, on: bool) -> None:
        """
        Let what arrives here through, or not.
        """
        if not self.lost:
            (self.transport.resumeProducing if on else self.transport.pauseProducing)()


class Link:
    """
    One client's wire.

    @ivar toServer: whether it lets through what the client sends.
    @ivar toClient: whether it lets through what the server sends.
    @ivar client: its end at the client.
    @ivar server: its end at the server, when that is there.
    @ivar closed: fires when both are lost.
    """

    def __init__(self, connect: Callable[[Link], object]) -> None:
        """
        @param connect: called when the client has connected, to connect to the server.
        """
        self.toServer = self.toClient = True
        self._connect = connect
        self.client = End(self._begin, self.ended)
        self.server: End | None = None
        self.closed: Deferred[None] = Deferred()

    def _begin(self, client: End) -> None:
        self._apply()
        self._connect(self)

    def join(self, server: End) -> None:
        """
        The server has taken the connection.
        """
        self.server = server
        server.other, self.client.other = self.client, server
        self._apply()
        if self.client.lost:
            server.transport.loseConnection()

    def ended(self) -> None:
        """
        One of its ends is lost.
        """
        if self.client.lost and (self.server is None or self.server.lost):
            self.closed.callback(None)

    def sever(self, *, toServer: bool = True, toClient: bool = True) -> None:
        """
        Let nothing through any more, in one direction or in both.
        """
        self.toServer, self.toClient = not toServer, not toClient
        self._apply()

    def mend(self) -> None:
        """
        Let everything through again, and first what has waited.
        """
        self.sever(toServer=False, toClient=False)

    def cut(self) -> None:
        """
        Lose the connection at both ends: they are told at once.
        """
        for end in (self.client, self.server):
            if end is not None and not end.lost:
                end.transport.abortConnection()

    def _apply(self) -> None:
        self.client.read(self.toServer and self.server is not None)
        if self.server is not None:
            self.server.read(self.toClient)


class Wire(Factory):
    """
    What clients connect to in place of a server.

    @ivar port: the port that it listens on.
    @ivar links: one for each client that has connected, oldest first.
    """

    noisy = False

    def __init__(self, serverPort: int) -> None:
        """
        Listen on a port of its own.

        @param serverPort: the port of the server.
        """
        self._serverPort = serverPort
        self.links: list[Link] = []
        self._listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def buildProtocol(self, address: object) -> End:
        """
        A client connects.
        """
        link = Link(self._connect)
        self.links.append(link)
        return link.client

    def _connect(self, link: Link) -> None:
        factory: Any = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: End(link.join, link.ended)
        factory.clientConnectionFailed = lambda *args: link.cut()
        reactor.connectTCP("127.0.0.1", self._serverPort, factory)

    def sever(self, *, toServer: bool = True, toClient: bool = True) -> None:
        """
        Sever the wires of all clients that have connected so far; those that come later have new
        ones.
        """
        for link in self.links:
            link.sever(toServer=toServer, toClient=toClient)

    def mend(self) -> None:
        """
        Mend them.
        """
        for link in self.links:
            link.mend()

    async def close(self) -> None:
        """
        Lose all connections, and stop listening.
        """
        await self._listening.stopListening()
        for link in self.links:
            link.cut()
        for link in self.links:
            await link.closed
