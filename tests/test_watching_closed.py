"""
Connections that the protocol itself closes, over loopback TCP, and clients that do not let it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet import ssl
from twisted.internet.task import Clock
from twisted.mail.imap4 import IAccount
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory

import protocols
import rawclients
from avatarkit.transports import WatchingFactory
from callers import certificate

# Any in this module: portals, factories and protocols, which have whatever attributes they have.


class Talker(LineReceiver):
    """
    A protocol that logs in, and does as it is told.
    """

    portal: Any
    transport: Any
    big = b"x" * 16_000_000

    def lineReceived(self, line: bytes) -> None:
        """
        Do it.
        """
        getattr(self, line.decode())()

    def login(self) -> None:
        """
        Log in.
        """
        login = self.portal.login(UsernamePassword(b"alice", b"right"), None, IAccount)
        login.addCallback(lambda result: self.sendLine(b"welcome"))

    def close(self) -> None:
        """
        Say much, and close the connection, twice.
        """
        self.transport.write(self.big)
        self.transport.loseConnection()
        self.transport.loseConnection()

    def produce(self) -> None:
        """
        Close the connection when there is nothing more to say.
        """
        self.transport.registerProducer(self, True)
        self.transport.loseConnection()

    def pauseProducing(self) -> None:
        """
        What is said is little.
        """

    resumeProducing = stopProducing = pauseProducing


class ClosedCase(rawclients.RawCase):
    """
    A server, perhaps over TLS, and a client.
    """

    async def begin(self, makeFactory: Any, *, tls: bool = False) -> None:
        """
        Listen, and connect.
        """
        self.clock = Clock()

        def watch(factory: Any, portal: Any) -> Any:
            self.inner = WatchingFactory(factory, portal, reactor=self.clock)
            options = certificate().options()
            return TLSMemoryBIOFactory(options, False, self.inner) if tls else self.inner

        await self.serve(makeFactory, rawclients.Asked(), watch=watch)
        self.client = await self.connect()
        self.wire: Any = self.client.transport
        if tls:
            self.encrypt()

    def encrypt(self) -> None:
        """
        Go on over TLS.
        """
        self.wire.startTLS(ssl.optionsForClientTLS("localhost", trustRoot=certificate()))

    async def say(self, line: bytes, answer: bytes) -> None:
        """
        Have the client say something, and wait for what it is told.
        """
        self.client.received = b""
        self.client.send(line)
        await self.until(lambda: answer in self.client.received, "no answer")

    async def close(self, line: bytes) -> None:
        """
        Have the client say something that makes the server close the connection, and read no more.
        """
        (session,) = self.realm.sessions
        self.connection = session.connection
        assert not self.clock.getDelayedCalls()
        self.client.received, self.taken = b"", 0
        self.client.send(line)
        self.wire.pauseProducing()
        await self.until(self.clock.getDelayedCalls, "it is not closed")
        assert len(self.clock.getDelayedCalls()) == 1

    async def take(self, size: int) -> None:
        """
        Have the client read on, and stop when it has read so many bytes more.
        """
        wanted = self.taken + size

        def read(data: bytes) -> None:
            self.taken += len(data)
            if self.taken >= wanted:
                self.wire.pauseProducing()

        self.client.dataReceived = read  # type: ignore[method-assign]  # keeping it takes time
        self.wire.resumeProducing()
        await self.until(lambda: self.client.gone or self.taken >= wanted, "nothing is read")

    async def takeAll(self) -> None:
        """
        Have the client read what is left, which is all that it was told.
        """
        await self.take(2 * len(Talker.big))
        assert self.client.gone
        assert self.taken == len(Talker.big)

    async def ends(self) -> None:
        """
        The session ends, and nothing is left.
        """
        await self.until(lambda: not self.inner.protocols, "the connection is left")
        assert not self.realm.sessions
        assert not self.clock.getDelayedCalls()


class TLSTests(ClosedCase):
    """
    A client that does not close its side of TLS.
    """

    async def closesAfterAll(self) -> None:
        """
        Check that the connection is closed after five seconds, and that what is sent meanwhile is
        no activity.
        """
        before = self.connection.lastActive
        self.clock.advance(4)
        arrived: list[bytes] = []
        (watched,) = self.inner.protocols
        watched.wrappedProtocol.dataReceived = arrived.append
        self.client.send(b"NOOP")
        await self.until(lambda: arrived, "nothing arrives")
        assert self.connection.lastActive == before
        assert len(self.realm.sessions) == 1
        self.clock.advance(1)
        await self.ends()

    async def test_pop3(self) -> None:
        """
        After QUIT its session ends soon, and the answer has been sent.
        """
        await self.begin(rawclients.pop3Factory, tls=True)
        await self.say(b"USER alice", b"+OK")
        await self.say(b"PASS right", b"+OK")
        await self.close(b"QUIT")
        await self.closesAfterAll()
        self.wire.resumeProducing()
        await self.until(lambda: self.client.gone, "it is not closed")
        assert self.client.received.startswith(b"+OK")

    async def test_imap4(self) -> None:
        """
        So it does after LOGOUT where TLS began with STARTTLS.
        """
        await self.begin(protocols.serveIMAP4)
        await self.say(b"0 STARTTLS", b"0 OK")
        self.encrypt()
        await self.say(b"1 LOGIN alice right", b"1 OK")
        await self.close(b"2 LOGOUT")
        await self.closesAfterAll()
        self.wire.resumeProducing()
        await self.until(lambda: self.client.gone, "it is not closed")
        assert b"2 OK" in self.client.received

    async def test_answering(self) -> None:
        """
        One that does leaves at once.
        """
        await self.begin(rawclients.pop3Factory, tls=True)
        await self.say(b"USER alice", b"+OK")
        await self.say(b"PASS right", b"+OK")
        self.client.send(b"QUIT")
        await self.ends()

    async def test_producer(self) -> None:
        """
        As long as the server has more to say, the connection stays.
        """
        await self.begin(partial(rawclients.serving, Talker), tls=True)
        await self.say(b"login", b"welcome")
        await self.close(b"produce")
        self.clock.pump([5] * 20)
        (watched,) = self.inner.protocols
        transport = watched.wrappedProtocol.transport
        transport.write(Talker.big)
        transport.unregisterProducer()
        await self.takeAll()
        await self.ends()

    async def test_slow(self) -> None:
        """
        What a client is still reading when everything is written is not lost.
        """
        await self.begin(partial(rawclients.serving, Talker), tls=True)
        await self.say(b"login", b"welcome")
        await self.close(b"close")
        self.clock.advance(5)
        while self.connection.backlog:
            assert not self.client.gone
            await self.take(200_000)
        assert len(self.realm.sessions) == 1
        self.clock.advance(5)
        await self.ends()
        await self.takeAll()


class StoppedTests(ClosedCase):
    """
    A client that does not read the last words.
    """

    async def stop(self, listening: Any) -> None:
        """
        Close everything.
        """
        await super().stop(listening)
        assert not self.clock.getDelayedCalls()

    async def test_stopped(self) -> None:
        """
        It is cut off if it has read nothing for half a minute, also over TLS.
        """
        for tls in (False, True):
            await self.begin(partial(rawclients.serving, Talker), tls=tls)
            await self.say(b"login", b"welcome")
            await self.close(b"close")
            await self.until(lambda: self.connection.backlog < len(Talker.big), "not written")
            self.clock.pump([5] * 6)
            assert self.connection.backlog
            assert len(self.realm.sessions) == 1
            self.clock.advance(5)
            await self.ends()

    async def test_slow(self) -> None:
        """
        It is not if it reads on, and is told everything then.
        """
        await self.begin(partial(rawclients.serving, Talker))
        await self.say(b"login", b"welcome")
        await self.close(b"close")
        for _ in range(2):
            self.clock.pump([5] * 5)
            before = self.connection.backlog
            while self.connection.backlog == before:
                assert not self.client.gone
                await self.take(200_000)
            self.clock.advance(5)
        assert len(self.realm.sessions) == 1
        await self.takeAll()
        await self.ends()
