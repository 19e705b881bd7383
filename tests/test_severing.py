"""
The wire that other tests sever.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from pb import reactor
from severing import Wire

# Any in this module: a reactor, factories and transports.


class Peer(Protocol):
    """
    A client or a server that keeps what it hears.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """
        Say so.
        """
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        """
        Say so.
        """
        self.lost.callback(None)


class SeveringTests(TestCase):
    """
    A client and a server, and the wire between them.
    """

    timeout = 10

    def setUp(self) -> Any:
        """
        Connect them.
        """
        return Deferred.fromCoroutine(self.begin())

    async def begin(self) -> None:
        """
        Connect them.
        """
        self.server, self.client = Peer(), Peer()
        listening = self.listen(self.server, Peer())
        self.wire = Wire(listening.getHost().port)
        self.addCleanup(listening.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.wire.close()))
        self.connect(self.client)
        await self.client.made
        await self.server.made

    def listen(self, *servers: Peer) -> Any:
        """
        Listen for some clients, each with its own server.
        """
        factory: Any = Factory()
        waiting = list(servers)
        factory.buildProtocol = lambda address: waiting.pop(0)
        return reactor.listenTCP(0, factory, interface="127.0.0.1")

    def connect(self, client: Peer) -> None:
        """
        Connect through the wire.
        """
        factory: Any = Factory()
        factory.buildProtocol = lambda address: client
        for name in ("doStart", "doStop", "startedConnecting", "clientConnectionLost"):
            setattr(factory, name, lambda *args: None)
        reactor.connectTCP("127.0.0.1", self.wire.port, factory)

    async def pause(self) -> None:
        """
        Let everything arrive that will.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.05, waiting.callback, None)
        await waiting

    async def say(self, words: bytes) -> tuple[bytes, bytes]:
        """
        Say something at both ends, and return what each has heard.
        """
        self.client.transport.write(words)
        self.server.transport.write(words)
        await self.pause()
        return self.server.heard, self.client.heard

    async def test_whole(self) -> None:
        """
        What is said arrives, and a connection that is lost at one end is lost at the other.
        """
        assert await self.say(b"1") == (b"1", b"1")
        self.client.transport.loseConnection()
        await self.server.lost
        await self.client.lost

    async def test_severed(self) -> None:
        """
        Over a severed wire nothing arrives, and nobody is told; what was said arrives when it is
        mended.
        """
        self.wire.sever()
        assert await self.say(b"1") == (b"", b"")
        assert not self.client.lost.called
        assert not self.server.lost.called
        self.wire.mend()
        assert await self.say(b"2") == (b"12", b"12")

    async def test_oneDirection(self) -> None:
        """
        One direction can be severed by itself, and then the other.
        """
        self.wire.sever(toClient=False)
        assert await self.say(b"1") == (b"", b"1")
        self.wire.mend()
        self.wire.sever(toServer=False)
        assert await self.say(b"2") == (b"12", b"1")

    async def test_lostUnseen(self) -> None:
        """
        A client whose wire is severed is not told that the server has closed the connection.
        """
        self.wire.sever()
        self.server.transport.abortConnection()
        await self.server.lost
        await self.pause()
        assert not self.client.lost.called
        self.wire.mend()
        await self.client.lost

    async def test_cut(self) -> None:
        """
        A wire that is cut tells both ends.
        """
        (link,) = self.wire.links
        link.cut()
        await self.server.lost
        await self.client.lost
        assert link.closed.called

    async def test_later(self) -> None:
        """
        A client that comes when others are severed has a wire of its own.
        """
        self.wire.sever()
        second = Peer()
        self.connect(second)
        await second.made
        assert [each.toServer for each in self.wire.links] == [False, True]
