"""
A server on loopback that tells its clients why it sends them away.

    python docs/examples/farewell_server.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted; then it
tells its clients that they may come back after two seconds.  A user may log in once: a second login
takes the place of the first.  Connect to it with farewell_client.py.  It accepts any name; a real
server would check passwords.
"""

import argparse
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.spread import pb
from zope.interface import implementer

import avatarkit
from avatarkit.transports import WatchingFactory


class Guest(avatarkit.Avatar):
    """Somebody who is logged in."""

    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()


online = avatarkit.MindRegistry()
limit = avatarkit.ConnectionLimit(1, whenFull=avatarkit.displaceOldest)
realm = avatarkit.Farewell()(online(limit(Guest)))


@implementer(ICredentialsChecker)
class AnyName:
    """Lets everybody in."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username


async def stop() -> None:
    await online.everyone.disconnect(avatarkit.RealmClosed(mayReturn=2))
    await realm.close()


async def main(reactor: Any, port: int) -> None:
    checker: Any = AnyName()
    portal: Any = Portal(realm, [checker])
    factory = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
