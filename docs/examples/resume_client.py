"""
A client of resume_server.py that comes back when its connection is lost.

    python docs/examples/resume_client.py PORT NAME

It prints what happens to it, and the time whenever the server tells it.  Type "step" to take one,
"cut" to lose the connection, and end the input to leave.
"""

import argparse
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

import avatarkit


class Client(avatarkit.ResumingClient):
    """The mind that the client logs in with, again and again."""

    def connected(self, perspective: Any, resumed: bool) -> None:
        print("back" if resumed else "new here", flush=True)

    def lost(self, reason: Failure) -> None:
        print("the connection is lost", flush=True)

    def missed(self, count: int) -> None:
        print(f"missed {count}", flush=True)

    def refused(self, reason: Failure) -> None:
        print(f"refused: {reason.getErrorMessage()}", flush=True)

    def sessionEnded(self, kind: str, text: str, mayReturn: float) -> None:
        print(text, flush=True)

    def remote_time(self, now: int) -> None:
        print(f"time {now}", flush=True)


class Terminal(LineReceiver):
    """Does what is typed."""

    delimiter = b"\n"

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ended: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        perspective: Any = self.client.perspective
        if perspective is None:
            print("not connected", flush=True)
        elif line == b"step":
            perspective.callRemote("step").addCallbacks(self.stepped, self.failed)
        elif line == b"cut":
            perspective.broker.transport.abortConnection()

    def stepped(self, steps: int) -> None:
        print(f"{steps} steps", flush=True)

    def failed(self, failure: Failure) -> None:
        print(f"failed: {failure.getErrorMessage()}", flush=True)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)


async def main(reactor: Any, port: int, name: str) -> None:
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client = Client(endpoint, UsernamePassword(name.encode(), b""))
    terminal = Terminal(client)
    StandardIO(terminal)
    client.startService()
    await terminal.ended
    await client.stopService()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("name")
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port, asked.name)))
