"""
The connections that a client makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure
from twisted.spread import pb

# Any in this module: brokers, which Twisted does not describe.


class DialedBroker(pb.Broker):
    """
    A connection that says when it is lost.

    @ivar lastReceived: when something arrived last, in seconds; 0 until then.
    """

    factory: Any
    lastReceived: float = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Take note of the time.
        """
        self.lastReceived = self.factory.seconds()
        super().dataReceived(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Say so.
        """
        super().connectionLost(reason)
        self.factory.lost(reason)


class DialingFactory(pb.PBClientFactory):
    """
    Makes connections, and says what becomes of them.

    @ivar seconds: returns the time.
    @ivar lost: called with the reason when a connection is lost.
    """

    noisy = False
    protocol = DialedBroker

    def __init__(
        self,
        built: Callable[[Any], object],
        ready: Callable[[Any, pb.PBClientFactory], object],
        lost: Callable[[Failure], object],
        seconds: Callable[[], float],
    ) -> None:
        """
        @param built: called with a connection when it is made.
        @param ready: called with it, and with this factory, when the server speaks Perspective
            Broker.
        """
        super().__init__()
        self.lost, self.seconds = lost, seconds
        self._built, self._ready = built, ready

    def buildProtocol(self, addr: Any) -> Any:
        """
        Make a connection.
        """
        broker = super().buildProtocol(addr)
        self._built(broker)
        return broker

    def clientConnectionMade(self, broker: Any) -> None:
        """
        It can be used.
        """
        super().clientConnectionMade(broker)
        self._ready(broker, self)
