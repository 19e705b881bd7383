"""
Protocols whose connections are watched.

Twisted's protocols keep the logout of a login in the callback of the login, which comes too late if
the connection is lost first, and most have no mind that could be watched.  So a connection is
watched from outside.  When it is lost, these happen in this order, since FTP and others fail in
any other:

  1. the logins that are going on are cancelled, the checking of passwords included;
  2. the protocol learns of the loss, and may log out itself;
  3. what is left is logged out, newest first.

The watcher stands between a transport and its protocol, but the protocol has the transport itself,
and not a wrapper: there are protocols that check of what class it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.spread.pb import Broker
from zope.interface import directlyProvides, providedBy

from .._clients.transports import Connection, adopt
from .._tools.checks import checkReactor, checkYesOrNo
from .._tools.clock import clockOr
from ._holding import givePortal
from ._portals import Logins, Realms, checkPortal

#: How many bytes a protocol that has paused its transport is given all the same while it logs in.
MOST_WHILE_PAUSED = 65536

# Any in this module: what reactors, and the authors of protocols, give each other.


class WatchedProtocol:
    """
    What a transport takes for its protocol.

    Each protocol that is wrapped is given its transport itself, and a portal that knows the
    connection.

    @ivar connection: the L{IConnection<avatarkit.IConnection>}.
    """

    _log = Logger()

    def __init__(self, factory: WatchingFactory, wrapped: Any) -> None:
        self.factory, self.wrappedProtocol = factory, wrapped
        self._refused = False
        self._pausedFor = 0
        directlyProvides(self, providedBy(wrapped))  # half-closing, handshakes, descriptors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrappedProtocol, name)

    def makeConnection(self, transport: Any) -> None:
        """
        A connection is made.
        """
        self.connection = Connection(transport, self.factory.clock())
        self._logins = Logins(self.connection, self._whenBusy)
        lookFor(transport, self._lost)
        self.factory.registerProtocol(self)
        if not self._givePortal():
            self._refused = True
            self._log.critical(
                "{protocol!r} does not have {portal!r} in any place that is known, so its logins "
                "could not be watched: the connection is closed.  Give WatchingFactory the portal "
                "that the factory has, or make the protocol an IPortalHolder",
                protocol=self.wrappedProtocol,
                portal=self.factory.portal,
            )
            self.connection.abortConnection()
            return
        if self.factory.keepAlive:
            with suppress(AttributeError):  # a UNIX socket, or one in memory
                transport.setTcpKeepAlive(True)
        self.wrappedProtocol.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Something has arrived.
        """
        if self._refused:
            return
        self.connection.received()
        if self._logins and self._isPaused():
            self._pausedFor += len(data)
            if self._pausedFor > MOST_WHILE_PAUSED:
                self._log.warn(
                    "{peer} has sent more than {most} bytes while its login goes on: it is cut off",
                    peer=self.connection.getPeer(),
                    most=MOST_WHILE_PAUSED,
                )
                self.connection.abortConnection()
                return
        self.wrappedProtocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """
        The connection is lost.
        """
        try:
            self._abandon()
            if not self._refused:
                self.wrappedProtocol.connectionLost(reason)
        finally:
            self._lost()

    def _givePortal(self) -> bool:
        factory, innermost = self.factory, _innermost(self.wrappedProtocol)
        portal = self._logins.portal(factory.portal, factory.realms.current())
        if isinstance(innermost, Broker):
            adopt(innermost, self.connection)
        return givePortal(self.wrappedProtocol, factory.portal, portal)

    def _isPaused(self) -> bool:
        return bool(getattr(_innermost(self.wrappedProtocol), "paused", False))

    def _whenBusy(self, busy: bool) -> None:
        """
        Go on reading during a login, even if the protocol has paused its transport: a loss is
        noticed by who reads.  What arrives waits in the protocol.
        """
        self._pausedFor = 0
        if self.connection.disconnected or not self._isPaused():
            return
        transport = self.connection.transport
        (transport.resumeProducing if busy else transport.pauseProducing)()

    def _abandon(self) -> None:
        self.connection.disconnected = True
        self._logins.abandon()

    def _lost(self) -> None:
        """
        The connection is lost; the protocol has been told, unless it has put another one in its
        place.
        """
        self._abandon()
        self.connection.lost()
        self.factory.protocols.pop(self, None)


class WatchingFactory(WrappingFactory):
    """
    Ends the logins of each connection when the connection ends, whatever the protocol is.

    Listen with C{WatchingFactory(factory, portal)} instead of the protocol's own factory.  Each
    login then has a L{connection<avatarkit.Session.connection>}, also with a realm that is not
    avatarkit's; leaving during the login, or while the password is checked, cancels it.

    For the web, see L{HTTPAuthSessionWrapper<avatarkit.transports.HTTPAuthSessionWrapper>}.

    @ivar portal: the portal that the protocols log in through.
    @ivar keepAlive: whether to switch on the keep-alive of TCP, which notices, after the hours that
        the operating system says, that a silent peer is gone.
    """

    protocol = WatchedProtocol  # type: ignore[assignment]  # it is not a ProtocolWrapper

    def __init__(
        self,
        factory: Any,
        portal: Portal,
        keepAlive: bool = True,
        *,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param factory: the protocol's own factory.
        @param portal: the portal that was given to it.
        @param reactor: measures the time; the global reactor by default.
        @raise TypeError: if C{factory} is not a factory, or C{portal} is not a portal.
        """
        if not callable(getattr(factory, "buildProtocol", None)):
            raise TypeError(f"factory must be a protocol factory, not {factory!r}")
        checkPortal(portal)
        checkYesOrNo("keepAlive", keepAlive)
        checkReactor(reactor)
        super().__init__(factory)
        self.portal, self.keepAlive, self._reactor = portal, keepAlive, reactor
        self.realms = Realms(portal)

    def clock(self) -> IReactorTime:
        """
        Return what measures the time.
        """
        return clockOr(self._reactor)

    def buildProtocol(self, address: Any) -> Any:
        """
        Build the protocol's own, and what watches it; C{None} if there is none.
        """
        wrapped = self.wrappedFactory.buildProtocol(address)
        return None if wrapped is None else self.protocol(self, wrapped)


def _innermost(protocol: Any) -> Any:
    """
    Return the protocol that is wrapped, perhaps several times.
    """
    while "wrappedProtocol" in getattr(protocol, "__dict__", ()):
        protocol = protocol.wrappedProtocol
    return protocol


def lookFor(transport: Any, lost: Any) -> None:
    """
    Have C{lost} called when a transport has lost its connection, also if the protocol is told no
    longer, because somebody has given the transport another one.
    """
    plain = getattr(transport, "connectionLost", None)
    if plain is None:  # in memory
        return

    def connectionLost(*args: Any) -> None:
        del transport.connectionLost
        try:
            plain(*args)
        finally:
            lost()

    transport.connectionLost = connectionLost
