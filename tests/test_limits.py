"""
Tests for what L{avatarkit.ConnectionLimit} does beyond counting: quotas, keys, and who has to go.
"""

from __future__ import annotations

from functools import partial
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread.pb import CopiedFailure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    IMind,
    LoginAbandoned,
    LoginRefused,
    MindGroup,
    MindRegistry,
    PerConnection,
    Session,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    everyone,
    refuse,
)
from avatarkit.testing import FakeMind
from scripted import (
    Boom,
    Gate,
    IThing,
    Script,
    Thing,
    foreignSession,
    opened,
    raises,
    sessionOf,
    slots,
    waiting,
)


class LimitTestCase(SynchronousTestCase):
    """
    A limit around a stack that can be told to wait.
    """

    def setUp(self) -> None:
        """
        Start with nothing.
        """
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def limited(self, *args: Any, **kw: Any) -> ConnectionLimit:
        """
        Make the limit, and a realm of it.
        """
        self.limit = ConnectionLimit(*args, reactor=self.clock, **kw)
        self.script = Script()
        self.realm = self.limit(self.script.realm)
        return self.limit

    def login(self, name: object = b"alice", mind: object = None) -> Any:
        """
        Log in at once, and answer the session.
        """
        return sessionOf(self.realm, self.realm.requestAvatar(name, mind, IThing))

    def challenge(self, name: object = b"alice", mind: object = None) -> Deferred[Any]:
        """
        Log in, which has to wait.
        """
        return waiting(self.realm.requestAvatar(name, mind, IThing))

    def winner(self, challenge: Deferred[Any]) -> Session:
        """
        Return the session of a login that had to wait, and is in now.
        """
        return sessionOf(self.realm, self.successResultOf(challenge))

    def tearDown(self) -> None:
        """
        Whatever happened, the books agree, and no lock is left.
        """
        assert self.realm.audit() == []
        assert len(self.limit._turns) == 0


