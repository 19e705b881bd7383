"""
A telnet server on loopback: a line of commands, and at most two logins per user.

    python docs/examples/telnet.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  The
users are alice and bob, whose passwords are "secret".  Connect to it with

    telnet 127.0.0.1 PORT

Telnet sends passwords as they are, so a real server would listen on TLS, or use SSH.
"""

import argparse
from typing import Any

from twisted.conch.telnet import (
    AuthenticatingTelnetProtocol,
    ITelnetProtocol,
    StatefulTelnetProtocol,
    TelnetTransport,
)
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.python.components import registerAdapter
from zope.interface import implementer

import avatarkit
from avatarkit.transports import IdleLimit, ThrottledChecker, WatchingFactory

online = avatarkit.MindRegistry()


class User(avatarkit.ConnectionAware):
    """A user: one object for all logins of the user."""

    def __init__(self, avatarId: bytes) -> None:
        self.avatarId = avatarId


@implementer(ITelnetProtocol)
class Shell(StatefulTelnetProtocol):
    """What somebody types into: one for each login, since it is the connection's protocol."""

    state = "Command"
    transport: Any

    def __init__(self, user: User) -> None:
        self.user = user

    def connectionMade(self) -> None:
        self.transport.write(b"\nwelcome, from %d places\n$ " % self.user.connections)

    def telnet_Command(self, line: bytes) -> None:
        if line == b"bye":
            self.transport.loseConnection()
            return
        if line == b"bye all":  # closes the connections of all logins of the user
            online.disconnect(self.user.avatarId, timeout=2)
            return
        if line == b"who":
            for name in online:
                self.transport.write(b"%s %d\n" % (name, len(online.sessions(name))))
        self.transport.write(b"$ ")


registerAdapter(Shell, User, ITelnetProtocol)

realm = IdleLimit(900)(
    online(
        avatarkit.ConnectionLimit(2)(avatarkit.ConnectionCounter()(avatarkit.AvatarCache()(User)))
    )
)


async def main(reactor: Any, port: int) -> None:
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    telnet: Any = Factory()
    telnet.protocol = lambda: TelnetTransport(AuthenticatingTelnetProtocol, portal)
    factory = WatchingFactory(telnet, portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
