"""
Tests for L{avatarkit.LoginTimeout}: no login waits for ever.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionLimit,
    LoginAbandoned,
    LoginTimedOut,
    LoginTimeout,
    PerConnection,
    Realm,
    RealmFailed,
    Session,
    displaceOldest,
)
from avatarkit.testing import FakeMind, checkBlock
from logs import logged
from scripted import (
    OPENING,
    Boom,
    Gate,
    IThing,
    Script,
    Thing,
    frank,
    opened,
    raises,
    slots,
    undoing,
    waiting,
)
from ticking import NoTimers, Ticking

# Any in this module: arguments of wrong types.


class Reasons(Block):
    """
    Takes note of why sessions have ended.
    """

    def __init__(self) -> None:
        self.seen: list[object] = []

    def release(self, session: Session) -> None:
        """
        Take note.
        """
        self.seen.append(session.reason)


class Factory:
    """
    Makes avatars when a test says so.

    @ivar loading: what its callers wait for.
    """

    def __init__(self) -> None:
        self.loading: list[Deferred[Any]] = []

    def __call__(self, avatarId: object) -> Deferred[Any]:
        """
        Wait.
        """
        self.loading.append(Deferred())
        return self.loading[-1]


class TimeoutCase(SynchronousTestCase):
    """
    Logins that may take half a minute.
    """

    def setUp(self) -> None:
        """
        Have a clock, and a block.
        """
        self.clock = Clock()
        self.timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=self.clock)

    def ask(self, realm: Realm[Any], avatarId: bytes = b"alice") -> Deferred[Any]:
        """
        Log in, which must wait.
        """
        return waiting(realm.requestAvatar(avatarId, None, IThing))

    def late(self, hook: str, *logins: Deferred[Any]) -> None:
        """
        Check that logins are given up when their time is over, because of a hook.
        """
        self.clock.advance(29.9)
        for login in logins:
            self.assertNoResult(login)
        with logged() as said:
            self.clock.advance(0.1)
        text = f"a login of b'alice' is given up: {hook} did not finish in 30 seconds"
        assert said == [f"error: {text}"] * len(logins)
        for login in logins:
            failure = self.failureResultOf(login, LoginTimedOut)
            assert str(failure.value) == "the login took too long"
            assert failure.value.avatarId == b"alice"
        assert not self.clock.getDelayedCalls()


class WaitTests(TimeoutCase):
    """
    Whatever a login waits for, it waits so long and no longer.
    """

    def test_everyHook(self) -> None:
        """
        What a login waits for is cancelled, what it did is undone, and it fails; the reason of its
        session is the same.
        """
        for position, hook in enumerate(OPENING):
            for wait in ("deferred", "coroutine"):
                gate = Gate()
                script = Script({hook: getattr(gate, wait)})
                realm = frank(self.timeout(script.realm))
                login = self.ask(realm)
                (session,) = realm.sessions
                kind = "Source" if hook == "acquire" else "Block"
                self.late(f"Scripted{kind}.{hook.split()[0]}", login)
                assert gate.wait.called
                assert script.log == [*OPENING[: position + 1], *undoing(position)]
                assert type(session.reason) is LoginTimedOut
                assert not realm.sessions

    def test_whereverItStands(self) -> None:
        """
        It is the same wherever among the blocks of a realm it stands, since the time is that of the
        whole login.
        """
        for hook in ("admit 0", "attached 0"):
            for place in range(4):
                script = Script()
                script.acts[hook] = lambda session: Deferred()
                blocks: list[Any] = [*script.blocks]
                blocks.insert(place, self.timeout)
                realm: Realm[Any] = Realm(script.source, blocks=blocks)
                self.late(f"ScriptedBlock.{hook.split()[0]}", self.ask(realm))

    def test_severalHooks(self) -> None:
        """
        It is one time for all that a login waits for, one after the other.
        """
        gates = [Gate() for _ in OPENING]
        acts: dict[str, Any] = {
            hook: gate.deferred for hook, gate in zip(OPENING, gates, strict=True)
        }
        login = self.ask(self.timeout(Script(acts).realm))
        for gate in gates[:5]:
            self.clock.advance(5)
            gate.wait.callback(Thing())
        self.clock.advance(4.9)
        self.assertNoResult(login)
        self.clock.advance(0.1)
        self.failureResultOf(login, LoginTimedOut)

    def test_load(self) -> None:
        """
        A login that waits for a cache is given up; so is the load, unless others wait for it.
        """
        factory, cache = Factory(), AvatarCache(reactor=self.clock)
        realm = self.timeout(cache(factory))
        login = self.ask(realm)
        self.clock.advance(10)
        other = self.ask(realm)
        self.clock.advance(19.9)
        self.assertNoResult(login)
        with logged() as said:
            self.clock.advance(0.1)
        self.failureResultOf(login, LoginTimedOut)
        assert said == [
            "error: a login of b'alice' is given up: AvatarCache.acquire did not finish in 30 "
            "seconds"
        ]
        assert not factory.loading[0].called
        factory.loading[0].callback(Thing())
        opened(self.successResultOf(other))
        assert not self.clock.getDelayedCalls()

    def test_policy(self) -> None:
        """
        A login that waits for the policy of a limit is given up.
        """
        deciding: Deferred[Any] = Deferred()
        limit = ConnectionLimit(1, whenFull=lambda session, holders: deciding, reactor=self.clock)
        realm = self.timeout(limit(lambda avatarId: Thing()))
        opened(realm.requestAvatar(b"alice", None, IThing))
        self.late("ConnectionLimit.admit", self.ask(realm))
        assert deciding.called
        assert slots(limit) == {b"alice": 1}
        assert realm.audit() == []

    def test_displaced(self) -> None:
        """
        A login that waits for another session to close is given up.
        """

        class Slow(Thing):
            def logout(self) -> Deferred[None]:
                return Deferred()

        timeout: LoginTimeout[Any] = LoginTimeout(3, reactor=self.clock)
        limit = ConnectionLimit(1, whenFull=displaceOldest, reactor=self.clock)
        realm = timeout(limit(lambda avatarId: Slow()))
        realm.closeTimeout = None
        opened(realm.requestAvatar(b"alice", None, IThing))
        login = self.ask(realm)
        self.clock.advance(3)
        self.failureResultOf(login, LoginTimedOut)
        assert slots(limit) == {b"alice": 1}

    def test_told(self) -> None:
        """
        A client may read why its login failed, and gets no traceback.
        """
        realm = self.timeout(Factory())
        login = self.ask(realm)
        self.clock.advance(30)
        failure = self.failureResultOf(login, LoginTimedOut)
        assert failure.value.mayReturn == 10
        assert failure.value.__traceback__ is None

    def test_many(self) -> None:
        """
        If very many are given up at once, the reactor has its turn in between.
        """
        self.clock = Ticking()
        realm = LoginTimeout(30, reactor=self.clock)(Factory())
        logins = [self.ask(realm) for _ in range(100)]
        left = [len(realm.sessions)]
        self.clock.rightNow += 30
        while self.clock.turn():
            left.append(len(realm.sessions))
        assert (left[0], left[-1]) == (100, 0)
        assert len(left) > 10
        for login in logins:
            self.failureResultOf(login, LoginTimedOut)

    def test_severalRealms(self) -> None:
        """
        One may stand in several realms.
        """
        realms = [self.timeout(Factory()) for _ in range(2)]
        self.late("FactorySource.acquire", *map(self.ask, realms))


class TimelyTests(TimeoutCase):
    """
    Logins that end in time.
    """

    def test_atOnce(self) -> None:
        """
        A login that does not wait has no timer.
        """

        async def factory(avatarId: object) -> Thing:
            return Thing()

        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=NoTimers())
        for realm in (timeout(lambda avatarId: Thing()), timeout(factory)):
            opened(realm.requestAvatar(b"alice", None, IThing))
        self.assertRaises(
            Boom, frank(timeout(Script({"acquire": raises}).realm)).requestAvatar, b"", None, IThing
        )

    def test_inTime(self) -> None:
        """
        When a login is over, however it ends, its timer is gone.
        """

        def succeed() -> None:
            factory.loading[0].callback(Thing())
            opened(self.successResultOf(login))

        def fail() -> None:
            factory.loading[0].errback(Boom())
            self.failureResultOf(login, RealmFailed)
            self.flushLoggedErrors(Boom)

        def cancel() -> None:
            login.cancel()
            self.failureResultOf(login, CancelledError)

        def logout() -> None:
            next(iter(realm.sessions)).logout()
            self.failureResultOf(login, LoginAbandoned)

        def leave() -> None:
            mind.disconnect()
            self.failureResultOf(login, LoginAbandoned)

        def close() -> None:
            realm.close()
            self.failureResultOf(login)

        for end in (succeed, fail, cancel, logout, leave, close):
            factory, mind = Factory(), FakeMind()
            realm = self.timeout(factory)
            login = waiting(realm.requestAvatar(b"alice", mind, IThing))
            assert len(self.clock.getDelayedCalls()) == 1
            end()
            assert not self.clock.getDelayedCalls()

    def test_afterwards(self) -> None:
        """
        A session that is logged in has no time limit.
        """
        factory = Factory()
        realm = self.timeout(factory)
        login = self.ask(realm)
        factory.loading[0].callback(Thing())
        self.clock.advance(1000)
        opened(self.successResultOf(login))
        assert len(realm.sessions) == 1


class StubbornTests(TimeoutCase):
    """
    What is given up, and goes on.
    """

    def test_hook(self) -> None:
        """
        A hook that ignores being cancelled does not keep the client waiting; the session ends when
        the hook has finished, and counts as a login in progress until then.
        """
        wait: Deferred[object] = Deferred()

        async def stubborn(session: Session) -> object:
            try:
                return await Deferred()
            except CancelledError:
                return await wait

        for hook in ("admit 1", "acquire", "attached 1"):
            for fails in (False, True):
                wait = Deferred()
                script = Script({hook: stubborn})
                realm = frank(self.timeout(script.realm))
                position = OPENING.index(hook)
                kind = "Source" if hook == "acquire" else "Block"
                self.late(f"Scripted{kind}.{hook.split()[0]}", self.ask(realm))
                (session,) = realm.sessions
                assert realm._entrance.waiting == 1
                assert script.log == [*OPENING[: position + 1]]
                wait.errback(Boom()) if fails else wait.callback(Thing())
                done = position if fails else position + 1
                assert script.log[position + 1 :] == undoing(done)
                assert type(session.reason) is LoginTimedOut
                assert (len(realm.sessions), realm._entrance.waiting) == (0, 0)

    def test_undo(self) -> None:
        """
        The client does not wait for what is undone either, whatever the login failed with.
        """
        for fails in (False, True):
            undo = Gate()
            acts: dict[str, Any] = {"release 1": undo.deferred}
            acts["acquire"] = raises if fails else lambda session: Deferred()
            realm = self.timeout(Script(acts).realm)
            realm.hideFaults = True
            login = self.ask(realm)
            with logged() as said:
                self.clock.advance(30)
            self.failureResultOf(login, RealmFailed if fails else LoginTimedOut)
            self.flushLoggedErrors(Boom)
            hook = "ScriptedBlock.release" if fails else "ScriptedSource.acquire"
            assert said[0].endswith(f"is given up: {hook} did not finish in 30 seconds")
            assert len(realm.sessions) == 1
            undo.wait.callback(None)
            assert not realm.sessions
            assert realm._entrance.waiting == 0
            assert not self.clock.getDelayedCalls()

    def test_loggedOut(self) -> None:
        """
        A login that has been ended before, and waits for a hook that ignores being cancelled, fails
        when its time is over.
        """
        gate: Deferred[object] = Deferred()

        async def stubborn(session: Session) -> None:
            try:
                await Deferred()
            except CancelledError:
                await gate

        realm = self.timeout(Script({"admit 0": stubborn}).realm)
        login = self.ask(realm)
        (session,) = realm.sessions
        session.logout()
        self.assertNoResult(login)
        self.clock.advance(30)
        self.failureResultOf(login, LoginAbandoned)
        gate.callback(None)
        assert not realm.sessions

    def test_cannotBeCancelled(self) -> None:
        """
        A hook whose canceller raises is logged, and its login ends.
        """

        def canceller(hanging: Deferred[object]) -> None:
            raise Boom

        realm = self.timeout(Script({"admit 0": lambda session: Deferred(canceller)}).realm)
        login = self.ask(realm)
        self.clock.advance(30)
        self.failureResultOf(login, LoginTimedOut)
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert not realm.sessions


class BelowTests(TimeoutCase):
    """
    Below other realms.
    """

    def test_cache(self) -> None:
        """
        Below a cache it is the time to load an avatar: all who wait for it fail, and the next login
        loads it anew.
        """
        factory = Factory()
        realm = AvatarCache(reactor=self.clock)(self.timeout(factory))
        first = self.ask(realm)
        self.clock.advance(20)
        second = self.ask(realm)
        self.clock.advance(10)
        for each in (first, second):
            self.failureResultOf(each, LoginTimedOut)
        third = self.ask(realm)
        factory.loading[1].callback(Thing())
        opened(self.successResultOf(third))
        assert not self.clock.getDelayedCalls()

    def test_stubbornLoad(self) -> None:
        """
        All logins that wait for a factory which ignores being cancelled fail in time; the next one
        waits for it as for any avatar that retires, since there must not be two of an ID.
        """
        going: Deferred[object] = Deferred()
        calls: list[object] = []

        async def factory(avatarId: object) -> object:
            calls.append(avatarId)
            try:
                return await Deferred()
            except CancelledError:
                return await going

        watching = Reasons()
        cache: AvatarCache[Any] = AvatarCache(reactor=self.clock, retireTimeout=40)
        realm = cache(watching(self.timeout(factory)))
        first, second = self.ask(realm), self.ask(realm)
        self.clock.advance(30)
        for each in (first, second):
            self.failureResultOf(each, LoginTimedOut)
        assert not realm.sessions
        third = self.ask(realm)
        self.clock.advance(39)
        assert calls == [b"alice"]
        going.callback(Thing())
        assert calls == [b"alice"] * 2
        assert list(map(type, watching.seen)) == [LoginTimedOut]
        self.clock.advance(30)
        self.failureResultOf(third, LoginTimedOut)

    def test_again(self) -> None:
        """
        A login that comes as soon as one has failed, while others are still to fail, waits for an
        avatar of its own, and no longer than they did.
        """
        calls: list[object] = []

        def factory(avatarId: object) -> object:
            calls.append(avatarId)
            return Deferred()

        realm = AvatarCache[Any](reactor=self.clock)(self.timeout(factory))
        again: list[Any] = []
        asked = [self.ask(realm) for _ in range(3)]
        asked[0].addErrback(lambda failure: again.append(self.ask(realm)))
        self.clock.advance(30)
        for each in asked[1:]:
            self.failureResultOf(each, LoginTimedOut)
        assert calls == [b"alice"] * 2
        self.clock.advance(30)
        self.failureResultOf(again[0], LoginTimedOut)
        assert not realm.sessions

    def test_evictedMeanwhile(self) -> None:
        """
        An avatar that is evicted while it is loaded, and ignores that, is not waited for.
        """
        going: Deferred[object] = Deferred()

        async def factory(avatarId: object) -> object:
            try:
                return await Deferred()
            except CancelledError:
                return await going

        cache = AvatarCache[Any](reactor=self.clock)
        realm = cache(self.timeout(factory))
        first = self.ask(realm)
        cache.evict(b"alice")
        self.failureResultOf(first, LoginAbandoned)
        second = self.ask(realm)
        self.clock.advance(30)
        self.assertNoResult(second)
        going.callback(Thing())
        self.clock.advance(30)
        self.failureResultOf(second, LoginTimedOut)

    def test_stubbornBelow(self) -> None:
        """
        A login fails in time, too, whose time limit is below a L{PerConnection}, whatever the
        factory makes of being cancelled; its session stays until that has finished.
        """
        going: Deferred[object] = Deferred()

        async def factory(avatarId: object) -> object:
            try:
                return await Deferred()
            except CancelledError:
                return await going

        realm = PerConnection(lambda session: Thing())(self.timeout(factory))
        entering = self.ask(realm)
        self.clock.advance(30)
        self.failureResultOf(entering, LoginTimedOut)
        (session,) = realm.sessions
        assert isinstance(session.reason, LoginTimedOut)
        going.callback(Thing())
        assert not realm.sessions

    def test_perConnection(self) -> None:
        """
        Below a L{PerConnection} it is the time of the inner session.
        """
        script = Script({"attached 0": lambda session: Deferred()})
        building: Deferred[Any] = Deferred()
        realm = PerConnection(lambda session: building)(self.timeout(script.realm))
        self.late("ScriptedBlock.attached", self.ask(realm))
        assert not realm.sessions
        assert script.log == [*OPENING, *undoing(6)]
        script.acts.clear()
        login = self.ask(realm)
        self.clock.advance(60)
        building.callback(Thing())
        opened(self.successResultOf(login))

    def test_stubbornInner(self) -> None:
        """
        On top of a L{PerConnection}, it does not keep the client waiting if an inner session takes
        its time to end.
        """
        undo = Gate()
        script = Script({"acquire": lambda session: Deferred(), "release 0": undo.deferred})
        realm = self.timeout(PerConnection(lambda session: Thing())(script.realm))
        self.late("InnerSessions.acquire", self.ask(realm))
        assert len(realm.sessions) == 1
        undo.wait.callback(None)
        assert not realm.sessions
        assert realm.audit() == []


class BlockTests(SynchronousTestCase):
    """
    The block.
    """

    def test_contract(self) -> None:
        """
        It keeps what blocks promise.
        """
        checkBlock(lambda: LoginTimeout(30))

    def test_inThePlan(self) -> None:
        """
        A session does nothing for it.
        """
        bare: Realm[Any] = Realm(lambda avatarId: Thing())
        realm = LoginTimeout(30)(bare)
        assert len(realm._plan) == len(bare._plan)

    def test_repr(self) -> None:
        """
        It says its time.
        """
        assert repr(LoginTimeout(2.5, reactor=Clock())) == "LoginTimeout(seconds=2.5)"

    def test_bad(self) -> None:
        """
        It has a finite time, and some, and a reactor tells the time.
        """
        make: Any = LoginTimeout
        for seconds in (0, 0.0, -1, float("inf"), float("nan")):
            self.assertRaises(ValueError, make, seconds)
        for other in ("30", None, True):
            self.assertRaises(TypeError, make, other)
        self.assertRaises(TypeError, make)
        self.assertRaises(TypeError, make, 30, reactor=30)
        timeout = make(30)
        with self.assertRaises(ValueError):
            timeout.seconds = 0
        assert timeout.seconds == 30

    def test_slip(self) -> None:
        """
        As a decorator without the call, it says what to write.
        """
        make: Any = LoginTimeout
        error = self.assertRaises(TypeError, make, lambda avatarId: Thing())
        assert "write @LoginTimeout(...) above a target, with the call" in str(error)

    def test_notAHook(self) -> None:
        """
        A block of somebody else's that has the same method is none.
        """

        class Other(Block):
            def admit(self, session: Session) -> None: ...

        realm = Other()(lambda avatarId: Deferred())
        login = waiting(realm.requestAvatar(b"alice", None, IThing))
        login.cancel()
        self.failureResultOf(login, CancelledError)
