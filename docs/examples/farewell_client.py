"""
A client of farewell_server.py that comes back if it may.

    python docs/examples/farewell_client.py PORT NAME

It logs in and waits.  When the server sends it away it prints why, and logs in again if the server
says that it may; otherwise, or if its connection is lost without a word, it exits.
"""

import argparse
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.spread import pb

import avatarkit


class Client(avatarkit.SessionEndedReceiver):
    """The mind that the client logs in with, again and again."""

    def __init__(self, reactor: Any, port: int, name: str) -> None:
        super().__init__(self.connect, reactor=reactor)
        self.reactor, self.port, self.name = reactor, port, name
        self.done: Deferred[None] = Deferred()

    def connect(self) -> None:
        Deferred.fromCoroutine(self.login()).addErrback(self.failed)

    async def login(self) -> None:
        factory: Any = pb.PBClientFactory()
        await TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port).connect(factory)
        credentials = UsernamePassword(self.name.encode(), b"")
        self.told = False
        self.avatar = await factory.login(credentials, self)
        self.avatar.notifyOnDisconnect(self.lost)
        print(f"you are {self.name}", flush=True)

    def failed(self, failure: Failure) -> None:
        if failure.check(ConnectError):  # the server is not back yet
            self.reactor.callLater(2, self.connect)
        else:
            self.exit(failure.getErrorMessage())

    def sessionEnded(self, kind: str, text: str, mayReturn: float) -> None:
        self.told = True
        if mayReturn:
            print(f"{text}; coming back", flush=True)
        else:
            self.exit(text)

    def lost(self, avatar: object) -> None:
        if not self.told:
            self.exit("the connection was lost")

    def exit(self, why: str) -> None:
        print(why, flush=True)
        self.done.callback(None)


async def main(reactor: Any, port: int, name: str) -> None:
    client = Client(reactor, port, name)
    client.connect()
    await client.done


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("name")
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port, asked.name)))
