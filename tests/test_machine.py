"""
The life of sessions, searched: a full stack is driven at random beside a small model of what it
promises, and the two must agree after every step.

More runs on request: C{HYPOTHESIS_PROFILE=search python -m pytest tests/test_machine*.py}
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.spread.pb import IPerspective

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    MindRegistry,
    Session,
)
from avatarkit.testing import FakeMind
from machines import ACTS, NAMES, SEARCH, Scripted
from model import (
    IDLE_TIMEOUT,
    MAXIMUM,
    MAXIMUM_IDLE,
    RETIRE_TIMEOUT,
    Banned,
    Life,
    Login,
    Model,
    Real,
)
from scripted import Boom, frank, slots

LOADS = st.sampled_from(["pass", "pass", "wait", "raise"])
SAVES = st.sampled_from(["pass", "pass", "wait", "raise"])
ACTING = ("admit", "attached", "detached", "release")


class Below(Block):
    """
    A block below the cache that keeps the sessions it sees, so that the machine can end them.
    """

    def __init__(self, machine: SessionsMachine) -> None:
        self.machine = machine

    def attached(self, session: Session) -> None:
        """
        Keep the session.
        """
        self.machine.below[str(session.avatarId)] = session

    def admit(self, session: Session) -> None:
        """
        An avatar is needed.
        """

    def release(self, session: Session) -> None:
        """
        It is gone, if it ever was there.
        """
        if session.avatar is not None:
            session.avatar.alive = False


class Player(Avatar):
    """
    An avatar whose logout raises or waits on command.
    """

    def __init__(self, machine: SessionsMachine, name: str) -> None:
        self.machine, self.name, self.saved, self.alive = machine, name, 0, True
        givenUp = [life.avatar for life in machine.cache._kept.overdue]
        for other in machine.players:
            alive = other.alive and other not in givenUp
            assert not (alive and other.name == name), "two live avatars of one ID"
        self.number = 1 + sum(other.name == name for other in machine.players)
        machine.players.append(self)

    def logout(self) -> object:
        """
        Save the player.
        """
        self.saved += 1
        if self.machine.model.saves == "wait":
            gate: Deferred[Any] = Deferred()
            self.machine.saving[self.name, self.number] = gate
            return gate
        return fail(Boom()) if self.machine.model.saves == "raise" else None


class SessionsMachine(RuleBasedStateMachine):
    """
    A full stack, and its model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.online, self.limit = MindRegistry(), ConnectionLimit(MAXIMUM)
        self.counter = ConnectionCounter()
        self.cache: AvatarCache[Any] = AvatarCache(
            idleTimeout=IDLE_TIMEOUT,
            maximumIdle=MAXIMUM_IDLE,
            retireTimeout=RETIRE_TIMEOUT,
            reactor=self.clock,
        )
        self.below: dict[str, Session] = {}
        cached = self.cache(Below(self)(self.factory))
        self.realm = frank(self.online(self.limit(self.counter(Scripted(self.loginOf)(cached)))))
        self.sessions: dict[Session, Login] = {}
        self.players: list[Player] = []
        self.loading: dict[str, Deferred[Any]] = {}
        self.saving: dict[tuple[str, int], Deferred[Any]] = {}
        self.model = Model(self.clock, self.loading)
        self.discarded: list[tuple[str, int]] = []
        self.evicted: list[tuple[Life, list[bool]]] = []
        self.errors: list[Any] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)

    def observe(self, event: dict[str, Any]) -> None:
        """
        Collect the failures that are logged.
        """
        if "log_failure" in event:
            self.errors.append(event)

    def loginOf(self, session: Session) -> Login:
        """
        Return the login that a session belongs to: the current one if the session is new.
        """
        return self.sessions.setdefault(session, self.entering)

    def factory(self, name: str) -> object:
        """
        Make an avatar, raise, or wait, on command.
        """
        if self.model.loads == "wait":
            load: Deferred[Any] = Deferred()
            self.loading[name] = load
            return load
        return fail(Boom()) if self.model.loads == "raise" else Player(self, name)

    # What can happen.

    @rule(name=NAMES, hasMind=st.booleans(), acts=st.tuples(ACTS, ACTS, ACTS, ACTS), loads=LOADS)
    def login(self, name: str, hasMind: bool, acts: tuple[str, ...], loads: str) -> None:
        """
        Somebody logs in.
        """
        self.model.loads = loads
        hooks = dict(zip(("admit", "attached", "detached", "release"), acts, strict=True))
        login = self.entering = Login(name, FakeMind() if hasMind else None, hooks)
        self.model.logins.append(login)
        real = login.real
        try:
            result = self.realm.requestAvatar(name, login.mind, IPerspective)
        except Exception as error:
            real.outcome.append(type(error))
        else:
            if isinstance(result, Deferred):
                real.result = result
                result.addCallbacks(self.loggedIn(real), self.refused(real))
            else:
                self.loggedIn(real)(result)
        self.model.login(login)

    def loggedIn(self, real: Real) -> Any:
        """
        Return a callback that records a successful login.
        """

        def loggedIn(result: tuple[Any, ...]) -> None:
            real.logout = result[2]
            real.outcome.append(result[1])

        return loggedIn

    def refused(self, real: Real) -> Any:
        """
        Return an errback that records a failed login.
        """
        return lambda failure: real.outcome.append(failure.type)

    def pick(self, data: Any, what: list[Any]) -> Any:
        """
        Return one of several things.
        """
        return data.draw(st.sampled_from(what))

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishLoading(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        A call of the factory finishes.
        """
        self.model.loads, self.model.saves = loads, saves
        name = self.pick(data, sorted(self.loading))
        load = self.loading.pop(name)
        load.callback(Player(self, name)) if succeeds else load.errback(Boom())
        self.model.loaded(name, succeeds)

    @precondition(lambda self: self.saving)
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishSaving(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        An avatar's logout finishes.
        """
        self.model.loads, self.model.saves = loads, saves
        saved = self.pick(data, sorted(self.saving))
        gate = self.saving.pop(saved)
        gate.callback(None) if succeeds else gate.errback(Boom())
        self.model.logged += not succeeds
        for life in [*self.model.lives.values(), *self.model.overdue]:
            if (life.name, life.number) == saved:
                self.model.gone(life)

    def gated(self) -> list[Login]:
        """
        Return the logins that wait for the scripted block.
        """
        return [login for login in self.model.logins if login.waits in ACTING]

    @precondition(lambda self: self.gated())
    @rule(data=st.data(), succeeds=st.booleans(), loads=LOADS, saves=SAVES)
    def finishHook(self, data: Any, succeeds: bool, loads: str, saves: str) -> None:
        """
        A hook that waits finishes.
        """
        self.model.loads, self.model.saves = loads, saves
        login = self.pick(data, self.gated())
        gate = login.real.gate
        gate.callback(None) if succeeds else gate.errback(Boom())
        login.waits = None
        if login.closing:
            self.model.logged += not succeeds
            self.model.down(login)
        elif not succeeds:
            self.model.end(login, Boom)
        else:
            login.depth += 1
            self.model.up(login)

    @precondition(lambda self: any(login.real.result for login in self.model.logins))
    @rule(data=st.data(), saves=SAVES)
    def cancel(self, data: Any, saves: str) -> None:
        """
        Somebody stops waiting for a login.
        """
        self.model.saves = saves
        login = self.pick(data, [login for login in self.model.logins if login.real.result])
        login.real.result.cancel()
        if not login.outcome:
            login.outcome.append(CancelledError)
            self.model.end(login, CancelledError)

    @precondition(lambda self: any(login.mind for login in self.model.logins))
    @rule(data=st.data(), saves=SAVES)
    def disconnect(self, data: Any, saves: str) -> None:
        """
        A client leaves, and the protocol logs its sessions out.
        """
        self.model.saves = saves
        login = self.pick(data, [each for each in self.model.logins if each.mind is not None])
        mind, login.mind = login.mind, None
        mind.disconnect()
        if login.real.logout:
            login.real.logout()
        self.model.end(login, LoginAbandoned)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), saves=SAVES, times=st.integers(1, 3))
    def logout(self, data: Any, saves: str, times: int) -> None:
        """
        A session is logged out one or more times, whether its login is complete or not.
        """
        self.model.saves = saves
        session = self.pick(data, list(self.sessions))
        for _ in range(times):
            session.logout()
        self.model.end(self.sessions[session], LoginAbandoned)

    @rule(seconds=st.sampled_from([1, IDLE_TIMEOUT / 2, IDLE_TIMEOUT]), saves=SAVES, loads=LOADS)
    def advance(self, seconds: float, saves: str, loads: str) -> None:
        """
        Time passes.
        """
        self.model.saves, self.model.loads = saves, loads
        self.clock.advance(seconds)
        self.model.advance()

    @rule(name=NAMES, saves=SAVES)
    def retire(self, name: str, saves: str) -> None:
        """
        An operator retires an avatar.
        """
        self.model.saves = saves
        life = self.model.lives.get(name)
        idle = life is not None and life.idleSince is not None
        results: list[bool] = []
        self.cache.retire(name).addCallback(results.append)
        if life is not None and idle:
            self.model.retire(life)
        assert results == ([True] * (saves != "wait") if idle else [False])

    @rule(name=NAMES, saves=SAVES, discard=st.booleans())
    def evict(self, name: str, saves: str, discard: bool) -> None:
        """
        An operator has an avatar go.
        """
        self.model.saves = saves
        life = self.model.lives.get(name)
        results: list[bool] = []
        self.cache.evict(name, Banned(), discard=discard).addCallback(results.append)
        if life is None:
            assert results == [False]
        else:
            self.evicted.append((life, results))
            self.model.evict(life, discard=discard)
            self.discarded += [(life.name, life.number)] if life.discarded else []

    @precondition(lambda self: self.below)
    @rule(data=st.data(), saves=SAVES, times=st.integers(1, 2))
    def endBelow(self, data: Any, saves: str, times: int) -> None:
        """
        A block below the cache ends the session that an avatar belongs to.
        """
        self.model.saves = saves
        name = self.pick(data, sorted(self.below))
        session = self.below[name]
        for _ in range(times):
            session.logout()
        life = self.model.lives.get(name)
        if life is None or life.state != "ready":
            return
        self.model.condemn(life, LoginAbandoned)

    @precondition(lambda self: len(self.model.logins) > 8)
    @rule(saves=SAVES)
    def close(self, saves: str) -> None:
        """
        The realm is closed.
        """
        self.model.saves = saves
        self.realm.close(timeout=None)
        self.model.close()

    # What must be true.

    @invariant()
    def agree(self) -> None:
        """
        The stack and its model agree.
        """
        audit = self.realm.audit()
        assert len(audit) == len(self.model.overdue)
        assert all("was given up" in sentence for sentence in audit)
        for life, results in self.evicted:
            assert results == [True] * (life is not self.model.lives.get(life.name))
        for login in self.model.logins:
            if login.mind is not None:
                watched = login.waits is not None and not login.closing
                assert len(login.mind._callbacks) == watched
            real = [each if isinstance(each, type) else "in" for each in login.real.outcome]
            assert real == login.outcome, login
        assert slots(self.limit) == Counter(each.name for each in self.model.logins if each.depth)
        there = [each for each in self.model.logins if each.depth == 5]
        assert dict(self.counter) == Counter(each.name for each in there)
        assert self.counter.total == len(there)
        assert set(self.online) == {each.name for each in there}
        ready = {name: life for name, life in self.model.lives.items() if life.state == "ready"}
        assert set(self.cache) == set(ready)
        for name in ready:
            mine = [each for each in there if each.name == name]
            assert self.cache[name].connections == len(mine)
            assert len(self.cache[name].minds) == sum(self.hadMind(each) for each in mine)
        assert len(self.online.everyone) == sum(self.hadMind(each) for each in there)
        assert len(self.errors) == self.model.logged
        givenUp = [(life.name, life.number) for life in self.model.overdue]
        alive = Counter(
            player.name
            for player in self.players
            if player.alive and (player.name, player.number) not in givenUp
        )
        assert all(number == 1 for number in alive.values())

    def hadMind(self, login: Login) -> bool:
        """
        Return whether a login came with a mind.
        """
        return login.mind is not None

    def teardown(self) -> None:
        """
        When everything that waits has finished and the realm is closed, nothing is left.
        """
        self.model.loads = self.model.saves = "pass"
        closing = self.realm.close(timeout=None)
        self.model.close()
        while self.loading or self.saving or self.gated():
            for saved in list(self.saving):
                self.saving.pop(saved).callback(None)
            for name in list(self.loading):
                self.loading.pop(name).callback(Player(self, name))
            for login in self.gated():
                login.waits = None
                assert login.real.gate is not None
                login.real.gate.callback(None)
                self.model.down(login)
        observer: Any = self.observe
        globalLogPublisher.removeObserver(observer)
        assert closing.called
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.counter)) == (0, {}, {})
        assert (len(self.online), len(self.online.everyone), dict(self.cache)) == (0, 0, {})
        assert self.cache._kept.unready == {}
        assert self.clock.getDelayedCalls() == []
        for player in self.players:
            assert player.saved == ((player.name, player.number) not in self.discarded)
        assert all(player.connections == 0 and not player.minds for player in self.players)


SessionsTests = SessionsMachine.TestCase
SessionsTests.settings = SEARCH
