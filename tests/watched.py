"""
A small server whose connections are watched, in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import ConnectionLimit
from avatarkit.transports import WatchingFactory
from scripted import IThing, Thing
from wires import Wire, connect

# Any in this module: protocols and factories, which have whatever attributes they have.

SECRET = UsernamePassword(b"alice", b"secret")


@implementer(ICredentialsChecker)
class Anybody:
    """
    A checker that lets everybody in, at once or when its Deferreds fire.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, *results: Any) -> None:
        self.results = [*results]

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Return the next result, or the name.
        """
        return self.results.pop(0) if self.results else credentials.username


class Server(LineReceiver):
    """
    A protocol that logs in at each line.

    @ivar logins: what its logins have come to.
    @ivar said: what happened, in order; shared by the protocols of a test.
    """

    portal: Any
    said: list[str]

    def __init__(self) -> None:
        self.logins: list[Any] = []

    def lineReceived(self, line: bytes) -> None:
        """
        Log in.
        """
        self.portal.login(UsernamePassword(line, b""), None, IThing).addBoth(self.logins.append)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Say so.
        """
        self.said.append("protocol")


def serving(protocol: Callable[[], Any], portal: Any, **arguments: Any) -> Any:
    """
    Return a watched factory of a protocol that has the portal as an attribute.

    @param arguments: what else the L{WatchingFactory} is given.
    """
    factory: Any = Factory()
    factory.noisy = False

    def build() -> Any:
        built = protocol()
        built.portal = portal
        built.said = factory.said
        return built

    factory.protocol, factory.said = build, []
    return WatchingFactory(factory, portal, reactor=Clock(), **arguments)


class WatchingCase(SynchronousTestCase):
    """
    A server in memory, with a limit.
    """

    def serve(
        self, *results: Any, protocol: Any = Server, make: Any = None, **arguments: Any
    ) -> None:
        """
        Make the server.

        @param results: what the checker returns.
        @param arguments: what else the L{WatchingFactory} is given.
        """
        self.limit = ConnectionLimit(5)
        self.realm = self.limit(make or (lambda avatarId: Thing()))
        self.portal: Any = Portal(self.realm, [Anybody(*results)])
        self.factory = serving(protocol, self.portal, **arguments)
        self.said: list[str] = self.factory.wrappedFactory.said

    def connect(self) -> tuple[Wire, Any]:
        """
        Connect a client, and return its wire and the server's own protocol.
        """
        wire = connect(self.factory)
        return wire, wire.protocol.wrappedProtocol

    def nothingIsLeft(self) -> None:
        """
        Check that no session, slot or connection is left.
        """
        assert not self.realm.sessions
        assert self.limit.sessions(b"alice") == ()
        assert self.realm.audit() == []
        assert self.factory.protocols == {}
