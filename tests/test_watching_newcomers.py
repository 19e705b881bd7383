"""
Clients of a L{WatchingFactory} that have not logged in, over loopback TCP: how much they may send,
and how long they may stay.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.imap4 import IAccount
from twisted.protocols.basic import LineReceiver
from twisted.spread import banana, pb

import rawclients
from avatarkit.transports import WatchingFactory
from logs import logged
from stages import turns

# Any in this module: factories, protocols and clients, which have whatever attributes they have.

#: How many bytes are taken by default, and how long a client may stay, in seconds.
BYTES, SECONDS = 65536, 120


class Slow(rawclients.Asked):
    """
    A checker that waits, if it is given something to wait for.
    """

    waiting: Deferred[None] | None = None

    async def requestAvatarId(self, credentials: Any) -> Any:
        """
        Check the password.
        """
        asked = super().requestAvatarId(credentials)
        if self.waiting is not None:
            await self.waiting
        return asked


class NewcomersCase(rawclients.RawCase):
    """
    A server with a protocol.

    @ivar piece: what a client may send as often as it likes, as far as the protocol is concerned.
    @ivar opening: what it sends by itself when it connects.
    """

    piece: bytes
    opening = b""
    makeFactory: Any  # a function that would otherwise become a method

    async def listen(self, **arguments: Any) -> None:
        """
        Listen; the time stands still.
        """
        self.clock, self.checker = Clock(), Slow()
        watch = partial(WatchingFactory, reactor=self.clock, **arguments)
        await self.serve(self.makeFactory, self.checker, watch=watch)

    async def call(self) -> Any:
        """
        Connect a client, and return it.
        """
        client = await self.connect()
        await self.until(lambda: self.watching.protocols, "no connection")
        return client

    def much(self, size: int) -> bytes:
        """
        Return so many bytes, of which the last ones may be half a piece.
        """
        return (self.piece * (size // len(self.piece) + 1))[:size]

    async def takes(self, size: int) -> None:
        """
        Wait until the server has taken so many bytes.
        """
        (watched,) = self.watching.protocols
        await self.until(lambda: watched._taken == size, "not taken")

    def logIn(self, client: Any) -> None:
        """
        Send a login.
        """
        raise NotImplementedError

    async def isServed(self, client: Any) -> None:
        """
        Check that the client is logged in, and that its server answers.
        """
        raise NotImplementedError

    async def cutOff(self, client: Any) -> None:
        """
        Check that the client is cut off, and nothing is left, nor any timer.
        """
        await self.until(lambda: client.gone, "it is still connected")
        await self.until(lambda: not self.watching.protocols, "the connection is left")
        assert not self.realm.sessions
        assert self.clock.getDelayedCalls() == []


class Newcomers(NewcomersCase):
    """
    What happens over each protocol.
    """

    async def test_flood(self) -> None:
        """
        A client that sends one byte too much before it has logged in is cut off, and the log says
        why.
        """
        await self.listen()
        client = await self.call()
        client.transport.write(self.much(BYTES - len(self.opening)))
        await self.takes(BYTES)
        assert not client.gone
        with logged() as said:
            client.transport.write(b"x")
            await self.cutOff(client)
        assert len(said) == 1
        assert said[0].startswith("warn: IPv4Address(")
        assert said[0].endswith(
            "has sent more than 65536 bytes before it has logged in (maximumBeforeLogin): it is "
            "cut off"
        )

    async def test_half(self) -> None:
        """
        A client that says half of something, and nothing more, is cut off when its time is up.
        """
        await self.listen()
        client = await self.call()
        client.transport.write(self.piece[:-1])
        await self.takes(len(self.opening) + len(self.piece) - 1)
        self.clock.advance(SECONDS - 1)
        await turns(20)
        assert not client.gone
        with logged() as said:
            self.clock.advance(1)
            await self.cutOff(client)
        assert len(said) == 1
        assert said[0].startswith("info: IPv4Address(")
        assert said[0].endswith("has not logged in for 120 seconds (loginGraceTime): it is cut off")

    async def test_afterwards(self) -> None:
        """
        A client that has logged in may send what it likes, and stay as long as it likes.
        """
        await self.listen()
        client = await self.call()
        client.transport.write(self.piece)
        self.logIn(client)
        await self.isServed(client)
        assert self.clock.getDelayedCalls() == []
        self.clock.advance(10 * SECONDS)
        client.transport.write(self.piece * (4 * BYTES // len(self.piece)))
        await self.isServed(client)

    async def test_inProgress(self) -> None:
        """
        A client whose login is going on when its time is up is not cut off.
        """
        await self.listen()
        self.checker.waiting = Deferred()
        client = await self.call()
        self.logIn(client)
        await self.until(lambda: self.checker.asked, "no login")
        for _ in range(3):
            self.clock.advance(SECONDS)
            await turns(20)
        self.checker.waiting.callback(None)
        await self.isServed(client)
        assert self.clock.getDelayedCalls() == []

    async def test_unbounded(self) -> None:
        """
        With C{None} a client may send much before it logs in, or stay long.
        """
        await self.listen(maximumBeforeLogin=None, loginGraceTime=None)
        client = await self.call()
        assert self.clock.getDelayedCalls() == []
        client.transport.write(self.piece * (4 * BYTES // len(self.piece)))
        self.clock.advance(10 * SECONDS)
        self.logIn(client)
        await self.isServed(client)

    async def test_others(self) -> None:
        """
        Each of the two bounds can be switched off by itself.
        """
        await self.listen(maximumBeforeLogin=None)
        client = await self.call()
        client.transport.write(self.piece * (4 * BYTES // len(self.piece)))
        await turns(20)
        with logged() as said:
            self.clock.advance(SECONDS)
            await self.cutOff(client)
        await self.listen(loginGraceTime=None)
        client = await self.call()
        self.clock.advance(10 * SECONDS)
        with logged() as saidThen:
            client.transport.write(self.much(BYTES + 1))
            await self.cutOff(client)
        assert "(loginGraceTime)" in said[0]
        assert "(maximumBeforeLogin)" in saidThen[0]


class Commands(LineReceiver):
    """
    A protocol that logs in at one command, and knows no other.
    """

    portal: Any

    def lineReceived(self, line: bytes) -> None:
        """
        Log in.
        """
        if line == b"login":
            login = self.portal.login(UsernamePassword(b"alice", b"right"), None, IAccount)
            login.addCallbacks(lambda result: self.sendLine(b"welcome"), lambda failure: None)


class LineTests(Newcomers):
    """
    Over a protocol of lines.
    """

    piece = b"x" * 4000 + b"\r\n"
    makeFactory = staticmethod(partial(rawclients.serving, Commands))

    def logIn(self, client: Any) -> None:
        """
        Send a login.
        """
        client.received = b""
        client.send(b"login")

    async def isServed(self, client: Any) -> None:
        """
        Log in once more.
        """
        await self.until(lambda: client.received == b"welcome\r\n", "no login")
        self.logIn(client)
        await self.until(lambda: client.received == b"welcome\r\n", "no second login")


class Replacing(Protocol):
    """
    A protocol that puts another one in its place.
    """

    portal: Any

    def connectionMade(self) -> None:
        """
        Give the transport to the other one.
        """
        transport: Any = self.transport
        transport.protocol = commands = Commands()
        commands.portal = self.portal
        commands.makeConnection(transport)


class ReplacedTests(LineTests):
    """
    Over a protocol that is no longer there.
    """

    makeFactory = staticmethod(partial(rawclients.serving, Replacing))


class IMAP4Tests(Newcomers):
    """
    Over IMAP4.
    """

    piece = b"1 " + b"X" * 4000 + b"\r\n"
    makeFactory = staticmethod(rawclients.imap4Factory)

    def logIn(self, client: Any) -> None:
        """
        Send a login.
        """
        client.send(b"2 LOGIN alice right")

    async def isServed(self, client: Any) -> None:
        """
        Do nothing, and be told so.
        """
        await self.until(lambda: b"2 OK " in client.received, "no login")
        client.received = b"2 OK "
        client.send(b"3 NOOP")
        await self.until(lambda: b"3 OK " in client.received, "no answer")


def sentBy(dialect: bytes, words: Any) -> bytes:
    """
    Return what a client of Perspective Broker sends.
    """
    sender: Any = banana.Banana()
    sender.currentDialect, sender.transport = dialect, StringTransport()
    sender.setPrefixLimit(64)
    sender.sendEncoded(words)
    return sender.transport.value()  # type: ignore[no-any-return]  # they are bytes


class BrokerClient(pb.PBClientFactory):
    """
    A client of Perspective Broker.
    """

    noisy = False

    def clientConnectionMade(self, broker: Any) -> None:
        """
        The client and the server have agreed.
        """
        self.broker, self.transport = broker, broker.transport
        super().clientConnectionMade(broker)

    @property
    def gone(self) -> bool:
        """
        Whether its connection is lost.
        """
        return bool(self.broker.disconnected)

    def leave(self) -> None:
        """
        Close the connection.
        """
        self.transport.abortConnection()


class PBTests(Newcomers):
    """
    Over Perspective Broker.
    """

    piece = sentBy(b"pb", [b"version", pb.Broker.version])
    opening = sentBy(b"none", b"pb") + piece
    makeFactory = staticmethod(rawclients.pbFactory)

    async def call(self) -> Any:
        """
        Connect a client, and return it.
        """
        client: Any = BrokerClient()
        endpoint = TCP4ClientEndpoint(rawclients.reactor, "127.0.0.1", self.address.port)
        await endpoint.connect(client)
        await client.getRootObject()
        self.clients.append(client)
        return client

    def logIn(self, client: Any) -> None:
        """
        Send a login.
        """
        self.login = client.login(UsernamePassword(b"alice", b"right"))
        self.login.addErrback(lambda failure: None)

    async def isServed(self, client: Any) -> None:
        """
        Call the avatar.
        """
        avatar = await self.login
        assert await avatar.callRemote("echo", b"hello") == b"hello"
        self.login = succeed(avatar)


del NewcomersCase, Newcomers  # they have no protocol, and are no tests by themselves
