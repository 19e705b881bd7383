"""
The life of a cached avatar, closing by a deadline, and the audit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionAware,
    ConnectionCounter,
    ConnectionLimit,
    MindAware,
    MindRegistry,
    PerConnection,
    Realm,
    RealmClosed,
    Session,
)
from avatarkit.testing import FakeMind
from scripted import (
    Boom,
    Gate,
    IThing,
    Script,
    ScriptedSource,
    Thing,
    foreignSession,
    opened,
    waiting,
)


class Player(Thing):
    """
    An avatar whose logout is written down, and waits if the test says so.
    """

    made: list[Player]
    saving: Callable[[Player], object]

    def __init__(self, name: object) -> None:
        self.name = name
        self.made.append(self)
        self.saved = 0

    def logout(self) -> object:
        """
        Be saved.
        """
        self.saved += 1
        return type(self).saving(self)


class Slow(ConnectionAware, MindAware, Thing):
    """
    An avatar one of whose hooks waits.
    """

    def __init__(self, slow: str, gate: Deferred[None], session: Session) -> None:
        self.slow, self.gate = slow, gate

    def wait(self, hook: str) -> object:
        """
        Wait, if this is the hook.
        """
        return self.gate if hook == self.slow else None

    def connect(self) -> object:
        """
        Wait, if this is it.
        """
        return self.wait("connecting")

    def disconnect(self) -> object:
        """
        Wait, if this is it.
        """
        return self.wait("disconnecting")

    def attached(self, mind: object) -> object:
        """
        Wait, if this is it.
        """
        return self.wait("attaching")

    def detached(self, mind: object) -> object:
        """
        Wait, if this is it.
        """
        return self.wait("detaching")


def fails() -> object:
    """
    Raise.
    """
    raise Boom


class LifeTests(SynchronousTestCase):
    """
    Idle avatars.
    """

    def setUp(self) -> None:
        """
        Start with no avatars.
        """
        Player.made = []
        Player.saving = lambda player: None
        self.clock = Clock()

    def cache(self, **policy: Any) -> AvatarCache:
        """
        Answer a cache that is told the time.
        """
        self.cached = AvatarCache(reactor=self.clock, **policy)
        self.realm = self.cached(Player)
        return self.cached

    def login(self, avatarId: bytes = b"alice") -> Any:
        """
        Log in, at once.
        """
        return opened(self.realm.requestAvatar(avatarId, None, IThing))

    def tearDown(self) -> None:
        """
        Whatever happened, the books agree.
        """
        if hasattr(self, "realm"):
            assert self.realm.audit() == []

    def test_forEver(self) -> None:
        """
        An avatar is kept for ever unless said otherwise, and nothing waits for its end.
        """
        cache = self.cache()
        self.login()[2]()
        assert self.clock.getDelayedCalls() == []
        assert b"alice" in cache

    def test_idleTimeout(self) -> None:
        """
        An avatar is retired so many seconds after its last session, no sooner.
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
        With an idle timeout of 0 an avatar goes with its last session.
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
        When more avatars are idle than may be, those that were used longest ago are retired; those
        in use do not count and are left alone.
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
        An avatar that is put out to make room is not retired again when its time is up.
        """
        self.cache(idleTimeout=10, maximumIdle=1)
        self.login(b"a")[2]()
        self.login(b"b")[2]()
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(10)
        assert [each.saved for each in Player.made] == [1, 1]

    def test_retire(self) -> None:
        """
        An idle avatar can be retired now, which is done when its logout is; one that is in use, not
        ready, on its way out, or unknown cannot.
        """
        gate = Gate()
        Player.saving = lambda player: gate.wait
        cache = self.cache(idleTimeout=10)
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
        An avatar that is just being handed to those who waited for it is not idle.
        """
        gate = Gate()
        cache = AvatarCache()
        self.realm = cache(lambda name: gate.wait)
        results: list[Any] = []
        login = waiting(self.realm.requestAvatar(b"alice", None, IThing))
        login.addCallback(lambda answer: answer[2]())
        login.addCallback(lambda ignored: cache.retire(b"alice").addCallback(results.append))
        second = waiting(self.realm.requestAvatar(b"alice", None, IThing))
        thing = Thing()
        gate.wait.callback(thing)
        assert results == [False]
        assert self.successResultOf(second)[1] is thing is cache[b"alice"]

    def test_loginWhileRetiring(self) -> None:
        """
        A login that meets a retiring avatar waits until its logout has finished, however it does,
        and then makes a new one.
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
        A logout that raises is logged and does not keep its ID blocked.
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
        An avatar that logs in and out as another one while it is put out to make room does not
        upset the cache.
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
        close() retires the idle avatars now and those in use when they are not, and fires when all
        of them are gone.
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

    def test_badPolicy(self) -> None:
        """
        Times that are negative, infinite or no numbers, and numbers of avatars that are not whole,
        are refused at construction.
        """
        nan, infinite = float("nan"), float("inf")
        for policy, error in (
            ({"idleTimeout": -1}, ValueError),
            ({"idleTimeout": nan}, ValueError),
            ({"idleTimeout": infinite}, ValueError),
            ({"idleTimeout": "10"}, TypeError),
            ({"idleTimeout": True}, TypeError),
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


class DeadlineTests(SynchronousTestCase):
    """
    L{Realm.close} with hooks that never answer.
    """

    def setUp(self) -> None:
        """
        Take down the errors that are logged.
        """
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def unfinished(self) -> list[Any]:
        """
        Answer what was logged as unfinished.
        """
        late = [each for each in self.events if "timeout" in each]
        return [(each.get("hook", each.get("source")), each.get("avatarId")) for each in late]

    def test_hangingUndo(self) -> None:
        """
        A hook that never answers does not keep close() from firing: after the timeout it is logged
        by name.
        """
        gate = Gate()
        script = Script({"detached 1": gate.deferred})
        opened(script.login())
        closing = script.realm.close(timeout=7, reactor=self.clock)
        self.clock.advance(6.9)
        self.assertNoResult(closing)
        self.clock.advance(0.1)
        assert self.successResultOf(closing) is None
        assert self.unfinished() == [("ScriptedBlock.detached", b"alice")]
        gate.wait.callback(None)
        assert script.log[-1] == "release 0"

    def test_stubbornLogin(self) -> None:
        """
        A login that goes on though it was cancelled is logged by the name of the hook as well.
        """
        gate = Gate()

        async def stubborn(session: object) -> object:
            while True:
                try:
                    return await gate.wait
                except Exception:
                    gate.wait = Deferred()

        script = Script({"attached 2": stubborn})
        waiting(script.login()).addErrback(lambda failure: failure.trap(RealmClosed))
        closing = script.realm.close(timeout=7, reactor=self.clock)
        self.clock.advance(7)
        self.successResultOf(closing)
        assert self.unfinished() == [("ScriptedBlock.attached", b"alice")]
        gate.wait.callback(None)
        assert script.log[-1] == "release 0"

    def test_hangingAvatar(self) -> None:
        """
        An avatar whose logout never answers is logged; the others are retired before the timeout,
        also while a session hangs.
        """
        Player.made = []
        Player.saving = lambda player: Deferred() if player.name == b"bob" else None
        gate = Gate()

        def hang(session: Session) -> object:
            return gate.wait if session.avatarId == b"alice" else None

        script = Script({"detached 0": hang})
        realm = script.realm.blocks[0](AvatarCache()(Player))
        for name in (b"alice", b"bob", b"carol"):
            opened(realm.requestAvatar(name, None, IThing))
        opened(realm.requestAvatar(b"idle", None, IThing))[2]()
        closing = realm.close(reactor=self.clock)
        assert {each.name: each.saved for each in Player.made} == {
            b"alice": 0,
            b"bob": 1,
            b"carol": 1,
            b"idle": 1,
        }
        self.clock.advance(30)
        self.successResultOf(closing)
        *hooks, cache = self.unfinished()
        assert sorted(hooks) == [
            ("Factory.release", b"bob"),
            ("ScriptedBlock.detached", b"alice"),
        ]
        assert str(cache[0]).startswith("AvatarCache(")

    def test_hangingFactory(self) -> None:
        """
        A factory that goes on though it was cancelled is logged by its source's name, and a source
        that does not close by its own.
        """
        gate = Gate()

        async def factory(name: object) -> object:
            try:
                await Deferred()
            except Exception:
                await gate.wait
            return Thing()

        realm = Realm(factory)
        waiting(realm.requestAvatar(b"alice", None, IThing)).addErrback(lambda failure: None)
        closing = realm.close(timeout=7, reactor=self.clock)
        self.clock.advance(7)
        self.successResultOf(closing)
        assert self.unfinished() == [("Factory.acquire", b"alice")]
        gate.wait.callback(None)

        class Hanging(ScriptedSource):
            def close(self) -> Any:
                return Deferred()

            def __repr__(self) -> str:
                return "the hanging source"

        del self.events[:]
        closing = Realm(Hanging(Script())).close(timeout=1, reactor=self.clock)
        self.clock.advance(1)
        self.successResultOf(closing)
        assert self.unfinished() == [("the hanging source", None)]

    def test_inTime(self) -> None:
        """
        A close that is done in time leaves no clock ticking, and says nothing.
        """
        gate = Gate()
        script = Script({"detached 1": gate.deferred})
        opened(script.login())
        closing = script.realm.close(timeout=7, reactor=self.clock)
        assert len(self.clock.getDelayedCalls()) == 1
        gate.wait.callback(None)
        self.successResultOf(closing)
        assert self.clock.getDelayedCalls() == []
        assert self.unfinished() == []

    def test_failingSource(self) -> None:
        """
        A source that cannot be closed is logged, and close() fires all the same.
        """
        script = Script()
        script.realm.sources[0].close = fails
        self.successResultOf(script.realm.close())
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_below(self) -> None:
        """
        Below a PerConnection, sessions end when those above them do, and not before.
        """
        gate, below = Gate(), Script()
        above = Script({"detached 0": gate.deferred})
        realm = above.realm.blocks[0](PerConnection(lambda session: Thing())(below.realm))
        opened(realm.requestAvatar(b"alice", None, IThing))
        del below.log[:]
        closing = realm.close(timeout=None)
        assert below.log == ["close"]
        gate.wait.callback(None)
        self.successResultOf(closing)
        assert below.log[-1] == "release 0"


class AuditTests(SynchronousTestCase):
    """
    L{Realm.audit} finds each kind of thing that can be wrong.
    """

    def setUp(self) -> None:
        """
        Start with a full stack in good order.
        """
        self.online, self.limit = MindRegistry(), ConnectionLimit(9)
        self.counter, self.cache = ConnectionCounter(), AvatarCache()
        self.realm = self.online(self.limit(self.counter(self.cache(lambda avatarId: Thing()))))
        self.mind = FakeMind()
        self.login = opened(self.realm.requestAvatar(b"alice", self.mind, IThing))
        opened(self.realm.requestAvatar(b"bob", None, IThing))[2]()
        (self.session,) = self.realm.sessions
        assert self.realm.audit() == []

    def found(self) -> str:
        """
        Answer the one thing that is wrong.
        """
        (sentence,) = self.realm.audit()
        return sentence

    def test_deadMind(self) -> None:
        """
        A session whose mind is dead.
        """
        self.mind.disconnect()
        assert self.found() == "the mind of <Session of b'alice' as IThing, open> is dead"

    def test_slot(self) -> None:
        """
        A slot without a session, a session without a slot, and a slot of nobody in particular.
        """
        ghost = foreignSession()
        self.limit._slots.take(ghost, b"alice")
        assert self.found() == (
            "<Session of b'ghost' as IThing, open> has a slot of ConnectionLimit(9) and should not"
        )
        self.limit._slots.give(ghost)
        self.limit._slots.give(self.session)
        assert "has no slot of ConnectionLimit" in self.found()
        self.limit._slots.take(self.session, b"alice")
        self.limit._slots.otherKeys[ghost] = b"bob"
        assert self.found() == "ConnectionLimit(9) does not know which slot is whose"
        del self.limit._slots.otherKeys[ghost]
        self.limit._slots.otherKeys[self.session] = b"bob"
        assert self.found() == "ConnectionLimit(9) does not know which slot is whose"

    def test_count(self) -> None:
        """
        A count without a session, and a wrong total.
        """
        self.counter._counts[b"ghost"] = 1
        assert self.found() == (
            "ConnectionCounter() counts 1 sessions of b'ghost', and there are 0"
        )
        del self.counter._counts[b"ghost"]
        self.counter._total = 5
        assert self.found() == "ConnectionCounter() counts 5 sessions in all, and there are 1"

    def test_group(self) -> None:
        """
        A group entry without a session, a session without one, and somebody among everyone.
        """
        ghost = foreignSession()
        self.online._file(ghost)
        assert "<Session of b'ghost' as IThing, open> is on the file" in self.found()
        self.online._unfile(ghost)
        self.online._unfile(self.session)
        assert "is not on the file" in self.found()
        self.online._file(self.session)
        self.online._reachable[ghost] = None
        assert self.found() == "everyone in MindRegistry() is not everyone"
        del self.online._reachable[ghost]
        self.online._mindless[b"ghost"] = 1
        assert self.found() == "MindRegistry() miscounts who has no mind"

    def test_users(self) -> None:
        """
        A cached avatar with a wrong number of users, or wrongly idle.
        """
        ghost = foreignSession()
        self.cache._ready[b"alice"].users[ghost] = None
        assert self.found().startswith("<Session of b'ghost' as IThing, open> uses an avatar of")
        del self.cache._ready[b"alice"].users[ghost]
        self.cache._idle[self.cache._ready[b"alice"]] = None
        assert "is wrongly idle" in self.found()
        self.cache._idle.clear()
        assert "b'bob' in AvatarCache" in self.found()

    def test_waiting(self) -> None:
        """
        A login that waits for an avatar that does not know of it.
        """
        cache = AvatarCache()
        realm = cache(lambda avatarId: Deferred())
        waiting(realm.requestAvatar(b"alice", None, IThing)).addErrback(lambda failure: None)
        assert realm.audit() == []
        cache._unready[b"alice"].waiting.clear()
        (sentence,) = realm.audit()
        assert sentence.startswith("<Session of b'alice', opening> waits for an avatar")

    def test_below(self) -> None:
        """
        What is wrong below a cache, or below a PerConnection.
        """
        for around in (AvatarCache(), PerConnection(lambda session: Thing())):
            limit = ConnectionLimit()
            target = limit(lambda avatarId: Thing())
            realm = around(target)
            opened(realm.requestAvatar(b"alice", None, IThing))
            assert realm.audit() == []
            limit._slots.give(*limit.sessions(b"alice"))
            (sentence,) = realm.audit()
            assert "has no slot" in sentence

    def test_spanning(self) -> None:
        """
        A block that spans realms is audited with the sessions of all of them.
        """
        other = self.counter(lambda avatarId: Thing())
        opened(other.requestAvatar(b"alice", None, IThing))
        assert dict(self.counter) == {b"alice": 2}
        assert self.realm.audit() == other.audit() == []

    def test_inTheMiddle(self) -> None:
        """
        A login that waits at any step, and a session that closes at any step, is consistent.
        """
        for hook in ("attaching", "connecting", "detaching", "disconnecting"):
            gate: Deferred[None] = Deferred()
            source = PerConnection(partial(Slow, hook, gate))
            realm = MindRegistry()(ConnectionCounter()(source))
            answer = realm.requestAvatar(b"alice", FakeMind(), IThing)
            if isinstance(answer, tuple):
                answer[2]()
            assert realm.audit() == []
            gate.callback(None)
            assert realm.audit() == []
