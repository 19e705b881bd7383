"""
The life of sessions with each policy and quota of a limit, at random and without a model: whatever
happens, what was promised holds.  Cancellers and minds raise, maxima and ceilings change, sessions
end from inside hooks and take others along.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.spread.pb import IPerspective

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    Holders,
    LoginAbandoned,
    LoginRefused,
    RealmClosed,
    Session,
    TooManyConnections,
    TooManyLogins,
    TooManyWaiting,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from avatarkit._limit.slots import DEADLINE
from comings import OBSERVERS, Comings
from living import Below, Player
from model import MAXIMUM, RETIRE_TIMEOUT, Banned, Login
from moves import DOWN, MOODS, UP, WAITS, Choose, Gate, Machine, Moody, Scripted, move
from scripted import Boom, frank, slots

#: What hooks and policies do to sessions.
ENDS = ("ends its session", "ends another")
POLICIES = (
    "refuse",
    *("oldest",) * 4,
    *("unresponsive",) * 6,
    *WAITS,
    "raises",
    "too few",
    "too few",
    *ENDS,
)
QUOTAS = (*(None,) * 7, "passes", *WAITS, "raises", ENDS[0])

#: What hooks do, mostly nothing.
UP_HERE, DETACHED = ("passes",) * 16 + UP + ENDS, (*DOWN, "waits", ENDS[0], *ENDS[1:] * 6)
RELEASE = (*DOWN, *("waits",) * 4, *ENDS)

#: How many seconds a client has to answer, and for how many the answer holds.
TIMEOUT, FRESH = 3, 2

#: What logins may fail with.
FAILURES = {
    Boom,
    Banned,
    CancelledError,
    LoginAbandoned,
    LoginRefused,
    RealmClosed,
    TooManyConnections,
    TooManyLogins,
    TooManyWaiting,
}

#: What a login fails with that the limit has refused.
REFUSED = ([LoginRefused], [TooManyConnections], [TooManyWaiting])


class Witness(Block):
    """
    A block just below the limit that knows who was let in.
    """

    def __init__(self, admitted: dict[Session, None]) -> None:
        self.admitted = admitted

    def admit(self, session: Session) -> None:
        """
        The limit has let a session in.
        """
        self.admitted[session] = None

    def release(self, session: Session) -> None:
        """
        It is about to give its slot back.
        """
        del self.admitted[session]


class Contests(Machine):
    """
    A limit with one of the policies, around a cache.
    """

    CASES: ClassVar[tuple[str, ...]] = (
        "a login waits for a slot",
        "a login is refused since too many wait for a slot",
        "a login is refused by the ceiling",
        "a session is displaced",
        "a session loses its slot",
        "a client is asked",
        "a client does not answer in time",
        "a client's answer is still fresh",
        "an avatar in use is evicted",
        "an avatar is given up",
        "a canceller raises",
    )

    def begin(self, choose: Choose) -> None:
        """
        Choose a policy, and perhaps a quota.
        """
        self.logins: list[Login] = []
        self.gates: list[Gate] = []
        self.quotas: dict[Session, Gate] = {}
        self.admitted: dict[Session, None] = {}
        self.players: list[Player] = []
        self.saving: dict[tuple[str, int], Deferred[Any]] = {}
        self.below: dict[str, Session] = {}
        self.endedAt: dict[Session, float] = {}
        self.askedAt: dict[object, float] = {}
        self.evicted: list[tuple[float, list[bool]]] = []
        self.closed: list[tuple[float | None, list[object]]] = []
        self.maximum, self.loads, self.saves = MAXIMUM, "passes", "passes"
        self.waited: Counter[str] = Counter()
        self.contender: dict[object, Session] = {}
        self.wrong: list[str] = []
        self.manner, self.quotaManner = choose(POLICIES), choose(QUOTAS)
        policies: dict[str, Any] = {
            "refuse": refuse,
            "oldest": displaceOldest(flapping=4, per=20, reactor=self.clock),
            "unresponsive": displaceUnresponsive(
                timeout=TIMEOUT, answerFresh=FRESH, reactor=self.clock
            ),
        }
        self.policy = policies.get(self.manner, self.choice)
        whenFull = self.policy if self.policy is refuse else self.watched
        self.limit = ConnectionLimit(
            **({"maximum": MAXIMUM} if self.quotaManner is None else {"quota": self.quota}),
            whenFull=whenFull,
            maximumWaiting=2,
            reactor=self.clock,
        )
        self.counter = ConnectionCounter()
        self.cache: AvatarCache[Any] = AvatarCache(
            idleTimeout=0, retireTimeout=RETIRE_TIMEOUT, reactor=self.clock
        )
        cached = self.cache(Below(self)(self.factory))
        self.comings = Comings(self.clock, self.endNewest)
        counted = self.comings.presence(self.counter(Scripted(self.act)(cached)))
        blocks = Witness(self.admitted)(counted)
        self.realm = frank(self.limit(blocks))

    def gate(self, manner: str) -> Gate:
        """
        Return something new that waits.
        """
        self.gates.append(Gate(manner))
        return self.gates[-1]

    def watched(self, session: Session, holders: Holders) -> Any:
        """
        Ask the policy, for a session that is still there.
        """
        if session.ended:
            self.wrong.append(f"the policy is asked for {session!r}")
        self.contender[holders.key] = session
        return self.policy(session, holders)

    def observe(self, event: dict[str, Any]) -> None:
        """
        See that nobody must go for a session that has gone itself.
        """
        super().observe(event)
        if "must go" in str(event.get("log_format")) and self.manner not in WAITS:
            session = self.contender[event["key"]]
            if session.ended and self.manner != "unresponsive":
                self.wrong.append(f"somebody must go for {session!r}")

    def choice(self, session: Session, holders: Holders) -> Any:
        """
        Be a policy: return who must go, or wait for that, or raise, or end somebody's session.
        """
        if self.manner == "raises":
            raise Boom
        if self.manner in WAITS:
            gate = self.gate(self.manner)
            gate.results = ((), holders, holders[: holders.excess])
            return gate.promise()
        if self.manner == "too few":
            return holders[:1]
        self.end(session, self.manner)
        return holders[: holders.excess]

    def end(self, session: Session, what: str) -> None:
        """
        End a session from inside a hook, or the newest one of the same ID.
        """
        others = [each for each in self.realm.sessions if each.avatarId == session.avatarId]
        (session if what == "ends its session" else others[-1]).logout()

    def endNewest(self, name: str) -> None:
        """
        End the newest session of a name, if there is one, from inside an observer.
        """
        for session in [each for each in self.realm.sessions if each.avatarId == name][-1:]:
            session.logout()

    def quota(self, session: Session) -> Any:
        """
        Be a quota: return a number, or wait for it, or raise.
        """
        assert self.quotaManner is not None
        if self.quotaManner == "raises":
            raise Boom
        if self.quotaManner == "passes":
            return self.maximum
        if self.quotaManner in ENDS:
            session.logout()
            return succeed(self.maximum)
        gate = self.quotas[session] = self.gate(self.quotaManner)
        gate.results = (self.maximum,)
        return gate.promise()

    def act(self, session: Session, hook: str) -> object:
        """
        Do what the login of a session, which its mind tells, has planned for a hook.
        """
        login = next(each for each in self.logins if each.mind is session.mind)
        act = login.acts[hook]
        if act == "raises":
            raise Boom
        if act in ENDS:
            self.end(session, act)
        return self.gate(act).promise() if act in WAITS else None

    def factory(self, name: str) -> object:
        """
        Make an avatar, or wait, on command.
        """
        if self.loads not in WAITS:
            return Player(self, name)
        promise = self.gate(self.loads).promise()
        if isinstance(promise, Deferred):
            return promise.addCallback(self.made, name)
        return self.later(name, promise)

    async def later(self, name: str, promise: Any) -> Player:
        """
        Make an avatar later.
        """
        return self.made(await promise, name)

    def made(self, ignored: object, name: str) -> Player:
        """
        Make an avatar, perhaps for a login that was given up long ago.
        """
        late = [each for each in self.cache._kept.overdue if each.key == name]
        return Player(self, name, overdue=any(each.avatar is None for each in late))

    def plan(self, choose: Choose) -> None:
        """
        Choose what the next calls of a factory or of an avatar's logout do.
        """
        self.loads = choose(("passes",) * 8 + WAITS)
        self.saves = choose(("passes", "passes", "passes", "waits", "raises"))
        self.comings.act = choose((*OBSERVERS, "ends another"))

    # What can happen.

    @move(often=10)
    def login(self, choose: Choose) -> None:
        """
        Somebody logs in.
        """
        self.plan(choose)
        mind = Moody(choose(MOODS), stalled=choose((True, False)))
        acts = {hook: choose(UP_HERE) for hook in ("admit", "attached")}
        acts |= {"detached": choose(DETACHED), "release": choose(RELEASE)}
        login = Login(choose(("alice", "alice", "alice", "alice", "bob")), mind, acts)
        self.logins.append(login)
        ceiling, before = self.realm.maximumWaiting, self.realm._entrance.waiting
        asked = self.asked()
        login.real.result = maybeDeferred(
            self.realm.requestAvatar, login.name, mind, IPerspective
        ).addCallbacks(login.real.outcome.append, self.refused(login))
        if mind.mood == "disconnected":
            assert login.real.outcome == [Boom]
        elif ceiling is not None and before >= ceiling:
            assert login.real.outcome == [TooManyLogins]
        else:
            assert login.real.outcome != [TooManyLogins]
        outcome = login.real.outcome
        self.happened("a login is refused by the ceiling", outcome == [TooManyLogins])
        self.happened(
            "a login is refused since too many wait for a slot", outcome == [TooManyWaiting]
        )
        self.happened("a login waits for a slot", self.limit._waiting[login.name])
        fresh = self.manner == "unresponsive" and outcome == [TooManyConnections]
        self.happened("a client's answer is still fresh", fresh and self.asked() == asked)
        if fresh:
            for holder in self.limit.sessions(login.name):
                asked = self.policy._questions.get(holder)
                fresh = asked is None or self.clock.seconds() - asked.settledAt < FRESH
                assert fresh or holder.ended

    def asked(self) -> int:
        """
        Return how many questions were asked.
        """
        return sum(len(each.mind.client.calls) for each in self.logins if each.mind)

    def refused(self, login: Login) -> Any:
        """
        Return an errback that records a failed login.
        """
        return lambda failure: login.real.outcome.append(failure.type)

    @move(lambda self: self.logins, often=3)
    def leave(self, choose: Choose) -> None:
        """
        A login or a session ends in one of several ways.
        """
        self.plan(choose)
        there = [each.mind for each in self.realm.sessions]
        login = choose([each for each in self.logins if each.mind in Minds(there)] or self.logins)
        what = choose(("log out", "cancel", "disconnect", "kick"))
        assert login.mind is not None
        assert login.real.result is not None
        before = len(self.errors)
        sessions = [each for each in self.realm.sessions if each.mind is login.mind]
        if what == "cancel":
            login.real.result.cancel()
        elif what == "disconnect":
            login.mind.client.disconnect()
        for session in sessions:
            if what == "kick":
                session.disconnect(timeout=3, reactor=self.clock)
            elif what != "cancel":
                session.logout()
        new = [str(each["log_format"]) for each in self.errors[before:]]
        self.happened("a canceller raises", any("could not be cancelled" in each for each in new))

    def openGates(self) -> list[Gate]:
        """
        Return what waits: hooks, policies, quotas.
        """
        return [*(each for each in self.gates if each.isOpen), *self.comings.open()]

    @move(openGates, often=8)
    def go(self, choose: Choose) -> None:
        """
        A hook, a policy, a quota or a call of the factory finishes.
        """
        self.plan(choose)
        gate = choose(self.openGates())
        gate.finish(choose((True, True, False)), choose(gate.results))

    @move(lambda self: self.saving, often=2)
    def save(self, choose: Choose) -> None:
        """
        An avatar's logout finishes.
        """
        self.plan(choose)
        self.saving.pop(choose(sorted(self.saving))).callback(None)

    def calls(self) -> list[Deferred[Any]]:
        """
        Return the calls that clients have not answered.
        """
        minds = [each.mind for each in self.logins if each.mind is not None]
        calls = [call.answer for each in minds for call in each.client.calls]
        return [each for each in calls if not each.called]

    @move(calls, often=8)
    def answer(self, choose: Choose) -> None:
        """
        A client answers.
        """
        self.plan(choose)
        answer = choose(self.calls())
        answer.callback(None) if choose((True, False)) else answer.errback(Boom())
        answer.addErrback(lambda failure: None)

    @move(often=1)
    def change(self, choose: Choose) -> None:
        """
        The maximum and the ceilings are lowered, or raised again.
        """
        self.maximum = choose((1, MAXIMUM))
        if self.limit.maximum is not None:
            self.limit.maximum = self.maximum
        self.limit.maximumWaiting = choose((1, 2, 3))
        self.realm.maximumWaiting = choose((2, 3, 5, None))
        self.comings.presence.linger = choose((0, 0, 2))

    @move(lambda self: self.logins, often=2)
    def upset(self, choose: Choose) -> None:
        """
        A mind or its adapter begins to raise, or stops.
        """
        mind = choose([each.mind for each in self.logins])
        assert mind is not None
        mind.mood, mind.calls = choose(MOODS), choose(("", "", "raises", "is thorny"))

    @move(often=3)
    def advance(self, choose: Choose) -> None:
        """
        Time passes.
        """
        self.plan(choose)
        self.pass_(choose((1, 1, 3, 5)))

    def pass_(self, seconds: float) -> None:
        """
        Let time pass.
        """
        overdue, revoked = len(self.cache._kept.overdue), len(self.limit._slots.revoked)
        asking = len(self.askedAt)
        self.clock.advance(seconds)
        self.happened("an avatar is given up", len(self.cache._kept.overdue) > overdue)
        self.happened("a session loses its slot", len(self.limit._slots.revoked) > revoked)
        self.happened("a client does not answer in time", asking and seconds >= TIMEOUT)

    @move(lambda self: self.players, often=1)
    def evict(self, choose: Choose) -> None:
        """
        An operator has an avatar go.
        """
        self.plan(choose)
        name, results = choose(("alice", "bob")), list[bool]()
        self.happened("an avatar in use is evicted", name in self.cache)
        gone = self.cache.evict(name, Banned(), discard=choose((True, False)))
        gone.addCallback(results.append)
        self.evicted.append((self.clock.seconds(), results))

    @move(lambda self: len(self.logins) > 15, often=1)
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
        deadline = None if timeout is None else self.clock.seconds() + timeout
        self.realm.close(timeout=timeout, reactor=self.clock).addCallback(results.append)
        self.closed.append((deadline, results))

    # What must be true.

    def check(self) -> None:
        """
        What was promised holds.
        """
        self.checkAudit()
        self.checkSlots()
        self.checkWaiting()
        self.checkServed()
        self.checkDeadlines()
        self.checkComings()
        for login in self.logins:
            assert len(login.real.outcome) <= 1
            for outcome in login.real.outcome:
                assert not isinstance(outcome, type) or outcome in FAILURES, outcome
        assert self.wrong == []
        self.checkDisplaced()

        refused = sum(login.real.outcome[:1] in REFUSED for login in self.logins)
        assert self.limit.refusals == refused

    def checkDisplaced(self) -> None:
        """
        The connections of those who were displaced are closed, or were closed before.
        """
        displaced = self.limit.displacements
        self.happened("a session is displaced", displaced)
        kept = sum("cannot be closed" in str(each["log_format"]) for each in self.errors)
        clients = [each.mind.client for each in self.logins if each.mind is not None]
        closed = sum(each.disconnected or bool(each.closings) for each in clients)
        assert closed + kept >= displaced

    def checkAudit(self) -> None:
        """
        The audit finds what was given up, and the minds that cannot say anything.
        """
        audit = self.realm.audit()
        givenUp = sum("was given up" in sentence for sentence in audit)
        speechless = sum("cannot say" in sentence for sentence in audit)
        assert givenUp == len(self.cache._kept.overdue)
        assert speechless == sum(
            each.mind.mood == "disconnected" for each in self.realm.sessions if not each.ended
        )
        assert len(audit) == givenUp + speechless, audit

    def checkComings(self) -> None:
        """
        Who has a session is there.
        """
        self.comings.check()
        there = {name: count for name, count in self.comings.presence.items() if count}
        assert there == dict(self.counter)

    def checkSlots(self) -> None:
        """
        Those who were admitted have the slots, unless they have lost them, and no others; no more
        than the maximum.
        """
        revoked = self.limit._slots.revoked
        for session in self.realm.sessions:
            if session.ended:
                self.endedAt.setdefault(session, self.clock.seconds())
        for session in revoked:
            assert self.clock.seconds() - self.endedAt[session] >= DEADLINE
        for name in ("alice", "bob"):
            held = [each for each in self.limit.sessions(name) if each not in revoked]
            assert held == [
                each for each in self.admitted if each.avatarId == name and each not in revoked
            ]
            assert len(held) <= MAXIMUM
            assert self.counter.connections(name) <= MAXIMUM

    def checkWaiting(self) -> None:
        """
        Those who wait are counted, and no more of them than the ceilings allow.
        """
        underWay = [each for each in self.realm.sessions if not each.loggedIn]
        assert self.realm._entrance.waiting == len(underWay)
        for name in ("alice", "bob"):
            contending = [
                each
                for each in underWay
                if each.avatarId == name and not each.ended and each not in self.admitted
                if each not in self.quotas or not self.quotas[each].isOpen
            ]
            assert self.limit._waiting[name] == len(contending)
            assert len(contending) <= max(self.waited[name], self.limit.maximumWaiting)
            self.waited[name] = len(contending)
            queue = self.limit._turns.queues.get(name)
            if queue is not None:
                there = len(queue.waiting) + len(queue.holding) + len(queue.pausing)
                assert there <= len(contending)

    def checkServed(self) -> None:
        """
        Nobody waits who could go on.
        """
        for queue in self.limit._turns.queues.values():
            assert queue.taken or not queue.waiting
            pauses = queue.holding if queue.taken else queue.pausing
            assert not any(ready() for ready in pauses.values())

    def checkDeadlines(self) -> None:
        """
        What was promised by a deadline has happened.
        """
        now = self.clock.seconds()
        if any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
            return  # the reactor has not had its turn
        late = any(deadline is not None and now >= deadline for deadline, _ in self.closed)
        for since, results in self.evicted:
            assert results or now < since + RETIRE_TIMEOUT or late
        for deadline, fired in self.closed:
            assert fired or deadline is None or now < deadline
        for session, since in self.limit._slots.going.items():
            key = session.avatarId
            contended = key in self.limit._turns.queues and self.limit._turns.queues[key].holding
            assert not contended or now < since + DEADLINE
        questions = getattr(self.policy, "_questions", {}).values()
        open_ = [each for each in questions if each.alive is None]
        self.askedAt = {each: self.askedAt.get(each, now) for each in open_}
        self.happened("a client is asked", self.askedAt)
        assert all(now < since + TIMEOUT for since in self.askedAt.values())

    def finish(self) -> None:
        """
        When time is up, the realm is closed; when everything has finished, nothing is left.
        """
        self.loads = self.saves = self.comings.act = "passes"
        self.shut(30.5)
        self.check()
        self.pass_(31)
        self.check()
        assert self.closed[-1][1]
        while self.openGates() or self.saving:
            for gate in self.openGates():
                gate.finish(True, gate.results[0])
            for saved in list(self.saving):
                self.saving.pop(saved).callback(None)
        self.check()
        assert all(fired for _, fired in self.closed)
        assert self.realm.audit() == []
        assert (slots(self.limit), dict(self.counter), dict(self.cache)) == ({}, {}, {})
        assert (self.admitted, self.realm._entrance.waiting) == ({}, 0)
        assert (len(self.limit._turns), self.limit._slots.revoked) == (0, set())
        assert self.limit._slots.otherKeys == {}
        assert (self.limit._slots.going, self.limit._slots.closing) == ({}, {})
        assert self.limit._waiting == {}
        assert (self.cache._kept.unready, self.cache._kept.overdue) == ({}, {})
        assert getattr(self.policy, "_questions", {}) == {}
        self.clock.advance(100)
        self.comings.checkNothing()
        assert self.clock.getDelayedCalls() == []
        assert all(len(login.real.outcome) == 1 for login in self.logins)


class Minds:
    """
    Minds to be found by identity, since they cannot be compared.
    """

    def __init__(self, minds: list[Any]) -> None:
        self.ids = {id(each) for each in minds}

    def __contains__(self, mind: object) -> bool:
        return id(mind) in self.ids
