"""
A chat over WebSocket.

    python docs/examples/websocket_chat.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  It needs
autobahn.  A client's first message is a name and a password, such as "alice secret"; what it sends
after that, everybody gets.  The users are alice and bob, whose passwords are "secret".
"""

import argparse
import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from zope.interface import Interface, implementer

import avatarkit
from avatarkit.transports import IdleLimit, ThrottledChecker, WatchingFactory


class ISpeaker(Interface):
    """Somebody in the chat."""


@implementer(avatarkit.IMind)
class SocketMind:
    """A client as a mind, so that a MindRegistry can push to it."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    @property
    def disconnected(self) -> bool:
        return not self.socket.transport.connected

    backlog = None  # the connection knows it

    def callRemote(self, name: str, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
        self.socket.sendMessage(" ".join(map(str, args)).encode())

    def notifyOnDisconnect(self, callback: Any) -> None:
        pass  # the WatchingFactory sees to that

    def dontNotifyOnDisconnect(self, callback: Any) -> None:
        pass


online = avatarkit.MindRegistry(maximumBacklog=2**20)


@implementer(ISpeaker)
class Speaker(avatarkit.MindAware):
    """A user; all of the user's sessions share it."""

    def __init__(self, avatarId: str) -> None:
        self.name = avatarId

    def say(self, text: str) -> None:
        online.everyone.callRemote("hear", f"{self.name}: {text}", pbanswer=False)


realm = avatarkit.CanonicalId(lambda session: avatarkit.canonicalName(session.avatarId, str))(
    online(IdleLimit(3600)(avatarkit.ConnectionLimit(3)(avatarkit.AvatarCache()(Speaker))))
)


class Socket(WebSocketServerProtocol):
    """The connection of a client."""

    speaker: Any = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.speaker is not None:
            self.speaker.say(payload.decode())
            return
        name, _, password = payload.partition(b" ")
        login = self.factory.portal.login(
            UsernamePassword(name, password), SocketMind(self), ISpeaker
        )
        login.addCallbacks(self.loggedIn, self.refused)

    def loggedIn(self, result: Any) -> None:
        _interface, self.speaker, _logout = result
        self.sendMessage(f"welcome {self.speaker.name}".encode())

    def refused(self, failure: Any) -> None:
        self.sendClose(3000, failure.getErrorMessage() or "wrong name or password")


async def main(reactor: Any, port: int) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    sockets: Any = WebSocketServerFactory()
    sockets.protocol, sockets.portal = Socket, portal
    factory = WatchingFactory(sockets, portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port)))
