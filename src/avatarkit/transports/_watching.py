"""
Protocols whose connections are watched, so that a session ends with its connection on each of them,
whatever the client chose to send as its mind, and also while its password is being checked.

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

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.spread.pb import Broker
from zope.interface import providedBy

from .._clients.transports import Connection, adopt
from .._tools.checks import checkCount, checkReactor, checkSeconds, checkYesOrNo
from .._tools.clock import clockOr
from ._grace import Grace
from ._holding import givePortal
from ._portals import Logins, Realms, checkPortal
from ._tapping import Tap, keepAlive

#: How many bytes are taken from a client while it logs in once more, or while it logs in at all, if
#: C{maximumBeforeLogin} is C{None}.
MOST_WHILE_BUSY = 65536

# Any in this module: what reactors, and the authors of protocols, give each other.


class WatchedProtocol:
    """
    What a transport takes for its protocol.

    Each wrapped protocol is given its transport itself, and a portal that knows the connection.

    @ivar connection: the L{IConnection<avatarkit.IConnection>}.
    """

    _log = Logger()

    def __init__(self, factory: WatchingFactory, wrapped: Any) -> None:
        self.factory, self.wrappedProtocol = factory, wrapped
        self._refused = False
        self._taken = 0
        # Half-closing, handshakes, descriptors: what directlyProvides does, in a tenth of the time.
        vars(self)["__providedBy__"] = providedBy(wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrappedProtocol, name)

    def makeConnection(self, transport: Any) -> None:
        """
        A connection is made.
        """
        self.connection = Connection(transport, self.factory.clock())
        self._logins = Logins(self.connection, self._whenBusy, self._whenLoggedIn)
        self._tap = Tap(transport, self._takes, self._lost, self.factory.clock)
        self.factory.registerProtocol(self)
        if not self._givePortal():
            self._refused = True
            self.connection.abortConnection()
            return
        if self.factory.keepAlive:
            keepAlive(transport)
        if self.factory.grace is not None:
            self.factory.grace.begin(self)
        self.wrappedProtocol.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Something has arrived.
        """
        if not self._refused and (self._tap.hears or self._takes(len(data))):
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
        """
        Let the protocol log in through a portal that knows the connection.
        """
        wrapped, factory = self.wrappedProtocol, self.factory
        innermost = _innermost(wrapped)
        if isinstance(innermost, Broker):
            adopt(innermost, self.connection)
        portal = self._logins.portal(factory.portal, factory.realms)
        try:
            found = givePortal(wrapped, factory.portal, portal)
        except Exception:
            self._log.failure(
                "{protocol!r} does not take a portal: its connection is closed", protocol=wrapped
            )
            return False
        if not found:
            self._log.critical(
                "{protocol!r} does not have {portal!r} in any place that is known, so its logins "
                "could not be watched: the connection is closed.  Give WatchingFactory the portal "
                "that the factory has, or make the protocol an IPortalHolder.  A root of "
                "Perspective Broker must have it as an attribute, or in one of its objects",
                protocol=wrapped,
                portal=factory.portal,
            )
        return found

    @property
    def isLoggingIn(self) -> bool:
        """
        Whether a login goes on.
        """
        return bool(self._logins)

    def tooSlow(self) -> None:
        """
        Nobody has logged in in time.
        """
        assert self.factory.grace is not None
        self._log.info(
            "{peer} has not logged in for {seconds} seconds (loginGraceTime): it is cut off",
            peer=self.connection.getPeer(),
            seconds=self.factory.grace.seconds,
        )
        self.connection.abortConnection()

    def _takes(self, size: int) -> bool:
        """
        Something has arrived, for this protocol or one in its place; return whether to take it.
        """
        if not self._tap.closed:
            self.connection.received()
        if (self._logins or not self._logins.succeeded) and self._isTooMuch(size):
            self.connection.abortConnection()
            return False
        return True

    def _isTooMuch(self, size: int) -> bool:
        """
        Return whether a client that has not logged in, or whose login goes on, has sent more than
        it has any reason to.

        Most protocols put aside whatever arrives during a login.  Who has logged in before, over a
        protocol that goes on reading by itself, may send what they like.
        """
        most, when = self.factory.maximumBeforeLogin, "before it has logged in (maximumBeforeLogin)"
        if self._logins.succeeded or most is None:
            if not self._logins or (self._logins.succeeded and not self._tap.paused):
                return False
            most, when = MOST_WHILE_BUSY, "while its login goes on"
        self._taken += size
        if self._taken <= most:
            return False
        self._log.warn(
            "{peer} has sent more than {most} bytes {when}: it is cut off",
            peer=self.connection.getPeer(),
            most=most,
            when=when,
        )
        return True

    def _whenBusy(self, busy: bool) -> None:
        """
        Go on reading during a login, even if the protocol has paused its transport: a loss is
        noticed by who reads.  What arrives waits in the protocol.
        """
        if self._logins.succeeded or self.factory.maximumBeforeLogin is None:
            self._taken = 0
        if not self.connection.disconnected:
            self._tap.keepReading(busy)

    def _whenLoggedIn(self) -> None:
        """
        Somebody has logged in: what arrived until then no longer matters, nor how long it took.
        """
        self._taken = 0
        if self.factory.grace is not None:
            self.factory.grace.end(self)

    def _abandon(self) -> None:
        self.connection.abandoned()
        self._logins.abandon()

    def _lost(self) -> None:
        """
        The connection is lost; the protocol has been told, unless it has put another one in its
        place.
        """
        if self.factory.protocols.pop(self, None) is None:  # this has been done
            return
        if self.factory.grace is not None:
            self.factory.grace.end(self)
        self._abandon()
        self._tap.remove()
        self._logins.close()
        self.connection.lost()


