"""
Every hook that a user can write fails in every way at every time, and nothing is left behind: also
if the avatar is evicted or given up meanwhile, or others are refused because too many wait.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionAware,
    ConnectionCounter,
    ConnectionLimit,
    MindAware,
    MindRegistry,
    PerConnection,
    Session,
    TooManyLogins,
    TooManyWaiting,
)
from avatarkit.testing import FakeMind
from scripted import Boom, IThing, ScriptedBlock, Thing, frank, slots

OPENING = ("admit", "factory", "build", "attached 1", "connect", "attached mind")
CLOSING = ("detached mind", "disconnect", "detached 1", "built logout", "release 1", "logout")


class Rig:
    """
    A full stack in which one or two hooks do what a test says.

    @ivar log: the hooks that ran.
    @ivar done: the hooks that succeeded.
    @ivar discarded: how many avatars' logout is to be left out.
    """

    def __init__(
        self, acts: dict[str, Callable[[Rig], object]], limit: ConnectionLimit | None = None
    ) -> None:
        self.acts = acts
        self.discarded = 0
        self.log: list[str] = []
        self.done: list[str] = []
        self.session: Any = None
        self.gate: Deferred[Any] = Deferred()
        self.evictions: list[list[bool]] = []
        self.clock, self.mind = Clock(), FakeMind()
        self.online, self.limit = MindRegistry(), limit or ConnectionLimit()
        self.counter = ConnectionCounter()
        self.cache: AvatarCache[Any] = AvatarCache(retireTimeout=60, reactor=self.clock)
        scripted = ScriptedBlock(self, 1)  # type: ignore[arg-type]  # it follows this script
        source = PerConnection(self.build)(self.cache(self.factory))
        self.realm = frank(self.online(self.limit(self.counter(scripted(source)))))

    def run(self, hook: str, session: Session | None = None) -> Any:
        """
        Record a hook, and do what the test says.
        """
        self.session = session or self.session
        self.log.append(hook.replace("admit 1", "admit"))
        hook = self.log[-1]
        act = self.acts.get(hook)
        result = None if act is None else act(self)
        if isinstance(result, Deferred):
            return result.addCallback(self.over, hook)
        self.over(None, hook)
        return result

    def over(self, result: object, hook: str) -> object:
        """
        Record that a hook has succeeded.
        """
        self.done.append(hook)
        return result

    def factory(self, avatarId: bytes) -> Any:
        """
        Make the avatar that sessions share.
        """
        avatar = self.run("factory")
        return Shared(self) if avatar is None else avatar

    def build(self, session: Session) -> Any:
        """
        Make the avatar of one session.
        """
        avatar = self.run("build")
        return Built(self) if avatar is None else avatar

    def login(self, mind: FakeMind | None = None) -> Any:
        """
        Log in, and return the result, the exception or the Deferred.
        """
        try:
            return self.realm.requestAvatar(b"alice", mind or self.mind, IThing)
        except Exception as error:
            return error

    def assertNothingLeft(self) -> None:
        """
        Check that the login has gone, and everything with it.
        """
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.counter)) == (0, {}, {})
        assert (len(self.online), len(self.online.everyone)) == (0, 0)
        assert (self.cache._kept.unready, self.cache._kept.overdue) == ({}, {})
        assert self.realm._entrance.waiting == 0
        gone = self.log.count("shared made") - len(self.cache)
        assert self.log.count("logout") == gone - self.discarded
        for do, undo in zip(DONE, UNDONE, strict=True):
            assert self.log.count(undo) == self.done.count(do), (do, undo, self.log)


DONE = ("admit", "built made", "attached 1", "connect", "attached mind")
UNDONE = ("release 1", "built logout", "detached 1", "disconnect", "detached mind")


class Shared:
    """
    The avatar that is cached.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.log.append("shared made")

    def logout(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("logout")


class Built(ConnectionAware, MindAware, Thing):
    """
    The avatar of a session.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.log.append("built made")
        rig.done.append("built made")

    def connect(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("connect")

    def disconnect(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("disconnect")

    def attached(self, mind: object) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("attached mind")

    def detached(self, mind: object) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("detached mind")

    def logout(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("built logout")


def raising(rig: Rig) -> object:
    """
    Raise.
    """
    raise Boom


def failing(rig: Rig) -> object:
    """
    Return a Deferred that has failed.
    """
    return fail(Boom())


def hanging(rig: Rig) -> object:
    """
    Wait until the test goes on.
    """
    return rig.gate


def ending(rig: Rig) -> object:
    """
    End the session.
    """
    rig.session.logout()
    return None


def endingAndRaising(rig: Rig) -> object:
    """
    End the session, then raise.
    """
    rig.session.logout()
    raise Boom


def endingAndHanging(rig: Rig) -> object:
    """
    End the session, then wait until the test goes on.
    """
    rig.session.logout()
    return rig.gate


def dying(rig: Rig) -> object:
    """
    Disconnect the mind, as Twisted does, and wait.
    """
    if not rig.mind.disconnected:
        rig.mind.disconnect()
    return rig.gate


async def stubborn(rig: Rig) -> object:
    """
    Wait until the test goes on, and do not mind being cancelled.
    """
    waiting: Deferred[Any] = Deferred()

    def go(ignored: object) -> None:
        if not waiting.called:
            waiting.callback(None)

    rig.gate.addCallback(go)
    try:
        return await waiting
    except CancelledError:
        return await rig.gate


def closing(rig: Rig) -> object:
    """
    Close the realm from inside a hook.
    """
    rig.realm.close(timeout=None)
    return None


ACTS = (raising, failing, hanging, ending, endingAndRaising, endingAndHanging, dying, closing)


class FaultTests(SynchronousTestCase):
    """
    Every combination of a hook, a fault and an end.
    """

    def test_opening(self) -> None:
        """
        Whatever a hook does while a session opens, and however the session then ends, every hook
        that succeeded is undone once, and nothing is left.
        """
        for hook, act, end in product(OPENING, ACTS, (logout, disconnect, cancel, close, finish)):
            self.run_(hook, act, end)

    def test_closing(self) -> None:
        """
        Whatever a hook does while a session closes, and whatever closed it, the other hooks run,
        and nothing is left.
        """
        for hook, act, end in product(CLOSING, ACTS, (logout, disconnect, close)):
            rig = self.run_(hook, act, end)
            assert [each for each in rig.log if each in UNDONE] == [
                "detached mind",
                "disconnect",
                "detached 1",
                "built logout",
                "release 1",
            ], (hook, act, end)

    def test_pairs(self) -> None:
        """
        If one hook fails while a session opens, and another while that is undone, nothing is left.
        """
        for first, second, act in product(OPENING, CLOSING, (raising, failing, hanging)):
            rig = Rig({first: raising, second: act})
            outcome = rig.login()
            rig.gate.callback(None)
            if isinstance(outcome, Deferred):
                self.failureResultOf(outcome, Boom)
            else:
                assert isinstance(outcome, Boom), (first, second, act)
            rig.realm.close(reactor=rig.clock)
            rig.assertNothingLeft()
            self.flushLoggedErrors(Boom)

    def test_evicted(self) -> None:
        """
        Whatever a hook does while the avatar is evicted, it is gone in the end, and the next login
        gets another.
        """
        for hook, act, end in product(
            OPENING + CLOSING, ACTS, (evict, discard, evictTwice, evictAndWait)
        ):
            rig = self.run_(hook, act, end)
            assert all(results for results in rig.evictions), (hook, act, end)

    def test_givenUp(self) -> None:
        """
        Whatever keeps an avatar from being gone, it is given up in time, the logins that wait get
        another, and what has been given up leaves nothing behind.
        """
        for hook, act, end in product(
            ("factory", *CLOSING), (hanging, endingAndHanging, stubborn), (evict, discard)
        ):
            rig = Rig({hook: act})
            login = rig.login()
            end(rig, login)
            rig.acts = {}
            rig.limit.maximum = 2
            next_ = rig.login(FakeMind())
            rig.clock.advance(60)
            assert [*map(len, rig.evictions)] == [1], (hook, act, end)
            if isinstance(next_, Deferred):
                next_ = self.successResultOf(next_)
            assert isinstance(next_, tuple), (hook, act, end)
            rig.gate.callback(None)
            if isinstance(login, Deferred):
                login.addErrback(lambda failure: None)
            next_[2]()
            rig.realm.close(reactor=rig.clock)
            assert rig.realm.audit() == [], (hook, act, end)
            assert (len(rig.realm.sessions), slots(rig.limit), dict(rig.cache)) == (0, {}, {})
            assert rig.cache._kept.overdue == {}, (hook, act, end)
            assert rig.clock.getDelayedCalls() == []
            self.flushLoggedErrors(Boom)

    def test_overTheCeiling(self) -> None:
        """
        Whatever a login waits for, others are refused while it does, and nobody is when it has
        ended, whatever has ended it.
        """
        for hook, act, end in product(OPENING, ACTS, (logout, disconnect, cancel, finish, evict)):
            rig = Rig({hook: act})
            rig.realm.maximumWaiting = 1
            login = rig.login()
            if isinstance(login, Deferred) and not login.called:
                assert isinstance(rig.login(FakeMind()), TooManyLogins), (hook, act, end)
                end(rig, login)
            if not rig.gate.called:
                rig.gate.callback(None)
            if isinstance(login, Deferred):
                login.addErrback(lambda failure: None)
            rig.acts = {}
            for session in list(rig.realm.sessions):
                session.logout()
            if act is not closing:
                assert isinstance(rig.login(FakeMind()), tuple), (hook, act, end)
            rig.realm.close(reactor=rig.clock)
            rig.realm.audit()
            assert (len(rig.realm.sessions), rig.realm._entrance.waiting) == (0, 0)
            self.flushLoggedErrors(Boom)

    def test_tooManyWait(self) -> None:
        """
        Whatever a session does that is displaced, one login may wait for its slot, the next is
        refused, and nothing is left.
        """
        for hook, act in product(CLOSING, ACTS):
            decision: Deferred[Any] = Deferred()
            limit = ConnectionLimit(1, whenFull=lambda *_: decision, maximumWaiting=1)  # noqa: B023
            rig = Rig({hook: act}, limit)
            limit._reactor = limit._turns.reactor = rig.clock
            (holder, second) = (rig.login(), rig.login(FakeMind()))
            assert isinstance(holder, tuple), (hook, act)
            assert isinstance(rig.login(FakeMind()), TooManyWaiting), (hook, act)
            decision.callback(limit.sessions(b"alice"))
            rig.clock.advance(5)
            results: list[Any] = []
            second.addBoth(results.append)
            if not rig.gate.called:
                rig.gate.callback(None)
            assert len(results) == 1, (hook, act)
            assert limit._waiting == {}, (hook, act)
            rig.realm.close(reactor=rig.clock)
            assert rig.realm.audit() == [], (hook, act)
            assert (len(rig.realm.sessions), slots(limit), dict(rig.counter)) == (0, {}, {})
            self.flushLoggedErrors(Boom)

    def run_(self, hook: str, act: Callable[[Rig], object], end: Callable[..., object]) -> Rig:
        """
        Log in with a faulty hook, end the session, and check that nothing is left.
        """
        rig = Rig({hook: act})
        outcome = rig.login()
        if isinstance(outcome, Deferred):
            results: list[Any] = []
            outcome.addBoth(results.append)
            end(rig, outcome)
            if not rig.gate.called:
                rig.gate.callback(None)
            assert results, (hook, act, end)
            outcome = results[0]
        if isinstance(outcome, tuple):
            end(rig, outcome)
            outcome[2]()
        if not rig.gate.called:
            rig.gate.callback(None)
        rig.gate.addErrback(lambda failure: None)
        rig.realm.close(reactor=rig.clock)
        rig.assertNothingLeft()
        assert dict(rig.cache) == {}, (hook, act, end)
        self.flushLoggedErrors(Boom)
        return rig


def logout(rig: Rig, outcome: Any) -> None:
    """
    Log the session out.
    """
    rig.session.logout()


def disconnect(rig: Rig, outcome: Any) -> None:
    """
    Disconnect the mind; a protocol then logs its sessions out.
    """
    if not rig.mind.disconnected:
        rig.mind.disconnect()
    if isinstance(outcome, tuple):
        outcome[2]()


def cancel(rig: Rig, outcome: Any) -> None:
    """
    Cancel the login if it waits.
    """
    if isinstance(outcome, Deferred):
        outcome.cancel()


def close(rig: Rig, outcome: Any) -> None:
    """
    Close the realm, and let the timeout pass.
    """
    rig.realm.close(timeout=5, reactor=rig.clock)
    rig.clock.advance(5)


def finish(rig: Rig, outcome: Any) -> None:
    """
    Let the waiting hook finish.
    """
    if not rig.gate.called:
        rig.gate.callback(None)


def evict(rig: Rig, outcome: Any, *, discard: bool = False) -> None:
    """
    Evict the avatar.
    """
    results: list[bool] = []
    if discard and b"alice" in rig.cache:
        rig.discarded += 1
    rig.cache.evict(b"alice", discard=discard).addCallback(results.append)
    rig.evictions.append(results)


def discard(rig: Rig, outcome: Any) -> None:
    """
    Evict the avatar, of a user that no longer exists.
    """
    evict(rig, outcome, discard=True)


def evictTwice(rig: Rig, outcome: Any) -> None:
    """
    Evict the avatar, and again while that is being done.
    """
    evict(rig, outcome)
    evict(rig, outcome)


def evictAndWait(rig: Rig, outcome: Any) -> None:
    """
    Evict the avatar while another login wants it, which may be refused, or fail as well.
    """
    rig.limit.maximum = 2
    other = rig.login(FakeMind())
    if isinstance(other, Deferred):
        other.addErrback(lambda failure: None)
    evict(rig, outcome)
