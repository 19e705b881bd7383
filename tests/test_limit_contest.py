"""
Tests for contested slots: whose turn it is, and whom a login waits for.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    PerConnection,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    everyone,
    refuse,
)
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from minds import stalled
from scripted import Gate, IThing, Script, Thing


class ContestTests(LimitTestCase):
    """
    Logins that want a slot when none is free.
    """

    def test_waits(self) -> None:
        """
        A new login waits until the displaced session is closed, later ones wait for their turn, and
        the maximum is never exceeded.
        """
        self.limited(1, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        gate = Gate()
        self.script.acts["detached 1"] = gate.deferred
        first = self.login()
        second, third = self.challenge(), self.challenge()
        assert first.ended
        assert self.limit.sessions(b"alice") == (first,)
        assert self.realm.audit() == []
        gate.wait.callback(None)
        self.successResultOf(second)
        self.failureResultOf(third, TooManyConnections)
        assert self.limit.displacements == 1
        assert self.clock.getDelayedCalls() == []

    def test_noStealing(self) -> None:
        """
        A slot that is freed for one login is not taken by another that arrives while the displaced
        session closes.
        """
        gate = Gate()
        outer = Script({"release 0": gate.deferred})
        limit = self.limited(1, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        self.realm = outer.blocks[0](self.realm)
        self.login()
        second = self.challenge()
        assert limit.sessions(b"alice") == ()
        third = self.challenge()
        self.assertNoResult(third)
        gate.wait.callback(None)
        session = self.winner(second)
        assert limit.sessions(b"alice") == (session,)
        self.failureResultOf(third, TooManyConnections)

    def test_leaving(self) -> None:
        """
        A session that is already closing is waited for, and no other is displaced.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gate = Gate()
        first, second = self.login(), self.login()
        self.script.acts["detached 1"] = gate.deferred
        second.logout()
        third = self.challenge()
        gate.wait.callback(None)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (first, session)
        assert limit.displacements == 0

    def test_newestWins(self) -> None:
        """
        Logins that arrive while a session closes get in one after the other, and the last one
        stays.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 1"] = gate.deferred
        self.login()
        second = self.challenge()
        (challenger,) = (each for each in self.realm.sessions if not each.ended)
        third = self.challenge()
        gate.wait.callback(None)
        self.successResultOf(second)
        assert challenger.ended
        session = self.winner(third)
        assert limit.sessions(b"alice") == (session,)

    def test_hangingClose(self) -> None:
        """
        A session that takes longer than five seconds to close loses its slot, and does not give it
        back twice when it is closed.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 0"] = gate.deferred
        self.login()
        second = self.challenge()
        self.clock.advance(4.9)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        session = self.winner(second)
        assert limit.sessions(b"alice") == (session,)
        assert self.realm.audit() == []
        gate.wait.callback(None)
        assert limit.sessions(b"alice") == (session,)
        assert limit._slots.revoked == set()
        assert self.clock.getDelayedCalls() == []

    def test_deadlineIsNotMoved(self) -> None:
        """
        A session has five seconds to close, counted once, however many others close first, and even
        if the login that waited for it gives up.
        """
        limit = self.limited(3, whenFull=displaceOldest)
        gates = [Gate() for _ in range(3)]
        closings = iter(gates)
        for _ in range(3):
            self.login()
        self.script.acts["detached 0"] = lambda session: next(closings).wait
        limit.maximum = 1
        first, second = self.challenge(), self.challenge()
        self.clock.advance(3)
        gates[0].wait.callback(None)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(1.9)
        self.assertNoResult(second)
        assert len(limit.sessions(b"alice")) == 2
        self.clock.advance(0.1)
        self.successResultOf(second)
        for gate in gates[1:]:
            gate.wait.callback(None)
        assert (limit._slots.going, limit._slots.revoked) == ({}, set())

    def test_eachHasItsOwn(self) -> None:
        """
        Each closing session has five seconds of its own, from when a login first waited for it.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 0"] = gate.deferred
        first, second = self.login(), self.login()
        first.logout()
        early = self.challenge()
        self.clock.advance(3)
        early.cancel()
        self.failureResultOf(early, CancelledError)
        second.logout()
        limit.maximum = 1
        late = self.challenge()
        self.clock.advance(2)
        assert limit.sessions(b"alice") == (second,)
        self.assertNoResult(late)
        late.cancel()
        self.failureResultOf(late, CancelledError)
        self.clock.advance(7)
        last = self.challenge()
        self.clock.advance(0)
        self.successResultOf(last)
        gate.wait.callback(None)
        assert (limit._slots.going, limit._slots.revoked) == ({}, set())

    def test_longQueue(self) -> None:
        """
        A thousand logins that wait for their turn are served one after the other.
        """
        for policy in (
            displaceOldest(flapping=10**6, reactor=self.clock),
            lambda session, holders: (),
        ):
            limit = self.limited(1, whenFull=policy)
            gate = Gate()
            first = self.login()
            self.script.acts["detached 0"] = gate.deferred
            first.logout()
            results: list[Any] = []
            for _ in range(1000):
                self.challenge().addBoth(results.append)
            del self.script.acts["detached 0"]
            gate.wait.callback(None)
            assert len(results) == 1000
            assert all(
                isinstance(each, tuple) or each.check(LoginAbandoned, TooManyConnections)
                for each in results
            )
            assert len(limit.sessions(b"alice")) == 1
            self.login(b"bob")

    def test_below(self) -> None:
        """
        Below a cache or a PerConnection, the clients of a displaced session are disconnected once,
        and later logins wait for them, too.
        """
        for around in (AvatarCache(), PerConnection(lambda session: Thing())):
            policy = displaceOldest(flapping=1, reactor=self.clock)
            limit = self.limit = ConnectionLimit(
                1, key=everyone, whenFull=policy, reactor=self.clock
            )
            gate, mind = Gate(), stalled()
            above = Script({"detached 0": gate.deferred})
            target = limit(lambda name: Thing())
            self.realm = above.blocks[0](around(target))
            self.login(b"alice", mind)
            bob = self.challenge(b"bob")
            assert (mind.closings, limit.displacements) == (["lose"], 1)
            bob.cancel()
            self.failureResultOf(bob, CancelledError)
            carol = self.challenge(b"carol")
            self.assertNoResult(carol)
            mind.disconnect()
            gate.wait.callback(None)
            self.successResultOf(carol)
            assert limit.displacements == 1
            assert [each.avatarId for each in limit.sessions(everyone)] == [b"carol"]

    def test_namedTwice(self) -> None:
        """
        A session that a policy names twice is displaced once, also below a cache, where it closes
        later.
        """
        limit = self.limit = ConnectionLimit(
            1, whenFull=lambda session, holders: holders * 2, key=everyone, reactor=self.clock
        )
        above = Script({"detached 0": Gate().deferred})
        self.realm = above.blocks[0](AvatarCache()(limit(lambda name: Thing())))
        self.realm.reactor = self.clock
        self.login(b"alice")
        bob = self.challenge(b"bob")
        assert limit.displacements == 1
        bob.cancel()
        self.failureResultOf(bob, CancelledError)

    def test_pendingHolder(self) -> None:
        """
        A login that holds a slot but has no avatar yet can be displaced.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["acquire"] = gate.deferred
        first = self.challenge()
        del self.script.acts["acquire"]
        second = self.login()
        self.failureResultOf(first, LoginAbandoned)
        assert limit.sessions(b"alice") == (second,)

    def test_cancelled(self) -> None:
        """
        A login that gives up while it waits, for a session or for its turn, does not block the
        others.
        """
        for giver in (0, 1):
            policy = displaceOldest(flapping=1, reactor=self.clock)
            limit = self.limited(1, whenFull=policy)
            gate = Gate()
            self.login()
            self.script.acts["detached 0"] = gate.deferred
            challengers = [self.challenge() for _ in range(3)]
            del self.script.acts["detached 0"]
            challengers[giver].cancel()
            self.failureResultOf(challengers[giver], CancelledError)
            self.assertNoResult(challengers[1 - giver])
            assert [each.ended for each in limit.sessions(b"alice")] == [True]
            gate.wait.callback(None)
            self.successResultOf(challengers[1 - giver])
            self.failureResultOf(challengers[2], TooManyConnections)
            assert len(limit.sessions(b"alice")) == 1


