"""
Perspective Broker without sockets: the real factories and brokers, and bytes that move when a test
says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import (
    Anonymous,
    IUsernameHashedPassword,
    IUsernamePassword,
    UsernamePassword,
)
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from .._realm.targets import ForeignRealm, isRealm
from ..transports._watching import WatchingFactory

# Any in this module: a client's reference to its avatar has no type, and a factory builds whatever
# protocol it likes.


class MemoryPortal:
    """
    A Perspective Broker server that clients connect to in memory.

    No bytes arrive until L{pump} is called.  A client may stay without logging in for as long as it
    likes, however far a test advances the time.

    @ivar factory: the L{PBServerFactory<twisted.spread.pb.PBServerFactory>}.
    @ivar listening: the factory that clients connect to, which watches their connections.
    @ivar connections: every connection so far, oldest first, including those that are lost.
    """

    def __init__(
        self,
        realm: ForeignRealm,
        *,
        checkers: Sequence[ICredentialsChecker] = (),
        watched: bool = True,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param realm: what clients log in to.
        @param checkers: decide who may log in.  By default everybody may, with any password: the
            avatar ID is the name, as bytes, or C{()} if the login is anonymous.
        @param watched: whether clients connect through a
            L{WatchingFactory<avatarkit.transports.WatchingFactory>}.
        @param reactor: measures the time for that; the global reactor by default.
        @raise TypeError: if C{realm} is not a realm.
        """
        if not isRealm(realm):
            raise TypeError(f"{realm!r} is not a realm: it has no requestAvatar")
        checking = list(checkers) or [_Everybody(), AllowAnonymousAccess()]
        portal = Portal(cast(IRealm, realm), checking)
        self.factory = pb.PBServerFactory(cast(object, portal))
        self.listening: Any = self.factory
        if watched:  # without a timer, which a test would leave behind
            self.listening = WatchingFactory(
                self.factory, portal, loginGraceTime=None, reactor=reactor
            )
        self.connections: list[MemoryConnection] = []
        self._pumping = False

    def connect(self, host: str = "127.0.0.1") -> MemoryConnection:
        """
        Connect another client, and return its connection.

        @param host: the client's address.
        """
        connection = MemoryConnection(self, host)
        self.connections.append(connection)
        return connection

    def pump(self) -> None:
        """
        Move bytes in both directions until none are on their way, except to stalled clients.

        If it is called from within itself, by code that an arriving byte has set off, the inner
        call does nothing: the outer one moves those bytes too.
        """
        if self._pumping:
            return
        self._pumping = moved = True
        try:
            while moved:
                moved = False
                for connection in tuple(self.connections):
                    moved = connection.move() or moved
        finally:
            self._pumping = False


