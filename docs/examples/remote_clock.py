"""
A remote clock: an avatar that tells its client the time until the client logs out, every second or
at the period that the client sets: by hand as in the how-to, and with avatarkit.

    python docs/examples/remote_clock.py

It prints what the same client gets from each realm, and exits:

    what                | by hand             | avatarkit
    at the login        | told the time 1x    | told the time 1x
    every 0.05 seconds  | told the time 4x    | told the time 4x
    running timers      | 1                   | 1
    timers after logout | 0                   | 0
    another interface   | NotImplementedError | NotImplementedError
"""

import time
from collections.abc import AsyncIterator
from typing import Any

from pbdemo import Server, compare, reactor
from twisted.application.internet import TimerService
from twisted.cred.portal import IRealm
from twisted.internet.defer import DeferredQueue
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import PerConnection, Realm


class RemoteClock(pb.Avatar):
    """Tells its client the time."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.start(1)

    def start(self, period: float) -> None:
        self.timer: Any = TimerService(period, self.notify)
        self.timer.startService()

    def notify(self) -> None:
        self.client.callRemote("notifyTime", time.time(), pbanswer=False)

    def perspective_setperiod(self, period: float) -> None:
        self.timer.stopService()
        self.start(period)

    def logout(self) -> Any:
        return self.timer.stopService()


@implementer(IRealm)
class HandWritten:
    """The how-to's way."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        avatar = RemoteClock(mind)
        return pb.IPerspective, avatar, avatar.logout


before = HandWritten()
after = Realm(PerConnection(lambda session: RemoteClock(session.mind)))


class Watch(pb.Referenceable):
    """The client."""

    def __init__(self) -> None:
        self.times: DeferredQueue[float] = DeferredQueue()

    def remote_notifyTime(self, now: float) -> None:
        self.times.put(now)

    async def next(self, count: int) -> str:
        times = [await self.times.get() for _ in range(count)]
        assert times == sorted(times)
        assert abs(times[-1] - time.time()) < 60
        return f"told the time {count}x"


async def visit(server: Server) -> AsyncIterator[tuple[str, object]]:
    watch = Watch()
    client = await server.login("alice", watch)
    yield "at the login", await watch.next(1)
    await client.ask("setperiod", 0.05)
    yield "every 0.05 seconds", await watch.next(4)
    yield "running timers", len(reactor.getDelayedCalls())
    await server.leave(client)
    yield "timers after logout", len(reactor.getDelayedCalls())


if __name__ == "__main__":
    compare(before, after, visit)
