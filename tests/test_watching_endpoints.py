"""
Watched connections of all kinds: UNIX sockets, IPv6, behind a proxy, and with each reactor.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

import protocols
from avatarkit.transports import WatchingFactory, peerHost
from callers import Caller, talking
from stages import Stacked, Way, reactor, turns, within

# Any in this module: sessions' addresses, and ports.

CAREFUL = next(row for row in protocols.ROWS if row.name == "a careful LineReceiver")
HERE = Path(__file__).parent


def hasIPv6() -> bool:
    """
    Return whether this machine can listen on C{::1}.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class EndpointTests(TestCase):
    """
    Endpoints that a server may listen on.
    """

    timeout = 20

    async def serve(self, server: str, client: str, way: Way, *words: bytes) -> Any:
        """
        Listen, and connect a client that says some words before it logs in.

        @param client: its endpoint; C{PORT} in it stands for the server's port.
        """
        self.stage = Stacked(CAREFUL, way)
        portal: Any = Portal(self.stage.realm, [self.stage])
        self.factory = WatchingFactory(CAREFUL.serve(portal), portal)
        self.listening = await serverFromString(reactor, server).listen(self.factory)
        self.addCleanup(self.listening.stopListening)
        where = client.replace("PORT", str(getattr(self.listening.getHost(), "port", "")))
        self.caller: Caller = talking(*((b"", each) for each in words), (b"welcome", b""))()
        built = await clientFromString(reactor, where).connect(self.caller)
        self.closed: Deferred[None] = Deferred()
        plain = built.connectionLost

        def connectionLost(*args: Any) -> None:
            plain(*args)
            self.closed.callback(None)

        built.connectionLost = connectionLost
        return self.caller

    async def leave(self) -> None:
        """
        Make the client leave, and check that nothing is left.
        """
        if not self.closed.called:
            self.caller.transport.abortConnection()
        await within(self.closed)
        for _ in range(1000):
            if not self.factory.protocols:
                break
            await turns()
        assert self.factory.protocols == {}
        assert self.stage.left() == []
        await self.listening.stopListening()

    async def comesFrom(self, server: str, client: str, *words: bytes) -> Any:
        """
        Return the address that a client comes from; nothing is left of it when it has logged in,
        nor of one that leaves during its login.
        """
        await self.serve(server, client, Way.NEVER, *words)
        await self.stage.until(lambda: self.stage.waiting)
        await self.leave()
        caller = await self.serve(server, client, Way.LOGGED_IN, *words)
        await within(caller.ready)
        (session,) = self.stage.realm.sessions
        peer, self.host = session.connection.getPeer(), peerHost(session)
        await self.leave()
        assert session.connection.getPeer() == peer
        return peer

    async def test_UNIX(self) -> None:
        """
        A UNIX socket.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = f"{directory.name}/socket"
        peer = await self.comesFrom(f"unix:{path}", f"unix:{path}", b"alice secret\r\n")
        assert isinstance(peer, UNIXAddress)
        assert self.host == "local"

    async def test_IPv6(self) -> None:
        """
        IPv6.
        """
        if not hasIPv6():
            self.skipTest("this machine has no IPv6")
        server, client = r"tcp6:0:interface=\:\:1", r"tcp:\:\:1:PORT"
        peer = await self.comesFrom(server, client, b"alice secret\r\n")
        assert peer.host == "::1"

    async def test_otherProtocol(self) -> None:
        """
        What arrives is an activity also when the protocol has put another one in its place.
        """
        server, client = "tcp:0:interface=127.0.0.1", self.CLIENT
        caller = await self.serve(server, client, Way.LOGGED_IN, b"alice secret\r\n")
        await within(caller.ready)
        (session,) = self.stage.realm.sessions
        connection: Any = session.connection
        taken: Deferred[bytes] = Deferred()
        other: Any = Protocol()
        other.dataReceived = taken.callback
        connection.transport.protocol = other
        connection.lastReceived = connection.lastActive = 0
        caller.transport.write(b"hello")
        assert await within(taken) == b"hello"
        assert session.lastActive == connection.lastReceived != 0
        await self.leave()

    PROXY = "haproxy:tcp:0:interface=127.0.0.1"
    CLIENT = "tcp:127.0.0.1:PORT"

    async def test_proxy(self) -> None:
        """
        Behind a proxy a client comes from where the proxy says, even if that is a lie.
        """
        header = b"PROXY TCP4 203.0.113.9 192.0.2.1 50001 443\r\n"
        peer = await self.comesFrom(self.PROXY, self.CLIENT, header + b"alice secret\r\n")
        assert (peer.host, peer.port, self.host) == ("203.0.113.9", 50001, "203.0.113.9")

    async def test_proxyUnknown(self) -> None:
        """
        If the proxy does not say, a client comes from the proxy.
        """
        peer = await self.comesFrom(self.PROXY, self.CLIENT, b"PROXY UNKNOWN \r\nalice secret\r\n")
        assert peer.host == "127.0.0.1"

    async def test_malformed(self) -> None:
        """
        A client whose header is malformed, or missing, is cut off before it can log in.
        """
        for header in (
            b"PROXY TCP9 x y z\r\n",
            b"PROXY " + b"x" * 200,
            b"GET / HTTP/1.1\r\n",
            b"\0",
        ):
            await self.serve(self.PROXY, self.CLIENT, Way.LOGGED_IN, header + b"alice secret\r\n")
            await within(self.closed)
            assert self.stage.asked == 0
            await self.leave()

    async def test_halfAHeader(self) -> None:
        """
        Nothing is left of a client that sends half a header and leaves.
        """
        await self.serve(self.PROXY, self.CLIENT, Way.LOGGED_IN, b"PROXY TCP4 203.0")
        await turns(10)
        assert self.stage.asked == 0
        await self.leave()

    async def test_kicked(self) -> None:
        """
        A kick closes the connection behind the proxy's header.
        """
        words = b"PROXY TCP4 203.0.113.9 192.0.2.1 50001 443\r\nalice secret\r\n"
        caller = await self.serve(self.PROXY, self.CLIENT, Way.LOGGED_IN, words)
        await within(caller.ready)
        (session,) = self.stage.realm.sessions
        caller.transport.pauseProducing()
        session.connection.transport.write(bytes(2**24))
        await turns()
        assert session.connection.backlog > 2**20
        await session.disconnect(timeout=0.05)
        for _ in range(1000):
            if not self.factory.protocols:
                break
            await turns(10)
        assert session.connection.disconnected
        caller.transport.resumeProducing()
        await self.leave()


class ReactorTests(SynchronousTestCase):
    """
    Reactors, each in a process of its own.
    """

    def played(self, name: str, kind: str) -> None:
        """
        Check that nothing is left of any client.
        """
        ran = subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, str(HERE / "reactorscene.py"), name],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout.splitlines() == [f"{kind}: []"] * 12, ran.stderr

    def test_asyncio(self) -> None:
        """
        The reactor on asyncio.
        """
        self.played("asyncio", "AsyncioSelectorReactor")

    def test_select(self) -> None:
        """
        The one that runs everywhere.
        """
        self.played("select", "SelectReactor")

    def test_poll(self) -> None:
        """
        The one for POSIX.
        """
        self.played("poll", "PollReactor")

    def test_epoll(self) -> None:
        """
        The one for Linux.
        """
        if not sys.platform.startswith("linux"):
            self.skipTest("this is not Linux")
        self.played("epoll", "EPollReactor")
