"""
Tests for L{avatarkit.AvatarCache}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import CopiedFailure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    PerConnection,
    RealmClosed,
    Session,
    TooManyConnections,
)
from scripted import Boom, Gate, IThing, Script, Thing, frank, opened, raises, waiting


class Player(Thing):
    """
    An avatar that counts its logouts.
    """

    def __init__(self, name: object) -> None:
        self.name = name
        self.logouts = 0

    def logout(self) -> object:
        """
        Count a logout.
        """
        self.logouts += 1
        return None


class Loader:
    """
    An avatar factory that waits.

    @ivar loads: the avatar ID of each call, and the Deferred that it returned.
    """

    def __init__(self) -> None:
        self.loads: list[tuple[object, Deferred[Any]]] = []

    def __call__(self, avatarId: object) -> Deferred[Any]:
        """
        Wait.
        """
        load: Deferred[Any] = Deferred()
        self.loads.append((avatarId, load))
        return load


class AvatarCacheTests(SynchronousTestCase):
    """
    One avatar per avatar ID, with an L{AvatarCache}.
    """

    def test_shared(self) -> None:
        """
        All logins of an avatar ID, simultaneous or later, share one avatar; another ID has another.
        """
        cache = AvatarCache()
        realm = cache(Player)
        first, second = login(realm), login(realm)
        first[2]()
        second[2]()
        third, other = login(realm), login(realm, b"bob")
        assert first[1] is second[1] is third[1]
        assert first[1] is not other[1]
        assert first[1].logouts == 0

    def test_mapping(self) -> None:
        """
        The cache is a read-only mapping of the avatars that are ready, and equals only itself.
        """
        cache, loader = AvatarCache(), Loader()
        realm = cache(loader)
        pending = waiting(realm.requestAvatar(b"alice", None, IThing))
        assert (dict(cache), len(cache), b"alice" in cache) == ({}, 0, False)
        self.assertRaises(KeyError, lambda: cache[b"alice"])
        alice = Player(b"alice")
        loader.loads[0][1].callback(alice)
        self.successResultOf(pending)
        assert (dict(cache), len(cache), b"alice" in cache) == ({b"alice": alice}, 1, True)
        assert cache[b"alice"] is alice
        assert not hasattr(cache, "__setitem__")
        assert cache != AvatarCache()
        assert len({cache, AvatarCache()}) == 2

    def test_sharedLoad(self) -> None:
        """
        Logins that come while the factory waits share its one call.
        """
        loader = Loader()
        realm = AvatarCache()(loader)
        logins = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(3)]
        ((avatarId, load),) = loader.loads
        assert avatarId == b"alice"
        load.callback(Player(b"alice"))
        avatars = {self.successResultOf(each)[1] for each in logins}
        assert len(avatars) == 1
        assert login(realm)[1] in avatars
        assert len(loader.loads) == 1

    def test_failedLoad(self) -> None:
        """
        If the factory fails, all logins that share the call fail, each with its own Failure, and
        the next login calls the factory again.
        """
        cache, loader = AvatarCache(), Loader()
        realm = frank(cache(loader))
        logins = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(3)]
        loader.loads[0][1].errback(Boom("no such player"))
        failures = [self.failureResultOf(each, Boom) for each in logins]
        assert len({id(each) for each in failures}) == 3
        assert len({id(each.value) for each in failures}) == 3
        assert all(str(each.value) == "no such player" for each in failures)
        assert dict(cache) == {}
        again = waiting(realm.requestAvatar(b"alice", None, IThing))
        loader.loads[1][1].callback(Player(b"alice"))
        self.successResultOf(again)

    def test_failureAtOnce(self) -> None:
        """
        If the factory raises, the realm raises the same, and the next login calls the factory
        again.
        """
        cache, script = AvatarCache(), Script({"acquire": raises})
        realm = frank(cache(script.realm))
        for _ in range(2):
            self.assertRaises(Boom, realm.requestAvatar, b"alice", None, IThing)
        assert script.log.count("acquire") == 2
        assert dict(cache) == {}

    def test_failureThatCannotBeCopied(self) -> None:
        """
        A failure whose exception cannot be copied reaches every login that waits.
        """

        class Stubborn(Exception):
            def __reduce__(self) -> Any:
                raise TypeError

        loader = Loader()
        realm = frank(AvatarCache()(loader))
        logins = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(2)]
        loader.loads[0][1].errback(Stubborn())
        for each in logins:
            self.failureResultOf(each, Stubborn)

    def test_failureFromAfar(self) -> None:
        """
        A failure that came over the network, without an exception, reaches every login that waits.
        """
        loader = Loader()
        realm = frank(AvatarCache()(loader))
        logins = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(2)]
        failure: Any = CopiedFailure.__new__(CopiedFailure)
        failure.__dict__.update(Failure(Boom()).__dict__)
        failure.value, failure.type = "far away", "remote.Boom"
        loader.loads[0][1].errback(failure)
        for each in logins:
            failed: Any = self.failureResultOf(each)
            assert (failed.value, type(failed)) == ("far away", CopiedFailure)

    def test_notKept(self) -> None:
        """
        An avatar that no login has succeeded with is retired when the last of its logins fails; any
        other is kept.
        """
        cache, script = AvatarCache(), Script()
        players: list[Player] = []

        def factory(avatarId: object) -> Player:
            players.append(Player(avatarId))
            return players[-1]

        realm = frank(script.blocks[0](cache(factory)))
        script.acts["attached 0"] = raises
        self.assertRaises(Boom, login, realm)
        assert (dict(cache), [each.logouts for each in players]) == ({}, [1])
        script.acts = {}
        login(realm)[2]()
        script.acts["attached 0"] = raises
        self.assertRaises(Boom, login, realm)
        assert (dict(cache), [each.logouts for each in players]) == ({b"alice": players[1]}, [1, 0])

    def test_notKeptButShared(self) -> None:
        """
        A login that fails does not affect an avatar that others use.
        """
        cache, script, loader = AvatarCache(), Script(), Loader()
        realm = frank(script.blocks[0](cache(loader)))
        first = waiting(realm.requestAvatar(b"alice", None, IThing))
        second = waiting(realm.requestAvatar(b"alice", None, IThing))

        def failOnce(session: Session) -> None:
            del script.acts["attached 0"]
            raise Boom

        script.acts["attached 0"] = failOnce
        alice = Player(b"alice")
        loader.loads[0][1].callback(alice)
        self.failureResultOf(first, Boom)
        self.successResultOf(second)
        assert (cache[b"alice"], alice.logouts) == (alice, 0)

    def test_anonymous(self) -> None:
        """
        Anonymous logins never share an avatar, and each avatar is logged out with its session.
        """
        cache = AvatarCache()
        realm = cache(Player)
        first, second = login(realm, ANONYMOUS), login(realm, ANONYMOUS)
        assert first[1] is not second[1]
        assert dict(cache) == {}
        first[2]()
        assert (first[1].logouts, second[1].logouts) == (1, 0)
        self.successResultOf(realm.close())
        assert second[1].logouts == 1

    def test_cancelledWaiter(self) -> None:
        """
        A login that gives up does not affect others that share the load; when the last one gives
        up, the load is cancelled.
        """
        cache, loader = AvatarCache(), Loader()
        realm = cache(loader)
        first = waiting(realm.requestAvatar(b"alice", None, IThing))
        second = waiting(realm.requestAvatar(b"alice", None, IThing))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        assert not loader.loads[0][1].called
        second.cancel()
        self.failureResultOf(second, CancelledError)
        assert loader.loads[0][1].called
        third = waiting(realm.requestAvatar(b"alice", None, IThing))
        loader.loads[1][1].callback(Player(b"alice"))
        self.successResultOf(third)

    def test_cancelledByAnother(self) -> None:
        """
        When a shared load succeeds or fails, a login may give up another that waits for it.
        """
        for fails in (False, True):
            cache, loader = AvatarCache(), Loader()
            realm = frank(cache(loader))
            first = waiting(realm.requestAvatar(b"alice", None, IThing))
            second = waiting(realm.requestAvatar(b"alice", None, IThing))

            def giveUp(result: Any, other: Deferred[Any] = second) -> Any:
                other.cancel()
                return result

            first.addBoth(giveUp)
            alice = Player(b"alice")
            load = loader.loads[0][1]
            load.errback(Boom()) if fails else load.callback(alice)
            self.failureResultOf(second, CancelledError)
            if fails:
                self.failureResultOf(first, Boom)
                assert dict(cache) == {}
            else:
                self.successResultOf(first)[2]()
                assert cache[b"alice"] is alice

    def test_factoryThatLogsIn(self) -> None:
        """
        If a factory logs in as the avatar that it is making, without waiting, that login gets the
        same avatar.
        """
        logins: list[Any] = []

        def factory(avatarId: object) -> Player:
            logins.append(realm.requestAvatar(avatarId, None, IThing))
            return Player(avatarId)

        realm = AvatarCache()(factory)
        alice = login(realm)[1]
        (inner,) = logins
        assert self.successResultOf(inner)[1] is alice

    def test_factoryThatGivesUp(self) -> None:
        """
        If all logins give up while the factory is being called, the avatar that it returns is
        logged out, and a later login gets a new one.
        """
        made: list[Player] = []
        later: list[Any] = []
        saving: Deferred[None] = Deferred()

        class Saving(Player):
            def logout(self) -> object:
                super().logout()
                return saving

        def factory(avatarId: object) -> Player:
            made.append(Saving(avatarId))
            if len(made) == 2:
                second.cancel()
                later.append(realm.requestAvatar(avatarId, None, IThing))
            return made[-1]

        script, cache = Script({"attached 0": raises}), AvatarCache()
        realm = frank(script.blocks[0](cache(factory)))
        self.assertRaises(Boom, login, realm)
        script.acts = {}
        second = waiting(realm.requestAvatar(b"alice", None, IThing))
        saving.callback(None)
        self.failureResultOf(second, CancelledError)
        assert [each.logouts for each in made] == [1, 1, 0]
        assert self.successResultOf(later[0])[1] is made[2] is cache[b"alice"]

    def test_close(self) -> None:
        """
        Closing the realm retires the avatars, waits for their logouts, and refuses logins through
        other realms that share the cache.
        """
        gate: Deferred[None] = Deferred()

        class Saving(Player):
            def logout(self) -> object:
                super().logout()
                return gate

        cache = AvatarCache()
        base = cache(Saving)
        realm, other = ConnectionLimit(9)(base), ConnectionCounter()(base)
        alice, bob = login(realm)[1], login(other, b"bob")
        login(realm, b"carol")[2]()
        closing = realm.close(timeout=None)
        assert (alice.logouts, bob[1].logouts) == (1, 0)
        assert dict(cache) == {b"bob": bob[1]}
        error: Any = self.assertRaises(RealmClosed, login, other, b"dave")
        assert error.avatarId == b"dave"
        gate.callback(None)
        self.assertNoResult(closing)
        bob[2]()
        self.successResultOf(closing)
        assert (bob[1].logouts, dict(cache)) == (1, {})

    def test_loginDuringRetiring(self) -> None:
        """
        A login that meets a retiring avatar waits until the avatar is gone, and gets a new one.
        """
        gates: list[Deferred[None]] = []

        class Saving(Player):
            def logout(self) -> object:
                gates.append(Deferred())
                return gates[-1]

        script, cache = Script({"attached 0": raises}), AvatarCache()
        realm = frank(script.blocks[0](cache(Saving)))
        self.assertRaises(Boom, login, realm)
        script.acts = {}
        second = waiting(realm.requestAvatar(b"alice", None, IThing))
        third = waiting(realm.requestAvatar(b"alice", None, IThing))
        givingUp = waiting(realm.requestAvatar(b"alice", None, IThing))
        givingUp.cancel()
        self.failureResultOf(givingUp, CancelledError)
        self.assertNoResult(second)
        gates[0].callback(None)
        assert self.successResultOf(second)[1] is self.successResultOf(third)[1] is cache[b"alice"]
        assert len(gates) == 1

    def test_givenUpAndClosing(self) -> None:
        """
        A login that comes and goes while an abandoned load is being undone changes nothing, and the
        next login has its own load.
        """
        gate, loader = Gate(), Loader()
        below = Script({"release 0": gate.deferred})
        cache = AvatarCache()
        realm = cache(below.blocks[0](loader))
        for _ in range(2):
            login = waiting(realm.requestAvatar(b"alice", None, IThing))
            login.cancel()
            self.failureResultOf(login, CancelledError)
        third = waiting(realm.requestAvatar(b"alice", None, IThing))
        assert len(loader.loads) == 1
        gate.wait.callback(None)
        loader.loads[1][1].callback(Player(b"alice"))
        self.successResultOf(third)

    def test_limitBelow(self) -> None:
        """
        Blocks below a cache see avatars, not logins: a limit there limits avatars.
        """
        limit, counter = ConnectionLimit(1), ConnectionCounter()
        realm = AvatarCache()(limit(counter(Player)))
        login(realm)
        login(realm)
        assert dict(counter) == {b"alice": 1}
        limit2 = ConnectionLimit(1)
        login(AvatarCache()(limit2(Player)))
        self.assertRaises(TooManyConnections, login, AvatarCache()(limit2(Player)))

    def test_twice(self) -> None:
        """
        A cache takes one target: calling it again raises a TypeError.
        """
        cache = AvatarCache()
        cache(Player)
        error = self.assertRaises(TypeError, cache, Player)
        assert "make another cache" in str(error)

    def test_noTarget(self) -> None:
        """
        A cache without a target is empty and consistent, and can be closed.
        """
        cache = AvatarCache()
        assert (len(cache), list(cache), b"alice" in cache) == (0, [], False)
        assert list(cache.audit()) == []
        assert self.successResultOf(cache.retire(b"alice")) is False
        assert self.successResultOf(cache.close()) is None
        self.assertRaises(RealmClosed, login, cache(Player))

    def test_failedStacking(self) -> None:
        """
        A cache that has refused a target can still be called with another.
        """
        cache = AvatarCache()
        self.assertRaises(TypeError, cache, None)
        login(cache(Player))

    def test_registryBelow(self) -> None:
        """
        Stacking a cache over a MindRegistry, however deep, raises a TypeError: there are no minds
        below a cache.
        """
        for target in (
            MindRegistry()(Player),
            ConnectionCounter()(MindRegistry()(Player)),
            PerConnection(lambda session: session.avatar)(MindRegistry()(Player)),
        ):
            error = self.assertRaises(TypeError, AvatarCache(), target)
            assert "stack it above the cache" in str(error)


def login(realm: Any, avatarId: object = b"alice") -> Any:
    """
    Log in to a realm that does not wait.
    """
    return opened(realm.requestAvatar(avatarId, None, IThing))
