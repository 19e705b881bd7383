"""
Tests for caches with very many avatars, or very many logins for one of them: the reactor has its
turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, LoginAbandoned
from avatarkit._waiting.slices import AT_ONCE
from logs import logged
from scripted import Boom, IThing, Thing, frank, opened, waiting
from ticking import Ticking

MANY = 1000

#: How many of them are dealt with at the beginning, and in one turn.
FIRST, FEW = range(AT_ONCE, AT_ONCE + 10), range(1, 10)


class Player(Thing):
    """
    An avatar that knows whose were retired.
    """

    retired: list[object]
    wait: Deferred[None] | None

    def __init__(self, name: object) -> None:
        self.name = name

    def logout(self) -> object:
        """
        Note it.
        """
        self.retired.append(self.name)
        return self.wait


class ManyTestCase(SynchronousTestCase):
    """
    A cache whose clock counts.
    """

    def setUp(self) -> None:
        """
        Nobody was retired.
        """
        Player.retired, Player.wait = [], None
        self.clock = Ticking()

    def tearDown(self) -> None:
        """
        The books agree.
        """
        assert self.realm.audit() == []

    def stack(self, factory: Any = Player, **settings: Any) -> None:
        """
        Have a realm with a cache.
        """
        self.cache: AvatarCache[Any] = AvatarCache(reactor=self.clock, **settings)
        self.realm = frank(self.cache(factory))

    def login(self, avatarId: object = b"a") -> Any:
        """
        Log in.
        """
        return self.realm.requestAvatar(avatarId, None, IThing)

    def turnsUntil(self, over: Callable[[], object], sizes: Callable[[], int]) -> Sequence[int]:
        """
        Give the reactor turns, and return how much was done in each of them.
        """
        done = []
        while not over():
            before = sizes()
            assert self.clock.turn()
            done.append(sizes() - before)
        return done

    def assertSliced(self, over: Callable[[], object], sizes: Callable[[], int]) -> None:
        """
        The rest is done in many turns, a few in each of them.
        """
        done = self.turnsUntil(over, sizes)
        assert len(done) > (MANY - AT_ONCE) / 10 - 1
        assert all(each in FEW for each in done[:-1])

    def turnAll(self) -> None:
        """
        Give the reactor turns until nothing is left to do.
        """
        while self.clock.turn():
            pass


class IdleTests(ManyTestCase):
    """
    A thousand idle avatars.
    """

    def fill(self, **settings: Any) -> None:
        """
        Have them.
        """
        self.stack(**settings)
        for name in range(MANY):
            opened(self.login(name))[2]()
        assert len(self.cache._kept.idle) == MANY

    def test_close(self) -> None:
        """
        When the cache closes, the first hundred are retired at once, and the others in slices.
        """
        self.fill()
        used = opened(self.login("used"))[2]
        closing = self.cache.close()
        assert len(Player.retired) in FIRST
        assert self.realm.audit() == []
        self.assertSliced(lambda: len(self.cache) == 1, lambda: len(Player.retired))
        assert Player.retired == list(range(MANY))
        self.assertNoResult(closing)
        used()
        self.successResultOf(closing)
        self.successResultOf(self.cache.close())
        assert self.clock.getDelayedCalls() == []

    def test_closeMeanwhile(self) -> None:
        """
        Those that are retired or given up meanwhile are no obstacle.
        """
        self.fill(retireTimeout=50)
        closing = self.cache.close()
        assert self.successResultOf(self.cache.retire(MANY - 1)) is True
        Player.wait = Deferred()
        hanging = len(Player.retired)
        self.turnsUntil(lambda: not self.cache, lambda: 0)
        self.assertNoResult(closing)
        self.clock.rightNow += 50
        with logged(LogLevel.error) as events:
            self.turnAll()
        assert len(events) == MANY - hanging
        self.successResultOf(closing)
        assert len(self.realm.audit()) == MANY - hanging
        Player.wait.callback(None)

    def test_timers(self) -> None:
        """
        If the time of all is up at once, they are retired in slices; one that is used meanwhile is
        not.
        """
        self.fill(idleTimeout=60)
        self.clock.rightNow += 100
        self.clock.turn()
        assert len(Player.retired) in FEW
        last = opened(self.login(MANY - 1))
        self.assertSliced(lambda: len(self.cache) == 1, lambda: len(Player.retired))
        assert Player.retired == list(range(MANY - 1))
        last[2]()
        assert len(self.clock.getDelayedCalls()) == 2
        self.turnAll()
        assert list(self.cache) == [MANY - 1]
        self.clock.advance(60)
        assert not self.cache

    def test_deadlines(self) -> None:
        """
        Those that take too long are given up in slices.
        """
        self.fill(retireTimeout=50)
        Player.wait = Deferred()
        gone = [self.cache.retire(name) for name in range(MANY)]
        self.clock.rightNow += 60
        with logged(LogLevel.error) as events:
            self.clock.turn()
            assert len(events) in FEW
            self.assertSliced(lambda: len(events) == MANY, lambda: len(events))
        for each in gone:
            assert self.successResultOf(each) is True
        Player.wait.callback(None)
        self.turnAll()
        assert self.clock.getDelayedCalls() == []

    def test_noDeadlines(self) -> None:
        """
        If nobody waits any more for a realm to close, all its timers are stopped, in slices.
        """
        self.fill(retireTimeout=1000)
        Player.wait = Deferred()
        closing = self.realm.close(timeout=100, reactor=self.clock)
        self.turnsUntil(lambda: not self.cache, lambda: 0)
        self.clock.rightNow += 100
        self.clock.turn()
        assert MANY - 200 < len(self.clock.getDelayedCalls()) < MANY
        self.turnAll()
        assert self.clock.getDelayedCalls() == []
        assert len(self.flushLoggedErrors()) == 0
        self.successResultOf(closing)
        Player.wait.callback(None)

    def test_lowered(self) -> None:
        """
        If the maximum is lowered, those that are too many are retired in slices, longest unused
        first.
        """
        self.fill()
        self.cache.maximumIdle = 10
        opened(self.login(0))[2]()
        assert len(Player.retired) in FIRST
        opened(self.login(MANY - 1))[2]()
        self.assertSliced(lambda: len(self.cache) == 10, lambda: len(Player.retired))
        assert set(self.cache) == {0, *range(MANY - 9, MANY)}
        opened(self.login("new"))[2]()
        assert len(self.cache) == 10
        assert self.clock.getDelayedCalls() == []

    def test_raised(self) -> None:
        """
        If the maximum is raised again meanwhile, no more are retired.
        """
        self.fill()
        self.cache.maximumIdle = 10
        opened(self.login(0))[2]()
        retired = len(Player.retired)
        assert retired in FIRST
        self.cache.maximumIdle = None
        while self.clock.getDelayedCalls():
            self.clock.turn()
        assert len(Player.retired) == retired
        self.cache.maximumIdle = 10
        opened(self.login(0))[2]()
        assert len(Player.retired) > retired


class OneTests(ManyTestCase):
    """
    A thousand logins for one avatar.
    """

    def setUp(self) -> None:
        """
        Have them wait.
        """
        super().setUp()
        self.loading: list[Deferred[Any]] = []
        self.stack(self.load)
        self.logins = [waiting(self.login()) for _ in range(MANY)]

    def load(self, avatarId: object) -> Any:
        """
        Make an avatar, later.
        """
        self.loading.append(Deferred())
        return self.loading[-1]

    def fired(self) -> int:
        """
        Return how many logins are over.
        """
        return sum(each.called for each in self.logins)

    def test_success(self) -> None:
        """
        When the avatar is there, the first hundred get it at once, and the others in slices; one
        that comes meanwhile gets it at once; one that leaves is left out.
        """
        self.loading[0].callback(Player(b"a"))
        assert self.fired() in FIRST
        assert self.realm.audit() == []
        opened(self.login())[2]()
        self.logins[-1].addErrback(lambda failure: failure.trap(CancelledError) and None)
        self.logins[-1].cancel()
        self.assertSliced(lambda: self.fired() == MANY, self.fired)
        self.turnAll()
        for each in self.logins[:-1]:
            assert self.successResultOf(each)[1] is self.cache[b"a"]
        assert len(self.loading) == 1

    def test_evicted(self) -> None:
        """
        If it is evicted meanwhile, nobody gets it any more, and the next login gets another.
        """
        self.loading[0].callback(Player(b"a"))
        evicted = self.cache.evict(b"a")
        late = waiting(self.login())
        self.turnAll()
        assert self.successResultOf(evicted) is True
        assert Player.retired == [b"a"]
        got = sum(not self.resultIs(each, LoginAbandoned) for each in self.logins)
        assert got in FIRST
        self.loading[1].callback(Player(b"new"))
        assert self.successResultOf(late)[1].name == b"new"

    def resultIs(self, login: Deferred[Any], kind: type[Exception]) -> bool:
        """
        Return whether a login has failed that way.
        """
        results: list[Any] = []
        login.addBoth(results.append)
        return hasattr(results[0], "check") and bool(results[0].check(kind))

    def test_unused(self) -> None:
        """
        It is not retired before all have got it, even if the first leave at once.
        """
        self.cache.idleTimeout = 0
        for each in self.logins:
            each.addCallback(lambda result: result[2]())
        self.loading[0].callback(Player(b"a"))
        assert not Player.retired
        self.turnAll()
        assert (Player.retired, dict(self.cache)) == ([b"a"], {})

    def test_failure(self) -> None:
        """
        If it cannot be made, they fail in slices; one that comes meanwhile has it made again.
        """
        self.loading[0].errback(Boom())
        assert self.fired() in FIRST
        assert self.realm.audit() == []
        late = waiting(self.login())
        self.logins[-1].addErrback(lambda failure: failure.trap(CancelledError) and None)
        self.logins[-1].cancel()
        self.assertSliced(lambda: self.fired() == MANY, self.fired)
        for each in self.logins[:-1]:
            self.failureResultOf(each, Boom)
        self.loading[1].callback(Player(b"a"))
        self.successResultOf(late)

    def test_condemned(self) -> None:
        """
        If it ends, those who use it end in slices, and then it is retired.
        """
        self.loading[0].callback(Player(b"a"))
        self.turnAll()
        next(iter(self.cache.below.sessions)).logout()
        assert MANY - len(self.realm.sessions) in FIRST
        assert self.realm.audit() == []
        self.assertSliced(lambda: not self.realm.sessions, lambda: -len(self.realm.sessions))
        assert Player.retired == [b"a"]