class QuotaTests(LimitTestCase):
    """
    A number for each session.
    """

    def test_quota(self) -> None:
        """
        A quota says how many there may be for this session: a number, or None for any.
        """
        quotas = {b"guest": 1, b"member": 2, b"admin": None, b"banned": 0}
        limit = self.limited(quota=lambda session: quotas[session.avatarId])
        for name, number in ((b"guest", 1), (b"member", 2), (b"admin", 10)):
            for _ in range(number):
                self.login(name)
        for name in (b"guest", b"member", b"banned"):
            error = self.assertRaises(TooManyConnections, self.login, name)
            assert error.maximum == quotas[name]
        assert slots(limit) == {b"guest": 1, b"member": 2, b"admin": 10}

    def test_waiting(self) -> None:
        """
        A quota may wait; the slot is then taken at once, whoever else came meanwhile.
        """
        gates: list[Gate] = []

        def quota(session: Session) -> object:
            gates.append(Gate())
            return gates[-1].wait

        self.limited(quota=quota)
        logins = [self.challenge() for _ in range(3)]
        for gate in reversed(gates):
            gate.wait.callback(2)
        self.successResultOf(logins[2])
        self.successResultOf(logins[1])
        self.failureResultOf(logins[0], TooManyConnections)

    def test_waitingTwice(self) -> None:
        """
        A quota may wait, and then the policy.
        """
        quotas, policy = [Gate(), Gate()], Gate()
        asked = iter(quotas)
        self.limited(
            quota=lambda session: next(asked).wait, whenFull=lambda session, holders: policy.wait
        )
        first, second = self.challenge(), self.challenge()
        for quota in quotas:
            quota.wait.callback(1)
        session = self.winner(first)
        self.assertNoResult(second)
        policy.wait.callback([session])
        self.successResultOf(second)

    def test_broken(self) -> None:
        """
        A quota that fails or answers nonsense, now or later, and a key that fails or cannot be
        hashed, is an error in the log; the login is refused, and nothing counted.
        """

        async def nonsense(session: Session) -> object:
            return "3"

        broken: Any
        for broken in (
            {"quota": raises},
            {"quota": lambda session: fail(Boom())},
            {"quota": nonsense},
            {"quota": lambda session: "3"},
            {"quota": lambda session: True},
            {"quota": lambda session: -1},
            {"quota": lambda session: succeed(1.5)},
            {"key": raises},
            {"key": lambda session: ["unhashable"]},
            {"key": nonsense},
            {"key": lambda session: Deferred()},
            {"quota": lambda session: fail(CancelledError())},
        ):
            limit = self.limited(**broken)
            error = self.assertRaises(LoginRefused, self.login)
            assert (str(error), error.avatarId) == ("login refused", b"alice")
            assert (slots(limit), limit.refusals) == ({}, 1)
            errors = (Boom, TypeError, ValueError, CancelledError)
            assert len(self.flushLoggedErrors(*errors)) == 1
            assert "the key or the quota" in self.events[-1]["log_format"]
            assert self.events[-1]["avatarId"] == b"alice"

    def test_refusing(self) -> None:
        """
        A quota that refuses the login itself, now or later, does, and that is no error.
        """

        async def later(session: Session) -> object:
            raise LoginRefused("banned")

        def now(session: Session) -> object:
            raise LoginRefused("banned")

        for quota in (now, later):
            limit = self.limited(quota=quota)
            assert str(self.assertRaises(LoginRefused, self.login)) == "banned"
            assert limit.refusals == 1
            assert self.events[-1]["log_format"] == "a login of {avatarId!r} is refused"
            assert self.events[-1]["avatarId"] == b"alice"

    def test_asyncKey(self) -> None:
        """
        A key that is a coroutine function's is refused without a warning that nobody waits for it.
        """
        started = []

        async def key(session: Session) -> object:
            return b"alice"

        def keeping(session: Session) -> object:
            started.append(key(session))
            return started[-1]

        self.limited(key=keeping)
        self.assertRaises(LoginRefused, self.login)
        self.flushLoggedErrors(TypeError)
        assert getcoroutinestate(started[0]) == CORO_CLOSED

    def test_cancelled(self) -> None:
        """
        A login that is cancelled while its quota waits is no error.
        """
        gate = Gate()
        limit = self.limited(quota=gate.deferred)
        login = self.challenge()
        login.cancel()
        self.failureResultOf(login, CancelledError)
        assert gate.wait.called
        assert limit.refusals == 0

    def test_badArguments(self) -> None:
        """
        What makes no sense is refused at construction.
        """
        self.limited()
        bad: Any
        error: Any
        for bad, error in (
            ({"maximum": 3, "quota": print}, TypeError),
            ({"quota": 3}, TypeError),
            ({"key": "avatarId"}, TypeError),
            ({"key": None}, TypeError),
            ({"whenFull": 3}, TypeError),
        ):
            self.assertRaises(error, ConnectionLimit, **bad)
        for bad, error in (
            ({"flapping": -1}, ValueError),
            ({"flapping": 1.5}, TypeError),
            ({"per": -1}, ValueError),
            ({"per": "60"}, TypeError),
            ({"per": None}, TypeError),
        ):
            self.assertRaises(error, displaceOldest, **bad)
        self.assertRaises(ValueError, displaceUnresponsive, timeout=-1)
        self.assertRaises(TypeError, displaceUnresponsive, timeout=None)
        self.assertRaises(TypeError, displaceUnresponsive, 3)

    def test_repr(self) -> None:
        """
        The repr says what was given.
        """
        self.limited()
        assert repr(ConnectionLimit()) == "ConnectionLimit(1)"
        assert repr(ConnectionLimit(5, key=everyone)).startswith("ConnectionLimit(5, key=everyone)")
        assert repr(ConnectionLimit(quota=id)) == "ConnectionLimit(quota=<built-in function id>)"
        assert "whenFull=_Oldest(flapping=5" in repr(ConnectionLimit(whenFull=displaceOldest))

    def test_changed(self) -> None:
        """
        A maximum can be changed while the server runs.
        """
        limit = self.limited(1)
        self.login()
        limit.maximum = 2
        self.login()
        self.assertRaises(TooManyConnections, self.login)
        self.assertRaises(ValueError, setattr, limit, "maximum", 0)


