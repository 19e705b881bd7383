"""
What it costs to look after very many sessions, and how soon a client that is gone is found.

    python docs/benchmarks/heartbeat.py

Has a heartbeat of 30 and 90 seconds look after sessions in memory, in which something arrives every
ten seconds, or nothing but answers.  Measures the longest turn of the reactor, in processor time
and without the collection of garbage; the memory that it takes; and what a login and a logout take
longer.  Then it cuts off clients over loopback, and says when they are ended.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tracemalloc
from time import perf_counter, thread_time
from typing import Any

from timing import timed
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, react
from twisted.spread import pb

import avatarkit
from avatarkit.testing import FakeConnection, FakeMind, login
from avatarkit.transports import WatchingFactory

reactor: Any = globalReactor


class Jumping(Clock):
    """A clock that is set, and goes on by itself from there."""

    began = perf_counter()

    def seconds(self) -> float:
        return self.rightNow + perf_counter() - self.began

    def set(self, now: float) -> None:
        self.rightNow, self.began = now, perf_counter()

    def turn(self, now: float) -> float:
        """Make the calls that are due, and return how many seconds that takes."""
        self.set(now)
        began = thread_time()
        calls: list[Any] = [each for each in self.calls if each.getTime() <= now]
        for call in calls:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
        return thread_time() - began


class Mind(FakeMind):
    """A mind that answers at once."""

    connection: Any = None
    clock: Any = None

    def callRemote(self, *args: Any, **kw: Any) -> Any:
        self.connection.lastReceived = self.clock.seconds()


def makeSessions(count: int) -> list[Any]:
    """Return sessions, which nobody looks after yet."""
    realm: Any = avatarkit.Realm(lambda avatarId: avatarkit.Avatar())
    for number in range(count):
        mind = Mind()
        mind.connection = FakeConnection()
        login(realm, number, mind=mind, connection=mind.connection)
    return list(realm.sessions)


def fill(sessions: list[Any], clock: Jumping, over: float) -> avatarkit.Heartbeat[Any]:
    """Look after sessions whose logins are spread over some seconds."""
    heartbeat: avatarkit.Heartbeat[Any] = avatarkit.Heartbeat(reactor=clock)
    for number, session in enumerate(sessions):
        clock.set(over * number / len(sessions))
        heartbeat.attached(session)
    return heartbeat


def look(name: str, sessions: list[Any], over: float, *, silent: bool) -> None:
    """Print a row: the longest turns of the reactor, and how many timers there are."""
    timers, took = set[int](), list[float]()
    clock = Mind.clock = Jumping()
    heartbeat = fill(sessions, clock, over)
    gc.collect()
    gc.disable()
    for step in range(int(over + 120) * 100):
        now = over + step / 100
        if not silent:  # each has its turn every ten seconds
            for session in sessions[step % 1000 :: 1000]:
                session.connection.lastReceived = now
        took.append(clock.turn(now))
        timers.add(len(clock.calls))
    gc.enable()
    for session in sessions:
        assert not session.ended
        heartbeat.detached(session)
        session.connection.lastReceived = 0
    print(f"| {name} | {max(took) * 1000:.1f} ms | {max(timers)} |", flush=True)


def costs(sessions: list[Any]) -> None:
    """Print how many bytes each session takes, and how long its login and logout do."""
    clock = Jumping()
    gc.collect()
    tracemalloc.start()
    heartbeat = fill(sessions, clock, 30)
    taken = tracemalloc.get_traced_memory()[0] / len(sessions)
    tracemalloc.stop()

    def again() -> None:
        heartbeat.detached(sessions[0])
        heartbeat.attached(sessions[0])

    took = timed(again, 100_000) * 1e6
    print(f"\nBytes per session: {taken:.0f}.")
    print(f"A login and its logout take {took:.1f} microseconds longer.")


async def found(count: int, interval: float, timeout: float) -> None:
    """Print after how many seconds clients are found that are cut off."""
    ended: list[float] = []
    heartbeat: avatarkit.Heartbeat[Any] = avatarkit.Heartbeat(interval, timeout=timeout)
    realm = heartbeat(lambda avatarId: avatarkit.Avatar())
    users: Any = {"alice": b"secret"}
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(**users)
    portal: Any = Portal(realm, [checker])
    server: Any = WatchingFactory(pb.PBServerFactory(portal), portal)
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    clients = []
    for _ in range(count):
        client: Any = pb.PBClientFactory()
        client.noisy = False
        reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        avatar = await client.login(UsernamePassword(b"alice", b"secret"), pb.Referenceable())
        clients.append((client, avatar))
        client._broker.transport.pauseProducing()  # it hears nothing any more, and says nothing

    def note(closed: None, session: Any) -> None:
        ended.append(reactor.seconds() - session.connection.lastReceived)

    for closing in [each.whenClosed().addCallback(note, each) for each in realm.sessions]:
        await closing
    beat = f"`Heartbeat({interval:g}, timeout={timeout:g})`"
    times = f"{min(ended):.2f} to {max(ended):.2f} seconds"
    print(f"\n{count} clients that were cut off, with {beat}, were ended after {times}.")
    for client, _avatar in clients:
        client._broker.transport.abortConnection()
    await port.stopListening()


async def main(reactor: Any, *arguments: str) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--sessions", type=int, default=100_000)
    asked = options.parse_args(arguments)
    sessions = makeSessions(asked.sessions)
    gc.collect()
    gc.freeze()
    print("<!-- heartbeat -->")
    print(f"| {asked.sessions:,} sessions | longest turn of the reactor | timers |")
    print("|---|---|---|")
    look("log in over 30 seconds, and are busy", sessions, 30, silent=False)
    look("log in over 30 seconds, and are silent", sessions, 30, silent=True)
    look("log in at one moment, and are busy", sessions, 0, silent=False)
    look("log in at one moment, and are silent", sessions, 0, silent=True)
    costs(sessions)
    await found(100, 1, 3)


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
