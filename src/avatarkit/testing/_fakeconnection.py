"""
A connection without a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from zope.interface import implementer

from .._clients.connections import Partings
from ..interfaces import IConnection


@implementer(IConnection)
@attrs.define(eq=False, repr=False)
class FakeConnection:
    """
    A stand-in for the connection that a login is made over, for
    L{login<avatarkit.testing.login>}.

    @ivar host: the client's address.
    @ivar backlog: how many bytes wait to be sent to the client; set it as you need it.
    @ivar lastReceived: when anything arrived last, in seconds; set it as you need it.
    @ivar lastActive: when the user last did something; set it as you need it.
    @ivar stalled: whether the client has stopped reading, so that C{loseConnection} does not make
        it leave; set it as you need it.
    @ivar closings: how the server has closed the connection so far: C{"lose"} or C{"abort"} for
        each time.
    @ivar disconnected: whether the client is gone.
    """

    host: str = "127.0.0.1"
    backlog: int | None = attrs.field(default=0, kw_only=True)
    lastReceived: float = attrs.field(default=0, kw_only=True)
    lastActive: float = attrs.field(default=0, kw_only=True)
    stalled: bool = attrs.field(default=False, kw_only=True)
    closings: list[str] = attrs.field(factory=list, init=False)
    disconnected: bool = attrs.field(default=False, init=False)
    _partings: Partings = attrs.field(factory=Partings, init=False)

    def __repr__(self) -> str:
        return f"<FakeConnection from {self.host}{', lost' * self.disconnected}>"

    def disconnect(self) -> None:
        """
        Make the client leave, as if the cable were cut.
        """
        self.disconnected = True
        self._partings.lost(newestFirst=True)

    def getPeer(self) -> IPv4Address:
        """
        Return the client's address.
        """
        return IPv4Address("TCP", self.host, 50000)

    def getHost(self) -> IPv4Address:
        """
        Return the server's address.
        """
        return IPv4Address("TCP", "127.0.0.1", 8787)

    # Any: as in IConnection.

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with this connection when the client is gone; the last one given
        first.
        """
        self._partings.add(callback, self)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take the callback back.
        """
        self._partings.discard(callback, self)

    def loseConnection(self) -> None:
        """
        Close the connection, which a client that has stopped reading does not notice.
        """
        self.closings.append("lose")
        if not self.stalled:
            self.disconnect()

    def abortConnection(self) -> None:
        """
        Close the connection now.
        """
        self.closings.append("abort")
        self.disconnect()
