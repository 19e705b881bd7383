"""
Tests for how long an avatar stays in its cache.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, RealmClosed
from saved import Player
from scripted import Boom, Gate, IThing, Script, Thing, fails, opened, waiting


class LifeTests(SynchronousTestCase):
    """
    Idle avatars.
    """

    def setUp(self) -> None:
        """
        Start without avatars.
        """
        Player.made = []
        Player.saving = lambda player: None
        self.clock = Clock()

    def cache(self, **policy: Any) -> AvatarCache:
        """
        Make a cache with a fake clock, and return it.
        """
        self.cached = AvatarCache(reactor=self.clock, **policy)
        self.realm = self.cached(Player)
        return self.cached

    def login(self, avatarId: bytes = b"alice") -> Any:
        """
        Log in without waiting.
        """
        return opened(self.realm.requestAvatar(avatarId, None, IThing))

    def tearDown(self) -> None:
        """
        The audit finds nothing.
        """
        if hasattr(self, "realm"):
            assert self.realm.audit() == []

    def test_forEver(self) -> None:
        """
        By default an avatar is kept for ever, and no delayed call is scheduled.
        """
        cache = self.cache()
        self.login()[2]()
        assert self.clock.getDelayedCalls() == []
        assert b"alice" in cache

    def test_idleTimeout(self) -> None:
        """
        An avatar is retired C{idleTimeout} seconds after its last session ends, and no sooner.
        """
        cache = self.cache(idleTimeout=10)
        first, second = self.login(), self.login()
        self.clock.advance(100)
        first[2]()
        self.clock.advance(100)
        assert b"alice" in cache
        second[2]()
        self.clock.advance(9.5)
        assert b"alice" in cache
        self.clock.advance(0.5)
        assert (dict(cache), Player.made[0].saved) == ({}, 1)

    def test_takenBack(self) -> None:
        """
        A login during the idle time takes the avatar back and stops the clock.
        """
        cache = self.cache(idleTimeout=10)
        first = self.login()
        first[2]()
        self.clock.advance(9)
        second = self.login()
        assert second[1] is first[1]
        assert self.clock.getDelayedCalls() == []
        self.clock.advance(100)
        second[2]()
        self.clock.advance(9)
        assert (b"alice" in cache, first[1].saved) == (True, 0)
        self.clock.advance(1)
        assert (b"alice" in cache, first[1].saved) == (False, 1)

    def test_notAtAll(self) -> None:
        """
        With an idle timeout of 0, an avatar is retired with its last session.
        """
        cache = self.cache(idleTimeout=0)
        first, second = self.login(), self.login()
        first[2]()
        assert b"alice" in cache
        second[2]()
        assert (dict(cache), Player.made[0].saved) == ({}, 1)
        assert self.clock.getDelayedCalls() == []

    def test_maximumIdle(self) -> None:
        """
        If too many avatars are idle, those that were used longest ago are retired; avatars in use
        do not count.
        """
        cache = self.cache(maximumIdle=2)
        held = self.login(b"in use")
        logouts = {name: self.login(name)[2] for name in (b"a", b"b", b"c", b"d")}
        for name in (b"b", b"a"):
            logouts[name]()
        assert len(cache) == 5
        self.login(b"b")[2]()
        logouts[b"c"]()
        assert set(cache) == {b"in use", b"b", b"c", b"d"}
        logouts[b"d"]()
        assert set(cache) == {b"in use", b"c", b"d"}
        assert [each.name for each in Player.made if each.saved] == [b"a", b"b"]
        cache.maximumIdle = 0
        held[2]()
        assert dict(cache) == {}

    def test_both(self) -> None:
        """
        An avatar that was retired to make room is not retired again when its time is up.
        """
        self.cache(idleTimeout=10, maximumIdle=1)
        self.login(b"a")[2]()
        self.login(b"b")[2]()
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(10)
        assert [each.saved for each in Player.made] == [1, 1]

    def test_retire(self) -> None:
        """
        An idle avatar can be retired by hand, and the Deferred fires when its logout is done; an
        avatar that is in use, retiring or unknown cannot.
        """
        gate = Gate()
        Player.saving = lambda player: gate.wait
        cache = self.cache(idleTimeout=10, retireTimeout=None)
        assert self.successResultOf(cache.retire(b"alice")) is False
        logout = self.login()[2]
        assert self.successResultOf(cache.retire(b"alice")) is False
        logout()
        retiring = cache.retire(b"alice")
        assert (dict(cache), self.clock.getDelayedCalls()) == ({}, [])
        self.assertNoResult(retiring)
        assert self.successResultOf(cache.retire(b"alice")) is False
        gate.wait.callback(None)
        assert self.successResultOf(retiring) is True

    def test_retireWhileHandedRound(self) -> None:
        """
        An avatar that is being handed to the logins that waited for it is not idle.
        """
        gate = Gate()
        cache = AvatarCache()
        wait: Any = gate.wait
        self.realm = cache(lambda name: wait)
        results: list[Any] = []
        login = waiting(self.realm.requestAvatar(b"alice", None, IThing))
        login.addCallback(lambda result: result[2]())
        login.addCallback(lambda ignored: cache.retire(b"alice").addCallback(results.append))
        second = waiting(self.realm.requestAvatar(b"alice", None, IThing))
        thing = Thing()
        gate.wait.callback(thing)
        assert results == [False]
        assert self.successResultOf(second)[1] is thing is cache[b"alice"]

    def test_loginWhileRetiring(self) -> None:
        """
        A login that meets a retiring avatar waits until its logout succeeds or fails, and then gets
        a new one.
        """
        for finish in (lambda gate: gate.callback(None), lambda gate: gate.errback(Boom())):
            gate: Deferred[None] = Deferred()
            Player.made = []
            self.gate = gate
            Player.saving = lambda player: self.gate
            cache = self.cache(idleTimeout=0)
            self.login()[2]()
            logins = [waiting(self.realm.requestAvatar(b"alice", None, IThing)) for _ in range(2)]
            assert self.realm.audit() == []
            assert len(Player.made) == 1
            finish(gate)
            avatars = {self.successResultOf(each)[1] for each in logins}
            assert avatars == {Player.made[1]} == set(cache.values())
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_failingLogout(self) -> None:
        """
        A logout that raises is logged, and its avatar ID can log in again.
        """
        Player.saving = lambda player: fails()
        cache = self.cache(idleTimeout=0)
        self.login()[2]()
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert dict(cache) == {}
        self.login()
        assert len(Player.made) == 2

    def test_reentrantLogout(self) -> None:
        """
        An avatar that is retired to make room, and whose logout logs in and out as another one,
        does not upset the cache.
        """
        cache = self.cache(idleTimeout=10, maximumIdle=1)

        def saving(player: Player) -> None:
            if player.name == b"a":
                self.login(b"b")[2]()

        Player.saving = saving
        self.login(b"a")[2]()
        self.login(b"b")[2]()
        assert list(cache) == [b"b"]
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(10)
        assert dict(cache) == {}

    def test_close(self) -> None:
        """
        close() retires idle avatars now and others when their sessions end, and fires when all are
        gone.
        """
        cache = self.cache(idleTimeout=10)
        self.login(b"idle")[2]()
        logout = self.login(b"used")[2]
        closing = cache.close()
        assert (list(cache), self.clock.getDelayedCalls()) == ([b"used"], [])
        self.assertRaises(RealmClosed, self.login, b"used")
        logout()
        self.successResultOf(closing)
        assert [each.saved for each in Player.made] == [1, 1]
        self.successResultOf(AvatarCache().close())

    def test_badPolicy(self) -> None:
        """
        A time that is negative, infinite or not a number, and a maximum that is negative or not an
        int, are refused at construction.
        """
        nan, infinite = float("nan"), float("inf")
        for policy, error in (
            ({"idleTimeout": -1}, ValueError),
            ({"idleTimeout": nan}, ValueError),
            ({"idleTimeout": infinite}, ValueError),
            ({"idleTimeout": "10"}, TypeError),
            ({"idleTimeout": True}, TypeError),
            ({"retireTimeout": -1}, ValueError),
            ({"retireTimeout": infinite}, ValueError),
            ({"retireTimeout": "60"}, TypeError),
            ({"maximumIdle": -1}, ValueError),
            ({"maximumIdle": 1.5}, TypeError),
            ({"maximumIdle": True}, TypeError),
        ):
            refused: Any = self.assertRaises(error, AvatarCache, **policy)
            assert next(iter(policy)) in str(refused)
        script = Script()
        for closer in (script.realm.close, script.realm.service):
            self.assertRaises(ValueError, closer, timeout=-1)
            self.assertRaises(TypeError, closer, timeout="10")
        opened(script.login())
