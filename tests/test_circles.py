"""
Tests for logins that wait for themselves.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, Block, LoginWaitsForItself, PerConnection, Session
from avatarkit._waiting.awaiting import LATER, awaited, settle
from avatarkit.testing import login
from scripted import IThing, Thing, frank, opened, waiting


class Guest(Thing):
    """
    An avatar whose logout does what the test says.
    """

    logouts: dict[object, Callable[[], object]]

    def __init__(self, name: object) -> None:
        self.name = name

    def logout(self) -> object:
        """
        Do it.
        """
        return self.logouts.get(self.name, int)()


class CirclesTests(SynchronousTestCase):
    """
    A login that waits for itself is found out.
    """

    def setUp(self) -> None:
        """
        Have a cache that keeps no avatar.
        """
        Guest.logouts = {}
        self.clock = Clock()
        self.cache: AvatarCache[Any] = AvatarCache(idleTimeout=0, reactor=self.clock)

    def stack(self, factory: Any) -> None:
        """
        Have a realm of these avatars.
        """
        self.realm = frank(self.cache(factory))

    def login(self, avatarId: object = b"a") -> Any:
        """
        Log in.
        """
        return self.realm.requestAvatar(avatarId, None, IThing)

    def later(self, wait: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
        """
        Return a coroutine function that waits for something, but not at once.
        """

        async def later() -> None:
            await deferLater(self.clock, 1, int)
            await wait()

        return later

    def assertGood(self, *avatarIds: object) -> None:
        """
        Everybody can log in, and the books agree.
        """
        for avatarId in avatarIds:
            opened(self.login(avatarId))[2]()
        assert self.realm.audit() == []

    def test_logout(self) -> None:
        """
        A logout that waits for a login as the same user fails at once, with an error that says why,
        and the avatar is gone.
        """
        self.stack(Guest)
        for logout in (
            lambda: self.login(),
            self.later(lambda: self.login()),
            self.later(lambda: login(self.realm, b"a", interface=IThing)),
        ):
            Guest.logouts = {b"a": logout}
            opened(self.login())[2]()
            self.clock.advance(1)
            (failure,) = self.flushLoggedErrors(LoginWaitsForItself)
            assert failure.value.avatarId == b"a"
            assert "the login of b'a' waits for itself" in str(failure.value)
            assert self.clock.getDelayedCalls() == []
            Guest.logouts = {}
            self.assertGood(b"a")

    def test_others(self) -> None:
        """
        Those who wait for the same avatar without closing the circle get the next one.
        """
        self.stack(Guest)
        Guest.logouts = {b"a": self.later(lambda: self.login())}
        opened(self.login())[2]()
        late = waiting(self.login())
        Guest.logouts = {}
        self.clock.advance(1)
        assert self.successResultOf(late)[1] is self.cache[b"a"]
        assert len(self.flushLoggedErrors(LoginWaitsForItself)) == 1

    def test_eachOther(self) -> None:
        """
        Two logouts that wait for logins as each other's user are found out, and both are gone.
        """
        self.stack(Guest)
        Guest.logouts = {
            b"a": self.later(lambda: self.login(b"b")),
            b"b": self.later(lambda: self.login(b"a")),
        }
        logouts = [opened(self.login(each))[2] for each in (b"a", b"b")]
        for logout in logouts:
            logout()
        self.clock.advance(1)
        assert self.flushLoggedErrors(LoginWaitsForItself)
        Guest.logouts = {}
        self.clock.advance(1)
        self.assertGood(b"a", b"b")

    def test_factories(self) -> None:
        """
        Factories that wait for each other's avatars, or for their own, fail their logins.
        """
        for other in ({b"a": b"b", b"b": b"a"}, {b"a": b"a"}, {b"a": b"b", b"b": b"b"}):

            def deferred(avatarId: Any, other: Any = other) -> Any:
                return waiting(self.login(other[avatarId])).addCallback(lambda result: Thing())

            async def coroutine(avatarId: Any, other: Any = other) -> Any:
                await self.login(other[avatarId])
                return Thing()

            for factory in (deferred, coroutine):
                self.cache = AvatarCache(reactor=self.clock)
                self.stack(factory)
                self.assertRaises(LoginWaitsForItself, self.login)
                assert (dict(self.cache), self.realm.audit()) == ({}, [])
                assert not self.cache.below.sessions

    def test_factoryLater(self) -> None:
        """
        So do factories that wait for something else at first.
        """

        async def factory(avatarId: Any) -> Any:
            await deferLater(self.clock, 1, int)
            await self.login({b"a": b"b", b"b": b"a"}[avatarId])

        self.stack(factory)
        logins = [waiting(self.login(each)) for each in (b"a", b"b")]
        self.clock.advance(1)
        for each in logins:
            self.failureResultOf(each, LoginWaitsForItself)
        assert self.realm.audit() == []

    def test_throughOthers(self) -> None:
        """
        It is found out if sessions of other realms, blocks and other caches are in between.
        """

        class Asking(Block):
            async def detached(this, session: Session) -> None:
                await waiting(outer.requestAvatar(b"a", None, IThing))

        other = AvatarCache(idleTimeout=0, reactor=self.clock)
        self.stack(PerConnection(lambda session: Thing())(Asking()(Guest)))
        outer = frank(other(PerConnection(lambda session: Thing())(self.realm)))
        opened(outer.requestAvatar(b"a", None, IThing))[2]()
        assert len(self.flushLoggedErrors(LoginWaitsForItself)) == 1
        opened(outer.requestAvatar(b"a", None, IThing))
        assert outer.audit() == []

    def test_foundByTheNext(self) -> None:
        """
        A circle that a callback closes is found by the next login, which gets in.
        """
        self.stack(Guest)
        Guest.logouts = {
            b"a": lambda: deferLater(self.clock, 1, int).addCallback(lambda _: self.login())
        }
        opened(self.login())[2]()
        self.clock.advance(1)
        Guest.logouts = {}
        opened(self.login())
        assert len(self.flushLoggedErrors(LoginWaitsForItself)) == 1

    def test_inlineCallbacks(self) -> None:
        """
        It is found out at once if C{inlineCallbacks}, or a coroutine that somebody has made a
        Deferred, waits at once, by whatever detour.
        """

        @inlineCallbacks
        def inline() -> Any:
            yield self.login()

        @inlineCallbacks
        def nested() -> Any:
            yield inline()

        async def coroutine() -> None:
            await nested()

        def chained() -> Any:
            return succeed(None).addCallback(lambda _: inline())

        self.stack(Guest)
        for logout in (inline, nested, chained, lambda: ensureDeferred(coroutine())):
            Guest.logouts = {b"a": logout}
            opened(self.login())[2]()
            assert len(self.flushLoggedErrors(LoginWaitsForItself)) == 1
            Guest.logouts = {}
            self.assertGood(b"a")

    def test_inlineCallbacksOfTwo(self) -> None:
        """
        Factories in C{inlineCallbacks} that wait for each other's avatars fail their logins.
        """

        @inlineCallbacks
        def factory(avatarId: Any) -> Any:
            yield self.login({b"a": b"b", b"b": b"a"}[avatarId])

        self.stack(factory)
        self.assertRaises(LoginWaitsForItself, self.login)
        assert (dict(self.cache), self.realm.audit()) == ({}, [])

    def test_inlineCallbacksLater(self) -> None:
        """
        If they wait for something else at first, the next login finds out, and gets in.
        """

        @inlineCallbacks
        def logout() -> Any:
            yield deferLater(self.clock, 1, int)
            yield self.login()

        self.stack(Guest)
        Guest.logouts = {b"a": logout}
        opened(self.login())[2]()
        self.clock.advance(1)
        Guest.logouts = {}
        opened(self.login())
        assert len(self.flushLoggedErrors(LoginWaitsForItself)) == 1

    def test_cancellers(self) -> None:
        """
        What is no canceller of C{inlineCallbacks} is not mistaken for one.
        """

        def status(waiting: object) -> None:
            raise AssertionError(late)

        def other(waiting: object) -> None:
            status(waiting)

        cancellers: tuple[Any, ...] = (status, other, int, None)
        for canceller in cancellers:
            waiting: Deferred[Any] = Deferred(canceller)
            assert awaited(waiting) is waiting
            assert settle(waiting, str) is LATER
        late = "has no value until now"

    def test_deadline(self) -> None:
        """
        What cannot be found out, since a Deferred is fired by hand, ends with the deadline.
        """

        def logout() -> Any:
            done: Deferred[Any] = Deferred()
            self.login().addCallback(done.callback)
            return done

        self.stack(Guest)
        Guest.logouts = {b"a": logout}
        opened(self.login())[2]()
        Guest.logouts = {}
        late = waiting(self.login())
        self.clock.advance(60)
        self.successResultOf(late)
        assert self.realm.audit() == []

    def test_notWaitedFor(self) -> None:
        """
        A logout or a factory may log in as the same user if it does not wait for that.
        """
        logins: list[Any] = []

        async def logout() -> None:
            Guest.logouts = {}
            logins.append(self.login())
            await deferLater(self.clock, 1, int)

        self.stack(Guest)
        Guest.logouts = {b"a": logout}
        opened(self.login())[2]()
        self.clock.advance(1)
        assert self.successResultOf(logins[0])[1] is self.cache[b"a"]

    def test_noWait(self) -> None:
        """
        A logout may wait for a login as somebody else.
        """
        self.stack(Guest)
        Guest.logouts = {b"a": self.later(lambda: self.never)}
        self.never: Deferred[Any] = Deferred()
        opened(self.login())[2]()
        Guest.logouts = {b"b": lambda: self.login(b"a")}
        opened(self.login(b"b"))[2]()
        self.clock.advance(1)
        Guest.logouts = {}
        self.never.callback(None)
        assert list(self.cache) == [b"a"]
        self.assertGood(b"a", b"b")

    def test_awaitables(self) -> None:
        """
        A coroutine goes on as usual with what it awaits: results and failures.
        """
        gates: list[Deferred[Any]] = [Deferred() for _ in range(3)]
        seen: list[Any] = []

        async def factory(avatarId: object) -> object:
            seen.append(await gates[0])
            try:
                await gates[1]
            except ZeroDivisionError as error:
                seen.append(type(error))
            return await gates[2]

        self.stack(factory)
        login = waiting(self.login())
        gates[0].callback(3)
        gates[1].errback(ZeroDivisionError())
        gates[2].callback(Thing())
        self.successResultOf(login)
        assert seen == [3, ZeroDivisionError]

    def test_iterator(self) -> None:
        """
        So does what is awaited by way of a plain iterator.
        """
        gate: Deferred[Any] = Deferred()

        class Awaitable:
            def __await__(self) -> Any:
                return iter([gate])

        waits = awaited(Awaitable())
        assert waits is not None
        self.assertNoResult(waits)
        gate.callback(None)
        assert self.successResultOf(waits) is None

    def test_forgotten(self) -> None:
        """
        A coroutine that nobody can ever go on with is closed.
        """
        closed: list[bool] = []

        async def coroutine() -> None:
            try:
                await Deferred()
            finally:
                closed.append(True)

        waiting = awaited(coroutine())
        assert waiting is not None
        del waiting
        gc.collect()
        assert closed == [True]

    def test_nobodyToRefuse(self) -> None:
        """
        A circle in which there is no login is left alone.
        """
        circle: list[Deferred[Any]] = []

        async def coroutine(other: int) -> None:
            await deferLater(self.clock, 1, int)
            await circle[other]

        for other in (1, 0):
            waiting = awaited(coroutine(other))
            assert waiting is not None
            circle.append(waiting)
        self.clock.advance(1)
        for each in circle:
            self.assertNoResult(each)
