"""
Who comes and who goes, with clients in processes of their own over real Perspective Broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue, gatherResults

import test_farewell_pb
from avatarkit import Avatar, AvatarCache, ConnectionLimit, Presence, displaceOldest
from avatarkit.transports import WatchingFactory
from pb import Client, PBTestCase, reactor

# Any in this module: factories, and avatar IDs.


class PresenceTests(PBTestCase):
    """
    Over TCP.
    """

    timeout = 30

    def stack(
        self, linger: float = 0, *, limit: int = 100, make: Callable[[Any], Any] | None = None
    ) -> None:
        """
        Serve a realm with a presence that is observed.
        """
        self.presence = Presence(linger)
        self.told: DeferredQueue[tuple[str, bytes]] = DeferredQueue()
        self.presence.observe(
            arrived=lambda avatarId: self.told.put(("+", avatarId)),
            departed=lambda avatarId: self.told.put(("-", avatarId)),
        )
        cached: Any = AvatarCache()(make or (lambda avatarId: Avatar()))
        limited = ConnectionLimit(limit, whenFull=displaceOldest)(self.presence(cached))
        self.realm: Any = limited
        self.serve(self.realm)

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    async def hearer(self, name: str = "alice") -> Any:
        """
        Start a client in a process of its own, which logs in.
        """
        client = test_farewell_pb.Program("hearer.py", str(self.port), name)
        self.addCleanup(client.end)
        assert await client.lines.get() == "in"
        return client

    async def next(self, count: int = 1) -> list[str]:
        """
        Return what is told next.
        """
        told = [await self.told.get() for _ in range(count)]
        return [sign + name.decode() for sign, name in told]

    async def test_killed(self) -> None:
        """
        A user whose two clients are killed departs with the second.
        """
        self.stack()
        clients = [await self.hearer() for _ in range(2)]
        assert await self.next() == ["+alice"]
        await clients[0].end()
        other = await self.hearer("bob")
        assert await self.next() == ["+bob"]
        await clients[1].end()
        assert await self.next() == ["-alice"]
        await other.end()
        assert await self.next() == ["-bob"]
        assert self.told.pending == []

    async def test_blip(self) -> None:
        """
        A client that is killed and started again in time has not been away.
        """
        self.stack(20)
        client = await self.hearer()
        await client.end()
        while self.presence[b"alice"]:
            await self.pause()
        client = await self.hearer()
        assert dict(self.presence) == {b"alice": 1}
        assert await self.next() == ["+alice"]
        assert self.told.pending == []
        await client.end()
        while self.presence[b"alice"]:
            await self.pause()
        await self.realm.close()
        assert await self.next() == ["-alice"]

    async def test_displaced(self) -> None:
        """
        One whose place another client takes is told in between.
        """
        self.stack(limit=1)
        clients = [await self.hearer() for _ in range(2)]
        assert await self.next(3) == ["+alice", "-alice", "+alice"]
        for client in clients:
            await client.end()
        assert await self.next() == ["-alice"]

    async def test_reconnects(self) -> None:
        """
        Arrivals and departures alternate, whatever clients do that come and go two hundred times
        while observers take their time; in the end all know that nobody is there.
        """

        def wait(avatarId: Any) -> Deferred[None]:
            return self.pause(0.002)

        self.stack()
        self.presence.observe(arrived=wait, departed=wait)

        async def comeAndGo(client: Callable[[], Client], name: str) -> None:
            for number in range(50):
                here = client()
                await here.login(name, mind=number % 2 == 0)
                await here.disconnect()

        names = ("alice", "alice", "bob", "bob")
        await gatherResults(
            [Deferred.fromCoroutine(comeAndGo(self.client, name)) for name in names]
        )
        await self.realm.close()
        for name in (b"alice", b"bob"):
            signs = "".join(sign for sign, who in self.told.pending if who == name)
            assert signs == "+-" * (len(signs) // 2)
            assert signs
        assert (len(self.presence), self.realm.audit()) == (0, [])

    async def test_avatar(self) -> None:
        """
        An avatar is told, and pushes what it then does to others from there.
        """
        told: DeferredQueue[str] = DeferredQueue()

        class Player(Avatar):
            def arrived(self) -> object:
                told.put("arrived")
                return self.minds.callRemote("welcome", pbanswer=False)

            def departed(self) -> None:
                told.put("departed")

        self.stack(make=lambda avatarId: Player())
        client = self.client()
        await client.login()
        assert await told.get() == "arrived"
        await client.disconnect()
        assert await told.get() == "departed"

    async def test_closes(self) -> None:
        """
        When the realm is closed, all depart, those who linger too, and no timer is left.
        """
        self.stack(100)
        here, gone = await self.hearer("alice"), await self.hearer("bob")
        await gone.end()
        while self.presence[b"bob"]:
            await self.pause()
        await self.realm.close()
        assert await self.next(4) == ["+alice", "+bob", "-alice", "-bob"]
        await here.end()

    def pause(self, seconds: float = 0.005) -> Deferred[None]:
        """
        Let the reactor have some turns.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(seconds, waiting.callback, None)
        return waiting
