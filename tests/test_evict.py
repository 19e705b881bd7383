"""
Tests for L{avatarkit.AvatarCache.evict}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    LoginRefused,
    MindRegistry,
    PerConnection,
    Session,
)
from avatarkit.testing import FakeMind
from saved import Player
from scripted import Boom, Gate, IThing, Script, Thing, frank, opened, slots, waiting


class Banned(LoginRefused):
    """
    Why somebody must go.
    """

    text = "you are banned"


class EvictTests(SynchronousTestCase):
    """
    An avatar goes, wherever it is in its life.
    """

    def setUp(self) -> None:
        """
        Have a cache of players, who are saved at once.
        """
        Player.made = []
        Player.saving = lambda player: None
        self.clock = Clock()
        self.limit = ConnectionLimit(9)
        self.cache: AvatarCache[Any] = AvatarCache(reactor=self.clock)
        self.stack(Player)

    def stack(self, factory: Any) -> None:
        """
        Have a realm over a factory.
        """
        self.cache = AvatarCache(reactor=self.clock)
        self.realm = self.limit(self.cache(factory))

    def login(self, avatarId: object = b"alice") -> Any:
        """
        Log in.
        """
        return frank(self.realm).requestAvatar(avatarId, None, IThing)

    def tearDown(self) -> None:
        """
        The books agree.
        """
        assert self.realm.audit() == []

    def test_gone(self) -> None:
        """
        If there is no avatar nothing happens, also if the cache has no target yet.
        """
        assert self.successResultOf(self.cache.evict(b"alice")) is False
        assert self.successResultOf(AvatarCache().evict(b"alice")) is False
        opened(self.login())

    def test_loading(self) -> None:
        """
        An avatar that is loading is given up, the logins that wait for it fail with the reason,
        each with its own, and a later login loads it anew.
        """
        gates = [Gate(), Gate()]
        left = list(gates)
        self.stack(lambda avatarId: left.pop(0).wait)
        logins = [waiting(self.login()) for _ in range(2)]
        reason = Banned(avatarId=b"alice")
        assert self.successResultOf(self.cache.evict(b"alice", reason)) is True
        errors: list[Any] = [self.failureResultOf(each, Banned).value for each in logins]
        assert len({id(each) for each in (reason, *errors)}) == 3
        assert [(each.avatarId, str(each)) for each in errors] == [
            (b"alice", "you are banned"),
            (b"alice", "you are banned"),
        ]
        later = waiting(self.login())
        gates[1].wait.callback(Player(b"alice"))
        self.successResultOf(later)

    def test_loadingSlowly(self) -> None:
        """
        While a load that was given up is being undone, nobody is let in.
        """
        gate, below = Gate(), Script()
        below.acts["release 0"] = gate.deferred
        wait: Any = Deferred()
        self.stack(below.blocks[0](lambda avatarId: wait))
        first = waiting(self.login())
        first.addErrback(lambda failure: later.append(waiting(self.login())))
        second = waiting(self.login())
        later: list[Any] = []
        evicting = self.cache.evict(b"alice")
        self.failureResultOf(second, LoginAbandoned)
        self.assertNoResult(evicting)
        wait = Player(b"alice")
        gate.wait.callback(None)
        assert self.successResultOf(evicting) is True
        assert self.successResultOf(later[0])[1] is wait

    def test_insideTheFactory(self) -> None:
        """
        A factory may evict the avatar that it makes, which is then logged out, and the login fails
        with the reason.
        """
        results: list[Any] = []
        late: list[Any] = []

        def factory(avatarId: object) -> Player:
            if not results:
                evicting = self.cache.evict(avatarId, Banned())
                results.append(evicting)
                late.append(waiting(self.login()))
            return Player(avatarId)

        self.stack(factory)
        self.assertRaises(Banned, self.login)
        assert self.successResultOf(results[0]) is True
        first, second = Player.made
        assert (first.saved, second.saved) == (1, 0)
        assert self.successResultOf(late[0])[1] is second

    def test_insideTheFactoryAlone(self) -> None:
        """
        If nobody else wants it, no other avatar is made.
        """

        def factory(avatarId: object) -> Player:
            self.cache.evict(avatarId, Banned())
            return Player(avatarId)

        self.stack(factory)
        self.assertRaises(Banned, self.login)
        assert [each.saved for each in Player.made] == [1]

    def test_handingRound(self) -> None:
        """
        While the avatar is being handed to those who waited for it, those who have it are logged
        out, those who wait fail, and it is retired once.
        """
        gate = Gate()
        wait: Any = gate.wait
        self.stack(lambda avatarId: wait)
        first, second, third = (waiting(self.login()) for _ in range(3))
        evicted: list[Any] = []
        second.addCallback(lambda result: evicted.append(self.cache.evict(b"alice", Banned())))
        player = Player(b"alice")
        gate.wait.callback(player)
        assert self.successResultOf(evicted[0]) is True
        self.failureResultOf(third, Banned)
        self.successResultOf(first)
        assert (player.saved, dict(self.cache), len(self.realm.sessions)) == (1, {}, 0)

    def test_inUse(self) -> None:
        """
        The sessions that use the avatar end, each as it likes; a login that comes meanwhile waits
        until it is gone, and gets a new one.
        """
        gate, above = Gate(), Script()
        above.acts["detached 0"] = gate.deferred
        self.realm = above.blocks[0](self.realm)
        first = opened(self.login())[1]
        opened(self.login())
        bob = opened(self.login(b"bob"))[1]
        evicting = self.cache.evict(b"alice")
        late = waiting(self.login())
        assert (first.saved, list(self.cache)) == (0, [b"bob"])
        self.assertNoResult(evicting)
        gate.wait.callback(None)
        assert self.successResultOf(evicting) is True
        assert (first.saved, bob.saved) == (1, 0)
        assert self.successResultOf(late)[1] is self.cache[b"alice"] is not first

    def test_loginsThatUseIt(self) -> None:
        """
        A login in progress that has the avatar already fails with the reason, also one that has it
        by way of another realm.
        """
        own = PerConnection(lambda session: Thing())
        for stack in (lambda realm: realm, own):
            self.stack(Player)
            gate, above = Gate(), Script()
            above.acts["attached 0"] = gate.deferred
            self.realm = above.blocks[0](stack(self.realm))
            login = waiting(self.login())
            assert self.successResultOf(self.cache.evict(b"alice", Banned())) is True
            self.failureResultOf(login, Banned)
            assert len(self.realm.sessions) == 0

    def test_idle(self) -> None:
        """
        An idle avatar is retired, and its timer is stopped.
        """
        self.cache.idleTimeout = 10
        player, logout = opened(self.login())[1:]
        logout()
        assert self.successResultOf(self.cache.evict(b"alice")) is True
        assert (player.saved, dict(self.cache)) == (1, {})
        assert self.clock.getDelayedCalls() == []

    def test_retiring(self) -> None:
        """
        If the avatar is being retired, those who wait for that fail, and later ones do not.
        """
        gate: Deferred[None] = Deferred()
        Player.saving = lambda player: gate
        opened(self.login())[2]()
        retiring = self.cache.retire(b"alice")
        early = waiting(self.login())
        evicting = [self.cache.evict(b"alice", Banned()) for _ in range(2)]
        self.failureResultOf(early, Banned)
        late = waiting(self.login())
        for each in (retiring, *evicting):
            self.assertNoResult(each)
        gate.callback(None)
        assert [self.successResultOf(each) for each in (retiring, *evicting)] == [True] * 3
        assert self.successResultOf(late)[1] is Player.made[1]
        assert [each.saved for each in Player.made] == [1, 0]

    def test_justGone(self) -> None:
        """
        Who is told that an avatar is gone may evict it: there is none, and those who have waited
        for the next one fail.
        """
        gate: Deferred[None] = Deferred()
        Player.saving = lambda player: gate
        opened(self.login())[2]()
        results: list[Any] = []

        def again(gone: bool) -> None:
            self.cache.evict(b"alice", Banned()).addCallback(results.append)

        self.cache.retire(b"alice").addCallback(again)
        late = waiting(self.login())
        gate.callback(None)
        assert results == [False]
        self.failureResultOf(late, Banned)
        opened(self.login())

    def test_deadline(self) -> None:
        """
        An avatar that does not go is given up, whatever keeps it.
        """
        hanging: Deferred[None] = Deferred()
        Player.saving = lambda player: hanging
        opened(self.login())
        evicting = self.cache.evict(b"alice")
        self.clock.advance(60)
        assert self.successResultOf(evicting) is True
        opened(self.login())
        assert len(self.realm.audit()) == 1
        hanging.callback(None)
        gate, above = Gate(), Script()
        above.acts["detached 0"] = gate.deferred
        self.realm = above.blocks[0](self.realm)
        opened(self.login())
        evicting = self.cache.evict(b"alice")
        self.clock.advance(60)
        assert self.successResultOf(evicting) is True
        gate.wait.callback(None)

    def test_closed(self) -> None:
        """
        An avatar can be evicted from a cache that is closing; that ends with it.
        """
        opened(self.login())
        closing = self.cache.close()
        self.assertNoResult(closing)
        assert self.successResultOf(self.cache.evict(b"alice")) is True
        self.successResultOf(closing)

    def test_badArguments(self) -> None:
        """
        A reason that is neither an exception nor a text, and the ID of anonymous logins, are
        refused.
        """
        reason: Any
        for reason in (b"banned", Banned, KeyboardInterrupt()):
            error = self.assertRaises(TypeError, self.cache.evict, b"alice", reason)
            assert "reason must be a SessionEnded" in str(error)
        bad = self.assertRaises(ValueError, self.cache.evict, ANONYMOUS)
        assert "share no avatar" in str(bad)

    def test_oldRights(self) -> None:
        """
        Nobody has the old avatar back who reconnects while its sessions are still ending.
        """
        rights, gate = {b"alice": "admin"}, Gate()

        class User(Thing):
            def __init__(self, avatarId: bytes) -> None:
                self.right = rights[avatarId]

        online, above = MindRegistry(reactor=self.clock), Script()
        above.acts["detached 0"] = gate.deferred
        self.stack(User)
        self.realm = online(ConnectionCounter()(above.blocks[0](self.realm)))
        mind = FakeMind()
        opened(self.realm.requestAvatar(b"alice", mind, IThing))
        rights[b"alice"] = "user"
        online.disconnect(b"alice", reactor=self.clock)
        evicting = self.cache.evict(b"alice")
        again = waiting(self.login())
        gate.wait.callback(None)
        assert self.successResultOf(evicting) is True
        assert (self.successResultOf(again)[1].right, mind.disconnected) == ("user", True)


class DiscardTests(SynchronousTestCase):
    """
    The avatar of a user that was deleted is not told.
    """

    def assertSilent(self, target: Any, told: Callable[[], int], times: int = 1) -> None:
        """
        Over a target, discarding an avatar tells it nothing, whether it is in use, idle or was just
        ended, and evicting it does.
        """
        kick = Kick()
        cache: AvatarCache[Any] = AvatarCache()
        gate, above = Gate(), Script({"detached 1": lambda session: gate.wait})
        limit = ConnectionLimit(9)
        realm = above.blocks[1](cache(limit(kick(target))))
        for state in ("in use", "idle", "ended"):
            gate = Gate()
            logout = opened(realm.requestAvatar(b"alice", None, IThing))[2]
            assert slots(limit) == {b"alice": 1}
            if state == "idle":
                logout()
                gate.wait.callback(None)
            elif state == "ended":
                kick.seen[-1].logout()
            evicting = cache.evict(b"alice", discard=True)
            if state != "idle":
                self.assertNoResult(evicting)
                gate.wait.callback(None)
            assert self.successResultOf(evicting) is True
            assert (told(), slots(limit), realm.audit()) == (0, {}, [])
        gate.wait = Deferred()
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        gate.wait.callback(None)
        self.successResultOf(cache.evict(b"alice"))
        assert told() == times

    def test_factory(self) -> None:
        """
        The logout of the avatar is not called, and blocks below see the end of its session.
        """
        Player.made = []
        Player.saving = lambda player: None
        self.assertSilent(Player, lambda: sum(each.saved for each in Player.made))

    def test_perConnection(self) -> None:
        """
        Neither is that of one that was built from another, nor that of the other one.
        """
        Player.made = []
        Player.saving = lambda player: None
        build = PerConnection(lambda session: Player(session.avatarId))
        for target, times in ((build, 1), (build(Player), 2)):
            Player.made = []
            self.assertSilent(target, lambda: sum(each.saved for each in Player.made), times)

    def test_borrowed(self) -> None:
        """
        Nor is that of one that is the other one; nothing is kept of it.
        """
        Player.made = []
        Player.saving = lambda player: None
        same = PerConnection[Any, Any](lambda session: session.avatar)
        self.assertSilent(same(Player), lambda: sum(each.saved for each in Player.made))
        assert same._borrowed == set()

    def test_foreignRealm(self) -> None:
        """
        Nor is the one that a realm of somebody else's returned.
        """
        logouts: list[object] = []

        @implementer(IRealm)
        class Foreign:
            def requestAvatar(self, avatarId: object, mind: object, *interfaces: Any) -> Any:
                return IThing, Thing(), lambda: logouts.append(avatarId)

        self.assertSilent(Foreign(), lambda: len(logouts))

    def test_ownSource(self) -> None:
        """
        A source of one's own is released, unless it can discard.
        """
        script = Script()
        calls: list[Session] = []
        cache: AvatarCache[Any] = AvatarCache()
        realm = cache(script.realm)
        opened(realm.requestAvatar(b"alice", None, IThing))
        self.successResultOf(cache.evict(b"alice", discard=True))
        assert script.log.count("let go") == 1
        source: Any = script.source
        source.discard = calls.append
        opened(realm.requestAvatar(b"alice", None, IThing))
        self.successResultOf(cache.evict(b"alice", discard=True))
        assert (script.log.count("let go"), len(calls)) == (1, 1)

    def test_tooLate(self) -> None:
        """
        A logout that has been called goes on.
        """
        Player.made, gate = [], Gate()
        Player.saving = lambda player: gate.wait
        cache: AvatarCache[Any] = AvatarCache(idleTimeout=0)
        realm = cache(Player)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        evicting = cache.evict(b"alice", discard=True)
        self.assertNoResult(evicting)
        gate.wait.callback(None)
        assert self.successResultOf(evicting) is True


class Kick(Block):
    """
    A block that can end the sessions that it saw.
    """

    def __init__(self) -> None:
        self.seen: list[Session] = []

    def attached(self, session: Session) -> None:
        """
        See.
        """
        self.seen.append(session)


#: The hooks of a session above the cache, and of an avatar below it.
HOOKS = ("admit 1", "attached 1", "detached 1", "release 1")


class InsideTests(SynchronousTestCase):
    """
    It may be called from inside any hook, waiting or not.
    """

    def run_(self, where: str, hook: str, shape: str, discard: bool) -> None:
        """
        Log in twice, evict from inside a hook of the first session or avatar, and see that
        everything ends well.
        """
        Player.made = []
        Player.saving = lambda player: None
        clock = Clock()
        results: list[bool] = []
        scripts = {"above": Script(), "below": Script()}
        cache: AvatarCache[Any] = AvatarCache(reactor=clock)
        realm = frank(scripts["above"].blocks[1](cache(scripts["below"].blocks[1](Player))))
        gate: Deferred[None] = Deferred()

        def act(session: Session) -> object:
            del scripts[where].acts[hook]
            evicting = cache.evict(b"alice", Banned(), discard=discard)
            evicting.addCallback(results.append)
            if shape == "raises":
                raise Boom
            return gate if shape == "waits" else None

        scripts[where].acts[hook] = act
        outcomes: list[Any] = []
        for _ in range(2):
            try:
                result = realm.requestAvatar(b"alice", None, IThing)
            except (Banned, Boom):
                continue
            if isinstance(result, Deferred):
                result.addBoth(outcomes.append)
            else:
                outcomes.append(result)
        for outcome in [each for each in outcomes if isinstance(each, tuple)]:
            outcome[2]()
        evicting = cache.evict(b"alice") if hook in scripts[where].acts else succeed(True)
        gate.callback(None)
        assert self.successResultOf(evicting) is True
        self.flushLoggedErrors(Boom)
        assert len(results) == 1, (where, hook, shape)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        self.successResultOf(cache.evict(b"alice"))
        assert (realm.audit(), len(realm.sessions), dict(cache)) == ([], 0, {})
        assert all(each.saved == 1 or discard for each in Player.made), (where, hook, shape)
        assert all(each.saved <= 1 for each in Player.made)

    def test_everywhere(self) -> None:
        """
        Whatever the hook does then, the avatar is gone in the end, and told once or not at all.
        """
        for where in ("above", "below"):
            for hook in HOOKS:
                for shape in ("returns", "raises", "waits"):
                    for discard in (False, True):
                        self.run_(where, hook, shape, discard)
