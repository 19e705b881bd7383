"""
Tests for the policies that come with a limit: which session is displaced.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread.pb import CopiedFailure

from avatarkit import (
    IMind,
    Session,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    everyone,
)
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from scripted import Boom, Gate


def quotaOf(quotas: dict[object, int], session: Session) -> int:
    """
    Return how many sessions there may be for one.
    """
    return quotas[session.avatarId]


class DisplaceOldestTests(LimitTestCase):
    """
    The new login wins.
    """

    def test_displaces(self) -> None:
        """
        The oldest session is displaced, and closed before the new one has its avatar.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        first, second = self.login(), self.login()
        del self.script.log[:]
        third = self.login()
        assert limit.sessions(b"alice") == (second, third)
        assert first.ended
        assert self.script.log.index("release 0") < self.script.log.index("admit 0")
        assert (limit.displacements, limit.refusals) == (1, 0)

    def test_flapping(self) -> None:
        """
        A key with too many displacements within C{per} seconds is protected for a while; other keys
        are not.
        """
        policy = displaceOldest(flapping=3, per=10, reactor=self.clock)
        limit = self.limited(1, whenFull=policy)
        for _ in range(4):
            self.login()
            self.clock.advance(1)
        self.assertRaises(TooManyConnections, self.login)
        self.login(b"bob")
        self.login(b"bob")
        assert (limit.displacements, limit.refusals) == (4, 1)
        self.clock.advance(6)
        self.assertRaises(TooManyConnections, self.login)
        self.clock.advance(1)
        self.login()
        self.assertRaises(TooManyConnections, self.login)
        self.clock.advance(100)
        self.login()
        assert policy._counts == {b"alice": 1}  # type: ignore[attr-defined]  # nothing is kept

    def test_defaults(self) -> None:
        """
        By default a key is protected after five displacements within a minute, by the reactor's
        clock.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        for _ in range(6):
            self.login()
        self.assertRaises(TooManyConnections, self.login)
        assert limit.displacements == 5
        policy: Any = limit.whenFull
        assert (policy.flapping, policy.per) == (5, 60)

    def test_allOrNothing(self) -> None:
        """
        No session is displaced for a login that could not get in anyway.
        """
        policy = displaceOldest(flapping=1, reactor=self.clock)
        limit = self.limited(quota=lambda session: session.mind or 3, whenFull=policy)
        for _ in range(4):
            self.login()
        assert limit.displacements == 1
        self.assertRaises(TooManyConnections, self.login, mind=1)
        assert limit.displacements == 1
        limit = self.limited(
            quota=lambda session: 0 if session.avatarId == b"banned" else 9,
            key=everyone,
            whenFull=displaceOldest,
        )
        self.login()
        self.assertRaises(TooManyConnections, self.login, b"banned")
        assert limit.displacements == 0

    def test_lowered(self) -> None:
        """
        A maximum that was lowered is kept to from the next login on: as many go as must, and that
        login counts once, while each that goes is counted as displaced.
        """
        for slow in (False, True):
            quotas: dict[object, int] = {b"alice": 50}
            policy = displaceOldest(flapping=2, reactor=self.clock)
            limit = self.limited(quota=partial(quotaOf, quotas), whenFull=policy)
            sessions = [self.login() for _ in range(50)]
            quotas[b"alice"] = 5
            gate = Gate()
            if slow:
                self.script.acts["detached 1"] = gate.deferred
                challenger = self.challenge()
                assert [each.ended for each in sessions] == [True] * 46 + [False] * 4
                gate.wait.callback(None)
                session = self.winner(challenger)
            else:
                session = self.login()
            assert limit.sessions(b"alice") == (*sessions[46:], session)
            assert (limit.displacements, limit.refusals) == (46, 0)
            self.login()
            self.assertRaises(TooManyConnections, self.login)
            assert (limit.displacements, limit.refusals) == (47, 1)

    def test_twoForEver(self) -> None:
        """
        Two clients that displace each other for ever are stopped.
        """
        policy = displaceOldest(flapping=5, per=60, reactor=self.clock)
        limit = self.limited(1, whenFull=policy)
        refused = 0
        for _ in range(600):
            try:
                self.login()
            except TooManyConnections:
                refused += 1
            self.clock.advance(1)
        assert (limit.displacements, refused) == (50, 549)


class DisplaceUnresponsiveTests(LimitTestCase):
    """
    Sessions that do not answer are displaced.
    """

    def setUp(self) -> None:
        """
        Make a policy with a fake clock.
        """
        super().setUp()
        self.policy = displaceUnresponsive(timeout=10, reactor=self.clock)

    def test_ghost(self) -> None:
        """
        A client that does not answer in time is displaced; one that answers stays.
        """
        limit = self.limited(2, whenFull=self.policy)
        ghost, alive = FakeMind(), FakeMind()
        first, second = self.login(mind=ghost), self.login(mind=alive)
        third = self.challenge()
        for mind in (ghost, alive):
            assert [(call.name, call.args) for call in mind.calls] == [("ping", ())]
        alive.calls[0].answer.callback("pong")
        self.clock.advance(9.9)
        self.assertNoResult(third)
        self.clock.advance(0.1)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (second, session)
        assert first.ended

    def test_dead(self) -> None:
        """
        A client that is dead, or dies while it is asked, is displaced at once.
        """
        limit = self.limited(2, whenFull=self.policy)
        dead, dying = FakeMind(), FakeMind()
        self.login(mind=dead)
        self.login(mind=dying)
        dead.disconnect()
        third = self.challenge()
        dying.disconnect()
        session = self.winner(third)
        assert limit.sessions(b"alice") == (session,)
        assert limit.displacements == 2

    def test_adapted(self) -> None:
        """
        A mind of another kind is asked through its adapter, if it has one.
        """

        class Raw(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                self.answer: Deferred[Any] = Deferred()
                return self.answer

        class Phone:
            def __init__(self) -> None:
                self.line = Raw()

        registerAdapter(lambda phone: phone.line, Phone, IMind)
        for silent in (True, False):
            self.limited(1, whenFull=self.policy)
            phone = Phone()
            self.login(mind=phone)
            if silent:
                phone.line.disconnected = True
                self.login()
            else:
                challenger = self.challenge()
                phone.line.answer.errback(ConnectionDone())
                self.successResultOf(challenger)

    def test_alive(self) -> None:
        """
        A client that answers anything is alive, even with an error or a timeout of its own, and so
        is a mind that cannot be asked.
        """
        far: Any = CopiedFailure.__new__(CopiedFailure)
        far.__dict__.update(Failure(defer.TimeoutError()).__dict__)
        near = Failure(AttributeError("no such method"))
        for answer in (None, near, far):
            limit = self.limited(1, whenFull=self.policy)
            mind = FakeMind()
            self.login(mind=mind)
            challenger = self.challenge()
            if isinstance(answer, Failure):
                mind.calls[0].answer.errback(answer)
            else:
                mind.calls[0].answer.callback(answer)
            self.failureResultOf(challenger, TooManyConnections)
            assert (limit.displacements, limit.refusals) == (0, 1)
        self.limited(1, whenFull=self.policy)
        self.login(mind=None)
        self.assertRaises(TooManyConnections, self.login)
        assert self.clock.getDelayedCalls() == []

    def test_notSendable(self) -> None:
        """
        A client to which the question cannot be sent is taken to be alive.
        """

        class Mute(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                raise Boom

        self.limited(1, whenFull=self.policy)
        self.login(mind=Mute())
        self.assertRaises(TooManyConnections, self.login)
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert "could not be asked" in self.events[-2]["log_format"]

    def test_shared(self) -> None:
        """
        Challengers that arrive while a client is being asked share the question.
        """
        limit = self.limited(2, whenFull=self.policy)
        ghost, alive = FakeMind(), FakeMind()
        self.login(mind=ghost)
        holder = self.login(mind=alive)
        challengers = [self.challenge(mind=FakeMind()) for _ in range(3)]
        alive.calls[0].answer.callback("pong")
        self.clock.advance(10)
        session = self.winner(challengers[0])
        assert limit.sessions(b"alice") == (holder, session)
        # The ghost is gone: the others have everybody asked again who is not being asked already.
        assert (len(ghost.calls), len(alive.calls)) == (1, 2)
        alive.calls[1].answer.callback("pong")
        session.mind.calls[0].answer.callback("pong")
        for challenger in challengers[1:]:
            self.failureResultOf(challenger, TooManyConnections)
        assert len(session.mind.calls) == 1

    def test_allAlive(self) -> None:
        """
        If everybody who is asked is alive, all challengers that share the question are refused
        without asking again.
        """
        limit = self.limited(1, whenFull=self.policy)
        mind = FakeMind()
        self.login(mind=mind)
        challengers = [self.challenge() for _ in range(3)]
        mind.calls[0].answer.callback("pong")
        for challenger in challengers:
            self.failureResultOf(challenger, TooManyConnections)
        assert (len(mind.calls), limit.refusals) == (1, 3)

    def test_givingUp(self) -> None:
        """
        A challenger that gives up while a client is being asked does not affect the others.
        """
        self.limited(1, whenFull=self.policy)
        self.login(mind=FakeMind())
        first, second = self.challenge(), self.challenge()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(10)
        self.successResultOf(second)

    def test_roomMeanwhile(self) -> None:
        """
        If a client leaves while it is being asked, the challenger gets in, and no session is
        displaced.
        """
        limit = self.limited(1, whenFull=self.policy)
        session = self.login(mind=FakeMind())
        challenger = self.challenge()
        session.logout()
        self.clock.advance(10)
        self.successResultOf(challenger)
        assert limit.displacements == 0
