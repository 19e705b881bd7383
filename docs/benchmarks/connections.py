"""
What it costs that a connection is watched.

    python docs/benchmarks/connections.py

Makes and loses connections in memory, with and without a C{WatchingFactory}, of a protocol that
does nothing and of Perspective Broker; logs in and out over a real Perspective Broker connection of
each kind; then measures the memory of a connection.  The two kinds take turns in one process.
Times and ratios are medians of the rounds, and the spread is the lowest and the highest ratio.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from logins import CREDENTIALS, overLoopback, stacked
from timing import timed
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.spread import pb

from avatarkit.transports import WatchingFactory

LOST = Failure(ConnectionDone())


class Transport(StringTransport):
    """A transport in memory that has what one of TCP has."""

    protocol: Any = None

    def setTcpKeepAlive(self, enabled: object) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        self.protocol.connectionLost(reason)


def portal() -> Any:
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    return Portal(stacked(9), [checker])


def lines(portal: Any) -> Any:
    factory: Any = Factory()
    factory.noisy, factory.portal, factory.protocol = False, portal, LineReceiver
    return factory


def broker(portal: Any) -> Any:
    factory: Any = pb.PBServerFactory(portal)
    factory.noisy = False
    return factory


def watched(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda portal: WatchingFactory(make(portal), portal)


def connect(factory: Any) -> Transport:
    transport = Transport()
    transport.protocol = factory.buildProtocol(None)
    transport.protocol.makeConnection(transport)
    return transport


async def compare(
    name: str, rounds: int, make: Callable[[Any], Any], measure: Callable[[Any], Awaitable[float]]
) -> None:
    """Print a row: the time unwatched, the time watched, and their ratio."""
    took = []
    for _ in range(rounds):
        took.append((await measure(make), await measure(watched(make))))
    plain, ours = (statistics.median(each[way] for each in took) * 1e6 for way in (0, 1))
    ratios = sorted(ours / plain for plain, ours in took)
    print(
        f"| {name} | {plain:.2f} us | {ours:.2f} us | {statistics.median(ratios):.2f} "
        f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |",
        flush=True,
    )


async def measureConnections(make: Callable[[Any], Any]) -> float:
    factory = make(portal())
    return timed(lambda: connect(factory).connectionLost(LOST), 2000)


async def measureLogins(make: Callable[[Any], Any]) -> float:
    shared = portal()
    return await overLoopback(make(shared), CREDENTIALS, 200)


def memory(count: int) -> None:
    """Print how many bytes a connection takes."""
    taken = []
    for make in (lines, watched(lines)):
        factory = make(portal())
        kept = [connect(factory)]
        gc.collect()
        tracemalloc.start()
        kept += [connect(factory) for _ in range(count)]
        gc.collect()
        taken.append(tracemalloc.get_traced_memory()[0] / count)
        tracemalloc.stop()
        del kept
    print("\n<!-- connection memory -->")
    print(f"Bytes per connection, of a `LineReceiver`: {taken[0]:.0f}, and {taken[1]:.0f} watched.")


async def main(reactor: Any, *arguments: str) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=11)
    asked = options.parse_args(arguments)
    print("<!-- connections -->")
    print("| | unwatched | watched | ratio | spread |")
    print("|---|---|---|---|---|")
    await compare("a connection is made and lost", asked.rounds, lines, measureConnections)
    await compare("the same, of Perspective Broker", asked.rounds, broker, measureConnections)
    await compare("a login over Perspective Broker", asked.rounds, broker, measureLogins)
    memory(2000)


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
