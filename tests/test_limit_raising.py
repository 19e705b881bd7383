"""
Tests for what raises around a limit: cancellers, adapters, minds; nothing of that lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.components import registerAdapter

from avatarkit import (
    IMind,
    LoginAbandoned,
    Session,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
)
from avatarkit.testing import FakeMind
from limited import LimitTestCase
from scripted import Boom

#: What somebody else's code raises, a program that is told to stop included.
RAISED: tuple[type[BaseException], ...] = (Boom, SystemExit)


class Waiting(list[Deferred[Any]]):
    """
    A quota or a policy that waits, and what it waits for each time.

    @ivar raised: what raises whoever cancels that; nothing by default.
    """

    def __init__(self, raised: type[BaseException] | None = None) -> None:
        self.raised = raised

    def __call__(self, *ignored: object) -> Deferred[Any]:
        """
        Wait.
        """
        self.append(Deferred(None if self.raised is None else self.cancel))
        return self[-1]

    def cancel(self, waiting: object) -> None:
        """
        Raise.
        """
        assert self.raised is not None
        raise self.raised


class CancellerTests(LimitTestCase):
    """
    A login ends while something waits whose canceller raises.
    """

    def test_quota(self) -> None:
        """
        A quota that cannot be cancelled, and is there when the session has ended, gives it no slot,
        and is an error in the log; those who come later get in.
        """
        for raised in RAISED:
            quotas = Waiting(raised)
            limit = self.limited(quota=quotas, whenFull=displaceOldest)
            mind = FakeMind()
            login = self.challenge(mind=mind)
            mind.disconnect()
            self.failureResultOf(login, LoginAbandoned)
            assert len(self.flushLoggedErrors(raised)) == 1
            assert "could not be cancelled" in self.events[-1]["log_format"]
            quotas[0].callback(1)
            assert limit.sessions(b"alice") == ()
            second, third = self.challenge(), self.challenge()
            quotas[1].callback(1)
            self.successResultOf(second)
            quotas[2].callback(1)
            session = self.winner(third)
            assert limit.sessions(b"alice") == (session,)
            assert limit.refusals == 0

    def test_quotaFailsLate(self) -> None:
        """
        A quota that does not mind being cancelled, and then fails, is nobody's failure any more.
        """
        late: Deferred[Any] = Deferred()

        async def quota(session: Session) -> object:
            try:
                await Deferred()
            except CancelledError:
                await late
            return None

        limit = self.limited(quota=quota)
        login = self.challenge()
        login.cancel()
        self.failureResultOf(login, CancelledError)
        late.errback(Boom())
        assert (limit.refusals, limit.sessions(b"alice")) == (0, ())

    def test_policy(self) -> None:
        """
        A policy that cannot be cancelled keeps nobody's turn, and nobody goes for one that has
        gone; the log has it.
        """
        for raised in RAISED:
            policies = Waiting(raised)
            limit = self.limited(1, whenFull=policies)
            holder = self.login()
            first = self.challenge()
            first.cancel()
            self.failureResultOf(first, CancelledError)
            assert len(self.flushLoggedErrors(raised)) == 1
            assert "could not be cancelled" in self.events[-1]["log_format"]
            second = self.challenge()
            policies[0].callback([holder])
            assert not holder.ended
            policies[1].callback([holder])
            session = self.winner(second)
            assert limit.sessions(b"alice") == (session,)
            assert (limit.refusals, limit.displacements) == (0, 1)

    def test_policyNotNeeded(self) -> None:
        """
        It is not cancelled in vain either when a slot becomes free meanwhile.
        """
        limit = self.limited(1, whenFull=Waiting(Boom))
        holder = self.login()
        challenger = self.challenge()
        holder.logout()
        session = self.winner(challenger)
        assert limit.sessions(b"alice") == (session,)
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_policyFailsWhenCancelled(self) -> None:
        """
        A policy that fails in its own way when it is cancelled is an error in the log.
        """

        async def policy(session: Session, holders: Any) -> Any:
            try:
                await Deferred()
            finally:
                raise Boom

        self.limited(1, whenFull=policy)
        self.login()
        challenger = self.challenge()
        challenger.cancel()
        self.failureResultOf(challenger, CancelledError)
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_endedInsideAfterQuota(self) -> None:
        """
        A challenger that its policy ends, after a quota that waited, takes no slot and displaces
        nobody.
        """
        quotas = Waiting()

        def policy(session: Session, holders: Any) -> Any:
            session.logout()
            return holders

        limit = self.limited(quota=quotas, whenFull=policy)
        first, second = self.challenge(), self.challenge()
        for quota in quotas:
            quota.callback(1)
        session = self.winner(first)
        self.failureResultOf(second, LoginAbandoned)
        assert limit.sessions(b"alice") == (session,)
        assert (limit.refusals, limit.displacements) == (0, 0)

    def test_endedByItsQuota(self) -> None:
        """
        A login that its quota ends, and that has not been waited for, is not counted as refused.
        """
        limit = self.limited(quota=self.ending, whenFull=displaceOldest)
        self.assertRaises(LoginAbandoned, self.login)
        assert (limit.refusals, limit.sessions(b"alice")) == (0, ())

    def ending(self, session: Session) -> Deferred[int]:
        """
        Be a quota that ends its own session.
        """
        session.logout()
        return succeed(0)

    def test_endedByTheFirstThatGoes(self) -> None:
        """
        If the first of those who go ends the challenger, the others stay, and the policy is not
        asked who else must go.
        """
        for together in (True, False):
            self.endedByTheFirst(together)

    def endedByTheFirst(self, together: bool) -> None:
        """
        Have two go for one, at the same time or one after the other.
        """
        asked: list[Session] = []

        def policy(session: Session, holders: Any) -> Any:
            asked.append(session)
            return holders if together else holders[:1]

        limit = self.limited(2, whenFull=policy)
        first, second = self.login(), self.login()

        def end(session: Session) -> None:
            del self.script.acts["detached 1"]
            for each in self.realm.sessions - {first, second}:
                each.logout()

        self.script.acts["detached 1"] = end
        limit.maximum = 1
        self.assertRaises(LoginAbandoned, self.login)
        assert (first.ended, second.ended) == (True, False)
        assert limit.sessions(b"alice") == (second,)
        assert len(asked) == 1


class PolicyTests(LimitTestCase):
    """
    A policy raises what is no C{Exception}.
    """

    def test_raises(self) -> None:
        """
        It is an error in the log, and a refusal, now or later.
        """

        async def later(session: Session, holders: Any) -> Any:
            raise SystemExit

        def now(session: Session, holders: Any) -> Any:
            raise SystemExit

        for policy in (now, later):
            limit = self.limited(1, whenFull=policy)
            self.login()
            self.assertRaises(TooManyConnections, self.login)
            assert len(self.flushLoggedErrors(SystemExit)) == 1
            assert limit.refusals == 1


class Phone:
    """
    A mind of somebody's own, which is adapted.

    @ivar raised: what the adapter raises; nothing by default.
    """

    raised: type[BaseException] | None = None

    def __init__(self) -> None:
        self.line = FakeMind()


class Answering(FakeMind):
    """
    A mind that answers with what a function returns.
    """

    def __init__(self, answer: Callable[[], object]) -> None:
        super().__init__()
        self.answer = answer

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Answer.
        """
        return self.answer()


