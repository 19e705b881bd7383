"""
One user over Perspective Broker, SSH and the web at the same time, under one limit.

    python docs/examples/several_protocols.py

It prints the ports of the three, and serves until it is interrupted.  It needs twisted[conch].  The
only user is alice, whose password is "secret"; she may be there three times in all.
"""

import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.components import registerAdapter
from twisted.spread import pb
from twisted.web.guard import BasicCredentialFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

import avatarkit
from avatarkit.transports import CookieAuthSessionWrapper, ThrottledChecker, WatchingFactory


class User(avatarkit.Avatar):
    """A user: one object for all of the user's sessions, over whatever protocol."""

    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()

    def perspective_where(self) -> str:
        return self.where()

    def where(self) -> str:
        return f"{self.name} is here {self.connections} times"


class Page(Resource):
    """A user, seen over the web."""

    isLeaf = True

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user

    def render_GET(self, request: Any) -> bytes:
        return self.user.where().encode()


def shell(user: User) -> ConchUser:
    """Return a user, seen over SSH; see ssh_and_sftp.py for one who can do something."""
    return ConchUser()


registerAdapter(Page, User, IResource)
registerAdapter(shell, User, IConchUser)

online = avatarkit.MindRegistry()
limit = avatarkit.ConnectionLimit(3)
realm: Any = online(limit(avatarkit.ConnectionCounter()(avatarkit.AvatarCache()(User))))


def sshFactory(portal: Any) -> Any:
    key = Key(Ed25519PrivateKey.generate())  # a real server would keep it
    factory: Any = SSHFactory()
    factory.portal = portal
    factory.privateKeys = {b"ssh-ed25519": key}
    factory.publicKeys = {b"ssh-ed25519": key.public()}
    return factory


async def main(reactor: Any) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    pages = CookieAuthSessionWrapper(portal, [BasicCredentialFactory(b"the example")], secure=False)
    for name, factory in (
        ("Perspective Broker", WatchingFactory(pb.PBServerFactory(portal), portal)),
        ("SSH", WatchingFactory(sshFactory(portal), portal)),
        ("the web", Site(pages)),
    ):
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        print(f"{name} on port {listening.getHost().port}", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
