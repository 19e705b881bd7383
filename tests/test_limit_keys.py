"""
Tests for keys and quotas: what is limited, and how many sessions are allowed.
"""

from __future__ import annotations

from inspect import CORO_CLOSED, getcoroutinestate, signature
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from avatarkit import (
    ConnectionLimit,
    LoginRefused,
    Session,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
    everyone,
)
from limited import LimitTestCase
from scripted import Boom, Gate, IThing, opened, raises, slots


class QuotaTests(LimitTestCase):
    """
    A maximum for each session.
    """

    def test_quota(self) -> None:
        """
        A quota returns the maximum for a session, or None for no limit.
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
        A quota may wait; the slot is then taken at once, whoever else has come meanwhile.
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
        First the quota may wait, and then the policy.
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
        If a quota fails or returns nonsense, at once or later, or a key fails or cannot be hashed,
        the login is refused, the error is logged, and nothing is counted.
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
        A quota may refuse the login itself, at once or later, which is not an error.
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
        A key from a coroutine function is refused, and the coroutine is closed so that Python does
        not warn.
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
        A login that is cancelled while its quota waits is not counted as a refusal.
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
        Arguments that make no sense are refused at construction.
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
        self.assertRaises(ValueError, displaceUnresponsive, answerFresh=-1)
        self.assertRaises(TypeError, displaceUnresponsive, answerFresh="5")
        self.assertRaises(TypeError, displaceUnresponsive, 3)

    def test_repr(self) -> None:
        """
        The repr shows the arguments.
        """
        self.limited()
        assert repr(ConnectionLimit()) == "ConnectionLimit(1)"
        assert repr(ConnectionLimit(5, key=everyone)).startswith("ConnectionLimit(5, key=everyone)")
        assert repr(ConnectionLimit(quota=id)) == "ConnectionLimit(quota=<built-in function id>)"
        assert "whenFull=_Oldest(flapping=5" in repr(ConnectionLimit(whenFull=displaceOldest))

    def test_signature(self) -> None:
        """
        The signature says what the maximum is by default.
        """
        self.limited()
        assert repr(signature(ConnectionLimit).parameters["maximum"].default) == "1"

    def test_changed(self) -> None:
        """
        The maximum can be changed at any time.
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
        With the key L{everyone}, the limit bounds the whole server.
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
        A key can be anything that the session knows, and is computed once for each session.
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
        Limits stack: a login that one limit refuses takes no slot of the other.
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
