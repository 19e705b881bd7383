"""
What a transport does not tell its protocol, or not in time.

A protocol that puts another one in its place is no longer told what arrives, nor that the
connection is lost, and one that has paused its transport is told only when it reads again, since a
loss is noticed by reading.  A protocol that closes its connection is not told that the client does
not let it.  So five methods of the transport itself are replaced, on this one transport, until it
is lost.  What arrives is counted there too, whoever it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from .._clients.connections import bufferedIn
from ._closing import Closing

# Any in this module: transports are what reactors, or somebody's wrappers, make them.


@attrs.define(eq=False)
class Tap:
    """
    A transport that says when something arrives and when it is lost, and can be kept reading.

    If it has a clock, it sees to it that the connection closes when the protocol has closed it.

    It asks with how many bytes have arrived whether they are to be taken, and drops them if not.

    @ivar arrives: the method of the transport that is given what has arrived; over TLS, what has
        not been deciphered yet.
    @ivar paused: whether the protocol has paused the transport.  As long as it is kept reading,
        what arrives reaches the protocol all the same, as it may over TLS anyway.
    """

    _transport: Any
    _takes: Callable[[int], bool]
    _lost: Callable[[], object]
    _clock: Callable[[], IReactorTime] | None = None
    arrives: str = attrs.field(init=False)
    paused: bool = attrs.field(default=False, init=False)
    _kept: bool = attrs.field(default=False, init=False)
    _plain: dict[str, Any] = attrs.field(factory=dict, init=False)
    _closing: Closing | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        isWrapper = hasattr(self._transport, "dataReceived")  # or TLS, which wraps TCP
        self.arrives = "dataReceived" if isWrapper else "_dataReceived"
        for name, method in (
            (self.arrives, self._arrived),
            ("connectionLost", self.connectionLost),
            ("pauseProducing", self.pauseProducing),
            ("resumeProducing", self.resumeProducing),
        ):
            plain = getattr(self._transport, name, None)
            if plain is None:  # in memory, where a loss is told in some other way
                continue
            try:
                setattr(self._transport, name, method)
            except AttributeError:  # it has slots, and so is in memory as well
                continue
            self._plain[name] = plain
        inMemory = bufferedIn(self._transport) is None
        if self.hears and self._clock is not None and not inMemory:
            self._plain["loseConnection"] = self._transport.loseConnection
            self._transport.loseConnection = self.loseConnection

    @property
    def hears(self) -> bool:
        """
        Whether it is told what arrives, which it is not in memory.
        """
        return self.arrives in self._plain

    @property
    def closed(self) -> bool:
        """
        Whether the protocol has closed the connection.
        """
        return self._closing is not None

    def loseConnection(self, *args: Any) -> None:
        """
        The protocol closes the connection.
        """
        if self._closing is None:
            assert self._clock is not None
            self._closing = Closing(self._transport, self._clock())
        self._plain["loseConnection"](*args)

    def _arrived(self, data: bytes) -> Any:
        return self._plain[self.arrives](data) if self._takes(len(data)) else None

    def connectionLost(self, *args: Any) -> None:
        """
        The connection is lost: the protocol learns of it first, if it is still there.
        """
        lost = self._lost
        self.remove()
        try:
            self._plain["connectionLost"](*args)
        finally:
            lost()

    def pauseProducing(self) -> None:
        """
        The protocol pauses the transport.
        """
        self.paused = True
        if not self._kept:
            self._plain["pauseProducing"]()

    def resumeProducing(self) -> None:
        """
        The protocol goes on.
        """
        self.paused = False
        self._plain["resumeProducing"]()

    def keepReading(self, keep: bool) -> None:
        """
        Read even if the protocol has paused the transport, or no longer.
        """
        self._kept = keep
        if self.paused:
            self._plain["resumeProducing" if keep else "pauseProducing"]()

    def remove(self) -> None:
        """
        Leave the transport as it was, and lead to nobody.
        """
        self.paused = False
        self._takes, self._lost = lambda size: True, bool
        if self._closing is not None:
            self._closing.cancel()
        for name in self._plain:
            vars(self._transport).pop(name, None)


def keepAlive(transport: Any) -> None:
    """
    Switch on the keep-alive of TCP.
    """
    with suppress(AttributeError, OSError):  # not TCP, or lost already
        transport.setTcpKeepAlive(True)