class MemoryConnection:
    """
    Both ends of one client's connection.

    @ivar client: the L{PBClientFactory<twisted.spread.pb.PBClientFactory>}.
    @ivar delivered: how many bytes have arrived, the sum of both directions.
    @ivar lost: whether the connection is lost.
    """

    _log = Logger()

    def __init__(self, portal: MemoryPortal, host: str = "127.0.0.1") -> None:
        self.client = pb.PBClientFactory()
        self.delivered = 0
        self.lost = False
        self._left: int | None = None
        self._stalled = False
        self._delivering = False
        here, there = IPv4Address("TCP", "127.0.0.1", 8787), IPv4Address("TCP", host, 50000)
        server, client = portal.listening.buildProtocol(there), self.client.buildProtocol(here)
        self._server = Transport(server, peer=there, host=here)
        self._client = Transport(client, peer=here, host=there)
        server.makeConnection(self._server)
        client.makeConnection(self._client)

    def login(
        self, name: str | bytes | None = "alice", *, mind: object = None, password: str = ""
    ) -> Deferred[Any]:
        """
        Send a login, which arrives when the portal pumps.

        @param name: who logs in; text is encoded as UTF-8, and C{None} logs in anonymously.
        @param mind: a L{Referenceable<twisted.spread.pb.Referenceable>} that the server can call.
        @param password: encoded as UTF-8; ignored by anonymous logins.
        @return: a Deferred of the client's reference to the avatar.  Keep the reference: when it is
            garbage-collected, Perspective Broker logs the client out.
        """
        if name is None:
            return self._login(Anonymous(), mind)
        user = name.encode("utf-8") if isinstance(name, str) else name
        return self._login(UsernamePassword(user, password.encode("utf-8")), mind)

    def _login(self, credentials: object, mind: object) -> Deferred[Any]:
        return self.client.login(credentials, mind)  # type: ignore[no-any-return]  # it is one

    def drop(self, *, after: int = 0) -> None:
        """
        Lose the connection, as if the cable were cut.

        @param after: how many more bytes may arrive first, the sum of both directions; with 0 the
            connection is lost at once.
        @raise ValueError: if C{after} is negative.
        """
        if after < 0:
            raise ValueError(f"after must be a number of bytes, 0 or more, not {after!r}")
        self._left = after
        if not after and not self._delivering:
            self._lose(ConnectionLost())

    def stall(self) -> None:
        """
        Make the client stop reading: what it is sent waits on the server.
        """
        self._stalled = True

    def resume(self) -> None:
        """
        Make the client read again.
        """
        self._stalled = False

    def move(self) -> bool:
        """
        Deliver what each end has sent so far, except to a stalled client, and close the connection
        if an end has asked for it.

        @return: whether anything happened.
        """
        if self.lost:
            return False
        moved = self._deliver(self._client, self._server)
        if not self._stalled:
            moved = self._deliver(self._server, self._client) or moved
        for end in (self._client, self._server):
            if end.aborted or (end.disconnecting and not end.waiting):
                self._lose(ConnectionAborted() if end.aborted else ConnectionDone())
        return moved or self.lost

    def _deliver(self, source: Transport, target: Transport) -> bool:
        """
        Move the bytes that wait in one end to the other, which reads them unless it has closed.

        @return: whether there were any.
        """
        if self.lost or source.aborted or target.aborted:
            return False
        data = source.take(self._left)
        if self._left is not None:
            self._left -= len(data)
        self.delivered += len(data)
        self._delivering = True
        try:
            if data and not target.disconnecting:
                target.protocol.dataReceived(data)
        except Exception:
            self._log.failure("{protocol} failed", protocol=target.protocol)
            self._left = 0
        self._delivering = False
        if self._left == 0:
            self._lose(ConnectionLost())
        return bool(data)

    def _lose(self, reason: Exception) -> None:
        """
        Tell both ends that the connection is lost.
        """
        if self.lost:
            return
        self.lost = True
        for end in (self._server, self._client):
            end.abortConnection()
            end.protocol.connectionLost(Failure(reason))
        self.client.clientConnectionLost(None, Failure(reason))


@implementer(ITransport)
@attrs.define(eq=False)
class Transport:
    """
    One end of a connection.  Its backlog can be read as that of Twisted's TCP transports.

    @ivar peer: the other end's address.
    @ivar host: this end's.
    @ivar waiting: the bytes that are not sent yet.
    @ivar disconnecting: whether this end has closed the connection, and so no longer reads.
    @ivar aborted: whether this end has aborted the connection.
    """

    protocol: Protocol
    peer: IPv4Address
    host: IPv4Address
    waiting: bytes = b""
    disconnecting: bool = False
    aborted: bool = False

    def take(self, most: int | None) -> bytes:
        """
        Remove and return waiting bytes.

        @param most: how many at most; C{None} for all.
        """
        data = self.waiting[:most]
        self.waiting = self.waiting[len(data) :]
        return data

    @property
    def dataBuffer(self) -> bytes:
        """
        The waiting bytes, under the name that they have in Twisted's transports.
        """
        return self.waiting

    offset = 0
    _tempDataLen = 0

    def write(self, data: bytes) -> None:
        """
        Send some bytes.
        """
        if not self.aborted:
            self.waiting += data

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send several pieces.
        """
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """
        Close the connection once everything is sent.
        """
        self.disconnecting = True

    def abortConnection(self) -> None:
        """
        Close the connection now; what waits is lost.
        """
        self.aborted = self.disconnecting = True
        self.waiting = b""

    def getPeer(self) -> IPv4Address:
        """
        Return the other end's address.
        """
        return self.peer

    def getHost(self) -> IPv4Address:
        """
        Return this end's address.
        """
        return self.host


@implementer(ICredentialsChecker)
@attrs.frozen
class _Everybody:
    """
    A checker that lets everybody with a name log in, whatever the password.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def requestAvatarId(
        self, credentials: IUsernamePassword | IUsernameHashedPassword
    ) -> Deferred[bytes | tuple[()]]:
        return succeed(credentials.username)
