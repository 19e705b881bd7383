"""
Tests for how often clients are asked whether they are still there, and how those are woken who wait
for the answers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.logger import LogLevel
from twisted.python.components import registerAdapter

from avatarkit import IMind, TooManyConnections, displaceUnresponsive, everyone
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from logs import logged
from scripted import Boom


class Pinged(FakeMind):
    """
    A mind that answers at once, and counts how often it is asked.
    """

    pings = 0

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Answer.
        """
        self.pings += 1


class Odd:
    """
    A mind whose adapter raises from some time on.
    """

    def __init__(self) -> None:
        self.line, self.broken = Pinged(), False


def lineOf(odd: Odd) -> Pinged:
    """
    Adapt a mind, or raise.
    """
    if odd.broken:
        raise Boom
    return odd.line


registerAdapter(lineOf, Odd, IMind)


class AnswerFreshTests(LimitTestCase):
    """
    A client that answered lately is not asked again.
    """

    def asking(self, maximum: int = 1, **kw: Any) -> Any:
        """
        Have a limit that asks, and return its policy.
        """
        policy = displaceUnresponsive(timeout=10, reactor=self.clock, **kw)
        self.limited(maximum, key=everyone, whenFull=policy)
        return policy

    def knock(self) -> None:
        """
        Log in, and be refused.
        """
        self.assertRaises(TooManyConnections, self.login, b"newcomer", FakeMind())

    def test_knocks(self) -> None:
        """
        A hundred refused logins have each of a thousand clients asked once; five seconds later they
        are asked once more.
        """
        self.asking(1000)
        minds = [Pinged() for _ in range(1000)]
        for name, mind in enumerate(minds):
            self.login(name, mind)
        for _ in range(100):
            self.knock()
        assert {mind.pings for mind in minds} == {1}
        self.clock.advance(4.9)
        self.knock()
        assert {mind.pings for mind in minds} == {1}
        self.clock.advance(0.1)
        self.knock()
        self.knock()
        assert {mind.pings for mind in minds} == {2}

    def test_own(self) -> None:
        """
        For how long is up to whoever makes the policy; with 0 each login asks.
        """
        for fresh, pings in ((60, 1), (0, 3)):
            self.asking(answerFresh=fresh)
            mind = Pinged()
            self.login(mind=mind)
            for _ in range(3):
                self.knock()
            assert mind.pings == pings

    def test_fromTheAnswer(self) -> None:
        """
        The time counts from the answer, not from the question.
        """
        self.asking()
        mind = FakeMind()
        self.login(mind=mind)
        challenger = self.challenge()
        self.clock.advance(8)
        mind.calls[0].answer.callback(None)
        self.failureResultOf(challenger, TooManyConnections)
        self.clock.advance(4)
        self.knock()
        assert len(mind.calls) == 1

    def test_deadAllTheSame(self) -> None:
        """
        A client that answered and then died is not taken to be alive.
        """
        self.asking()
        mind = Pinged()
        holder = self.login(mind=mind)
        self.knock()
        mind.disconnected = True
        self.login(b"newcomer")
        assert holder.ended
        assert mind.pings == 1

    def test_adapterRaises(self) -> None:
        """
        One of which nobody can tell whether it died is, for as long as its answer holds.
        """
        self.asking()
        mind = Odd()
        self.login(mind=mind)
        self.knock()
        mind.broken = True
        self.knock()
        assert self.flushLoggedErrors(Boom) == []
        self.clock.advance(5)
        self.knock()
        self.knock()
        assert len(self.flushLoggedErrors(Boom)) == 1
        mind.broken = False

    def test_newcomersAreAsked(self) -> None:
        """
        A client that came after the others had answered is asked on its own.
        """
        self.asking(2)
        minds = [Pinged(), Pinged(), Pinged()]
        self.login(mind=minds[0])
        second = self.login(mind=minds[1])
        self.knock()
        second.logout()
        self.login(mind=minds[2])
        self.knock()
        assert [mind.pings for mind in minds] == [1, 1, 1]

    def test_nothingKept(self) -> None:
        """
        Nothing is kept of sessions that have ended, and one thing of each that has not.
        """
        policy = self.asking(10, answerFresh=0)
        sessions = [self.login(mind=Pinged()) for _ in range(10)]
        for _ in range(5):
            self.knock()
        assert set(policy._questions) == set(sessions)
        for session in sessions:
            session.logout()
        assert policy._questions == {}