class KeyTests(LimitTestCase):
    """
    What is limited.
    """

    def test_everyone(self) -> None:
        """
        A limit of everyone bounds the whole server.
        """
        limit = self.limited(2, key=everyone)
        alice, bob = self.login(b"alice"), self.login(b"bob")
        error = self.assertRaises(TooManyConnections, self.login, b"carol")
        assert error.avatarId == b"carol"
        assert limit.sessions(everyone) == (alice, bob)
        alice.logout()
        self.login(b"carol")

    def test_own(self) -> None:
        """
        A key can be anything that the session tells; it is asked for once.
        """
        asked: list[Session] = []

        def guild(session: Session) -> object:
            asked.append(session)
            return session.mind["guild"]

        limit = self.limited(1, key=guild)
        mind = {"guild": "thieves"}
        session = self.login(b"alice", mind)
        self.assertRaises(TooManyConnections, self.login, b"bob", {"guild": "thieves"})
        self.login(b"bob", {"guild": "mages"})
        mind["guild"] = "mages"
        session.logout()
        assert slots(limit) == {"mages": 1}
        assert len(asked) == 3

    def test_stacked(self) -> None:
        """
        Limits stack: a login that one of them refuses takes no slot of the other.
        """
        inner = self.limited(1)
        outer = ConnectionLimit(2, key=everyone)
        realm = outer(self.realm)
        opened(realm.requestAvatar(b"alice", None, IThing))
        self.assertRaises(TooManyConnections, realm.requestAvatar, b"alice", None, IThing)
        assert (slots(inner), slots(outer)) == ({b"alice": 1}, {everyone: 1})
        opened(realm.requestAvatar(b"bob", None, IThing))
        self.assertRaises(TooManyConnections, realm.requestAvatar, b"carol", None, IThing)
        assert (slots(inner), slots(outer)) == ({b"alice": 1, b"bob": 1}, {everyone: 2})
        assert realm.audit() == []


