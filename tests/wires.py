"""
Connections in memory, as a reactor makes them: the server's end, with bytes from no client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

# Any in this module: factories and protocols, which have whatever attributes they have.


class Wire(StringTransport):
    """
    The transport of a server's protocol.

    @ivar protocol: what is told of what arrives, and of the loss.
    @ivar reading: whether the reactor would read.
    @ivar lost: whether the connection is lost.
    """

    protocol: Any
    lost = False

    @property
    def reading(self) -> bool:
        """
        Return whether it reads, and so would notice a loss.
        """
        return self.producerState == "producing" and not self.lost

    def deliver(self, data: bytes) -> None:
        """
        Something arrives.
        """
        self.protocol.dataReceived(data)

    def leave(self) -> None:
        """
        The client leaves.
        """
        self.connectionLost(Failure(ConnectionDone()))

    def connectionLost(self, reason: Failure) -> None:
        """
        Tell the protocol, once, as Twisted's transports do.
        """
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(reason)

    def abortConnection(self) -> None:
        """
        The server closes the connection.
        """
        self.connectionLost(Failure(ConnectionAborted()))

    def setTcpKeepAlive(self, on: bool) -> None:
        """
        Keep in mind what is wanted.
        """
        self.keptAlive = on


def connect(factory: Any, host: str = "192.0.2.7") -> Any:
    """
    Connect a client, and return the wire; its C{protocol} is C{None} if the factory builds none.
    """
    address = IPv4Address("TCP", host, 50000)
    wire = Wire(peerAddress=address)
    wire.protocol = factory.buildProtocol(address)
    if wire.protocol is not None:
        wire.protocol.makeConnection(wire)
    return wire
