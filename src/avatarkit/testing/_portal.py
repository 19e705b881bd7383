"""
Perspective Broker without sockets: the real factories and brokers, and bytes that move when the
test says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs
from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import (
    Anonymous,
    IAnonymous,
    IUsernameHashedPassword,
    IUsernamePassword,
    UsernamePassword,
)
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from .._realm.targets import ForeignRealm, isRealm


class MemoryPortal:
    """
    A server of Perspective Broker that clients connect to in memory.

    Nothing arrives anywhere until L{pump} is called.

    @ivar factory: the L{PBServerFactory<twisted.spread.pb.PBServerFactory>}.
    @ivar connections: all that there have been.
    """

    def __init__(
        self, realm: ForeignRealm, *, checkers: Sequence[ICredentialsChecker] = ()
    ) -> None:
        """
        @param realm: what to log in to.
        @param checkers: who may log in; everybody may, with any password, if there are none: the
            avatar ID is the name then, as bytes, and anonymous logins are anonymous.
        @raise TypeError: if C{realm} is none.
        """
        if not isRealm(realm):
            raise TypeError(f"{realm!r} is no realm: it has no requestAvatar")
        portal: object = Portal(cast(IRealm, realm), list(checkers) or [_Everybody(), _Anybody()])
        self.factory: Any = pb.PBServerFactory(portal)
        self.connections: list[MemoryConnection] = []
        self._pumping = False

    def connect(self) -> MemoryConnection:
        """
        Connect one more client.
        """
        connection = MemoryConnection(self)
        self.connections.append(connection)
        return connection

    def pump(self) -> None:
        """
        Move bytes to and fro until there are none on their way, but for those that are stalled.

        Called by what a byte that arrives brings about, it leaves that to who has called it first.
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
    A client's connection, with both its ends.

    @ivar client: the L{PBClientFactory<twisted.spread.pb.PBClientFactory>}.
    @ivar delivered: how many bytes have arrived, in both directions together.
    @ivar lost: whether the connection is lost.
    """

    _log = Logger()

    def __init__(self, portal: MemoryPortal) -> None:
        self.client: Any = pb.PBClientFactory()
        self.delivered = 0
        self.lost = False
        self._left: int | None = None
        self._stalled = False
        self._delivering = False
        server, client = portal.factory.buildProtocol(None), self.client.buildProtocol(None)
        self._server, self._client = _Transport(server), _Transport(client)
        server.makeConnection(self._server)
        client.makeConnection(self._client)

    def login(
        self, name: str | bytes | None = "alice", *, mind: object = None, password: str = ""
    ) -> Deferred[Any]:
        """
        Log in, when the bytes are moved.

        @param name: who logs in; C{None}: anonymously.
        @param mind: a L{Referenceable<twisted.spread.pb.Referenceable>} that the server can call.
        @return: a Deferred of a reference to the avatar, as the client gets it.  Perspective
            Broker logs out who lets go of that.
        """
        if name is None:
            return self._login(Anonymous(), mind)
        user = name.encode("utf-8") if isinstance(name, str) else name
        return self._login(UsernamePassword(user, password.encode("utf-8")), mind)

    def _login(self, credentials: object, mind: object) -> Deferred[Any]:
        return self.client.login(credentials, mind)  # type: ignore[no-any-return]  # it is one

    def drop(self, *, after: int = 0) -> None:
        """
        Lose the connection, without a goodbye.

        @param after: when so many more bytes have arrived, in both directions together; at once if
            it is 0.
        @raise ValueError: if it is negative.
        """
        if after < 0:
            raise ValueError(f"after so many bytes, not {after!r}")
        self._left = after
        if not after and not self._delivering:
            self._lose(ConnectionLost())

    def stall(self) -> None:
        """
        Let the client stop reading: what it is sent waits on the server's side.
        """
        self._stalled = True

    def resume(self) -> None:
        """
        Let it read again.
        """
        self._stalled = False

    def move(self) -> bool:
        """
        Move what is on its way one step.

        @return: whether there was anything.
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

    def _deliver(self, source: _Transport, target: _Transport) -> bool:
        """
        Move what waits in one end to the other, which reads it if it has not closed.
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
        Let both ends know.
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
class _Transport:
    """
    One end of a connection.  What waits in it can be seen as in one of Twisted's own.

    @ivar waiting: what is to be sent.
    @ivar disconnecting: whether this end has closed the connection: it does not read any more.
    @ivar aborted: whether it has cut it off.
    """

    protocol: Any
    waiting: bytes = b""
    disconnecting: bool = False
    aborted: bool = False

    def take(self, most: int | None) -> bytes:
        """
        Answer what is to be sent, or as much of it as may be, and have it no longer.
        """
        data = self.waiting[:most]
        self.waiting = self.waiting[len(data) :]
        return data

    @property
    def dataBuffer(self) -> bytes:
        """
        What waits, under the name that it has in Twisted's own transports.
        """
        return self.waiting

    offset = 0
    _tempDataLen = 0

    def write(self, data: bytes) -> None:
        """
        Have some bytes sent.
        """
        if not self.aborted:
            self.waiting += data

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Have some more sent.
        """
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """
        Close the connection when everything is sent.
        """
        self.disconnecting = True

    def abortConnection(self) -> None:
        """
        Close it now.
        """
        self.aborted = self.disconnecting = True
        self.waiting = b""

    def getPeer(self) -> Any:
        """
        Answer where the other end is: nowhere.
        """
        return None

    def getHost(self) -> Any:
        """
        Answer where this end is: nowhere.
        """
        return None


@implementer(ICredentialsChecker)
@attrs.frozen
class _Everybody:
    """
    Whoever has a name may log in.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username


@implementer(ICredentialsChecker)
@attrs.frozen
class _Anybody:
    """
    And whoever has none.
    """

    credentialInterfaces = (IAnonymous,)

    def requestAvatarId(self, credentials: Any) -> Any:
        return ANONYMOUS
