"""
What a push costs, compared with a loop over callRemote on the same connected brokers.

    python docs/benchmarks/push.py
    python docs/benchmarks/push.py --tcp

Prints the speed-up.  The two ways take turns for some rounds in one process, so that what disturbs
one disturbs the other; the spread is the lowest and the highest speed-up of a round.

Brokers write to a transport that discards everything, so that only the work of Twisted and
avatarkit is measured; with --tcp, they write to loopback connections that another process reads.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from timing import timed
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater, react
from twisted.spread import pb
from zope.interface import Interface

from avatarkit import MindRegistry

reactor: Any = globalReactor

SMALL = {"price": 42, "name": "twisted"}
LIST = [{"price": n, "name": f"share {n}"} for n in range(200)]

#: Each case: its name, how many receivers, what to push, whether to ask for answers, and how often
#: to push in a round.
CASES: list[tuple[str, int, object, bool, int]] = [
    ("a small dict to 1,000, `pbanswer=False`", 1000, SMALL, False, 10),
    ("a small dict to 1,000", 1000, SMALL, True, 10),
    ("a list of 200 small dicts to 1,000", 1000, LIST, False, 1),
    ("a small dict to a group of one", 1, SMALL, True, 1000),
]

READER = """
import selectors, socket, sys
sockets = selectors.DefaultSelector()
for _ in range(int(sys.argv[2])):
    each = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sockets.register(each, selectors.EVENT_READ)
while sockets.get_map():
    for key, _ in sockets.select():
        if not key.fileobj.recv(2**20):
            sockets.unregister(key.fileobj)
"""


class Drop:
    """
    A transport that discards what it is given.
    """

    def write(self, data: bytes) -> None:
        pass

    def writeSequence(self, data: Any) -> None:
        pass


class Server(Factory):
    """
    Makes brokers for clients that only read.
    """

    def __init__(self, count: int) -> None:
        self.missing, self.brokers, self.connected = count, list[Any](), Deferred[None]()

    def buildProtocol(self, address: Any) -> Any:
        broker: Any = pb.Broker(isClient=False)
        self.brokers.append(broker)
        if len(self.brokers) == self.missing:
            reactor.callLater(0, self.connected.callback, None)
        return broker


async def connect(count: int, tcp: bool) -> list[Any]:
    """
    Return C{count} connected brokers.
    """
    if tcp:
        server = Server(count)
        port = reactor.listenTCP(0, server, interface="127.0.0.1", backlog=count)
        where = str(port.getHost().port)
        subprocess.Popen([sys.executable, "-c", READER, where, str(count)])  # noqa: S603
        await server.connected
        await port.stopListening()
        return server.brokers
    brokers: list[Any] = [pb.Broker(isClient=False) for _ in range(count)]
    for broker in brokers:
        broker.makeConnection(Drop())
    return brokers


async def rounds(case: Any, brokers: list[Any], number: int) -> list[tuple[float, float]]:
    """
    Return how many seconds the loop and the push take in each round.
    """
    _, count, data, pbanswer, times = case
    minds = [pb.RemoteReference(None, broker, 1, False) for broker in brokers[:count]]
    online = MindRegistry(reactor=Clock())  # stands still, so each push is one slice
    realm = online(lambda avatarId: object())
    logins: list[Any] = [realm.requestAvatar(n, mind, Interface) for n, mind in enumerate(minds)]
    wishes: dict[str, Any] = {} if pbanswer else {"pbanswer": False}

    def loop() -> object:
        calls: list[Any] = [mind.callRemote("notify", data, **wishes) for mind in minds]
        return DeferredList(calls) if pbanswer else None

    def push() -> object:
        return online.everyone.callRemote("notify", data, **wishes)

    took = []
    for _ in range(number):
        took.append((await sent(loop, times, brokers), await sent(push, times, brokers)))
    for _, _, logout in logins:
        logout()
    return took


def writeTo(brokers: list[Any], data: bytes) -> None:
    """
    Write about as much as a push of a small dict does, without Perspective Broker.
    """
    for broker in brokers:
        broker.transport.write(data)


async def sent(way: Callable[[], object], times: int, brokers: list[Any]) -> float:
    """
    Return how many seconds it takes to send something; then wait until all of it is written.
    """
    took = timed(way, times)
    while any(getattr(broker.transport, "_tempDataLen", 0) for broker in brokers):
        await deferLater(reactor, 0.01)
    for broker in brokers:
        broker.waitingForAnswers.clear()
    return took


async def main(reactor: Any, *arguments: str) -> None:
    """
    Measure, and print the table.
    """
    options = argparse.ArgumentParser()
    options.add_argument("--tcp", action="store_true")
    options.add_argument("--rounds", type=int, default=11)
    asked = options.parse_args(arguments)
    brokers = await connect(1000, asked.tcp)
    calls = itertools.count(1, 7)  # as if each had been called a different number of times
    for broker in brokers:
        broker.currentDialect = b"pb"
        broker.currentRequestID = next(calls)
    print("<!-- push over TCP -->" if asked.tcp else "<!-- push -->")
    print("| what is pushed | loop over `callRemote` | push | speed-up | spread |")
    print("|---|---|---|---|---|")
    for case in CASES:
        fewer = min(3, asked.rounds) if case[2] is LIST else asked.rounds
        print(row(case, await rounds(case, brokers, fewer)), flush=True)
    data = bytes(80)
    took = [await sent(lambda: writeTo(brokers, data), 10, brokers) for _ in range(asked.rounds)]
    print(f"\nA `transport.write` alone takes {statistics.median(took) / 1000 * 1e6:.2f} us.")
    for broker in brokers[: 1000 * asked.tcp]:
        broker.transport.loseConnection()


def row(case: Any, took: list[tuple[float, float]]) -> str:
    """
    Return a row of the table; times are per receiver.
    """
    loop, push = (statistics.median(each[way] for each in took) / case[1] * 1e6 for way in (0, 1))
    ratios = sorted(loop / push for loop, push in took)
    return (
        f"| {case[0]} | {loop:.1f} us | {push:.2f} us | {statistics.median(ratios):.2f} "
        f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |"
    )


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
