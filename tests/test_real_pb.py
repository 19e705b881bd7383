"""
The blocks together over real Perspective Broker, and what Twisted does that they are made for.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.spread import pb

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    RealmClosed,
    RealmFailed,
    TooManyConnections,
)
from pb import PBTestCase, refusal
from scripted import slots


class Player(Avatar):
    """
    An avatar that tells how many connections it has.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name

    def perspective_connections(self) -> int:
        """
        Return the number of connections.
        """
        return self.connections


class StackTests(PBTestCase):
    """
    The four blocks in one stack.
    """

    def stack(self, factory: Any = Player) -> None:
        """
        Serve a realm with all four blocks.
        """
        self.online, self.limit = MindRegistry(), ConnectionLimit(2)
        self.counter, self.cache = ConnectionCounter(), AvatarCache()
        self.realm = self.online(self.limit(self.counter(self.cache(factory))))
        self.serve(self.realm)

    async def test_together(self) -> None:
        """
        Two clients share an avatar, a third is refused until one is gone, and a push reaches those
        that are there.
        """
        self.stack()
        one, two, three = self.client(), self.client(), self.client()
        first, _ = await one.login(), await two.login()
        assert await first.callRemote("connections") == 2
        failure = await refusal(three.login())
        assert failure.check(TooManyConnections)
        assert await self.online[b"alice"].callRemote("hi") == [(True, "hi done")] * 2
        _, session = self.online.sessions(b"alice")
        await two.disconnect()
        await session.whenClosed()
        assert await first.callRemote("connections") == 1
        await three.login()
        assert await self.online.everyone.callRemote("hi") == [(True, "hi done")] * 2
        assert dict(self.counter) == {b"alice": 2}

    async def test_slowFactory(self) -> None:
        """
        Clients that log in while their avatar loads share it, and no more get in than the limit
        allows.
        """
        loading: Deferred[Any] = Deferred()

        def factory(avatarId: bytes) -> Deferred[Any]:
            asked.append(avatarId)
            return loading

        asked: list[bytes] = []
        self.stack(factory)
        logins = [self.client().login() for _ in range(4)]
        results: DeferredQueue[Any] = DeferredQueue()
        for login in logins:
            login.addBoth(lambda result: results.put([result]))
        for _ in range(2):
            (failure,) = await results.get()
            assert failure.check(TooManyConnections)
        assert (len(self.realm.sessions), slots(self.limit)) == (2, {b"alice": 2})
        loading.callback(Player(b"alice"))
        avatars = [(await results.get())[0] for _ in range(2)]
        assert await avatars[0].callRemote("connections") == 2
        assert asked == [b"alice"]

    async def test_failingFactory(self) -> None:
        """
        If the avatar cannot be made, the client is told, and nothing stays counted.
        """

        async def factory(avatarId: bytes) -> Player:
            raise KeyError(avatarId)

        self.stack(factory)
        failure = await refusal(self.client().login())
        assert failure.check(RealmFailed)
        assert len(self.flushLoggedErrors(KeyError)) == 1
        assert (dict(self.counter), dict(self.cache), len(self.online)) == ({}, {}, 0)
        assert slots(self.limit) == {}

    async def test_loggingInTwiceOverOneConnection(self) -> None:
        """
        A connection that logs in twice has two sessions, and both end with it.
        """
        self.stack()
        client = self.client()
        await client.login()
        await client.login()
        assert self.counter.connections(b"alice") == 2
        closed = [session.whenClosed() for session in self.online.sessions(b"alice")]
        await client.disconnect()
        await gatherResults(closed)
        assert (self.counter.total, len(self.online)) == (0, 0)

    async def test_droppedReference(self) -> None:
        """
        A client that drops its reference to the avatar is logged out, only once even though its
        connection closes later.
        """
        self.stack()
        client = self.client()
        await client.login()
        (session,) = self.online.sessions(b"alice")
        client.avatars.clear()
        await session.whenClosed()
        assert self.counter.total == 0

    async def test_anonymous(self) -> None:
        """
        Each anonymous client has its own avatar.
        """
        self.stack()
        first = await self.client().loginAnonymously()
        second = await self.client().loginAnonymously()
        assert await first.callRemote("connections") == 1
        assert await second.callRemote("connections") == 1

    async def test_noMind(self) -> None:
        """
        A client without a mind is logged in like any other.
        """
        self.stack()
        avatar = await self.client().login(mind=False)
        assert await avatar.callRemote("connections") == 1
        assert (len(self.online.everyone), len(self.online)) == (0, 1)

    async def test_closed(self) -> None:
        """
        A closed realm refuses by name, and logs nothing.
        """
        self.stack()
        await self.client().login()
        await self.realm.close()
        failure = await refusal(self.client().login())
        assert failure.check(RealmClosed)
        assert self.flushLoggedErrors() == []


class PlatformTests(PBTestCase):
    """
    What real minds do, which is why minds are kept by session and never compared.
    """

    async def test_minds(self) -> None:
        """
        The minds of two connections cannot be compared and have the same hash; a dead one raises
        when it is called and when a callback is registered.
        """
        online = MindRegistry()
        self.serve(online(Player))
        one, two = self.client(), self.client()
        await one.login()
        await two.login("bob")
        (first,), (second,) = online[b"alice"], online[b"bob"]
        self.assertRaises(TypeError, lambda: first == second)
        assert hash(first) == hash(second) == 1
        (session,) = online.sessions(b"alice")
        await one.disconnect()
        await session.whenClosed()
        self.assertRaises(pb.DeadReferenceError, first.callRemote, "hello")
        while first.broker.disconnects is not None:  # it still calls the others
            await self.turn()
        self.assertRaises(AttributeError, first.notifyOnDisconnect, print)

    def turn(self) -> Deferred[None]:
        """
        Wait for one turn of the reactor.
        """
        from pb import reactor

        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)
        return turned
