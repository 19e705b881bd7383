"""
Tests for L{avatarkit.transports.peerHost}.
"""

from __future__ import annotations

from functools import partial
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.trial.unittest import SynchronousTestCase

import rawclients
from avatarkit import ConnectionLimit, LoginRefused, Realm, Session, TooManyConnections
from avatarkit.testing import FakeConnection, login
from avatarkit.transports import peerHost
from players import Player


def sessionFrom(address: Any) -> Session:
    """
    Return a session whose client has an address.
    """
    realm = Realm(Player)
    kind = type("At", (FakeConnection,), {"getPeer": lambda self: address})
    login(realm, b"alice", connection=kind())
    (session,) = realm.sessions
    return session


class PeerHostTests(SynchronousTestCase):
    """
    Where clients come from.
    """

    def test_addresses(self) -> None:
        """
        An IPv4 address is itself, an IPv6 address its network, and a UNIX socket is local.
        """
        for address, expected in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8:1:2:3::4", 1), "2001:db8:1:2::/64"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
            (UNIXAddress("/run/socket"), "local"),
            (IPv6Address("TCP", "::ffff:192.0.2.1%eth0", 1), "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::zz", 1), "2001:db8::zz"),
            (object(), "local"),
            (IPv4Address("TCP", b"192.0.2.1", 1), "192.0.2.1"),  # type: ignore[arg-type]
        ):
            assert peerHost(sessionFrom(address)) == expected

    def test_prefix(self) -> None:
        """
        The length of the prefix can be said; it is from 1 to 128.
        """
        session = sessionFrom(IPv6Address("TCP", "2001:db8:1:2:3::4", 1))
        assert peerHost(session, ipv6Prefix=48) == "2001:db8:1::/48"
        assert peerHost(session, ipv6Prefix=128) == "2001:db8:1:2:3::4"
        scoped = sessionFrom(IPv6Address("TCP", "fe80::1%eth0", 1))
        assert peerHost(scoped, ipv6Prefix=128) == "fe80::1"
        for wrong, error in ((0, ValueError), (129, ValueError), ("64", TypeError)):
            prefix: Any = wrong
            for each in (session, sessionFrom(IPv4Address("TCP", "192.0.2.1", 1))):
                self.assertRaises(error, peerHost, each, ipv6Prefix=prefix)

    def test_limit(self) -> None:
        """
        It is the key of a limit.
        """
        realm = ConnectionLimit(1, key=partial(peerHost, ipv6Prefix=48))(Player)
        login(realm, b"alice", connection=FakeConnection("2001:db8::1"))
        login(realm, b"alice", connection=FakeConnection("192.0.2.1"))
        for host in ("2001:db8:0:9::2", "192.0.2.1"):
            connection = FakeConnection(host)
            self.assertRaises(TooManyConnections, login, realm, b"bob", connection=connection)

    def test_noConnection(self) -> None:
        """
        A session without a connection is refused, and the log says what to do.
        """
        realm = ConnectionLimit(1, key=peerHost)(Player)
        self.assertRaises(LoginRefused, login, realm, b"alice")
        (failure,) = self.flushLoggedErrors(TypeError)
        assert "listen through a WatchingFactory" in str(failure.value)


class RealTests(rawclients.RawCase):
    """
    Where real clients come from.
    """

    async def logIn(self, *lines: bytes) -> bytes:
        """
        Connect, send lines and a login, and return the last answer.
        """
        endpoint = clientFromString(rawclients.reactor, self.clientEndpoint)
        client: Any = await connectProtocol(endpoint, rawclients.RawClient())
        self.clients.append(client)
        client.send(*lines, b"USER alice", b"PASS right")
        await self.until(lambda: client.received.count(b"\r\n") == 3, "no answers")
        answer: bytes = client.received.splitlines()[-1]
        return answer[:4].strip()

    async def test_proxy(self) -> None:
        """
        Behind a proxy it is the address that the proxy says, which may be anything.
        """
        limit = ConnectionLimit[Any](1, key=peerHost)
        endpoint = "haproxy:tcp:0:interface=127.0.0.1"
        await self.serve(rawclients.pop3Factory, rawclients.Asked(), limit, endpoint=endpoint)
        self.clientEndpoint = f"tcp:127.0.0.1:{self.address.port}"
        first, second, third, lie = (
            b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 110",
            b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 110",
            b"PROXY TCP6 2001:db8::8 2001:db8::1 5000 110",
            b"PROXY TCP6 no:address 2001:db8::1 5000 110",
        )
        answers = [await self.logIn(line) for line in (first, second, third, first, lie)]
        assert answers == [b"+OK", b"+OK", b"-ERR", b"-ERR", b"+OK"]
        for host in ("192.0.2.7", "2001:db8::/64", "no:address"):
            assert len(limit.sessions(host)) == 1

    async def test_unix(self) -> None:
        """
        All clients of UNIX sockets count together.
        """
        limit = ConnectionLimit[Any](2, key=peerHost)
        folder = mkdtemp()
        self.addCleanup(rmtree, folder)
        path = f"{folder}/socket"
        await self.serve(rawclients.pop3Factory, rawclients.Asked(), limit, endpoint=f"unix:{path}")
        self.clientEndpoint = f"unix:{path}"
        answers = [await self.logIn() for _ in range(3)]
        assert answers == [b"+OK", b"+OK", b"-ERR"]
        assert len(limit.sessions("local")) == 2
