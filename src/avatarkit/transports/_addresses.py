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


def peerHost(session: Session, *, ipv6Prefix: int = IPV6_PREFIX) -> str:
    """
    Return the address that the client of a session comes from, for example as the key of a limit:
    C{ConnectionLimit(3, key=peerHost)}, or C{key=partial(peerHost, ipv6Prefix=48)}.

    Behind a proxy whose header Twisted reads (a C{haproxy:} endpoint) it is the address in that
    header.  All clients of UNIX sockets are C{"local"}.

    @param ipv6Prefix: how many bits of an IPv6 address count, from 1 to 128: a client may have all
        addresses of a network.  An IPv4 address that is written as an IPv6 address is the IPv4
        address.
    @return: the address, or the network with its prefix length.
    @raise TypeError: if the session has no connection: listen through a
        L{WatchingFactory<avatarkit.transports.WatchingFactory>}.
    """
    connection = session.connection
    if connection is None:
        raise TypeError(
            f"{session!r} has no connection, so nobody knows where its client comes from: listen "
            "through a WatchingFactory"
        )
    return hostOf(connection, ipv6Prefix)


def hostOf(connection: IConnection, ipv6Prefix: int = IPV6_PREFIX) -> str:
    """
    Return the address that a connection comes from; see L{peerHost}.
    """
    checkCount("ipv6Prefix", ipv6Prefix, least=1)
    if ipv6Prefix > 128:
        raise ValueError(f"ipv6Prefix must be at most 128, not {ipv6Prefix!r}")
    host: str | bytes = getattr(connection.getPeer(), "host", "local")
    name = host.decode("ascii") if isinstance(host, bytes) else str(host)
    if ":" not in name:
        return name
    address = IPv6Address(name.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if ipv6Prefix == 128:
        return str(address)
    return str(ip_network((address, ipv6Prefix), strict=False))
