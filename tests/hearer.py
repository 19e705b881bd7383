"""
A client in a process of its own that prints what it hears.

    python tests/hearer.py PORT NAME [tls]

It logs in and prints a line for each thing that happens: C{in}, what the server calls with its
arguments, and C{lost} when its connection is closed.  Then it ends, and in any case after a minute.
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
    A mind that prints what the server calls.
    """

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Print it.
        """
        say(message, *broker.unserialize(args))
        return broker.serialize(None, self)


def say(*words: object) -> None:
    """
    Print a line at once.
    """
    print(*words, sep="|", flush=True)  # noqa: T201  # this is what it is for


async def main(reactor: Any, port: str, name: str, *tls: str) -> None:
    """
    Log in and wait until the connection is lost.
    """
    reactor.callLater(60, reactor.stop)
    factory: Any = pb.PBClientFactory()
    lost: Deferred[None] = Deferred()
    factory.clientConnectionLost = lambda *args: lost.callback(None)
    if tls:
        from twisted.internet import ssl

        options = ssl.CertificateOptions()
        reactor.connectSSL("127.0.0.1", int(port), factory, options)
    else:
        reactor.connectTCP("127.0.0.1", int(port), factory)
    avatar = await factory.login(UsernamePassword(name.encode(), b"secret"), Mind())
    say("in")
    await lost
    say("lost")
    del avatar


if __name__ == "__main__":
    react(lambda reactor, *args: Deferred.fromCoroutine(main(reactor, *args)), sys.argv[1:])