class WatchingFactory(WrappingFactory):
    """
    Ends the logins of each connection when the connection ends, whatever the protocol is.

    Listen with C{WatchingFactory(factory, portal)} instead of the protocol's own factory.  Each
    login then has a L{connection<avatarkit.Session.connection>}, also with a realm that is not
    avatarkit's; leaving during the login, or while the password is checked, cancels it.

    A connection that the protocol closes ends, whatever its client does.  A client that does not
    log in, or sends too much before it does, is cut off, and the log says so.  Where
    clients are served without a login, as by most servers of SMTP, switch off both.

    For the web, see L{HTTPAuthSessionWrapper<avatarkit.transports.HTTPAuthSessionWrapper>}.

    @ivar portal: the portal that the protocols log in through.
    @ivar keepAlive: whether to switch on the keep-alive of TCP, which notices, after the hours that
        the operating system says, that a silent peer is gone.
    @ivar maximumBeforeLogin: how many bytes are taken from a client in all until its first login
        over the connection has succeeded; C{None} if only what arrives while a login goes on is
        bounded, at 64 KiB each time.
    @ivar grace: the connections over which nobody has logged in; C{None} if they may stay.
    """

    protocol = WatchedProtocol  # type: ignore[assignment]  # it is not a ProtocolWrapper

    def __init__(
        self,
        factory: Any,
        portal: Portal,
        keepAlive: bool = True,
        *,
        maximumBeforeLogin: int | None = 65536,
        loginGraceTime: float | None = 120,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param factory: the protocol's own factory.
        @param portal: the portal that was given to it.
        @param maximumBeforeLogin: at least 1, or C{None}.
        @param loginGraceTime: after how many seconds a connection is closed over which nobody has
            logged in, more than 0, as OpenSSH has it; C{None}: never.  If a login goes on then, it
            is looked at again after as long.
        @param reactor: measures the time; the global reactor by default.
        @raise TypeError: if an argument is not of its kind.
        @raise ValueError: if one is too small.
        """
        if not callable(getattr(factory, "buildProtocol", None)):
            raise TypeError(f"factory must be a protocol factory, not {factory!r}")
        checkPortal(portal)
        checkYesOrNo("keepAlive", keepAlive)
        if maximumBeforeLogin is not None:
            checkCount("maximumBeforeLogin", maximumBeforeLogin, least=1)
        checkSeconds("loginGraceTime", loginGraceTime, orNone=True, positive=True)
        checkReactor(reactor)
        super().__init__(factory)
        self.portal, self.keepAlive, self._reactor = portal, keepAlive, reactor
        self.maximumBeforeLogin = maximumBeforeLogin
        self.grace = None if loginGraceTime is None else Grace(loginGraceTime, self.clock)
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