class DisplaceOldestTests(LimitTestCase):
    """
    The new login wins.
    """

    def test_displaces(self) -> None:
        """
        The oldest session goes, and is closed before the new one has its avatar.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        first, second = self.login(), self.login()
        del self.script.log[:]
        third = self.login()
        assert limit.sessions(b"alice") == (second, third)
        assert first.ended
        assert self.script.log.index("release 0") < self.script.log.index("admit 0")
        assert (limit.displacements, limit.refusals) == (1, 0)

    def test_waits(self) -> None:
        """
        The new login waits until the one that has to go is closed; those that come meanwhile wait
        for their turn, and at no moment are there more than may be.
        """
        self.limited(1, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        gate = Gate()
        self.script.acts["detached 1"] = gate.deferred
        first = self.login()
        second, third = self.challenge(), self.challenge()
        assert first.ended
        assert self.limit.sessions(b"alice") == (first,)
        assert self.realm.audit() == []
        gate.wait.callback(None)
        self.successResultOf(second)
        self.failureResultOf(third, TooManyConnections)
        assert self.limit.displacements == 1
        assert self.clock.getDelayedCalls() == []

    def test_noStealing(self) -> None:
        """
        A slot that was made for one is not taken by another that comes while the session that had
        it is still closing.
        """
        gate = Gate()
        outer = Script({"release 0": gate.deferred})
        limit = self.limited(1, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        self.realm = outer.realm.blocks[0](self.realm)
        self.login()
        second = self.challenge()
        assert limit.sessions(b"alice") == ()
        third = self.challenge()
        self.assertNoResult(third)
        gate.wait.callback(None)
        session = self.winner(second)
        assert limit.sessions(b"alice") == (session,)
        self.failureResultOf(third, TooManyConnections)

    def test_leaving(self) -> None:
        """
        A session that is on its way out by itself is waited for, and nobody else has to go.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gate = Gate()
        first, second = self.login(), self.login()
        self.script.acts["detached 1"] = gate.deferred
        second.logout()
        third = self.challenge()
        gate.wait.callback(None)
        session = self.winner(third)
        assert limit.sessions(b"alice") == (first, session)
        assert limit.displacements == 0

    def test_newestWins(self) -> None:
        """
        Of several that come while one is on its way out each gets in, one after the other, and the
        last one stays.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 1"] = gate.deferred
        self.login()
        second = self.challenge()
        (challenger,) = (each for each in self.realm.sessions if not each.ended)
        third = self.challenge()
        gate.wait.callback(None)
        self.successResultOf(second)
        assert challenger.ended
        session = self.winner(third)
        assert limit.sessions(b"alice") == (session,)

    def test_flapping(self) -> None:
        """
        A key that has seen as many displacements as may be within so many seconds sees none for a
        while; others do.
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
        It is five displacements within a minute unless said otherwise, by the clock of the reactor.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        for _ in range(6):
            self.login()
        self.assertRaises(TooManyConnections, self.login)
        assert limit.displacements == 5
        policy: Any = limit.whenFull
        assert (policy.flapping, policy.per) == (5, 60)

    def test_hangingClose(self) -> None:
        """
        A session whose closing hangs loses its slot after five seconds, and does not get it twice
        when it is done at last.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 0"] = gate.deferred
        self.login()
        second = self.challenge()
        self.clock.advance(4.9)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        session = self.winner(second)
        assert limit.sessions(b"alice") == (session,)
        assert self.realm.audit() == []
        gate.wait.callback(None)
        assert limit.sessions(b"alice") == (session,)
        assert limit._slots.revoked == set()
        assert self.clock.getDelayedCalls() == []

    def test_deadlineIsNotMoved(self) -> None:
        """
        A session has its five seconds once, however many others go before it, and though those who
        waited for it have given up.
        """
        limit = self.limited(3, whenFull=displaceOldest)
        gates = [Gate() for _ in range(3)]
        closings = iter(gates)
        for _ in range(3):
            self.login()
        self.script.acts["detached 0"] = lambda session: next(closings).wait
        limit.maximum = 1
        first, second = self.challenge(), self.challenge()
        self.clock.advance(3)
        gates[0].wait.callback(None)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(1.9)
        self.assertNoResult(second)
        assert len(limit.sessions(b"alice")) == 2
        self.clock.advance(0.1)
        self.successResultOf(second)
        for gate in gates[1:]:
            gate.wait.callback(None)
        assert (limit._slots.going, limit._slots.revoked) == ({}, set())

    def test_eachHasItsOwn(self) -> None:
        """
        Each of those that are waited for has its own five seconds, from when somebody first waited
        for it.
        """
        limit = self.limited(2, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["detached 0"] = gate.deferred
        first, second = self.login(), self.login()
        first.logout()
        early = self.challenge()
        self.clock.advance(3)
        early.cancel()
        self.failureResultOf(early, CancelledError)
        second.logout()
        limit.maximum = 1
        late = self.challenge()
        self.clock.advance(2)
        assert limit.sessions(b"alice") == (second,)
        self.assertNoResult(late)
        late.cancel()
        self.failureResultOf(late, CancelledError)
        self.clock.advance(7)
        last = self.challenge()
        self.clock.advance(0)
        self.successResultOf(last)
        gate.wait.callback(None)
        assert (limit._slots.going, limit._slots.revoked) == ({}, set())

    def test_allOrNothing(self) -> None:
        """
        Nobody has to go for a login that could not get in all the same.
        """
        policy = displaceOldest(flapping=2, reactor=self.clock)
        limit = self.limited(quota=lambda session: session.mind or 3, whenFull=policy)
        for _ in range(3):
            self.login()
        self.assertRaises(TooManyConnections, self.login, mind=1)
        assert limit.displacements == 0
        self.login(mind=2)
        assert limit.displacements == 2
        limit = self.limited(
            quota=lambda session: 0 if session.avatarId == b"banned" else 9,
            key=everyone,
            whenFull=displaceOldest,
        )
        self.login()
        self.assertRaises(TooManyConnections, self.login, b"banned")
        assert limit.displacements == 0

    def test_longQueue(self) -> None:
        """
        A thousand that wait for their turn get it, one after the other.
        """
        for policy in (
            displaceOldest(flapping=10**6, reactor=self.clock),
            lambda session, holders: (),
        ):
            limit = self.limited(1, whenFull=policy)
            gate = Gate()
            first = self.login()
            self.script.acts["detached 0"] = gate.deferred
            first.logout()
            results: list[Any] = []
            for _ in range(1000):
                self.challenge().addBoth(results.append)
            del self.script.acts["detached 0"]
            gate.wait.callback(None)
            assert len(results) == 1000
            assert all(
                isinstance(each, tuple) or each.check(LoginAbandoned, TooManyConnections)
                for each in results
            )
            assert len(limit.sessions(b"alice")) == 1
            self.login(b"bob")

    def test_below(self) -> None:
        """
        Below a cache, or a PerConnection, those who use what has to go are disconnected, once, and
        waited for, also by those who come later.
        """
        for around in (AvatarCache(), PerConnection(lambda session: Thing())):
            policy = displaceOldest(flapping=1, reactor=self.clock)
            limit = self.limit = ConnectionLimit(
                1, key=everyone, whenFull=policy, reactor=self.clock
            )
            gate, mind = Gate(), stalled()
            above = Script({"detached 0": gate.deferred})
            target = limit(lambda name: Thing())
            self.realm = above.realm.blocks[0](around(target))
            self.login(b"alice", mind)
            bob = self.challenge(b"bob")
            assert (mind.closings, limit.displacements) == (["lose"], 1)
            bob.cancel()
            self.failureResultOf(bob, CancelledError)
            carol = self.challenge(b"carol")
            self.assertNoResult(carol)
            mind.disconnect()
            gate.wait.callback(None)
            self.successResultOf(carol)
            assert limit.displacements == 1
            assert [each.avatarId for each in limit.sessions(everyone)] == [b"carol"]

    def test_namedTwice(self) -> None:
        """
        One that a policy names twice has to go once, also below a cache, where it goes later.
        """
        limit = self.limit = ConnectionLimit(
            1, whenFull=lambda session, holders: holders * 2, key=everyone, reactor=self.clock
        )
        above = Script({"detached 0": Gate().deferred})
        self.realm = above.realm.blocks[0](AvatarCache()(limit(lambda name: Thing())))
        self.login(b"alice")
        bob = self.challenge(b"bob")
        assert limit.displacements == 1
        bob.cancel()
        self.failureResultOf(bob, CancelledError)

    def test_pendingHolder(self) -> None:
        """
        A login that has a slot but not its avatar yet can have to go as well.
        """
        limit = self.limited(1, whenFull=displaceOldest)
        gate = Gate()
        self.script.acts["acquire"] = gate.deferred
        first = self.challenge()
        del self.script.acts["acquire"]
        second = self.login()
        self.failureResultOf(first, LoginAbandoned)
        assert limit.sessions(b"alice") == (second,)

    def test_cancelled(self) -> None:
        """
        A login that gives up while it waits, for somebody to go or for its turn, leaves the way
        free for the others.
        """
        for giver in (0, 1):
            policy = displaceOldest(flapping=1, reactor=self.clock)
            limit = self.limited(1, whenFull=policy)
            gate = Gate()
            self.login()
            self.script.acts["detached 0"] = gate.deferred
            challengers = [self.challenge() for _ in range(3)]
            del self.script.acts["detached 0"]
            challengers[giver].cancel()
            self.failureResultOf(challengers[giver], CancelledError)
            self.assertNoResult(challengers[1 - giver])
            assert [each.ended for each in limit.sessions(b"alice")] == [True]
            gate.wait.callback(None)
            self.successResultOf(challengers[1 - giver])
            self.failureResultOf(challengers[2], TooManyConnections)
            assert len(limit.sessions(b"alice")) == 1


class DisplaceUnresponsiveTests(LimitTestCase):
    """
    Ghosts have to go.
    """

    def setUp(self) -> None:
        """
        Have a policy that is told the time.
        """
        super().setUp()
        self.policy = displaceUnresponsive(timeout=10, reactor=self.clock)

    def test_ghost(self) -> None:
        """
        A client that does not answer in time has to go; one that does stays.
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
        A client that is dead, or dies while it is asked, has to go at once.
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
        Any answer is a sign of life: a value, an error from the client, also one of a time-out of
        its own; a mind that cannot be asked is taken to be alive.
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
        A client that cannot be sent the question is not dead by that.
        """

        class Mute(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                raise Boom

        self.limited(1, whenFull=self.policy)
        self.login(mind=Mute())
        self.assertRaises(TooManyConnections, self.login)

    def test_shared(self) -> None:
        """
        Those who come while a client is being asked share the question.
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
        # The ghost is gone: for the others everybody is asked anew, who is not being asked.
        assert (len(ghost.calls), len(alive.calls)) == (1, 2)
        alive.calls[1].answer.callback("pong")
        session.mind.calls[0].answer.callback("pong")
        for challenger in challengers[1:]:
            self.failureResultOf(challenger, TooManyConnections)
        assert len(session.mind.calls) == 1

    def test_allAlive(self) -> None:
        """
        Those who share a question whose answer is that all are alive are refused, without asking
        again.
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
        A challenger that gives up while a client is being asked does not matter to the others.
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
        If a client leaves by itself while it is asked, the challenger gets in and nobody has to go.
        """
        limit = self.limited(1, whenFull=self.policy)
        session = self.login(mind=FakeMind())
        challenger = self.challenge()
        session.logout()
        self.clock.advance(10)
        self.successResultOf(challenger)
        assert limit.displacements == 0


