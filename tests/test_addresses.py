"""
Tests for L{avatarkit.transports.peerHost}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

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
        for wrong, error in ((0, ValueError), (129, ValueError), ("64", TypeError)):
            prefix: Any = wrong
            self.assertRaises(error, peerHost, session, ipv6Prefix=prefix)

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
