"""
A client's connection, seen from its transport: who is at the other end, when something arrived, how
to close it, and what must be told when it is lost.

L{avatarkit.transports.WatchingFactory} makes one for each connection.  Without that, a session of
Perspective Broker that has a mind still has one, which is found through the mind's broker when
somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.spread.pb import RemoteReference
from zope.interface import implementer

from .._tools.clock import clockOr
from ..interfaces import IConnection
from .connections import Partings, bufferedIn, partingsOf

#: The attribute of a broker that holds its L{Connection}.
_CONNECTION = "_avatarkitConnection"


@implementer(IConnection)
@attrs.define(eq=False, repr=False)
class Connection:
    """
    A connection that logins are made over.

    @ivar clock: measures the time.
    @ivar reason: why it was lost, for the sessions that end with it, if its client did not leave.
    @ivar countsCalls: whether only a call is an activity, as over Perspective Broker, where
        clients answer the server by themselves.
    """

    transport: Any  # Any: whatever a reactor, or TLS, or somebody's wrapper, makes of a connection
    clock: IReactorTime
    countsCalls: bool = False
    disconnected: bool = attrs.field(default=False, init=False)
    lastReceived: float = attrs.field(init=False)
    lastActive: float = attrs.field(init=False)
    reason: Exception | None = attrs.field(default=None, init=False)
    _partings: Partings = attrs.field(factory=Partings, init=False)

    def __attrs_post_init__(self) -> None:
        self.lastReceived = self.lastActive = self.clock.seconds()

    def __repr__(self) -> str:
        return f"<Connection from {self.getPeer()}{', lost' if self.disconnected else ''}>"

    @property
    def backlog(self) -> int | None:
        """
        How many bytes wait to be sent; C{None} if that is not known.
        """
        return bufferedIn(self.transport)

    def getPeer(self) -> object:
        """
        Return the client's address, which may change as long as nothing has been received: behind
        a proxy it is what the proxy says first.
        """
        peer: object = self.transport.getPeer()
        return peer

    def getHost(self) -> object:
        """
        Return this side's address.
        """
        host: object = self.transport.getHost()
        return host

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with this connection when it is lost; the last one given first.
        """
        self._partings.add(callback, self)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take the callback back.
        """
        self._partings.discard(callback, self)

    def loseConnection(self) -> None:
        """
        Close the connection when everything is written.
        """
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """
        Close it now, if its transport can do that, and if it is not lost: TLS fails then.
        """
        if not self.disconnected:
            getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def received(self) -> None:
        """
        Something has arrived.
        """
        self.lastReceived = self.clock.seconds()
        if not self.countsCalls:
            self.lastActive = self.lastReceived

    def called(self) -> None:
        """
        The client has called something.
        """
        self.lastActive = self.clock.seconds()

    def lost(self) -> None:
        """
        The connection is lost: tell those who want to know, once, the last one first, as sessions
        end.
        """
        self.disconnected = True
        self._partings.lost(newestFirst=True)


def countCalls(broker: Any, connection: Connection) -> None:  # Any: as in partingsOf
    """
    Tell a connection of each call that arrives at a broker.
    """
    receive = broker.proto_message

    # Any: what a client sends.
    def message(*args: Any) -> object:
        connection.called()
        return receive(*args)

    connection.countsCalls = True
    broker.proto_message = message  # which is where a broker looks for what to do with a message
    connection.notifyOnDisconnect(lambda lost: vars(broker).pop("proto_message", None))


def connectionBehind(mind: object) -> Connection | None:
    """
    Return the connection that a mind of Perspective Broker's came over; C{None} for any other mind.
    """
    return connectionAt(mind.broker) if isinstance(mind, RemoteReference) else None


def connectionAt(broker: Any) -> Connection:  # Any: as in partingsOf
    """
    Return the connection of a broker.
    """
    known: Connection | None = getattr(broker, _CONNECTION, None)
    return known or _connectionOf(broker)


def adopt(broker: Any, connection: Connection) -> None:  # Any: as in partingsOf
    """
    Take note that a connection is the one of a broker.
    """
    setattr(broker, _CONNECTION, connection)
    countCalls(broker, connection)


def _connectionOf(broker: Any) -> Connection:  # Any: as in partingsOf
    """
    Return a new connection for a broker that has none.
    """
    transport = broker.transport
    connection = Connection(transport, clockOr(getattr(transport, "reactor", None)))
    receive = broker.dataReceived

    def dataReceived(data: bytes) -> None:
        connection.received()
        receive(data)

    adopt(broker, connection)
    if broker.disconnected:
        connection.lost()
        return connection
    broker.dataReceived = dataReceived
    connection.notifyOnDisconnect(lambda lost: vars(broker).pop("dataReceived", None))
    partingsOf(broker, first=True).add(Connection.lost, connection)
    return connection