class Ending:
    """
    A policy that lets the oldest go, and ends the second one that challenges it.

    @ivar where: in the policy itself, which may then wait, or in a hook of the one that goes.
    """

    script: Script

    def __init__(self, where: str) -> None:
        self.where = where
        self.challenged: list[Session] = []
        self.waiting: Deferred[Any] = Deferred()

    def __call__(self, session: Session, holders: Any) -> Any:
        """
        Decide.
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
        A policy gets the session that wants to get in, and those that are in, with their key.
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
        A policy may wait, and its answer is used as far as it still holds; if all of those have
        gone, and others come, it is asked again.
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
        A policy can leave it to others.
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
        A policy that lets too few go is asked again, until there is room.
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
        Those that are on their way out are not what a policy is asked about.
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
        A quota of none is refused, if the policy says so, though nobody is there.
        """
        self.limited(quota=lambda session: 0, whenFull=displaceOldest)
        self.assertRaises(TooManyConnections, self.login)

    def test_broken(self) -> None:
        """
        A policy that raises, fails, answers nonsense or a session that holds no slot, now or later,
        is an error in the log, and the login is refused.
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
        Giving up cancels what the policy waits for, and is no error.
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
        A challenger that is ended by what its own contest calls gets no slot, and those that come
        after it do.
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
        Nobody has to go for a challenger that has given up, though its policy did not.
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
        A session without a limit of its own does not wait for those who contest the others'.
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


class Alive(FakeMind):
    """
    A mind that answers at once.
    """

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Answer.
        """
        return succeed("pong")


