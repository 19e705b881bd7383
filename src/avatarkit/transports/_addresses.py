"""
Where a client comes from, as the key of a limit.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

from .._realm.session import Session
from .._tools.checks import checkCount
from ..interfaces import IConnection

#: How many bits of an IPv6 address say whose it is: a subscriber is commonly given a whole /64, see
#: RFC 6177.
IPV6_PREFIX = 64

#: Where clients of UNIX sockets come from.
LOCAL = "local"


def peerHost(session: Session, *, ipv6Prefix: int = IPV6_PREFIX) -> str:
    """
    Return the address that the client of a session comes from, for example as the key of a limit:
    C{ConnectionLimit(3, key=peerHost)}, or C{key=partial(peerHost, ipv6Prefix=48)}.

    Behind a proxy whose header Twisted reads (a C{haproxy:} endpoint) it is the address in that
    header.  All clients of UNIX sockets, and others whose address has no host, are C{"local"}.

    @param ipv6Prefix: how many bits of an IPv6 address count, from 1 to 128: a client may have all
        addresses of a network.  An IPv4 address that is written as an IPv6 address is the IPv4
        address.
    @return: the address, or the network with its prefix length.
    @raise TypeError: if the session has no connection: listen through a
        L{WatchingFactory<avatarkit.transports.WatchingFactory>}.
    """
    checkPrefix(ipv6Prefix)
    connection = session.connection
    if connection is None:
        raise TypeError(
            f"{session!r} has no connection, so nobody knows where its client comes from: listen "
            "through a WatchingFactory"
        )
    return hostOf(connection, ipv6Prefix)


def checkPrefix(ipv6Prefix: object) -> None:
    """
    Check the length of a prefix.

    @raise TypeError: if it is not an int.
    @raise ValueError: if no address has so many bits, or there are none.
    """
    checkCount("ipv6Prefix", ipv6Prefix, least=1)
    assert isinstance(ipv6Prefix, int)
    if ipv6Prefix > 128:
        raise ValueError(f"ipv6Prefix must be at most 128, not {ipv6Prefix!r}")


def hostOf(connection: IConnection, ipv6Prefix: int) -> str:
    """
    Return the address that a connection comes from; see L{peerHost}.
    """
    host: object = getattr(connection.getPeer(), "host", LOCAL)
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if ":" not in name:
        return name
    try:
        address = IPv6Address(name.partition("%")[0])
    except ValueError:  # Twisted takes what a proxy says as it is
        return name
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if ipv6Prefix == 128:
        return str(address)
    return str(ip_network((address, ipv6Prefix), strict=False))
