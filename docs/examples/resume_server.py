"""
A server on loopback that waits a minute for clients whose connection was lost.

    python docs/examples/resume_server.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  It tells
all its clients the time, ten times a second, as a number.  Connect to it with resume_client.py.  It
accepts any name; a real server would check passwords.
"""

import argparse
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import LoopingCall, react
from twisted.spread import pb
from zope.interface import implementer

import avatarkit
from avatarkit.transports import WatchingFactory


class Hero(avatarkit.Avatar):
    """Somebody on a walk."""

    def __init__(self, session: avatarkit.Session[Any]) -> None:
        self.steps = 0

    def perspective_step(self) -> int:
        self.steps += 1
        return self.steps


online = avatarkit.MindRegistry()
resume = avatarkit.Resume(window=60, backlog=1000)
heroes = resume(avatarkit.PerConnection(Hero))
realm = avatarkit.Farewell()(online(avatarkit.ConnectionLimit(1)(heroes)))


@implementer(ICredentialsChecker)
class AnyName:
    """Lets everybody in."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username


class Clock:
    """Tells everybody the time."""

    now = 0

    def tick(self) -> None:
        self.now += 1
        online.everyone.callRemote("time", self.now, pbanswer=False)


async def main(reactor: Any, port: int) -> None:
    checker: Any = AnyName()
    portal: Any = Portal(realm, [checker])
    factory = WatchingFactory(pb.PBServerFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    ticking = LoopingCall(Clock().tick).start(0.1)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await ticking  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
