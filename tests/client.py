"""
A client in a process of its own, because only a process can be stopped.

    python tests/client.py PORT

It logs in as alice and prints one word a line: C{in} or the name of the error, and C{lost} when its
connection is closed.  Then it ends, and in any case after a minute.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.spread import pb


class Mind(pb.Referenceable):
    """
    A mind that can tell that it is alive.
    """

    def remote_ping(self) -> str:
        """
        Return a sign of life.
        """
        return "pong"


async def main(reactor: Any, port: str) -> None:
    """
    Log in and wait until the connection is lost.
    """
    reactor.callLater(60, reactor.stop)
    factory: Any = pb.PBClientFactory()
    lost: Deferred[None] = Deferred()
    factory.clientConnectionLost = lambda *args: lost.callback(None)
    reactor.connectTCP("127.0.0.1", int(port), factory)
    try:
        player = await factory.login(UsernamePassword(b"alice", b"secret"), Mind())
    except pb.RemoteError as refused:
        say(refused.remoteType.decode().rpartition(".")[2])
        return
    say("in")
    await lost
    say("lost")
    del player


def say(word: str) -> None:
    """
    Print a word at once.
    """
    print(word, flush=True)  # noqa: T201  # this is what it is for


if __name__ == "__main__":
    react(lambda reactor, port: Deferred.fromCoroutine(main(reactor, port)), sys.argv[1:])
