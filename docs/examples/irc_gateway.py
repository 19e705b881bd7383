"""
An IRC server that can push to its users, like one of Perspective Broker.

    python docs/examples/irc_gateway.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  The
users are alice and bob, whose passwords are "secret".  Who logs in again takes the place of the
session that was there.  Each ten seconds everybody is told the time.
"""

import argparse
import sys
from datetime import datetime, timezone
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import LoopingCall, react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.components import registerAdapter
from twisted.words.service import InMemoryWordsRealm, IRCFactory, IRCUser
from zope.interface import implementer

import avatarkit
from avatarkit.transports import WatchingFactory


@implementer(avatarkit.IMind)
class IRCMind:
    """An IRC client as a mind: whatever it is called with becomes a notice."""

    backlog = None

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def disconnected(self) -> bool:
        return not self.client.connected

    def callRemote(self, name: str, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
        words = " ".join(map(str, args))
        self.client.notice("the server", self.client.nickname, f"{name}: {words}")

    def notifyOnDisconnect(self, callback: Any) -> None:
        pass  # the WatchingFactory sees to that

    def dontNotifyOnDisconnect(self, callback: Any) -> None:
        pass


registerAdapter(IRCMind, IRCUser, avatarkit.IMind)

online = avatarkit.MindRegistry()
chat = InMemoryWordsRealm("chat.example")  # Twisted's own realm, and ours around it
chat.createGroupOnRequest = True
limit = avatarkit.ConnectionLimit(1, whenFull=avatarkit.displaceOldest)
realm = online(limit(chat))


async def main(reactor: Any, port: int) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse()
    for name in ("alice", "bob"):
        checker.addUser(name, "secret")  # over IRC, names and passwords are str
    portal: Any = Portal(realm, [checker])
    factory = WatchingFactory(IRCFactory(chat, portal), portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)

    def tellTime() -> None:
        now = datetime.now(timezone.utc)
        online.everyone.callRemote("time", f"{now:%H:%M:%S}", pbanswer=False)

    telling = LoopingCall(tellTime)
    telling.clock = reactor
    telling.start(10, now=False)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
