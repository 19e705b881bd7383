"""
The six systems of Twisted's how-to "Managing Clients of Perspectives" (twisted-doc 13.2.0,
core/howto/pb-clients.html), each by its own names and texts, over real Perspective Broker.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.application.internet import TimerService
from twisted.internet.task import Clock
from twisted.spread import pb

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    PerConnection,
    Session,
    TooManyConnections,
)
from pb import PBTestCase, refusal


class SimpleAvatar(pb.Avatar):
    """
    The how-to's avatar.
    """

    greetings = 0

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()

    def perspective_greet(self) -> str:
        """
        Return a greeting, and count it.
        """
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


class Greeter:
    """
    The state in the how-to's second system.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name.decode()
        self.greetings = 0

    def hello(self) -> str:
        """
        Return a greeting, and count it.
        """
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


class FreshAvatar(pb.Avatar):
    """
    The avatar in the how-to's second system.
    """

    def __init__(self, name: bytes, greeter: Greeter) -> None:
        self.name, self.greeter = name, greeter

    def perspective_greet(self) -> str:
        """
        Return the greeter's greeting.
        """
        return self.greeter.hello()

    def perspective_who(self) -> int:
        """
        Return something that tells avatars apart.
        """
        return id(self)


class CountingAvatar(Avatar):
    """
    The how-to's connection-aware avatar.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name

    def perspective_connections(self) -> int:
        """
        Return the number of connections.
        """
        return self.connections


class SixSystemsTests(PBTestCase):
    """
    The systems S1 to S6.
    """

    async def test_cachingRealm(self) -> None:
        """
        S1: an avatar is made at the first login, and used by every later one from any connection.
        """
        self.serve(AvatarCache()(SimpleAvatar))
        first = await self.client().login()
        assert await first.callRemote("greet") == "<1>hello alice"
        second = await self.client().login()
        assert await second.callRemote("greet") == "<2>hello alice"
        await self.clients[0].disconnect()
        await self.clients[1].disconnect()
        third = await self.client().login()
        assert await third.callRemote("greet") == "<3>hello alice"
        bob = await self.client().login("bob")
        assert await bob.callRemote("greet") == "<1>hello bob"

    async def test_cachedState(self) -> None:
        """
        S2: two connections share the greeter's count, and have separate avatars.
        """

        def build(session: Session) -> FreshAvatar:
            return FreshAvatar(session.avatarId, session.avatar)  # type: ignore[arg-type]  # bytes

        self.serve(PerConnection(build)(AvatarCache()(Greeter)))
        first, second = await self.client().login(), await self.client().login()
        assert await first.callRemote("greet") == "<1>hello alice"
        assert await second.callRemote("greet") == "<2>hello alice"
        assert await first.callRemote("who") != await second.callRemote("who")

    async def test_connectionAware(self) -> None:
        """
        S3: the avatar's count of connections follows logins and disconnects.
        """
        online, cache = MindRegistry(), AvatarCache()
        self.serve(online(ConnectionCounter()(cache(CountingAvatar))))
        first = await self.client().login()
        assert await first.callRemote("connections") == 1
        await self.client().login()
        assert await first.callRemote("connections") == 2
        (_, session) = online.sessions(b"alice")
        await self.clients[1].disconnect()
        await session.whenClosed()
        assert await first.callRemote("connections") == 1
        (session,) = online.sessions(b"alice")
        await self.clients[0].disconnect()
        await session.whenClosed()
        assert cache[b"alice"].connections == 0

    async def test_limit(self) -> None:
        """
        S4: a login beyond the limit is refused by name, with nothing in the server's log; when the
        first client is gone, a login succeeds again.
        """
        online = MindRegistry()
        realm = online(ConnectionLimit()(ConnectionCounter()(AvatarCache()(CountingAvatar))))
        self.serve(realm)
        await self.client().login()
        for error in (TooManyConnections, ValueError, pb.Error):
            failure: Any = await refusal(self.client().login())
            assert failure.check(error)
        assert failure.type == b"avatarkit.errors.TooManyConnections"
        assert failure.value == "too many connections"
        assert "maximum" not in vars(failure)
        assert "avatarId" not in vars(failure)
        assert self.flushLoggedErrors() == []
        (session,) = online.sessions(b"alice")
        await self.clients[0].disconnect()
        await session.whenClosed()
        again = await self.client().login()
        assert await again.callRemote("connections") == 1

    async def test_remoteClock(self) -> None:
        """
        S5: the avatar tells its client the time once in each period, the client can change the
        period, and nothing is sent after the logout.
        """
        clock = Clock()

        class RemoteClock(Avatar):
            def __init__(self, name: bytes) -> None:
                self.perspective_setperiod(1)

            def perspective_setperiod(self, period: int) -> None:
                self.logout()
                self.timer: Any = TimerService(period, self.notify)
                self.timer.clock = clock
                self.timer.startService()

            def notify(self) -> None:
                self.minds.callRemote("notifyTime", time.time())

            def logout(self) -> None:
                if hasattr(self, "timer"):
                    self.timer.stopService()

        online = MindRegistry()
        self.serve(online(RemoteClock))
        client = self.client()
        avatar = await client.login()
        for _ in range(2):
            before = time.time()
            clock.advance(1)
            name, (told,) = await client.told.get()
            assert name == "notifyTime"
            assert before <= told <= time.time()
        await avatar.callRemote("setperiod", 5)
        clock.advance(4)
        clock.advance(1)
        await client.told.get()
        assert client.told.pending == []
        (session,) = online.sessions(b"alice")
        await client.disconnect()
        await session.whenClosed()
        assert clock.getDelayedCalls() == []

    async def test_clientsOfAnAvatar(self) -> None:
        """
        S6: one call on the avatar reaches every client that is logged in as it, and when one has
        gone, the client that is left.
        """

        class Shared(Avatar):
            def __init__(self, name: bytes) -> None:
                pass

            def perspective_say(self, text: str) -> Any:
                return self.minds.callRemote("heard", text).addCallback(
                    lambda results: [list(result) for result in results]
                )

        online = MindRegistry()
        self.serve(online(AvatarCache()(Shared)))
        one, two, bob = self.client(), self.client(), self.client()
        first = await one.login()
        await two.login()
        await bob.login("bob")
        assert await first.callRemote("say", "hi") == [[True, "heard done"]] * 2
        for client in (one, two):
            assert await client.told.get() == ("heard", ("hi",))
        _, session = online.sessions(b"alice")
        await two.disconnect()
        await session.whenClosed()
        assert await first.callRemote("say", "alone") == [[True, "heard done"]]
        assert bob.told.pending == []

    async def test_unsupportedInterface(self) -> None:
        """
        In all six, a login for an interface that the realm does not serve fails with
        NotImplementedError.
        """
        self.serve(AvatarCache()(Greeter))
        failure = await refusal(self.client().login())
        assert failure.check(NotImplementedError)
        assert len(self.flushLoggedErrors(NotImplementedError)) == 1
