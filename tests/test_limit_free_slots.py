"""
Tests for slots that become free: somebody who wants one gets it, at once.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from avatarkit import Session, displaceOldest, displaceUnresponsive, everyone
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from scripted import Gate, IThing, Script, opened


class FreeSlotTests(LimitTestCase):
    """
    Those who are there leave, each in its own time.
    """

    def hanging(self, hook: str = "detached 1") -> dict[Session, Deferred[Any]]:
        """
        Have sessions hang in a hook when they close, and return what lets each of them go on.
        """
        gates: dict[Session, Deferred[Any]] = {}

        def hang(session: Session) -> object:
            return gates.setdefault(session, Deferred())

        self.script.acts[hook] = hang
        return gates

    def test_firstOfThoseWhoLeave(self) -> None:
        """
        Whoever waits for those who are leaving gets in when the first of them has gone, and nobody
        loses a slot because of the others.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gates = self.hanging()
        first, second = self.login(), self.login()
        first.logout()
        second.logout()
        third = self.challenge()
        gates[first].callback(None)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (second, session)
        self.clock.advance(100)
        assert limit.sessions(b"alice") == (second, session)
        gates[second].callback(None)
        assert limit.sessions(b"alice") == (session,)
        assert limit.displacements == 0

    def test_manyLeaveAndManyWant(self) -> None:
        """
        Of fifty who leave one hangs: those who want their slots have them as the others go, and
        whoever is left waits for the one that hangs as long as that may take.
        """
        limit = self.limited(50, key=everyone, whenFull=displaceOldest)
        gates = self.hanging()
        sessions = [self.login(name) for name in range(50)]
        for session in sessions:
            session.logout()
        challengers = [self.challenge(name) for name in range(100, 150)]
        self.clock.advance(1)
        for number, session in enumerate(sessions[1:]):
            gates[session].callback(None)
            self.successResultOf(challengers[number])
        self.clock.advance(3.9)
        self.assertNoResult(challengers[-1])
        self.clock.advance(0.1)
        self.successResultOf(challengers[-1])
        assert len(limit.sessions(everyone)) == 50
        assert limit.displacements == 0
        gates[sessions[0]].callback(None)
        assert limit._slots.going == {}

    def test_anotherGoesByItself(self) -> None:
        """
        Whoever waits for one that hangs gets the slot of another that leaves by itself.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gates = self.hanging()
        first, second = self.login(), self.login()
        third = self.challenge()
        assert first.ended
        gates[second] = Deferred()
        second.logout()
        gates[second].callback(None)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (first, session)
        gates[first].callback(None)

    def test_goesWhileThePolicyWaits(self) -> None:
        """
        A slot that becomes free while a policy waits is taken by the one who has waited longest;
        its policy is cancelled, and what comes of that is no failure.
        """
        cancelled: list[Deferred[Any]] = []
        limit = self.limited(2, whenFull=lambda session, holders: Deferred(cancelled.append))
        holder, other = self.login(), self.login()
        first, second = self.challenge(), self.challenge()
        holder.logout()
        session = self.winner(first)
        self.assertNoResult(second)
        assert limit.sessions(b"alice") == (other, session)
        assert (len(cancelled), limit.refusals, limit.displacements) == (1, 0, 0)
        third = self.challenge()
        other.logout()
        self.successResultOf(second)
        self.assertNoResult(third)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        assert limit.refusals == 0

    def test_goesWhileAnotherHasItsTurn(self) -> None:
        """
        One whose policy waits, and who would have room where another has none, has to wait until
        that one's turn is over; then it gets in.
        """
        quotas = {"small": 1, "big": 3}
        limit = self.limited(
            quota=lambda session: quotas[session.mind],
            whenFull=lambda session, holders: holders if session.mind == "small" else Deferred(),
        )
        gates = self.hanging()
        sessions = [self.login(mind="big") for _ in range(3)]
        big = self.challenge(mind="big")
        small = self.challenge(mind="small")
        assert all(each.ended for each in sessions)
        gates[sessions[0]].callback(None)
        self.assertNoResult(small)
        self.assertNoResult(big)
        gates[sessions[1]].callback(None)
        gates[sessions[2]].callback(None)
        session = self.winner(small)
        assert limit.sessions(b"alice") == (session, self.winner(big))

    def test_oneDoesNotAnswer(self) -> None:
        """
        Whoever waits for the answers of all gets in when one of them logs out, though another does
        not answer.
        """
        policy = displaceUnresponsive(timeout=10, reactor=self.clock)
        limit = self.limited(2, whenFull=policy)
        silent, alive = FakeMind(), FakeMind()
        first, second = self.login(mind=silent), self.login(mind=alive)
        third = self.challenge()
        second.logout()
        session = self.winner(third)
        assert limit.sessions(b"alice") == (first, session)

    def test_roomForTwo(self) -> None:
        """
        When two have gone while a third was waited for, the one whose turn it was gets in, and then
        the one whose policy waits.
        """
        policies: list[Any] = [lambda holders: Deferred(), lambda holders: holders]
        limit = self.limited(2, whenFull=lambda session, holders: policies.pop(0)(holders))
        gates = self.hanging("release 1")
        sessions = [self.login(), self.login()]
        waiting, displacing = self.challenge(), self.challenge()
        order: list[str] = []
        waiting.addCallback(lambda result: order.append("waiting"))
        displacing.addCallback(lambda result: order.append("displacing"))
        for session in sessions:
            gates[session].callback(None)
        assert order == ["displacing", "waiting"]
        assert len(limit.sessions(b"alice")) == 2

    def test_closesLater(self) -> None:
        """
        A session that gave its slot back is waited for until it has closed, but not for longer than
        five seconds, also by those who come when the one who displaced it has given up.
        """
        gate, outer = Gate(), Script()
        outer.acts["release 0"] = gate.deferred
        limit = self.limited(1, whenFull=displaceOldest)
        self.realm = outer.blocks[0](self.realm)
        self.login()
        second = self.challenge()
        assert limit.sessions(b"alice") == ()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.clock.advance(2)
        third = self.challenge()
        self.clock.advance(2.9)
        self.assertNoResult(third)
        self.clock.advance(0.1)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (session,)
        outer.acts.clear()
        gate.wait.callback(None)
        assert limit.sessions(b"alice") == (session,)
        assert (limit._slots.going, limit._slots.closing, limit._slots.revoked) == ({}, {}, set())

    def test_severalCloseLater(self) -> None:
        """
        The same holds of several, each for itself.
        """
        outer = Script()
        limit = self.limited(2, whenFull=displaceOldest)
        gates: list[Gate] = []

        def hang(session: Session) -> object:
            gates.append(Gate())
            return gates[-1].wait

        outer.acts["release 0"] = hang
        self.realm = outer.blocks[0](self.realm)
        self.login()
        self.login()
        limit.maximum = 1
        challenger = self.challenge()
        assert limit.sessions(b"alice") == ()
        gates[1].wait.callback(None)
        self.assertNoResult(challenger)
        gates[0].wait.callback(None)
        self.winner(challenger)
        assert (limit._slots.going, limit._slots.closing) == ({}, {})

    def test_tooFewAtATime(self) -> None:
        """
        A policy that lets one go where several must is asked for the next at once, and not when the
        first has gone.
        """
        limit = self.limited(3, whenFull=lambda session, holders: holders[:1])
        gates = self.hanging()
        sessions = [self.login() for _ in range(3)]
        limit.maximum = 1
        last = self.challenge()
        assert [each.ended for each in sessions] == [True] * 3
        for session in sessions:
            self.assertNoResult(last)
            gates[session].callback(None)
        assert limit.sessions(b"alice") == (self.winner(last),)
        assert limit.displacements == 3

    def test_severalLoseTheirSlots(self) -> None:
        """
        If two lose their slots at the same time, and one of those who want them still waits for the
        policy, both get in.
        """
        policies: list[Deferred[Any]] = []

        def policy(session: Session, holders: Any) -> Deferred[Any]:
            policies.append(Deferred())
            return policies[-1]

        limit = self.limited(2, whenFull=policy)
        self.hanging()
        holders = [self.login(), self.login()]
        first, second = self.challenge(), self.challenge()
        policies[0].callback(holders)
        self.clock.advance(4.9)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        assert limit.sessions(b"alice") == (self.winner(first), self.winner(second))

    def test_said(self) -> None:
        """
        A session that loses its slot because its closing hangs is named in the log.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gates = self.hanging()
        session = self.login()
        second = self.challenge()
        self.clock.advance(5)
        self.successResultOf(second)
        event = next(each for each in self.events if each["log_level"].name == "warn")
        assert "loses its slot" in event["log_format"]
        assert (event["avatarId"], event["key"], event["timeout"]) == (b"alice", b"alice", 5)
        gates[session].callback(None)
        assert limit.refusals == 0


class SharedLimitTests(LimitTestCase):
    """
    A limit that several realms share.
    """

    def test_freeInTheOther(self) -> None:
        """
        A slot that becomes free in one realm is taken in another.
        """
        limit = self.limited(1, key=everyone, whenFull=displaceOldest)
        gate = Gate()
        other = limit(Script({"detached 1": gate.deferred}).realm)
        (logout,) = opened(other.requestAvatar(b"bob", None, IThing))[2:]
        logout()
        challenger = self.challenge()
        gate.wait.callback(None)
        self.successResultOf(challenger)
        assert (other.audit(), limit.displacements) == ([], 0)
