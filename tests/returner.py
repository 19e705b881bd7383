"""
A client in a process of its own that comes back, and prints what happens to it.

    python tests/returner.py PORT NAME [tls]

It ends after a minute in any case.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor as globalReactor
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.ssl import CertificateOptions

from returning import Returner

# Any in this module: a reactor, and what is pushed.
reactor: Any = globalReactor


class Printer(Returner):
    """
    A client that prints.
    """

    def hear(self, *what: Any) -> None:
        """
        Print it.
        """
        print(*what, sep="|", flush=True)  # noqa: T201  # this is what it is for


def main(port: str, name: str, *tls: str) -> None:
    """
    Run the client.
    """
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", int(port))
    if tls:
        endpoint = wrapClientTLS(CertificateOptions(), endpoint)
    client = Printer(
        endpoint,
        UsernamePassword(name.encode(), b"secret"),
        interval=0.2,
        timeout=1,
        retryPolicy=lambda attempt: 0.1,
    )
    client.startService()
    reactor.callLater(60, reactor.stop)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
