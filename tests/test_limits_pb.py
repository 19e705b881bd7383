"""
Which session is displaced, over real Perspective Broker, with clients in processes of their own.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from pb import PBTestCase, reactor, refusal


class ClientProcess(ProcessProtocol):
    """
    A client in a process of its own.

    @ivar words: what it prints.
    """

    def __init__(self, port: int) -> None:
        self.words: DeferredQueue[str] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self.process = reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, Path(__file__).with_name("client.py"), str(port)],
            env=os.environ,
            childFDs={0: "w", 1: "r", 2: 2},
        )

    def outReceived(self, data: bytes) -> None:
        """
        Collect the words that the client prints.
        """
        for word in data.decode().split():
            self.words.put(word)

    def processEnded(self, reason: Any) -> None:
        """
        Note that the process has ended.
        """
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(None)

    def stop(self) -> None:
        """
        Stop the client where it is: it keeps its connection, and does nothing.
        """
        self.process.signalProcess(signal.SIGSTOP)

    def end(self) -> Deferred[None]:
        """
        Kill the client, unless it has ended.
        """
        if not self.ended.called:
            self.process.signalProcess(signal.SIGKILL)
        return self.ended


class PolicyTests(PBTestCase):
    """
    A limit of one session, one client that has it, and a newcomer.
    """

    timeout = 30

    async def holder(self, **policy: Any) -> ClientProcess:
        """
        Serve a realm, and have a client in another process log in.
        """
        self.online, self.limit = MindRegistry(), ConnectionLimit(1, **policy)
        self.counter, self.cache = ConnectionCounter(), AvatarCache()
        self.realm = self.online(self.limit(self.counter(self.cache(lambda name: Avatar()))))
        self.serve(self.realm)
        client = ClientProcess(self.port)
        self.addCleanup(client.end)
        assert await client.words.get() == "in"
        return client

    async def test_refuse(self) -> None:
        """
        If newcomers are refused, a client that has stopped keeps its slot, and locks its user out.
        """
        client = await self.holder()
        client.stop()
        assert (await refusal(self.client().login())).check(TooManyConnections)
        assert self.counter.total == 1

    async def test_unresponsive(self) -> None:
        """
        If unresponsive clients are displaced, a client that has stopped loses its slot, and its
        connection is aborted because it does not close.
        """
        client = await self.holder(whenFull=displaceUnresponsive(timeout=0.2))
        (session,) = self.online.sessions(b"alice")
        broker = session.mind.broker
        client.stop()
        # What it has not read fills its connection, so that closing it politely must wait.
        session.mind.callRemote("ping", b"x" * 600000).addErrback(lambda failure: None)
        for _ in range(20):
            session.mind.callRemote("ping", b"x" * 600000).addErrback(lambda failure: None)
        gone: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: gone.callback(None))
        await self.client().login()
        assert session.ended
        assert self.limit.displacements == 1
        assert not broker.disconnected
        await gone
        assert self.realm.audit() == []

    async def test_responsive(self) -> None:
        """
        If unresponsive clients are displaced, a client that answers keeps its slot.
        """
        await self.holder(whenFull=displaceUnresponsive(timeout=5))
        assert (await refusal(self.client().login())).check(TooManyConnections)
        assert (self.limit.displacements, self.limit.refusals) == (0, 1)

    async def test_oldest(self) -> None:
        """
        If the oldest session is displaced, the newcomer gets in, and the other client's connection
        closes.
        """
        client = await self.holder(whenFull=displaceOldest)
        newcomer = self.client()
        await newcomer.login()
        assert await client.words.get() == "lost"
        assert self.online.sessions(b"alice")[0].mind is not None
        assert self.counter.total == 1
        assert self.flushLoggedErrors() == []

    async def test_sameConnection(self) -> None:
        """
        A client that logs in again over one connection displaces its own session, and keeps the
        connection.
        """
        limit, online = ConnectionLimit(1, whenFull=displaceOldest), MindRegistry()
        self.serve(online(limit(lambda name: Avatar())))
        client = self.client()
        await client.login()
        (first,) = limit.sessions(b"alice")
        await client.login()
        (second,) = limit.sessions(b"alice")
        assert first.ended
        assert await second.mind.callRemote("hello") == "hello done"
        assert not second.ended

    async def test_operator(self) -> None:
        """
        An operator can disconnect a user.
        """
        client = await self.holder()
        await self.online.disconnect(b"alice")
        assert await client.words.get() == "lost"
        assert self.counter.total == 0

    async def fifty(self, policy: Any) -> None:
        """
        Fifty clients log in at once, for a limit of three, with a slow factory.
        """
        limit, counter = ConnectionLimit(3, whenFull=policy), ConnectionCounter()
        loading: Deferred[Any] = Deferred()
        realm = limit(counter(AvatarCache()(lambda name: loading)))
        self.serve(realm)
        settled: DeferredQueue[list[Any]] = DeferredQueue()
        for _ in range(50):
            self.client().login().addBoth(lambda result: settled.put([result]))
        for _ in range(47):
            (result,) = await settled.get()
            assert isinstance(result, Failure)
        assert len(limit.sessions(b"alice")) == 3
        loading.callback(Avatar())
        for _ in range(3):
            (result,) = await settled.get()
            assert not isinstance(result, Failure)
        assert (len(limit.sessions(b"alice")), counter.total) == (3, 3)
        assert realm.audit() == []
        assert self.flushLoggedErrors() == []

    async def test_fiftyRefused(self) -> None:
        """
        Three of fifty get in if the others are refused.
        """
        await self.fifty(refuse)

    async def test_fiftyDisplacing(self) -> None:
        """
        Three of fifty get in if the oldest sessions are displaced.
        """
        await self.fifty(displaceOldest)

    async def test_fiftyAsking(self) -> None:
        """
        Three of fifty get in if unresponsive clients are displaced.
        """
        await self.fifty(displaceUnresponsive(timeout=20))