class RaceTests(LimitTestCase):
    """
    Many at a time.
    """

    def test_fifty(self) -> None:
        """
        Of fifty simultaneous logins with a slow factory exactly three get in, whatever the policy,
        and at no moment are there more.
        """
        for policy in (
            refuse,
            displaceOldest,
            displaceOldest(flapping=1000, reactor=self.clock),
            displaceUnresponsive(timeout=1, reactor=self.clock),
        ):
            loads: list[Deferred[Any]] = []
            self.limit, counter = ConnectionLimit(3, whenFull=policy), ConnectionCounter()
            self.realm = self.limit(counter(AvatarCache()(partial(slowly, loads))))
            results: list[Any] = []
            for _ in range(50):
                maybeDeferred(self.realm.requestAvatar, b"alice", Alive(), IThing).addBoth(
                    results.append
                )
                self.assertBounded()
            for load in loads:
                if not load.called:
                    load.callback(Thing())
                self.assertBounded()
            assert len(results) == 50
            assert (len(self.limit.sessions(b"alice")), counter.total) == (3, 3)

    def assertBounded(self) -> None:
        """
        There are not more than there may be.
        """
        assert len(self.limit.sessions(b"alice")) <= 3
        assert self.realm.audit() == []


def slowly(loads: list[Deferred[Any]], name: object) -> Deferred[Any]:
    """
    Be an avatar factory that takes its time.
    """
    loads.append(Deferred())
    return loads[-1]


