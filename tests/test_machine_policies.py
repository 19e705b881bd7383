"""
The life of sessions with each policy and quota of a limit, searched without a model: cancellers and
minds raise, maxima change, and the places for those who wait are few.

More runs on request: C{HYPOTHESIS_PROFILE=search python -m pytest tests/test_machine*.py}
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.spread.pb import IPerspective

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    Session,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from avatarkit._limit.slots import DEADLINE
from avatarkit.testing import FakeMind
from machines import ACTS, NAMES, SEARCH, Scripted
from model import MAXIMUM, Login
from scripted import Boom, slots

#: How many may wait for the slots of a key.
WAITING = 3


class Moody(FakeMind):
    """
    A mind that may raise when it is called, or when a call is cancelled.

    @ivar mood: what it does.
    """

    mood = "answers"

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Be called.
        """
        if self.mood == "raises":
            raise Boom
        if self.mood == "is stubborn":
            return stuck()
        return super().callRemote(name, *args, **kw)


def stuck() -> Deferred[Any]:
    """
    Return a Deferred whose canceller raises.
    """

    def cancel(waiting: Deferred[Any]) -> None:
        raise Boom

    return Deferred(cancel)


class PoliciesMachine(RuleBasedStateMachine):
    """
    A limit with one of the policies, without a model: whatever happens, the maximum is not
    exceeded, the audit finds nothing, and nothing is left in the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.logins: list[Login] = []
        self.gates: list[Deferred[Any]] = []
        self.minds: list[Moody] = []
        self.endedAt: dict[Session, float] = {}
        self.maximum = MAXIMUM

    @initialize(
        policy=st.sampled_from(["refuse", "oldest", "unresponsive", "slow", "stuck", "broken"]),
        quota=st.sampled_from([None, "prompt", "slow", "stuck"]),
    )
    def stack(self, policy: str, quota: str | None) -> None:
        """
        Choose a policy, and perhaps a quota.
        """
        policies: dict[str, Any] = {
            "refuse": refuse,
            "oldest": displaceOldest(flapping=4, per=20, reactor=self.clock),
            "unresponsive": displaceUnresponsive(timeout=3, reactor=self.clock),
            "slow": partial(self.slow, Deferred),
            "stuck": partial(self.slow, stuck),
            "broken": self.broken,
        }
        quotas: dict[str | None, Any] = {
            "prompt": lambda session: self.maximum,
            "slow": partial(self.quota, Deferred),
            "stuck": partial(self.quota, stuck),
        }
        self.policy = policies[policy]
        self.limit = ConnectionLimit(
            **({"maximum": MAXIMUM} if quota is None else {"quota": quotas[quota]}),
            whenFull=self.policy,
            maximumWaiting=WAITING,
            reactor=self.clock,
        )
        self.counter, self.cache = ConnectionCounter(), AvatarCache(idleTimeout=0)
        cached = self.cache(lambda name: Avatar())
        self.realm = self.limit(self.counter(Scripted(self.loginOf)(cached)))

    def slow(self, waiting: Any, session: Session, holders: Any) -> Deferred[Any]:
        """
        Return a Deferred of all sessions that hold slots.
        """
        self.gates.append(waiting())
        return self.gates[-1].addCallback(lambda ignored: holders)

    def quota(self, waiting: Any, session: Session) -> Deferred[Any]:
        """
        Be a quota that takes its time.
        """
        self.gates.append(waiting())
        return self.gates[-1].addCallback(lambda ignored: self.maximum)

    def broken(self, session: Session, holders: Any) -> Any:
        """
        Raise.
        """
        raise Boom

    @rule(name=NAMES, acts=st.tuples(ACTS, ACTS, ACTS, ACTS))
    def login(self, name: str, acts: tuple[str, ...]) -> None:
        """
        Somebody logs in.
        """
        hooks = dict(zip(("admit", "attached", "detached", "release"), acts, strict=True))
        mind = Moody()
        login = Login(name, mind, hooks)
        self.minds.append(mind)
        self.logins.append(login)
        login.real.result = maybeDeferred(
            self.realm.requestAvatar, name, login.mind, IPerspective
        ).addBoth(login.real.outcome.append)

    def loginOf(self, session: Session) -> Login:
        """
        Return the login that a session belongs to, which its mind tells.
        """
        return next(each for each in self.logins if each.mind is session.mind)

    @precondition(lambda self: self.logins)
    @rule(data=st.data(), what=st.sampled_from(["logout", "cancel", "disconnect"]))
    def end(self, data: Any, what: str) -> None:
        """
        A login or a session ends in one of several ways.
        """
        login = data.draw(st.sampled_from(self.logins))
        sessions = [each for each in self.realm.sessions if each.mind is login.mind]
        if what == "cancel":
            login.real.result.cancel()
        elif what == "disconnect" and not login.mind.disconnected:
            login.mind.disconnect()
        for session in sessions:
            if what != "cancel":
                session.logout()

    @rule(data=st.data(), succeeds=st.booleans())
    def finish(self, data: Any, succeeds: bool) -> None:
        """
        Something that waits finishes: a hook, a policy, or a client that was asked.
        """
        waiting = [
            *(each.real.gate for each in self.logins if each.real.gate is not None),
            *self.gates,
            *(call.answer for mind in self.minds for call in mind.calls),
        ]
        waiting = [each for each in waiting if not each.called]
        if waiting:
            one = data.draw(st.sampled_from(waiting))
            one.callback(None) if succeeds else one.errback(Boom())

    @rule(maximum=st.integers(1, MAXIMUM))
    def change(self, maximum: int) -> None:
        """
        The maximum is lowered, or raised again.
        """
        self.maximum = maximum
        if self.limit.maximum is not None:
            self.limit.maximum = maximum

    @precondition(lambda self: self.minds)
    @rule(data=st.data(), mood=st.sampled_from(["answers", "raises", "is stubborn"]))
    def upset(self, data: Any, mood: str) -> None:
        """
        A mind begins to raise, or stops.
        """
        data.draw(st.sampled_from(self.minds)).mood = mood

    @rule(seconds=st.sampled_from([1, 5]))
    def advance(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @invariant()
    def bounded(self) -> None:
        """
        The maximum is not exceeded, and the audit finds nothing.
        """
        if not hasattr(self, "limit"):
            return
        for name in ("alice", "bob", "carol"):
            assert len(self.limit.sessions(name)) <= MAXIMUM
            assert self.counter.connections(name) <= MAXIMUM
            assert self.limit._waiting[name] <= WAITING
        for session in self.realm.sessions:
            if session.ended:
                self.endedAt.setdefault(session, self.clock.seconds())
        for session in self.limit._slots.revoked:
            assert self.clock.seconds() - self.endedAt[session] >= DEADLINE
        assert self.realm.audit() == []

    @invariant()
    def served(self) -> None:
        """
        Nobody waits who could go on.
        """
        if not hasattr(self, "limit"):
            return
        for queue in self.limit._turns.queues.values():
            assert queue.taken or not queue.waiting
            pauses = queue.holding if queue.taken else queue.pausing
            assert not any(ready() for ready in pauses.values())

    def teardown(self) -> None:
        """
        When everything has finished, nothing is left.
        """
        if not hasattr(self, "limit"):
            return
        closing = self.realm.close(timeout=None)
        for _ in range(3):
            for login in self.logins:
                gate = login.real.gate
                if gate is not None and not gate.called:
                    gate.callback(None)
        assert closing.called
        assert self.realm.audit() == []
        assert (slots(self.limit), dict(self.counter), dict(self.cache)) == ({}, {}, {})
        assert (len(self.limit._turns), self.limit._slots.revoked) == (0, set())
        assert self.limit._slots.otherKeys == {}
        assert (self.limit._slots.going, self.limit._slots.closing) == ({}, {})
        assert self.limit._waiting == {}
        assert getattr(self.policy, "_questions", {}) == {}
        self.clock.advance(100)
        assert self.clock.getDelayedCalls() == []
        assert all(len(login.real.outcome) == 1 for login in self.logins)


PoliciesTests = PoliciesMachine.TestCase
PoliciesTests.settings = SEARCH