class WakingTests(LimitTestCase):
    """
    Many wait for the same answer, or for their turn.
    """

    def setUp(self) -> None:
        """
        Each refusal takes a millisecond.
        """
        super().setUp()
        self.turns: list[int] = []

    def refused(self, failure: Any) -> None:
        """
        One of them is refused.
        """
        failure.trap(TooManyConnections)
        self.clock.rightNow += 0.001
        self.turns[-1] += 1

    def countTurns(self) -> list[int]:
        """
        Return how many are refused in each turn of the reactor, until nobody is left.
        """
        while self.clock.getDelayedCalls():
            self.turns.append(0)
            call: Any = self.clock.getDelayedCalls()[0]
            self.clock.calls.remove(call)
            call.func(*call.args, **call.kw)
        return self.turns

    def test_answer(self) -> None:
        """
        Those who wait for an answer are woken in slices of five milliseconds, and the first ones at
        once; those who come meanwhile need not wait.
        """
        policy = displaceUnresponsive(timeout=10, reactor=self.clock)
        self.limited(1, whenFull=policy)
        mind = FakeMind()
        self.login(mind=mind)
        for _ in range(23):
            self.challenge().addErrback(self.refused)
        self.turns.append(0)
        mind.calls[0].answer.callback(None)
        assert self.turns == [5]
        self.assertRaises(TooManyConnections, self.login)
        assert self.countTurns() == [5, 5, 5, 5, 3]

    def test_turns(self) -> None:
        """
        So are those who wait for their turn.
        """
        limit = self.limited(1, whenFull=lambda session, holders: ())
        gate: Any = []
        holder = self.login()
        self.script.acts["detached 1"] = lambda session: gate.append(defer.Deferred()) or gate[-1]
        holder.logout()
        first = self.challenge()
        for _ in range(12):
            self.challenge().addErrback(self.refused)
        del self.script.acts["detached 1"]
        self.turns.append(0)
        gate[0].callback(None)
        session = self.winner(first)
        assert self.countTurns() == [5, 5, 2]
        assert limit.sessions(b"alice") == (session,)

    def test_givesUpBetween(self) -> None:
        """
        One that gives up between two slices, or whose slot is free by then, is no trouble.
        """
        policy = displaceUnresponsive(timeout=10, reactor=self.clock)
        limit = self.limited(1, whenFull=policy)
        mind = FakeMind()
        holder = self.login(mind=mind)
        challengers = [self.challenge() for _ in range(8)]
        for challenger in challengers[:5]:
            challenger.addErrback(self.refused)
        self.turns.append(0)
        mind.calls[0].answer.callback(None)
        challengers[5].cancel()
        self.failureResultOf(challengers[5], defer.CancelledError)
        holder.logout()
        session = self.winner(challengers[6])
        assert limit.sessions(b"alice") == (session,)
        self.clock.advance(0)
        self.failureResultOf(challengers[7], TooManyConnections)


class JunkMindTests(LimitTestCase):
    """
    A client may have sent something else than a mind.
    """

    def test_callRemote(self) -> None:
        """
        A client whose mind has a C{callRemote} that cannot be called counts as one that is there,
        and nothing is logged, however often it should be asked.
        """

        class NoCall:
            callRemote = 5

        policy = displaceUnresponsive(answerFresh=0, reactor=self.clock)
        self.limited(1, whenFull=policy)
        self.login(mind=NoCall())
        with logged(LogLevel.warn) as said:
            for _ in range(3):
                self.assertRaises(TooManyConnections, self.login, mind=FakeMind())
        assert said == []
