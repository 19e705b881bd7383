"""
Tests for L{avatarkit.Session}: the first four rules, every hook in every position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import LoginAbandoned, RealmClosed, Session
from scripted import (
    CLOSING,
    FAILING,
    OPENING,
    PROMPT,
    Act,
    Boom,
    Gate,
    IThing,
    Script,
    Thing,
    garbageOf,
    opened,
    undoing,
    waiting,
)


class OpeningTests(SynchronousTestCase):
    """
    A login in which something happens at each hook.
    """

    def test_order(self) -> None:
        """
        Hooks run from the outermost block inwards, then outwards again, and are undone in the
        opposite order.
        """
        script = Script()
        interface, aspect, logout = opened(script.login())
        assert interface is IThing
        assert isinstance(aspect, Thing)
        assert script.log == list(OPENING)
        del script.log[:]
        assert logout() is None
        assert script.log == undoing(7)

    def test_promptAnswersAreSynchronous(self) -> None:
        """
        If hooks return Deferreds that have fired, or coroutines that do not wait, neither the login
        nor the logout waits.
        """
        for hook, act in product(OPENING + CLOSING, PROMPT):
            script = Script({hook: act})
            _interface, _aspect, logout = opened(script.login())
            logout()
            assert script.log == list(OPENING) + undoing(7), (hook, act)

    def test_failure(self) -> None:
        """
        A hook that fails at once is not undone, the hooks before it are, and the realm raises the
        same exception.
        """
        for (position, hook), act in product(enumerate(OPENING), FAILING):
            script = Script({hook: act})
            self.assertRaises(Boom, script.login)
            assert script.log == list(OPENING[: position + 1]) + undoing(position), (hook, act)
            assert not script.realm.sessions

    def test_waiting(self) -> None:
        """
        While a hook waits, no later one runs, and the realm returns a Deferred that fires when the
        last hook has finished.
        """
        for position, hook, gate, act in gates(OPENING):
            script = Script({hook: act})
            login = waiting(script.login())
            self.assertNoResult(login)
            assert script.log == list(OPENING[: position + 1]), hook
            gate.wait.callback(Thing())
            opened(self.successResultOf(login))[2]()
            assert script.log == list(OPENING) + undoing(7), hook

    def test_waitingThenFailing(self) -> None:
        """
        A hook that waits and then fails is not undone, the hooks before it are, and then the login
        fails with the same exception.
        """
        for position, hook, gate, act in gates(OPENING):
            script = Script({hook: act})
            login = waiting(script.login())
            gate.wait.errback(Boom())
            self.failureResultOf(login, Boom)
            assert script.log == list(OPENING[: position + 1]) + undoing(position), hook

    def test_failureWaitsForUndoing(self) -> None:
        """
        A login fails only when its last undo has finished.
        """
        for position in range(1, 7):
            for undone in range(position):
                gate = Gate()
                script = Script({OPENING[position]: FAILING[0], CLOSING[undone]: gate.deferred})
                login = waiting(script.login())
                self.assertNoResult(login)
                assert script.log[-1] == CLOSING[undone]
                gate.wait.callback(None)
                self.failureResultOf(login, Boom)
                assert script.log == list(OPENING[: position + 1]) + undoing(position)

    def test_logoutInside(self) -> None:
        """
        If a hook ends its own session, at once or after waiting, it is undone like those before it,
        no later one runs, and the login fails with LoginAbandoned.
        """
        for position, hook in enumerate(OPENING):
            gate = Gate()

            async def later(session: Session, gate: Gate = gate) -> object:
                await gate.wait
                session.logout()
                return Thing()

            for act in (lambda session: session.logout(), later):
                script = Script({hook: act})
                login = outcome(script.login)
                if isinstance(login, Deferred):
                    gate.wait.callback(None)
                    login = self.failureResultOf(login)
                assert login.check(LoginAbandoned), hook
                expected = list(OPENING[: position + 1]) + undoing(position + 1)
                assert script.log == expected, (hook, act)

    def test_logoutInsideThenWaiting(self) -> None:
        """
        A hook that ends its own session and then waits is cancelled at once.
        """
        for position, hook in enumerate(OPENING):
            gate = Gate()

            def act(session: Session, gate: Gate = gate) -> object:
                session.logout()
                return gate.wait

            script = Script({hook: act})
            self.assertRaises(LoginAbandoned, script.login)
            assert script.log == list(OPENING[: position + 1]) + undoing(position), hook

    def test_logoutWhileWaiting(self) -> None:
        """
        If a session is logged out while a hook waits, the hook is cancelled, what was done is
        undone, and the login fails with LoginAbandoned; a second logout changes nothing.
        """
        for position, hook, gate, act in gates(OPENING):
            script = Script({hook: act})
            login = waiting(script.login())
            (session,) = script.realm.sessions
            session.logout()
            session.logout()
            assert self.failureResultOf(login, LoginAbandoned).value.avatarId == b"alice"
            assert gate.wait.called
            assert script.log == list(OPENING[: position + 1]) + undoing(position), hook

    def test_cancelling(self) -> None:
        """
        If the login is cancelled while a hook waits, the hook is cancelled, and what was done is
        undone.
        """
        for position, hook, gate, act in gates(OPENING):
            script = Script({hook: act})
            login = waiting(script.login())
            (session,) = script.realm.sessions
            login.cancel()
            self.failureResultOf(login, CancelledError)
            assert gate.wait.called
            assert script.log == list(OPENING[: position + 1]) + undoing(position), hook
            self.successResultOf(session.whenClosed())
            assert session._failure is None

    def test_stubbornHook(self) -> None:
        """
        A hook that succeeds despite being cancelled is undone, too.
        """
        for position, hook in enumerate(OPENING):
            script = Script({hook: Gate().stubborn})
            waiting(script.login()).addErrback(
                lambda failure: failure.trap(CancelledError)
            ).cancel()
            assert script.log == list(OPENING[: position + 1]) + undoing(position + 1), hook

    def test_cancellingWhileUndoing(self) -> None:
        """
        Cancelling a login while it is being undone makes it fail at once, and the undoing goes on.
        """
        gate = Gate()
        script = Script({"attached 1": FAILING[0], "release 1": gate.deferred})
        login = waiting(script.login())
        login.cancel()
        self.failureResultOf(login, CancelledError)
        assert script.log[-1] == "release 1"
        gate.wait.callback(None)
        assert script.log[-1] == "release 0"

    def test_firstReasonWins(self) -> None:
        """
        If a hook ends its own session and then raises, the login fails with LoginAbandoned.
        """

        def act(session: Session) -> object:
            session.logout()
            raise Boom

        script = Script({"attached 0": act})
        self.assertRaises(LoginAbandoned, script.login)

    def test_noneOfTheHooksIsASession(self) -> None:
        """
        What a hook returns is ignored, unless it can be waited for.
        """
        script = Script(dict.fromkeys(("admit 0", "attached 2", "detached 1"), lambda session: 42))
        opened(script.login())[2]()
        assert script.log == list(OPENING) + undoing(7)


class ClosingTests(SynchronousTestCase):
    """
    A logout in which something happens at each hook.
    """

    def test_failure(self) -> None:
        """
        A hook that fails while its session closes is logged by name, and the other hooks run.
        """
        for hook, act in product(CLOSING, FAILING):
            script = Script({hook: act})
            logout = opened(script.login())[2]
            logout()
            assert script.log == list(OPENING) + undoing(7), (hook, act)
            assert len(self.flushLoggedErrors(Boom)) == 1, (hook, act)

    def test_waiting(self) -> None:
        """
        Undoing waits for each hook before the next one runs, whether it succeeds or fails, and the
        session is closed when the last one has finished.
        """
        for succeeds in (True, False):
            for position, hook, gate, act in gates(CLOSING):
                script = Script({hook: act})
                logout = opened(script.login())[2]
                (session,) = script.realm.sessions
                early, late = session.whenClosed(), session.whenClosed()
                del script.log[:]
                assert logout() is None
                assert script.log == undoing(7)[: 7 - position], hook
                self.assertNoResult(early)
                gate.wait.callback(None) if succeeds else gate.wait.errback(Boom())
                assert script.log == undoing(7), hook
                assert len(self.flushLoggedErrors(Boom)) == (not succeeds)
                assert [self.successResultOf(each) for each in (early, late)] == [None, None]
                self.successResultOf(session.whenClosed())

    def test_logoutManyTimes(self) -> None:
        """
        Logging out ten times, even inside a hook and while one waits, undoes everything once.
        """
        for _position, hook, gate, act in gates(CLOSING):

            def again(session: Session, act: Act = act) -> object:
                session.logout()
                return act(session)

            script = Script({hook: again})
            logout = opened(script.login())[2]
            for _ in range(5):
                logout()
            gate.wait.callback(None)
            for _ in range(5):
                logout()
            assert script.log == list(OPENING) + undoing(7), hook

    def test_name(self) -> None:
        """
        The log names the hook that failed, and the avatar ID.
        """
        script = Script({"detached 1": FAILING[0]})
        events = self.observeEvents()
        opened(script.login())[2]()
        (event,) = (each for each in events if each.get("log_failure"))
        assert event["hook"] == "ScriptedBlock.detached"
        assert event["avatarId"] == b"alice"
        self.flushLoggedErrors(Boom)

    def observeEvents(self) -> list[dict[str, object]]:
        """
        Collect the log events of this test, and return the list.
        """
        from twisted.logger import globalLogPublisher

        events: list[dict[str, object]] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events


class SessionTests(SynchronousTestCase):
    """
    What a session tells of itself.
    """

    def test_attributes(self) -> None:
        """
        A session knows its realm, avatar ID, mind, interfaces and avatar.
        """
        seen: list[Session] = []
        script = Script({"attached 0": seen.append})
        mind = object()
        aspect = opened(script.realm.requestAvatar(b"bob", mind, IThing))[1]
        (session,) = seen
        assert session.realm is script.realm
        assert session.avatarId == b"bob"
        assert session.mind is mind
        assert session.interfaces == (IThing,)
        assert session.interface is IThing
        assert session.avatar is session.aspect is aspect

    def test_repr(self) -> None:
        """
        The repr shows the avatar ID, the interface and the stage of the session.
        """
        seen: list[str] = []

        def look(session: Session) -> None:
            seen.append(repr(session))

        script = Script({"admit 0": look, "attached 0": look, "release 0": look})
        logout = opened(script.login())[2]
        (session,) = script.realm.sessions
        look(session)
        logout()
        look(session)
        assert seen == [
            "<Session of b'alice', opening>",
            "<Session of b'alice' as IThing, opening>",
            "<Session of b'alice' as IThing, open>",
            "<Session of b'alice' as IThing, closing>",
            "<Session of b'alice' as IThing, closed>",
        ]

    def test_loggedIn(self) -> None:
        """
        A session knows whether its login succeeded, even when it is over.
        """
        seen: list[tuple[str, bool]] = []

        def look(session: Session) -> None:
            seen.append((script.log[-1], session.loggedIn))

        script = Script({"attached 0": look, "release 0": look})
        opened(script.login())[2]()
        script.acts["acquire"] = FAILING[0]
        self.assertRaises(Boom, script.login)
        assert seen == [("attached 0", False), ("release 0", True), ("release 0", False)]

    def test_noCycles(self) -> None:
        """
        A login that is refused at once leaves nothing for the garbage collector.
        """
        script = Script({"attached 0": FAILING[0]})
        assert garbageOf(script.login) == 0

    def test_slots(self) -> None:
        """
        A session has no C{__dict__}.
        """
        script = Script()
        opened(script.login())
        (session,) = script.realm.sessions
        assert not hasattr(session, "__dict__")


class RealmClosingTests(SynchronousTestCase):
    """
    L{avatarkit.Realm.close} and its service.
    """

    def test_close(self) -> None:
        """
        Closing a realm closes its source, logs everybody out, and fires when that is done; it may
        be called repeatedly.
        """
        gate = Gate()
        script = Script({"release 0": gate.deferred})
        opened(script.login())
        opened(script.login())
        del script.log[:]
        closing = [script.realm.close(timeout=None) for _ in range(2)]
        assert script.log == ["close", *undoing(7), *undoing(7), "close"]
        for each in closing:
            self.assertNoResult(each)
        gate.wait.callback(None)
        for each in closing:
            assert self.successResultOf(each) is None

    def test_loginAfterwards(self) -> None:
        """
        A realm that is closing or closed refuses logins before any hook runs.
        """
        gate = Gate()
        script = Script({"release 0": gate.deferred})
        opened(script.login())
        closing = script.realm.close(timeout=None)
        del script.log[:]
        self.assertNoResult(closing)
        assert self.assertRaises(RealmClosed, script.login).avatarId == b"alice"
        gate.wait.callback(None)
        self.successResultOf(closing)
        self.assertRaises(RealmClosed, script.login)
        assert script.log == []

    def test_pendingLogin(self) -> None:
        """
        A login that waits when the realm closes fails with RealmClosed.
        """
        gate = Gate()
        script = Script({"acquire": gate.deferred})
        login = waiting(script.login())
        self.successResultOf(script.realm.close())
        self.failureResultOf(login, RealmClosed)
        assert gate.wait.called

    def test_service(self) -> None:
        """
        Stopping the realm's service closes the realm.
        """
        gate = Gate()
        script = Script({"let go": gate.deferred})
        service = script.realm.service(timeout=None)
        service.startService()
        assert service.running
        opened(script.login())
        stopping = service.stopService()
        self.assertNoResult(stopping)
        self.assertRaises(RealmClosed, script.login)
        gate.wait.callback(None)
        self.successResultOf(stopping)
        assert not service.running


def gates(hooks: tuple[str, ...]) -> Iterator[tuple[int, str, Gate, Act]]:
    """
    Yield each hook with a gate that makes it wait, once for a Deferred and once in a coroutine.
    """
    for position, hook in enumerate(hooks):
        for kind in ("deferred", "coroutine"):
            gate = Gate()
            yield position, hook, gate, getattr(gate, kind)


def outcome(login: Callable[[], object]) -> Any:
    """
    Return the Deferred of a login, or its failure if it fails at once.
    """
    try:
        return waiting(login())
    except LoginAbandoned:
        return Failure()
