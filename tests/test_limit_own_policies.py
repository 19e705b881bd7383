"""
Tests for policies that users write.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from avatarkit import LoginAbandoned, Session, TooManyConnections, displaceOldest, everyone, refuse
from limited import LimitTestCase
from scripted import Boom, Gate, Script, foreignSession, raises


class Ending:
    """
    A policy that displaces the oldest session, and ends the second challenger.

    @ivar where: where it ends it: in the policy, which may then wait, or in a hook of the session
        that is displaced.
    """

    script: Script

    def __init__(self, where: str) -> None:
        self.where = where
        self.challenged: list[Session] = []
        self.waiting: Deferred[Any] = Deferred()

    def __call__(self, session: Session, holders: Any) -> Any:
        """
        Name the oldest session; end the second challenger.
        """
        self.challenged.append(session)
        if len(self.challenged) == 2:
            if self.where == "detached":
                self.script.acts = {"detached 1": lambda other: session.logout()}
            else:
                session.logout()
            if self.where == "waiting policy":
                return self.waiting
        return holders[:1]


class OwnPolicyTests(LimitTestCase):
    """
    Policies that users write.
    """

    def test_holders(self) -> None:
        """
        A policy gets the new session, and the sessions that hold slots, with their key.
        """
        seen: list[Any] = []

        def policy(session: Session, holders: Any) -> Any:
            seen.append((session.avatarId, holders, holders.key))
            return [holders[-1], holders[-1]] if session.avatarId == b"carol" else None

        self.limited(2, key=everyone, whenFull=policy)
        first, second = self.login(b"alice"), self.login(b"bob")
        third = self.login(b"carol")
        assert seen == [(b"carol", (first, second), everyone)]
        assert self.limit.sessions(everyone) == (first, third)
        assert self.limit.displacements == 1
        self.assertRaises(TooManyConnections, self.login, b"dave")

    def test_waiting(self) -> None:
        """
        A policy may wait; of the sessions that it names, those that still hold slots are displaced,
        and if none do, it is asked again.
        """
        gates: list[Gate] = []

        def policy(session: Session, holders: Any) -> Any:
            gates.append(Gate())
            gates[-1].wait.addCallback(lambda ignored: list(holders))
            return gates[-1].wait

        limit = self.limited(1, whenFull=policy)
        self.login()
        first, second = self.challenge(), self.challenge()
        gates[0].wait.callback(None)
        session = self.winner(first)
        gates[1].wait.callback(None)
        self.assertNoResult(second)
        assert not session.ended
        gates[2].wait.callback(None)
        self.successResultOf(second)
        assert session.ended
        assert limit.displacements == 2

    def test_composed(self) -> None:
        """
        A policy can delegate to others.
        """
        newest = displaceOldest(reactor=self.clock)

        def policy(session: Session, holders: Any) -> Any:
            return (newest if session.mind == "vip" else refuse)(session, holders)

        self.limited(1, whenFull=policy)
        self.login()
        self.assertRaises(TooManyConnections, self.login)
        self.login(mind="vip")

    def test_tooFew(self) -> None:
        """
        A policy that names too few sessions is asked again until there is room.
        """
        limit = self.limited(3, whenFull=lambda session, holders: holders[:1])
        for _ in range(3):
            self.login()
        limit.maximum = 1
        session = self.login()
        assert limit.sessions(b"alice") == (session,)
        assert limit.displacements == 3

    def test_tooFewAndHanging(self) -> None:
        """
        A policy is not asked about sessions that are already closing.
        """
        limit = self.limited(2, whenFull=lambda session, holders: holders[:1])
        gate = Gate()
        self.script.acts["detached 1"] = gate.deferred
        first, second = self.login(), self.login()
        limit.maximum = 1
        first.logout()
        third = self.challenge()
        assert second.ended
        assert limit.displacements == 1
        gate.wait.callback(None)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (session,)

    def test_noRoomAtAll(self) -> None:
        """
        With a quota of 0, the policy may refuse a login although no session is there.
        """
        self.limited(quota=lambda session: 0, whenFull=displaceOldest)
        self.assertRaises(TooManyConnections, self.login)

    def test_broken(self) -> None:
        """
        If a policy raises, fails, returns nonsense or names a session without a slot, at once or
        later, the login is refused and the error is logged.
        """
        stranger = foreignSession()

        async def failsLater(session: Session, holders: Any) -> Any:
            raise Boom

        async def strangerLater(session: Session, holders: Any) -> Any:
            return [stranger]

        for policy in (
            lambda session, holders: raises(session),
            failsLater,
            strangerLater,
            lambda session, holders: [stranger],
            lambda session, holders: [session],
            lambda session, holders: 3,
            lambda session, holders: fail(Boom()),
            lambda session, holders: fail(CancelledError()),
        ):
            limit = self.limited(1, whenFull=policy)
            holder = self.login()
            self.assertRaises(TooManyConnections, self.login)
            assert limit.sessions(b"alice") == (holder,)
            assert (limit.refusals, limit.displacements) == (1, 0)
            errors = (Boom, ValueError, TypeError, CancelledError)
            assert len(self.flushLoggedErrors(*errors)) == 1
        assert not stranger.ended

    def test_cancelledPolicy(self) -> None:
        """
        Giving up cancels what the policy waits for, and is not counted as a refusal.
        """
        gate = Gate()
        limit = self.limited(1, whenFull=lambda session, holders: gate.wait)
        self.login()
        challenger = self.challenge()
        challenger.cancel()
        self.failureResultOf(challenger, CancelledError)
        assert gate.wait.called
        assert limit.refusals == 0

    def test_endedInside(self) -> None:
        """
        A challenger that is ended by its own policy, or by a session that it displaces, gets no
        slot, and later logins do.
        """
        for where in ("policy", "waiting policy", "detached"):
            policy = Ending(where)
            limit = self.limited(1, whenFull=policy)
            policy.script = self.script
            gate = Gate()
            self.login()
            self.script.acts["detached 0"] = gate.deferred
            first, second = self.challenge(), self.challenge()
            gate.wait.callback(None)
            self.successResultOf(first)
            self.failureResultOf(second, LoginAbandoned)
            assert policy.challenged[1] not in limit.sessions(b"alice")
            assert policy.waiting.called is (where == "waiting policy")
            assert self.realm.audit() == []
            for session in limit.sessions(b"alice"):
                session.logout()
            self.login()

    def test_stubbornPolicy(self) -> None:
        """
        No session is displaced for a challenger that has given up, even if its policy goes on.
        """
        gate = Gate()

        async def policy(session: Session, holders: Any) -> Any:
            try:
                await Deferred()
            except CancelledError:
                await gate.wait
            return holders

        limit = self.limited(1, whenFull=policy)
        holder = self.login()
        challenger = self.challenge()
        challenger.cancel()
        self.failureResultOf(challenger, CancelledError)
        gate.wait.callback(None)
        assert limit.sessions(b"alice") == (holder,)
        assert not holder.ended

    def test_unlimited(self) -> None:
        """
        A session without a limit does not wait for logins that contest a slot.
        """
        quotas = {None: 1, "admin": None}
        limit = self.limited(
            quota=lambda session: quotas[session.mind],
            whenFull=lambda session, holders: Deferred(),
        )
        self.login()
        challenger = self.challenge()
        self.login(mind="admin")
        assert len(limit.sessions(b"alice")) == 2
        challenger.addErrback(lambda failure: None).cancel()