class EventTests(LimitTestCase):
    """
    What an operator sees.
    """

    def test_events(self) -> None:
        """
        Each refusal and each displacement is an event with whose it was, the key and the maximum.
        """
        self.limited(2, key=everyone, whenFull=displaceOldest(flapping=1, reactor=self.clock))
        for name in (b"alice", b"bob", b"carol"):
            self.login(name)
        self.assertRaises(TooManyConnections, self.login, b"dave")
        events = [each for each in self.events if "key" in each]
        assert [
            (each["avatarId"], each["key"], each["maximum"], each["log_level"].name)
            for each in events
        ] == [(b"alice", everyone, 2, "info"), (b"dave", everyone, 2, "info")]
        assert "has to go" in events[0]["log_format"]
        assert "is refused" in events[1]["log_format"]


def stalled() -> FakeMind:
    """
    Answer a mind whose client does not go when its connection is closed politely.
    """
    mind = FakeMind()
    mind.stalled = True
    return mind


class DisconnectTests(LimitTestCase):
    """
    L{Session.disconnect}, and the same by hand.
    """

    def test_polite(self) -> None:
        """
        The session is logged out, and its connection closed; if the client goes that is all.
        """
        self.limited()
        mind = stalled()
        session = self.login(mind=mind)
        closed = session.disconnect(reactor=self.clock)
        self.successResultOf(closed)
        assert (session.ended, mind.closings) == (True, ["lose"])
        mind.disconnect()
        assert self.clock.getDelayedCalls() == []
        self.successResultOf(session.disconnect(reactor=self.clock))
        assert mind.closings == ["lose"]

    def test_abort(self) -> None:
        """
        A client that is still there after the timeout is cut off.
        """
        self.limited()
        mind = stalled()
        self.login(mind=mind).disconnect(timeout=3, reactor=self.clock)
        self.clock.advance(2.9)
        assert mind.closings == ["lose"]
        self.clock.advance(0.1)
        assert mind.closings == ["lose", "abort"]

    def test_others(self) -> None:
        """
        A mind that cannot be disconnected, or None, is logged out all the same.
        """
        self.limited()
        for mind in (None, object()):
            session = self.login(mind=mind)
            self.successResultOf(session.disconnect(reactor=self.clock))
            assert session.ended
        self.assertRaises(ValueError, session.disconnect, timeout=-1)

    def test_broken(self) -> None:
        """
        A mind whose connection cannot be closed is logged, and the others are disconnected.
        """

        class Broken(FakeMind):
            def loseConnection(self) -> None:
                raise Boom

        self.limited(9)
        online = MindRegistry()
        self.realm = online(self.realm)
        minds = [Broken(), FakeMind()]
        for mind in minds:
            self.login(mind=mind)
        self.successResultOf(online.everyone.disconnect(reactor=self.clock))
        assert (list(online), minds[1].closings) == ([], ["lose"])
        assert len(self.flushLoggedErrors(Boom)) == 1
        session = self.login()
        self.assertRaises(TypeError, session.disconnect, reactor="x")
        assert not session.ended

    def test_closing(self) -> None:
        """
        The Deferred fires when the session is closed, not when the connection is.
        """
        self.limited()
        gate = Gate()
        self.script.acts["release 0"] = gate.deferred
        closed = self.login().disconnect(reactor=self.clock)
        self.assertNoResult(closed)
        gate.wait.callback(None)
        assert self.successResultOf(closed) is None

    def test_registry(self) -> None:
        """
        An operator disconnects an avatar ID, or a group, by hand.
        """
        self.limited(9)
        online = MindRegistry()
        self.realm = online(self.realm)
        minds = [stalled() for _ in range(3)]
        for mind in minds[:2]:
            self.login(mind=mind)
        self.login(mind=None)
        self.login(b"bob", minds[2])
        assert self.successResultOf(online.disconnect(b"alice", reactor=self.clock)) is None
        assert list(online) == [b"bob"]
        assert [mind.closings for mind in minds] == [["lose"], ["lose"], []]
        self.successResultOf(online.disconnect(b"nobody", reactor=self.clock))
        self.successResultOf(online.everyone.disconnect(timeout=1, reactor=self.clock))
        assert list(online) == []
        self.clock.advance(1)
        assert minds[2].closings == ["lose", "abort"]
        self.assertRaises(TypeError, MindGroup([FakeMind()]).disconnect)