class Alive(FakeMind):
    """
    A mind that answers at once.
    """

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Return a Deferred of an answer.
        """
        return succeed("pong")


class RaceTests(LimitTestCase):
    """
    Many simultaneous logins.
    """

    def test_fifty(self) -> None:
        """
        Of fifty simultaneous logins with a slow factory, exactly three get in under every policy,
        and there are never more.
        """
        for policy in (
            refuse,
            displaceOldest,
            displaceOldest(flapping=1000, reactor=self.clock),
            displaceUnresponsive(timeout=1, reactor=self.clock),
        ):
            loads: list[Deferred[Any]] = []
            self.limit, counter = ConnectionLimit(3, whenFull=policy), ConnectionCounter()
            self.realm = self.limit(counter(AvatarCache()(partial(slowly, loads))))
            results: list[Any] = []
            for _ in range(50):
                maybeDeferred(self.realm.requestAvatar, b"alice", Alive(), IThing).addBoth(
                    results.append
                )
                self.assertBounded()
            for load in loads:
                if not load.called:
                    load.callback(Thing())
                self.assertBounded()
            assert len(results) == 50
            assert (len(self.limit.sessions(b"alice")), counter.total) == (3, 3)

    def assertBounded(self) -> None:
        """
        Check that the maximum is not exceeded.
        """
        assert len(self.limit.sessions(b"alice")) <= 3
        assert self.realm.audit() == []


def slowly(loads: list[Deferred[Any]], name: object) -> Deferred[Any]:
    """
    Make an avatar later.
    """
    loads.append(Deferred())
    return loads[-1]


class EventTests(LimitTestCase):
    """
    What an operator sees in the log.
    """

    def test_events(self) -> None:
        """
        Each refusal and each displacement is logged with its avatar ID, key and maximum.
        """
        self.limited(2, key=everyone, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        for name in (b"alice", b"bob", b"carol"):
            self.login(name)
        self.assertRaises(TooManyConnections, self.login, b"dave")
        events = [each for each in self.events if "key" in each]
        assert [
            (each["avatarId"], each["key"], each["maximum"], each["log_level"].name)
            for each in events
        ] == [(b"alice", everyone, 2, "info"), (b"dave", everyone, 2, "info")]
        assert "must go" in events[0]["log_format"]
        assert "is refused" in events[1]["log_format"]