def lineOf(phone: Phone) -> FakeMind:
    """
    Adapt a phone, or raise.
    """
    if phone.raised is not None:
        raise phone.raised
    return phone.line


registerAdapter(lineOf, Phone, IMind)


class MindTests(LimitTestCase):
    """
    A client is asked whether it is there, and its mind raises.
    """

    def setUp(self) -> None:
        """
        Have a policy that is told the time.
        """
        super().setUp()
        self.policy = displaceUnresponsive(timeout=1, reactor=self.clock)

    def test_adapter(self) -> None:
        """
        An adapter that raises once says nothing about the client; the next login asks again.
        """
        for raised in RAISED:
            limit = self.limited(1, whenFull=self.policy)
            phone = Phone()
            self.login(mind=phone)
            phone.raised = raised
            self.assertRaises(TooManyConnections, self.login)
            assert len(self.flushLoggedErrors(raised)) == 1
            phone.raised = None
            self.clock.advance(10)
            challenger = self.challenge()
            self.clock.advance(1)
            session = self.winner(challenger)
            assert limit.sessions(b"alice") == (session,)
            assert (limit.refusals, limit.displacements) == (1, 1)

    def test_disconnected(self) -> None:
        """
        So does a mind that cannot say whether it is dead.
        """

        class Odd(FakeMind):
            broken = False

            @property
            def disconnected(self) -> bool:
                if self.broken:
                    raise Boom
                return False

            @disconnected.setter
            def disconnected(self, value: bool) -> None: ...

        limit = self.limited(1, whenFull=self.policy)
        holder = self.login(mind=Odd())
        holder.mind.broken = True
        self.assertRaises(TooManyConnections, self.login)
        assert len(self.flushLoggedErrors(Boom)) == 1
        holder.mind.broken = False
        assert limit.sessions(b"alice") == (holder,)

    def test_notCancelled(self) -> None:
        """
        A client whose call cannot be cancelled when its time is up, or does not mind, has to go all
        the same.
        """

        async def stubborn() -> None:
            try:
                await Deferred()
            except CancelledError:
                await Deferred()

        calls: tuple[Any, ...] = (Waiting(Boom), Waiting(SystemExit), stubborn)
        for call, logged in zip(calls, (1, 1, 0), strict=True):
            mind = Answering(call)
            limit = self.limited(1, whenFull=self.policy)
            self.login(mind=mind)
            challengers = [self.challenge(), self.challenge()]
            self.clock.advance(1)
            assert len(self.flushLoggedErrors(Boom, SystemExit)) == logged
            session = self.winner(challengers[0])
            self.failureResultOf(challengers[1], TooManyConnections)
            assert limit.sessions(b"alice") == (session,)
            assert self.clock.getDelayedCalls() == []

    def test_endsWhatIsAskedNext(self) -> None:
        """
        A mind that ends other sessions, or its own, when it is called keeps nobody waiting.
        """
        for ended in (0, 1):
            sessions: list[Session] = []
            mind = Answering(partial(self.end, sessions, ended))
            limit = self.limited(2, whenFull=self.policy)
            sessions += [self.login(mind=mind), self.login(mind=FakeMind())]
            session = self.login()
            assert set(limit.sessions(b"alice")) == {session, sessions[1 - ended]}
            assert limit.displacements == 0

    def end(self, sessions: list[Session], number: int) -> None:
        """
        End a session.
        """
        sessions[number].logout()

    def test_nothingKept(self) -> None:
        """
        Nothing is kept of sessions that have closed.
        """
        self.limited(2, whenFull=self.policy)
        sessions = [self.login(mind=FakeMind()), self.login(mind=None)]
        for number in range(3):
            challenger = self.challenge()
            self.assertNoResult(challenger)
            sessions[0].mind.calls[number].answer.callback(None)
            self.failureResultOf(challenger, TooManyConnections)
            self.clock.advance(10)
        assert len(self.policy._questions) == 2  # type: ignore[attr-defined]
        for session in sessions:
            session.logout()
        assert self.policy._questions == {}  # type: ignore[attr-defined]
