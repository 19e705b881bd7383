"""
A server on loopback TCP, and clients that send it bytes.

Import the module, and not the class, so that pytest does not collect it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.mail import imap4, pop3
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from avatarkit import Realm
from avatarkit.transports import WatchingFactory

# Any in this module: a reactor, protocols, and what checkers are given.
reactor: Any = globalReactor


class RawClient(Protocol):
    """
    A client that sends bytes.

    @ivar received: what it has received.
    @ivar gone: whether its connection is lost.
    """

    def __init__(self) -> None:
        self.received, self.gone = b"", False

    def dataReceived(self, data: bytes) -> None:
        """
        Keep what arrives.
        """
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note.
        """
        self.gone = True

    def send(self, *lines: bytes) -> None:
        """
        Send lines.
        """
        assert self.transport is not None
        self.transport.write(b"".join(line + b"\r\n" for line in lines))

    def leave(self) -> None:
        """
        Close the connection without a word.
        """
        transport: Any = self.transport
        transport.abortConnection()


@implementer(ICredentialsChecker)
class Asked:
    """
    A checker that knows one password, C{b"right"}.

    @ivar asked: the names that it was asked for.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Check the password.
        """
        self.asked.append(credentials.username)
        if not credentials.checkPassword(b"right"):
            raise UnauthorizedLogin
        return credentials.username


@implementer(pop3.IMailbox, imap4.IAccount)
class Account(pop3.Mailbox, pb.Avatar):  # type: ignore[misc]  # no client asks for more
    """
    An avatar that is seen by mail clients, and over Perspective Broker.
    """

    def __init__(self, avatarId: Any) -> None:
        """
        Be nobody's in particular.
        """

    def perspective_echo(self, said: object) -> object:
        """
        Say the same.
        """
        return said


def serving(protocol: Callable[[], Any], portal: Portal) -> Any:
    """
    Return the factory of a protocol that has the portal as an attribute.
    """

    def build() -> Any:
        built = protocol()
        built.portal = portal
        return built

    factory: Any = Factory()
    factory.protocol = build
    return factory


def pop3Factory(portal: Portal) -> Any:
    """
    Serve POP3.
    """
    return serving(pop3.POP3, portal)


def imap4Factory(portal: Portal) -> Any:
    """
    Serve IMAP4.
    """
    return serving(imap4.IMAP4Server, portal)


def pbFactory(portal: Any) -> Any:
    """
    Serve Perspective Broker.
    """
    return pb.PBServerFactory(portal)


class RawCase(TestCase):
    """
    A test with a server.
    """

    timeout = 20

    async def serve(
        self,
        makeFactory: Callable[[Portal], Any],
        checker: Any,
        *blocks: Any,
        endpoint: str = "tcp:0:interface=127.0.0.1",
        watch: Callable[[Any, Any], Any] = WatchingFactory,
    ) -> None:
        """
        Listen.

        @param watch: returns the factory that the server listens with.
        """
        self.realm: Any = Realm(Account, blocks=blocks)
        portal: Any = Portal(self.realm, [checker])
        self.watching = watch(makeFactory(portal), portal)
        listening = await serverFromString(reactor, endpoint).listen(self.watching)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop(listening)))
        self.address = listening.getHost()
        self.clients: list[RawClient] = [*getattr(self, "clients", ())]  # those of before, too

    async def stop(self, listening: Any) -> None:
        """
        Close everything.
        """
        await listening.stopListening()
        for client in self.clients:
            client.leave()
        await self.until(lambda: all(each.gone for each in self.clients), "a client is left")
        await self.until(lambda: not self.watching.protocols, "a connection is left")
        assert self.realm.audit() == []

    async def connect(self, host: str = "127.0.0.1") -> RawClient:
        """
        Connect a client that comes from an address.
        """
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.address.port, bindAddress=(host, 0))
        client: Any = await connectProtocol(endpoint, RawClient())
        self.clients.append(client)
        return client  # type: ignore[no-any-return]  # it is one

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """
        Wait until something holds.
        """
        poll = LoopingCall(lambda: poll.stop() if holds() else None)
        done: Deferred[Any] = poll.start(0.005)
        end = reactor.callLater(10, poll.stop)
        await done
        if end.active():
            end.cancel()
        assert holds(), what
