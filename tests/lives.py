"""
The life of sessions, at random: a full stack is driven beside a small model of what it promises,
and the two must agree after every move.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.spread.pb import IPerspective

from avatarkit import (
    AvatarCache,
    ClientLost,
    ConnectionCounter,
    ConnectionLimit,
    Evicted,
    Farewell,
    IdleTooLong,
    Kicked,
    LoginAbandoned,
    MindRegistry,
    Session,
    TooManyConnections,
    TooManyLogins,
)
from avatarkit._realm.realm import askThrough
from avatarkit.testing import FakeConnection
from comings import OBSERVERS, Comings
from living import Below, Player
from model import (
    DOWNWARD,
    IDLE_TIMEOUT,
    MAXIMUM,
    MAXIMUM_IDLE,
    RETIRE_TIMEOUT,
    UPWARD,
    Banned,
    Life,
    Login,
    Model,
    Real,
)
from moves import DOWN, MOODS, NAMES, UP, WAITS, Choose, Gate, Machine, Moody, Scripted, move
from scripted import Boom, frank, slots

LOADS = ("passes",) * 4 + ("waits", "waits", "is thorny", "is stubborn", "raises")
SAVES = ("passes", "waits", "waits", "raises")
YES_OR_NO = (True, False)


class Lives(Machine):
    """
    A full stack, and its model.
    """

    CASES: ClassVar[tuple[str, ...]] = (
        "a login is refused by the limit",
        "a login is refused by the ceiling",
        "an avatar in use is evicted",
        "an avatar that is waited for is evicted",
        "an avatar is discarded",
        "an avatar is given up",
        "an avatar is given up while somebody waits for it",
        "a canceller raises",
        "what is cancelled goes on",
        "an adapter raises",
        "a client is told why",
        "a client that does not leave is cut off",
        "a close takes too long",
        "somebody comes back in time",
        "an observer is given up",
        "somebody departs since the realm is closed",
    )

    def __init__(self) -> None:
        super().__init__()
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
        counted = self.limit(self.counter(Scripted(self.act)(cached)))
        self.comings = Comings(self.clock)
        present = self.online(self.comings.presence(counted))
        self.realm = frank(Farewell(reactor=self.clock)(present))
        self.sessions: dict[Session, Login] = {}
        self.reasons: dict[Session, BaseException] = {}
        self.players: list[Player] = []
        self.loading: dict[int, tuple[str, Gate]] = {}
        self.saving: dict[tuple[str, int], Deferred[Any]] = {}
        self.model = Model(self.clock)
        self.evicted: list[tuple[Life, list[bool], float]] = []
        self.closed: list[list[object]] = []

    @property
    def saves(self) -> str:
        """
        What an avatar's logout does.
        """
        return self.model.saves

    def act(self, session: Session, hook: str) -> object:
        """
        Do what the login, the current one if the session is new, has planned for a hook.
        """
        login = self.sessions.setdefault(session, self.entering)
        if hook in DOWNWARD:
            assert session.reason is not None
            assert self.reasons.setdefault(session, session.reason) is session.reason
        else:
            assert session.reason is None
        act = login.acts[hook]
        if act == "raises":
            raise Boom
        if act == "passes":
            return None
        login.real.gate = Gate(act)
        return login.real.gate.promise()

    def factory(self, name: str) -> object:
        """
        Make an avatar, raise, or wait, on command.
        """
        number = self.calls = getattr(self, "calls", -1) + 1
        if self.model.loads in WAITS:
            self.loading[number] = name, Gate(self.model.loads)
            return self.loading[number][1].promise()
        return fail(Boom()) if self.model.loads == "raises" else Player(self, name)

    def plan(self, choose: Choose) -> None:
        """
        Choose what the next calls of a factory or of an avatar's logout do.
        """
        self.model.loads, self.model.saves = choose(LOADS), choose(SAVES)
        self.comings.act = choose(OBSERVERS)

    # What can happen.

    @move(often=8)
    def login(self, choose: Choose) -> None:
        """
        Somebody logs in.
        """
        self.plan(choose)
        lingering = list(self.model.lingering)
        acts = {hook: choose(UP) for hook in UPWARD} | {hook: choose(DOWN) for hook in DOWNWARD}
        mind = choose((None, Moody(choose(MOODS), stalled=choose(YES_OR_NO)))[choose((0, 1, 1)) :])
        leaving = [each.name for each in self.model.lives.values() if each.state == "retiring"]
        login = self.entering = Login(choose((*NAMES, *leaving * 6, *lingering * 2)), mind, acts)
        real = login.real
        if mind is None:
            real.connection = choose((None, FakeConnection(stalled=choose(YES_OR_NO))))
        try:
            result = self.request(login.name, mind, real.connection)
        except Exception as error:
            real.outcome.append(type(error))
        else:
            if isinstance(result, Deferred):
                real.result = result
                result.addCallbacks(self.loggedIn(real), self.refused(real))
            else:
                self.loggedIn(real)(result)
        self.model.login(login)
        self.model.logins.append(login)
        back = login.depth == 5 and login.name in lingering
        self.happened("somebody comes back in time", back)
        self.happened("a login is refused by the limit", login.outcome == [TooManyConnections])
        self.happened("a login is refused by the ceiling", login.outcome == [TooManyLogins])

    def request(self, name: str, mind: Moody | None, connection: FakeConnection | None) -> Any:
        """
        Ask for an avatar, over a connection if there is one.
        """
        if connection is None:
            return self.realm.requestAvatar(name, mind, IPerspective)
        return askThrough(connection, self.realm, name, mind, (IPerspective,))

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

    def openLoads(self) -> list[int]:
        """
        Return the calls of the factory that wait.
        """
        return [number for number, (_, gate) in self.loading.items() if gate.isOpen]

    @move(openLoads, often=3)
    def finishLoading(self, choose: Choose) -> None:
        """
        A call of the factory finishes.
        """
        self.plan(choose)
        self.finishLoad(choose(self.openLoads()), succeeds=choose((True, True, False)))

    def finishLoad(self, number: int, *, succeeds: bool) -> None:
        """
        Finish a call of the factory.
        """
        name, gate = self.loading[number]
        (life,) = (each for each in self.everyLife() if each.load == number)
        overdue = life in self.model.overdue
        gate.finish(succeeds, Player(self, name, overdue=overdue) if succeeds else None)
        self.model.loaded(life, succeeds)

    def everyLife(self) -> list[Life]:
        """
        Return the avatars that are there, those that were given up too.
        """
        return [*self.model.lives.values(), *self.model.overdue]

    @move(lambda self: self.saving, often=2)
    def finishSaving(self, choose: Choose) -> None:
        """
        An avatar's logout finishes.
        """
        self.plan(choose)
        saved, succeeds = choose(sorted(self.saving)), choose(YES_OR_NO)
        gate = self.saving.pop(saved)
        gate.callback(None) if succeeds else gate.errback(Boom())
        self.model.logged += not succeeds
        for life in self.everyLife():
            if (life.name, life.number) == saved and life.ending:
                self.model.gone(life)

    def gated(self) -> list[Login]:
        """
        Return the logins that wait for the scripted block.
        """
        return [login for login in self.model.logins if login.waits in (*UPWARD, *DOWNWARD)]

    @move(gated, often=6)
    def finishHook(self, choose: Choose) -> None:
        """
        A hook that waits finishes.
        """
        self.plan(choose)
        self.go(choose(self.gated()), succeeds=choose((True, True, False)))

    def go(self, login: Login, *, succeeds: bool) -> None:
        """
        Finish the hook that a login waits for.
        """
        assert login.real.gate is not None
        login.real.gate.finish(succeeds)
        login.waits = None
        if login.stuck:
            login.stuck = False
            login.depth += succeeds
            self.model.down(login)
        elif login.closing:
            self.model.logged += not succeeds
            self.model.down(login)
        elif not succeeds:
            self.model.end(login, Boom)
        else:
            login.depth += 1
            self.model.up(login)

    @move(lambda self: self.cancellable(), often=2)
    def cancel(self, choose: Choose) -> None:
        """
        Somebody stops waiting for a login.
        """
        self.plan(choose)
        login = choose(self.cancellable())
        assert login.real.result is not None
        login.real.result.cancel()
        login.outcome.append(CancelledError)
        self.ending(login)
        self.model.end(login, CancelledError)

    def cancellable(self) -> list[Login]:
        """
        Return the logins that somebody waits for.
        """
        return [each for each in self.model.logins if each.real.result and not each.outcome]

    def ending(self, login: Login) -> None:
        """
        Note what is special about the end of a login.
        """
        life = self.model.lives.get(login.name)
        manner = login.acts.get(str(login.waits))
        if life is not None and life.waiting == [login] and life.state == "loading":
            manner = life.manner
        if not login.closing:
            self.happened("a canceller raises", manner == "is thorny")
            self.happened("what is cancelled goes on", manner == "is stubborn")

    def there(self) -> list[Login]:
        """
        Return the logins whose client has not left.
        """
        return [
            each
            for each in self.model.logins
            if each.mind is not None and not each.mind.client.disconnected
        ]

    @move(there, often=3)
    def disconnect(self, choose: Choose) -> None:
        """
        A client leaves, and the protocol logs its sessions out.
        """
        self.plan(choose)
        login = choose(self.there())
        assert login.mind is not None
        waits = login.watched
        login.mind.client.disconnect()
        if login.real.logout:
            login.real.logout()
        self.ending(login)
        self.model.end(login, LoginAbandoned, ClientLost if waits else None)

    def connected(self) -> list[Login]:
        """
        Return the logins without a mind whose connection is there.
        """
        return [
            each
            for each in self.model.logins
            if each.real.connection is not None and not each.real.connection.disconnected
        ]

    @move(connected, often=3)
    def lose(self, choose: Choose) -> None:
        """
        The connection of a login without a mind is lost.
        """
        self.plan(choose)
        login = choose(self.connected())
        assert login.real.connection is not None
        login.real.connection.disconnect()
        self.ending(login)
        self.model.end(login, LoginAbandoned, ClientLost)

    @move(there, often=3)
    def upset(self, choose: Choose) -> None:
        """
        The adapter of a mind begins to raise, or stops.
        """
        login = choose([each for each in self.there() if each.depth] or self.there())
        assert login.mind is not None
        login.mind.mood = choose(MOODS)

    def unclosed(self) -> list[Session]:
        """
        Return the sessions that have not closed.
        """
        return [session for session, login in self.sessions.items() if login.depth]

    @move(unclosed, often=3)
    def logout(self, choose: Choose) -> None:
        """
        A session is logged out one or more times, whether its login is complete or not.
        """
        self.plan(choose)
        session = choose(self.unclosed())
        reason, why = choose(((None, None), (None, None), ("spam", Kicked), (Evicted(), Evicted)))
        session.logout(reason)
        for _ in range(choose((0, 1, 2))):
            session.logout(IdleTooLong())  # which is too late
        self.ending(self.sessions[session])
        self.model.end(self.sessions[session], LoginAbandoned, why)

    @move(unclosed, often=2)
    def kick(self, choose: Choose) -> None:
        """
        An operator has a client cut off.
        """
        self.plan(choose)
        session = choose(self.unclosed())
        login = self.sessions[session]
        before = self.model.logged
        self.model.kick(login, 3)
        session.disconnect(timeout=3, reactor=self.clock)
        self.happened("an adapter raises", self.model.logged > before)
        self.happened("a client is told why", login.told)

    @move(often=4)
    def advance(self, choose: Choose) -> None:
        """
        Time passes.
        """
        self.plan(choose)
        self.pass_(choose((1, 3, 3, 5, IDLE_TIMEOUT)))

    def pass_(self, seconds: float) -> None:
        """
        Let time pass.
        """
        before, timed = set(self.model.overdue), self.model.timed
        cut = self.model.cut(seconds)
        waiting = {life for life in self.model.lives.values() if life.waiting}
        observers = [each for each in self.comings.open() if not each.givenUp]
        self.clock.advance(seconds)
        self.model.advance()
        lost = set(self.model.overdue) - before
        self.happened("an avatar is given up", lost)
        givenUp = [each for each in observers if each.givenUp or not each.isOpen]
        self.happened("an observer is given up", givenUp)
        self.happened("an avatar is given up while somebody waits for it", lost & waiting)
        self.happened("a close takes too long", timed and not self.model.timed)
        self.happened("a client that does not leave is cut off", cut)
        assert all(mind.client.closings[-1:] == ["abort"] for mind in cut)

    @move(lambda self: self.model.lives, often=2)
    def retire(self, choose: Choose) -> None:
        """
        An operator retires an avatar.
        """
        self.plan(choose)
        name = choose(sorted(self.model.lives))
        life = self.model.lives[name]
        idle = life.idleSince is not None
        results: list[bool] = []
        self.cache.retire(name).addCallback(results.append)
        if idle:
            self.model.retire(life)
        assert results == ([True] * (self.model.saves != "waits") if idle else [False])

    @move(often=4)
    def evict(self, choose: Choose) -> None:
        """
        An operator has an avatar go.
        """
        self.plan(choose)
        name, discard = choose((*sorted(self.model.lives), *NAMES)), choose(YES_OR_NO)
        life = self.model.lives.get(name)
        results: list[bool] = []
        self.cache.evict(name, Banned(), discard=discard).addCallback(results.append)
        if life is None:
            assert results == [False]
            return
        self.evicted.append((life, results, self.clock.seconds()))
        self.happened("an avatar in use is evicted", life.users)
        self.happened("an avatar that is waited for is evicted", life.waiting)
        self.model.evict(life, discard=discard)
        self.happened("an avatar is discarded", life.discarded)

    @move(lambda self: self.below, often=2)
    def endBelow(self, choose: Choose) -> None:
        """
        A block below the cache ends the session that an avatar belongs to.
        """
        self.plan(choose)
        name = choose(sorted(self.below))
        session = self.below[name]
        for _ in range(choose((1, 2))):
            session.logout()
        life = self.model.lives.get(name)
        if life is not None and life.state == "ready":
            self.model.condemn(life, LoginAbandoned)

    @move(lambda self: self.comings.open(), often=3)
    def finishObserver(self, choose: Choose) -> None:
        """
        An observer that waits finishes.
        """
        self.plan(choose)
        choose(self.comings.open()).finish(choose((True, True, False)))

    @move(often=2)
    def setLinger(self, choose: Choose) -> None:
        """
        It is changed how long somebody is still there after the last session.
        """
        self.comings.presence.linger = self.model.linger = choose((0, 6, 6))

    @move(often=1)
    def setCeiling(self, choose: Choose) -> None:
        """
        The number of logins that may be in progress is changed.
        """
        self.realm.maximumWaiting = self.model.ceiling = choose((1, 2, 3, None))

    @move(lambda self: len(self.model.logins) > 9, often=1)
    def close(self, choose: Choose) -> None:
        """
        The realm is closed.
        """
        self.plan(choose)
        self.shut(choose((None, 2.5, 7.5)))

    def shut(self, timeout: float | None) -> None:
        """
        Close the realm.
        """
        results: list[object] = []
        before = len(self.model.lingering)
        self.realm.close(timeout=timeout, reactor=self.clock).addCallback(results.append)
        self.model.close(timeout)
        self.closed.append(results)
        after = sum(not count for count in self.comings.presence.values())
        self.happened("somebody departs since the realm is closed", before > after)

    # What must be true.

    def check(self) -> None:
        """
        The stack and its model agree.
        """
        model = self.model
        self.checkAudit()
        self.checkDeadlines()
        self.comings.check()
        self.comings.checkPresent(model.present())
        for login in model.logins:
            if login.mind is not None and not login.mind.client.disconnected:
                kicks = sum(each.watched and each.mind is login.mind for each in model.cuts)
                callbacks = len(login.mind.client._callbacks)
                assert callbacks == login.left + login.watched + kicks
            if login.mind is not None:
                assert [call.args[0] for call in login.mind.client.calls] == login.told, login
            real = [each if isinstance(each, type) else "in" for each in login.real.outcome]
            assert real == login.outcome, login
        for session, login in self.sessions.items():
            reason = session.reason
            assert (None if reason is None else type(reason)) is login.why, (session, login)
            assert reason is None or self.reasons.setdefault(session, reason) is reason
        assert slots(self.limit) == Counter(each.name for each in model.logins if each.depth)
        assert self.realm._entrance.waiting == model.pending
        there = [each for each in model.logins if each.depth == 5 and not each.closing]
        assert dict(self.counter) == Counter(each.name for each in there)
        assert self.counter.total == len(there)
        assert set(self.online) == {each.name for each in there}
        self.checkAvatars(there)
        assert len(self.online.everyone) == sum(each.mind is not None for each in there)
        assert len(self.errors) == model.logged + self.comings.failures

    def checkAudit(self) -> None:
        """
        The audit finds what was given up, and the minds that cannot say anything.
        """
        audit = self.realm.audit()
        givenUp = sum("was given up" in sentence for sentence in audit)
        speechless = sum("cannot say" in sentence for sentence in audit)
        assert givenUp == len(self.model.overdue)
        assert speechless == sum(
            each.mind is not None and each.mind.mood == "disconnected"
            for each in self.model.logins
            if each.depth and not each.closing
        )
        assert len(audit) == givenUp + speechless, audit

    def checkDeadlines(self) -> None:
        """
        What was promised by a deadline has happened, and what has not happened was not promised.
        """
        now = self.clock.seconds()
        for life, results, since in self.evicted:
            assert results == [True] * (life is not self.model.lives.get(life.name))
            assert results or now < since + RETIRE_TIMEOUT or not self.model.timed
        isEmpty = self.model.isEmpty() and not self.comings.presence._leaving
        for (deadline,), fired in zip(self.model.closings, self.closed, strict=True):
            assert not isEmpty or fired
            assert not fired or isEmpty or deadline is None
            assert fired or deadline is None or now < deadline

    def checkAvatars(self, there: list[Login]) -> None:
        """
        There is one avatar of each ID, unless others were given up, and it knows who uses it.
        """
        model = self.model
        waiting = {life.load for life in self.everyLife() if life.load is not None}
        assert set(self.openLoads()) == waiting
        ready = {name: life for name, life in model.lives.items() if life.state == "ready"}
        assert set(self.cache) == set(ready)
        for name in ready:
            mine = [each for each in there if each.name == name]
            assert self.cache[name].connections == len(mine)
            assert len(self.cache[name].minds) == sum(each.mind is not None for each in mine)
        givenUp = [(life.name, life.number) for life in model.overdue]
        alive = Counter(
            player.name
            for player in self.players
            if player.alive and (player.name, player.number) not in givenUp
        )
        assert all(number == 1 for number in alive.values())

    def finish(self) -> None:
        """
        When time is up, the realm is closed; when everything that waits has finished, nothing is
        left.
        """
        self.model.loads = self.model.saves = self.comings.act = "passes"
        self.shut(100.5)
        self.check()
        self.pass_(101)
        self.check()
        assert self.closed[-1]
        self.finishAll()
        self.check()
        assert all(self.closed)
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.counter)) == (0, {}, {})
        assert (len(self.online), len(self.online.everyone), dict(self.cache)) == (0, 0, {})
        assert (self.cache._kept.unready, self.cache._kept.overdue) == ({}, {})
        assert self.realm._entrance.waiting == 0
        self.comings.checkNothing()
        assert self.clock.getDelayedCalls() == []
        assert all(len(login.real.outcome) == 1 for login in self.model.logins)
        for player in self.players:
            assert player.saved == ((player.name, player.number) not in self.model.unsaved)
        assert all(player.connections == 0 and not player.minds for player in self.players)

    def finishAll(self) -> None:
        """
        Finish everything that waits.
        """
        while self.openLoads() or self.saving or self.gated() or self.comings.open():
            for call in self.comings.open():
                call.finish(True)
            for saved in list(self.saving):
                self.saving.pop(saved).callback(None)
                for life in self.everyLife():
                    if (life.name, life.number) == saved and life.ending:
                        self.model.gone(life)
            for number in self.openLoads():
                self.finishLoad(number, succeeds=True)
            for login in self.gated():
                self.go(login, succeeds=True)
