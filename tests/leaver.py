"""
A server in a process of its own that stops when it is terminated.

    python tests/leaver.py [tls]

It prints its port, and closes its realm before it stops; its process ends at once after that.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.spread import pb

from avatarkit import Avatar, Farewell, MindRegistry
from avatarkit.transports import WatchingFactory
from certificates import selfSigned

# Any in this module: a reactor, and what a portal is given.
reactor: Any = globalReactor


def serve(*tls: str) -> None:
    """
    Serve until the process is terminated.
    """
    online = MindRegistry()
    realm = Farewell()(online(lambda avatarId: Avatar()))
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    portal: Any = Portal(realm, [checker])
    factory: Any = WatchingFactory(pb.PBServerFactory(portal), portal)
    if tls:
        options = selfSigned().options()
        listening = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
    else:
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    reactor.callLater(60, reactor.stop)
    print(listening.getHost().port, flush=True)  # noqa: T201  # this is what it is for
    reactor.run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
