"""
The life of sessions, searched: a full stack is driven at random beside a small model of what it
promises, and after every step the two have to agree.

More runs on request: C{HYPOTHESIS_PROFILE=search python -m pytest tests/test_machine.py}
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread.pb import IPerspective

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    MindRegistry,
    RealmClosed,
    Session,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from avatarkit._limit.slots import DEADLINE
from avatarkit.testing import FakeMind
from scripted import Boom, slots

MAXIMUM, IDLE_TIMEOUT, MAXIMUM_IDLE = 2, 10, 1
NAMES = st.sampled_from(["alice", "bob", "carol"])
ACTS = st.sampled_from(["pass"] * 5 + ["raise", "wait", "wait"])
LOADS = st.sampled_from(["pass", "pass", "wait", "raise"])
SAVES = st.sampled_from(["pass", "pass", "wait", "raise"])


@attrs.define(eq=False)
class Life:
    """
    The model of an avatar: loading, ready, retiring, or condemned, which is ended but still used.
    """

    state: str
    users: list[Login] = attrs.field(factory=list)
    waiting: list[Login] = attrs.field(factory=list)
    proven: bool = False
    idleSince: float | None = None


@attrs.define(eq=False)
class Login:
    """
    The model of a session: how much of it is done, and what it waits for.

    @ivar depth: 1 when it has a slot, 2 when the scripted block has admitted it, 3 when it has its
        avatar, 4 when the scripted block is attached, 5 when it is counted and registered.
    @ivar acts: what the scripted block does in each of its hooks.
    @ivar outcome: what the login is to come to; nothing while it waits.
    @ivar real: the login that it is a model of.
    """

    name: str
    mind: FakeMind | None
    acts: dict[str, str]
    depth: int = 0
    waits: str | None = None
    closing: bool = False
    reason: type[BaseException] | None = None
    outcome: list[Any] = attrs.field(factory=list)
    real: Real = attrs.field(factory=lambda: Real())


@attrs.define(eq=False)
class Real:
    """
    A login as it really is.
    """

    answer: Deferred[Any] | None = None
    outcome: list[Any] = attrs.field(factory=list)
    logout: Any = None
    gate: Deferred[Any] | None = None


class Scripted(Block):
    """
    A block that raises or waits on command.
    """

    def __init__(self, machine: SessionsMachine | PoliciesMachine) -> None:
        self.machine = machine

    def act(self, session: Session, hook: str) -> object:
        """
        Do what the login says that this hook does.
        """
        login = self.machine.loginOf(session)
        act = login.acts[hook]
        if act == "raise":
            raise Boom
        if act == "wait":
            login.real.gate = Deferred()
            return login.real.gate
        return None

    def admit(self, session: Session) -> object:
        """
        Act.
        """
        return self.act(session, "admit")

    def release(self, session: Session) -> object:
        """
        Act.
        """
        return self.act(session, "release")

    def attached(self, session: Session) -> object:
        """
        Act.
        """
        return self.act(session, "attached")

    def detached(self, session: Session) -> object:
        """
        Act.
        """
        return self.act(session, "detached")


class Below(Block):
    """
    A block below the cache, which ends what it sees on command.
    """

    def __init__(self, machine: SessionsMachine) -> None:
        self.machine = machine

    def attached(self, session: Session) -> None:
        """
        See.
        """
        self.machine.below[str(session.avatarId)] = session


class Player(Avatar):
    """
    An avatar whose logout raises or waits on command.
    """

    def __init__(self, machine: SessionsMachine, name: str) -> None:
        self.machine, self.name, self.saved, self.alive = machine, name, 0, True
        for other in machine.players:
            assert not (other.alive and other.name == name), "two live avatars of one ID"
        machine.players.append(self)

    def logout(self) -> object:
        """
        Save.
        """
        self.saved += 1
        if self.machine.saves == "wait":
            gate: Deferred[Any] = Deferred()
            self.machine.saving[self.name] = gate
            return gate.addBoth(self.over)
        return self.over(Failure(Boom()) if self.machine.saves == "raise" else None)

    def over(self, result: object) -> object:
        """
        Be saved.
        """
        self.alive = False
        return fail(result) if isinstance(result, Failure) else result


class SessionsMachine(RuleBasedStateMachine):
    """
    A full stack, and its model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.online, self.limit = MindRegistry(), ConnectionLimit(MAXIMUM)
        self.counter = ConnectionCounter()
        self.cache = AvatarCache(
            idleTimeout=IDLE_TIMEOUT, maximumIdle=MAXIMUM_IDLE, reactor=self.clock
        )
        self.below: dict[str, Session] = {}
        cached = self.cache(Below(self)(self.factory))
        self.realm = self.online(self.limit(self.counter(Scripted(self)(cached))))
        self.sessions: dict[Session, Login] = {}
        self.players: list[Player] = []
        self.loading: dict[str, Deferred[Any]] = {}
        self.saving: dict[str, Deferred[Any]] = {}
        self.loads = self.saves = "pass"
        self.errors: list[Any] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        # The model.
        self.logins: list[Login] = []
        self.lives: dict[str, Life] = {}
        self.closed = False
        self.logged = 0

    def observe(self, event: dict[str, Any]) -> None:
        """
        Take down the failures that are logged.
        """
        if "log_failure" in event:
            self.errors.append(event)

    def loginOf(self, session: Session) -> Login:
        """
        Answer the login that a session is of: the one that is being made, if it is new.
        """
        return self.sessions.setdefault(session, self.entering)

    def factory(self, name: str) -> object:
        """
        Make an avatar, later or never on command.
        """
        if self.loads == "wait":
            load: Deferred[Any] = Deferred()
            self.loading[name] = load
            return load
        return fail(Boom()) if self.loads == "raise" else Player(self, name)

    # What can happen.

    @rule(name=NAMES, hasMind=st.booleans(), acts=st.tuples(ACTS, ACTS, ACTS, ACTS), loads=LOADS)
    def login(self, name: str, hasMind: bool, acts: tuple[str, ...], loads: str) -> None:
        """
        Somebody logs in.
        """
        self.loads = loads
        hooks = dict(zip(("admit", "attached", "detached", "release"), acts, strict=True))
        login = self.entering = Login(name, FakeMind() if hasMind else None, hooks)
        self.logins.append(login)
        real = login.real
        try:
            answer = self.realm.requestAvatar(name, login.mind, IPerspective)
        except Exception as error:
            real.outcome.append(type(error))
        else:
            if isinstance(answer, Deferred):
                real.answer = answer
                answer.addCallbacks(self.loggedIn(real), self.refused(real))
            else:
                self.loggedIn(real)(answer)
        self.modelLogin(login)

    def loggedIn(self, real: Real) -> Any:
        """
        Answer what takes down a login that succeeded.
        """

        def loggedIn(answer: tuple[Any, ...]) -> None:
            real.logout = answer[2]
            real.outcome.append(answer[1])

        return loggedIn

    def refused(self, real: Real) -> Any:
        """
        Answer what takes down a login that failed.
        """
        return lambda failure: real.outcome.append(failure.type)

    def pick(self, data: Any, what: list[Any]) -> Any:
        """
        Answer one of several.
        """
        return data.draw(st.sampled_from(what))

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishLoading(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        The factory is done.
        """
        self.loads, self.saves = loads, saves
        name = self.pick(data, sorted(self.loading))
        load = self.loading.pop(name)
        load.callback(Player(self, name)) if succeeds else load.errback(Boom())
        self.modelLoaded(name, succeeds)

    @precondition(lambda self: self.saving)
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishSaving(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        An avatar's logout is done.
        """
        self.loads, self.saves = loads, saves
        name = self.pick(data, sorted(self.saving))
        gate = self.saving.pop(name)
        gate.callback(None) if succeeds else gate.errback(Boom())
        self.logged += not succeeds
        self.modelGone(name)

    def gated(self) -> list[Login]:
        """
        Answer the logins that wait for the scripted block.
        """
        return [login for login in self.logins if login.waits in ACTING]

    @precondition(lambda self: self.gated())
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishHook(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        A hook that waited is done.
        """
        self.loads, self.saves = loads, saves
        login = self.pick(data, self.gated())
        gate = login.real.gate
        gate.callback(None) if succeeds else gate.errback(Boom())
        login.waits = None
        if login.closing:
            self.logged += not succeeds
            self.modelDown(login)
        elif not succeeds:
            self.modelEnd(login, Boom)
        else:
            login.depth += 1
            self.modelUp(login)

    @precondition(lambda self: any(login.real.answer for login in self.logins))
    @rule(data=st.data(), saves=SAVES)
    def cancel(self, data: Any, saves: str) -> None:
        """
        Somebody stops waiting for a login.
        """
        self.saves = saves
        login = self.pick(data, [login for login in self.logins if login.real.answer])
        login.real.answer.cancel()
        if not login.outcome:
            login.outcome.append(CancelledError)
            self.modelEnd(login, CancelledError)

    @precondition(lambda self: any(login.mind for login in self.logins))
    @rule(data=st.data(), saves=SAVES)
    def disconnect(self, data: Any, saves: str) -> None:
        """
        A client is gone; the protocol logs out what it had logged in.
        """
        self.saves = saves
        login = self.pick(data, [each for each in self.logins if each.mind is not None])
        mind, login.mind = login.mind, None
        mind.disconnect()
        if login.real.logout:
            login.real.logout()
        self.modelEnd(login, LoginAbandoned)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), saves=SAVES, times=st.integers(1, 3))
    def logout(self, data: Any, saves: str, times: int) -> None:
        """
        A session is logged out, again and again, whether its login is done or not.
        """
        self.saves = saves
        session = self.pick(data, list(self.sessions))
        for _ in range(times):
            session.logout()
        self.modelEnd(self.sessions[session], LoginAbandoned)

    @rule(seconds=st.sampled_from([1, IDLE_TIMEOUT / 2, IDLE_TIMEOUT]), saves=SAVES)
    def advance(self, seconds: float, saves: str) -> None:
        """
        Time goes by.
        """
        self.saves = saves
        self.clock.advance(seconds)
        now = self.clock.seconds()
        for name, life in list(self.lives.items()):
            if life.idleSince is not None and life.idleSince + IDLE_TIMEOUT <= now:
                self.modelRetire(name)

    @rule(name=NAMES, saves=SAVES)
    def retire(self, name: str, saves: str) -> None:
        """
        An operator retires an avatar.
        """
        self.saves = saves
        life = self.lives.get(name)
        idle = life is not None and life.idleSince is not None
        results: list[bool] = []
        self.cache.retire(name).addCallback(results.append)
        if idle:
            self.modelRetire(name)
        assert results == ([True] if idle and name not in self.saving else [False] * (not idle))

    @precondition(lambda self: self.below)
    @rule(data=st.data(), saves=SAVES, times=st.integers(1, 2))
    def endBelow(self, data: Any, saves: str, times: int) -> None:
        """
        A block below the cache ends the avatar.
        """
        self.saves = saves
        name = self.pick(data, sorted(self.below))
        session = self.below[name]
        for _ in range(times):
            session.logout()
        life = self.lives.get(name)
        if life is None or life.state != "ready":
            return
        if not life.users:
            self.modelRetire(name)
            return
        life.state = "condemned"
        for login in list(life.users):
            self.modelEnd(login, LoginAbandoned)

    @precondition(lambda self: len(self.logins) > 8)
    @rule(saves=SAVES)
    def close(self, saves: str) -> None:
        """
        The realm is closed.
        """
        self.saves = saves
        self.realm.close(timeout=None)
        self.modelClose()

    # What the stack promises.

    def modelLogin(self, login: Login) -> None:
        """
        A login begins.
        """
        slots = sum(1 for each in self.logins if each.depth and each.name == login.name)
        if self.closed:
            login.outcome.append(RealmClosed)
        elif slots >= MAXIMUM:
            login.outcome.append(TooManyConnections)
        else:
            login.depth = 1
            self.modelUp(login)

    def modelUp(self, login: Login) -> None:
        """
        It goes on from where it is.
        """
        if login.depth == 1:
            if not self.modelAct(login, "admit"):
                return
            login.depth = 2
        if login.depth == 2:
            self.modelAcquire(login)
            return
        if login.depth == 3:
            if not self.modelAct(login, "attached"):
                return
            login.depth = 4
        login.depth = 5
        login.outcome.append("in")

    def modelAct(self, login: Login, hook: str) -> bool:
        """
        Answer whether the scripted block lets it pass at once.
        """
        if login.acts[hook] == "wait":
            login.waits = hook
        elif login.acts[hook] == "raise":
            self.modelEnd(login, Boom)
        return login.acts[hook] == "pass"

    def modelAcquire(self, login: Login) -> None:
        """
        It wants its avatar.
        """
        life = self.lives.get(login.name)
        if life is not None and life.state == "ready":
            life.idleSince = None
            life.users.append(login)
            login.depth = 3
            self.modelUp(login)
            return
        login.waits = "avatar"
        if life is None:
            self.lives[login.name] = Life("loading", waiting=[login])
            self.modelLoad(login.name)
        else:
            life.waiting.append(login)

    def modelLoad(self, name: str) -> None:
        """
        The factory is called.
        """
        if self.loads != "wait":
            self.modelLoaded(name, self.loads == "pass")

    def modelLoaded(self, name: str, succeeds: bool) -> None:
        """
        The factory is done.
        """
        life = self.lives[name]
        waiting, life.waiting = life.waiting, []
        for login in waiting:
            login.waits = None
        if not succeeds:
            del self.lives[name]
            for login in waiting:
                self.modelEnd(login, Boom)
            return
        life.state = "ready"
        life.users = [*waiting]
        for login in waiting:
            login.depth = 3
        for login in waiting:
            self.modelUp(login)

    def modelEnd(self, login: Login, reason: type[BaseException]) -> None:
        """
        It ends, unless it has.
        """
        if login.closing or not login.depth:
            return
        login.closing, login.reason = True, reason
        if login.waits == "avatar":
            self.modelGiveUp(login)
        login.waits = None
        self.modelDown(login)

    def modelGiveUp(self, login: Login) -> None:
        """
        It does not wait for its avatar any more.
        """
        life = self.lives[login.name]
        life.waiting.remove(login)
        if not life.waiting and life.state == "loading":
            del self.lives[login.name]
            self.loading.pop(login.name, None)

    def modelDown(self, login: Login) -> None:
        """
        It is undone, from where it is.
        """
        if login.depth >= 4:
            login.depth = 3
            if self.modelUndo(login, "detached"):
                return
        if login.depth == 3:
            login.depth = 2
            self.modelLeave(login)
        if login.depth == 2:
            login.depth = 1
            if self.modelUndo(login, "release"):
                return
        login.depth = 0
        if not login.outcome:
            login.outcome.append(login.reason)

    def modelUndo(self, login: Login, hook: str) -> bool:
        """
        Answer whether the scripted block makes it wait.
        """
        self.logged += login.acts[hook] == "raise"
        if login.acts[hook] == "wait":
            login.waits = hook
        return login.waits is not None

    def modelLeave(self, login: Login) -> None:
        """
        It needs its avatar no longer.
        """
        life = self.lives[login.name]
        life.users.remove(login)
        life.proven = life.proven or login.outcome[:1] == ["in"]
        if life.users:
            return
        if life.state == "condemned":
            self.modelRetire(login.name)
            return
        life.idleSince = self.clock.seconds()
        if self.closed or not life.proven:
            self.modelRetire(login.name)
            return
        self.lives[login.name] = self.lives.pop(login.name)
        idle = [name for name, life in self.lives.items() if life.idleSince is not None]
        for name in idle[: len(idle) - MAXIMUM_IDLE]:
            self.modelRetire(name)

    def modelRetire(self, name: str) -> None:
        """
        An avatar's logout is called.
        """
        life = self.lives[name]
        life.state, life.idleSince = "retiring", None
        if self.saves != "wait":
            self.logged += self.saves == "raise"
            self.modelGone(name)

    def modelGone(self, name: str) -> None:
        """
        It is done.
        """
        life = self.lives.pop(name)
        if life.waiting:
            self.lives[name] = Life("loading", waiting=life.waiting)
            self.modelLoad(name)

    def modelClose(self) -> None:
        """
        The realm is closed.
        """
        self.closed = True
        for name, life in list(self.lives.items()):
            if life.idleSince is not None:
                self.modelRetire(name)
        for login in self.logins:
            self.modelEnd(login, RealmClosed)

    # Whether it keeps its promises.

    @invariant()
    def agree(self) -> None:
        """
        The stack and its model agree.
        """
        assert self.realm.audit() == []
        for login in self.logins:
            if login.mind is not None:
                watched = login.waits is not None and not login.closing
                assert len(login.mind._callbacks) == watched
            real = [each if isinstance(each, type) else "in" for each in login.real.outcome]
            assert real == login.outcome, login
        assert slots(self.limit) == Counter(each.name for each in self.logins if each.depth)
        there = [each for each in self.logins if each.depth == 5]
        assert dict(self.counter) == Counter(each.name for each in there)
        assert self.counter.total == len(there)
        assert set(self.online) == {each.name for each in there}
        ready = {name: life for name, life in self.lives.items() if life.state == "ready"}
        assert set(self.cache) == set(ready)
        for name in ready:
            mine = [each for each in there if each.name == name]
            assert self.cache[name].connections == len(mine)
            assert len(self.cache[name].minds) == sum(self.hadMind(each) for each in mine)
        assert len(self.online.everyone) == sum(self.hadMind(each) for each in there)
        assert len(self.errors) == self.logged
        alive = Counter(player.name for player in self.players if player.alive)
        assert all(number == 1 for number in alive.values())

    def hadMind(self, login: Login) -> bool:
        """
        Answer whether a login came with a mind.
        """
        return login.mind is not None

    def teardown(self) -> None:
        """
        When all that waits is done and the realm is closed, nothing is left.
        """
        self.loads = self.saves = "pass"
        closing = self.realm.close(timeout=None)
        self.modelClose()
        while self.loading or self.saving or self.gated():
            for name in list(self.saving):
                self.saving.pop(name).callback(None)
            for name in list(self.loading):
                self.loading.pop(name).callback(Player(self, name))
            for login in self.gated():
                login.waits = None
                assert login.real.gate is not None
                login.real.gate.callback(None)
                self.modelDown(login)
        observer: Any = self.observe
        globalLogPublisher.removeObserver(observer)
        assert closing.called
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.counter)) == (0, {}, {})
        assert (len(self.online), len(self.online.everyone), dict(self.cache)) == (0, 0, {})
        assert self.cache._unready == {}
        assert self.clock.getDelayedCalls() == []
        assert [player.saved for player in self.players] == [1] * len(self.players)
        assert all(player.connections == 0 and not player.minds for player in self.players)


ACTING = ("admit", "attached", "detached", "release")

settings.register_profile(
    "default",
    max_examples=500,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "search", settings.get_profile("default"), max_examples=20000, derandomize=False
)
SessionsTests = SessionsMachine.TestCase
SessionsTests.settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class PoliciesMachine(RuleBasedStateMachine):
    """
    A limit with each of the policies, without a model: whatever happens there are not more than
    there may be, the books agree, and in the end nothing is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.logins: list[Login] = []
        self.gates: list[Deferred[Any]] = []
        self.minds: list[FakeMind] = []
        self.endedAt: dict[Session, float] = {}

    @initialize(policy=st.sampled_from(["refuse", "oldest", "unresponsive", "slow", "broken"]))
    def stack(self, policy: str) -> None:
        """
        Choose a policy.
        """
        policies: dict[str, Any] = {
            "refuse": refuse,
            "oldest": displaceOldest(flapping=4, per=20, reactor=self.clock),
            "unresponsive": displaceUnresponsive(timeout=3, reactor=self.clock),
            "slow": self.slow,
            "broken": self.broken,
        }
        self.limit = ConnectionLimit(MAXIMUM, whenFull=policies[policy], reactor=self.clock)
        self.counter, self.cache = ConnectionCounter(), AvatarCache(idleTimeout=0)
        cached = self.cache(lambda name: Avatar())
        self.realm = self.limit(self.counter(Scripted(self)(cached)))

    def slow(self, session: Session, holders: Any) -> Deferred[Any]:
        """
        Be a policy that takes its time, and lets all of them go.
        """
        self.gates.append(Deferred())
        return self.gates[-1].addCallback(lambda ignored: holders)

    def broken(self, session: Session, holders: Any) -> Any:
        """
        Be a policy that raises.
        """
        raise Boom

    @rule(name=NAMES, acts=st.tuples(ACTS, ACTS, ACTS, ACTS))
    def login(self, name: str, acts: tuple[str, ...]) -> None:
        """
        Somebody logs in.
        """
        hooks = dict(zip(("admit", "attached", "detached", "release"), acts, strict=True))
        login = Login(name, FakeMind(), hooks)
        self.minds.append(login.mind)  # type: ignore[arg-type]  # it has one
        self.logins.append(login)
        login.real.answer = maybeDeferred(
            self.realm.requestAvatar, name, login.mind, IPerspective
        ).addBoth(login.real.outcome.append)

    def loginOf(self, session: Session) -> Login:
        """
        Answer the login that a session is of, which its mind tells.
        """
        return next(each for each in self.logins if each.mind is session.mind)

    @precondition(lambda self: self.logins)
    @rule(data=st.data(), what=st.sampled_from(["logout", "cancel", "disconnect"]))
    def end(self, data: Any, what: str) -> None:
        """
        A login or a session ends, one way or the other.
        """
        login = data.draw(st.sampled_from(self.logins))
        sessions = [each for each in self.realm.sessions if each.mind is login.mind]
        if what == "cancel":
            login.real.answer.cancel()
        elif what == "disconnect" and not login.mind.disconnected:
            login.mind.disconnect()
        for session in sessions:
            if what != "cancel":
                session.logout()

    @rule(data=st.data(), succeeds=st.booleans())
    def finish(self, data: Any, succeeds: bool) -> None:
        """
        Something that waits is done: a hook, a policy, or a client that was asked.
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

    @rule(seconds=st.sampled_from([1, 5]))
    def advance(self, seconds: float) -> None:
        """
        Time goes by.
        """
        self.clock.advance(seconds)

    @invariant()
    def bounded(self) -> None:
        """
        There are not more than there may be, and the books agree.
        """
        if not hasattr(self, "limit"):
            return
        for name in ("alice", "bob", "carol"):
            assert len(self.limit.sessions(name)) <= MAXIMUM
            assert self.counter.connections(name) <= MAXIMUM
        for session in self.realm.sessions:
            if session.ended:
                self.endedAt.setdefault(session, self.clock.seconds())
        for session in self.limit._slots.revoked:
            assert self.clock.seconds() - self.endedAt[session] >= DEADLINE
        assert self.realm.audit() == []

    def teardown(self) -> None:
        """
        When everything is done, nothing is left.
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
        assert self.limit._slots.going == {}
        self.clock.advance(100)
        assert self.clock.getDelayedCalls() == []
        assert all(len(login.real.outcome) == 1 for login in self.logins)


PoliciesTests = PoliciesMachine.TestCase
PoliciesTests.settings = SessionsTests.settings
