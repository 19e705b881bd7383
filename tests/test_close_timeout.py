"""
Tests for L{avatarkit.Realm.closeTimeout}: what a session undoes may not take for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionLimit,
    PerConnection,
    Realm,
    Session,
    displaceOldest,
)
from logs import logged
from scripted import (
    CLOSING,
    OPENING,
    Boom,
    Gate,
    IOther,
    IThing,
    Script,
    Thing,
    frank,
    opened,
    raises,
    slots,
    undoing,
    waiting,
)
from ticking import NoTimers, Ticking

# Any in this module: arguments of wrong types.


class Hanging:
    """
    An undo that waits, and does something else when it is cancelled.

    @ivar act: what it then does.
    @ivar cancelled: whether it was cancelled.
    @ivar wait: what it then waits for.
    """

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.act, self.cancelled = act, False
        self.wait: Deferred[object] = Deferred()

    async def __call__(self, session: Session) -> None:
        """
        Wait.
        """
        try:
            await Deferred()
        except CancelledError:
            self.cancelled = True
            self.act()
            await self.wait


class Leaving(Thing):
    """
    An avatar whose logout waits.
    """

    saving: Any = None

    def __init__(self, avatarId: object = None) -> None:
        """
        Be nobody's in particular.
        """

    def logout(self) -> object:
        """
        Wait.
        """
        return self.saving


class CloseCase(SynchronousTestCase):
    """
    A realm with a clock.
    """

    def setUp(self) -> None:
        """
        Have a clock.
        """
        self.clock = Clock()

    def script(self, acts: dict[str, Any]) -> Script:
        """
        Return a stack that follows a script.
        """
        script = Script(acts)
        script.realm.reactor = self.clock
        return script

    def leave(self, realm: Realm[Any], avatarId: Any = b"alice") -> Session:
        """
        Log in and out, and return the session.
        """
        _, _, logout = opened(realm.requestAvatar(avatarId, None, IThing))
        session: Session = logout.__self__
        logout()
        return session

    def givenUp(self, realm: Realm[Any], session: Session, *hooks: str) -> None:
        """
        Check that a session closes when hooks of it have been given up, each after a minute.
        """
        closed = session.whenClosed()
        for hook in hooks:
            self.assertNoResult(closed)
            self.clock.advance(59.9)
            with logged() as said:
                self.clock.advance(0.1)
            assert said == [
                f"error: {hook} of a session of {session.avatarId!r} is given up: it did not "
                "finish in 60 seconds"
            ]
        self.successResultOf(closed)
        assert not realm.sessions
        assert not self.clock.getDelayedCalls()


class GivenUpTests(CloseCase):
    """
    An undo that does not finish in time.
    """

    def test_everyHook(self) -> None:
        """
        Whatever is undone is cancelled after a minute, and logged by name; the next one is undone,
        and the session closes.
        """
        for hook in CLOSING:
            for wait in ("deferred", "coroutine"):
                gate = Gate()
                script = self.script({hook: getattr(gate, wait)})
                session = self.leave(script.realm)
                kind = "Source" if hook == "let go" else "Block"
                method = "release" if hook == "let go" else hook.split()[0]
                self.givenUp(script.realm, session, f"Scripted{kind}.{method}")
                assert script.log == [*OPENING, *undoing(7)]
                assert gate.wait.called
                assert script.realm.audit() == []

    def test_eachItsOwn(self) -> None:
        """
        Each has a minute of its own.
        """
        script = self.script({hook: lambda session: Deferred() for hook in CLOSING})
        session = self.leave(script.realm)
        self.givenUp(
            script.realm,
            session,
            *["ScriptedBlock.detached"] * 3,
            "ScriptedSource.release",
            *["ScriptedBlock.release"] * 3,
        )

    def test_avatar(self) -> None:
        """
        The logout of an avatar is given up.
        """
        realm = Realm(Leaving)
        realm.reactor, Leaving.saving = self.clock, Deferred()
        self.givenUp(realm, self.leave(realm), "FactorySource.release")

    def test_adapter(self) -> None:
        """
        So is that of an adapter, and the avatar's comes next.
        """

        @implementer(IThing)
        class Adapter(Leaving):
            pass

        class Adapted(Leaving):
            def __conform__(self, interface: type[Interface]) -> object:
                return Adapter() if interface is IOther else None

        realm = Realm(Adapted)
        realm.reactor, Leaving.saving = self.clock, None
        Adapter.saving, Adapted.saving = Deferred(), Deferred()
        logout = opened(realm.requestAvatar(b"alice", None, IOther))[2]
        logout()
        self.givenUp(realm, logout.__self__, "logoutAspect", "FactorySource.release")

    def test_refused(self) -> None:
        """
        What a login undoes that fails has a deadline too, and the login fails with what was raised.
        """
        script = self.script({"attached 0": raises, "let go": lambda session: Deferred()})
        login = waiting(script.login())
        self.clock.advance(60)
        self.failureResultOf(login, Boom)
        assert script.log == [*OPENING, *undoing(6)]

    def test_slot(self) -> None:
        """
        When the logout of an avatar is given up, its slot is free.
        """
        limit = ConnectionLimit()
        realm = limit(Leaving)
        realm.reactor, Leaving.saving = self.clock, Deferred()
        self.leave(realm)
        assert slots(limit) == {b"alice": 1}
        self.clock.advance(60)
        assert slots(limit) == {}

    def test_slotOfDisplaced(self) -> None:
        """
        Who displaces a session waits no longer than before, and nothing goes wrong when that one is
        given up later.
        """
        limit = ConnectionLimit(whenFull=displaceOldest, reactor=self.clock)
        realm = limit(Leaving)
        realm.reactor, Leaving.saving = self.clock, Deferred()
        opened(realm.requestAvatar(b"alice", None, IThing))
        (old,) = realm.sessions
        login = waiting(realm.requestAvatar(b"alice", None, IThing))
        self.clock.advance(5)
        opened(self.successResultOf(login))
        assert slots(limit) == {b"alice": 1}
        closed = old.whenClosed()
        self.clock.advance(55)
        self.successResultOf(closed)
        assert slots(limit) == {b"alice": 1}
        assert realm.audit() == []

    def test_closing(self) -> None:
        """
        A realm that is closed waits as long as it is told, and its sessions are given up later.
        """
        script = self.script({"let go": lambda session: Deferred()})
        opened(script.login())
        closing = script.realm.close(timeout=30, reactor=self.clock)
        with logged() as said:
            self.clock.advance(30)
        self.successResultOf(closing)
        assert said == [
            "error: ScriptedSource.release of a session of b'alice' did not finish in 30 seconds"
        ]
        self.clock.advance(30)
        assert not script.realm.sessions
        assert script.log[-1] == "release 0"

    def test_many(self) -> None:
        """
        If very many are given up at once, the reactor has its turn in between.
        """
        self.clock = Ticking()
        script = self.script({"let go": lambda session: Deferred()})
        for _ in range(100):
            self.leave(script.realm)
        left = [len(script.realm.sessions)]
        self.clock.rightNow += 60
        while self.clock.turn():
            left.append(len(script.realm.sessions))
        assert (left[0], left[-1]) == (100, 0)
        assert len(left) > 10
        assert not self.clock.getDelayedCalls()


class StubbornTests(CloseCase):
    """
    What does not bear being cancelled.
    """

    def hang(self, hanging: Any) -> Script:
        """
        Log out of a stack where a source's release hangs, and have it given up.
        """
        script = self.script({"let go": hanging})
        self.givenUp(script.realm, self.leave(script.realm), "ScriptedSource.release")
        assert script.log == [*OPENING, *undoing(7)]
        return script

    def test_goesOn(self) -> None:
        """
        One that ignores being cancelled does not keep its session; the audit mentions it until it
        has finished, and its end has no effect.
        """
        hanging = Hanging()
        realm = self.hang(hanging).realm
        assert hanging.cancelled
        assert realm.audit() == [
            "ScriptedSource.release of a session of b'alice' was given up, and has not finished"
        ]
        with logged() as said:
            hanging.wait.callback(None)
        assert realm.audit() == []
        assert not said

    def test_fails(self) -> None:
        """
        If it fails later, or when it is cancelled, that is logged.
        """

        def fail() -> None:
            raise Boom

        late = Hanging()
        script = self.hang(late)
        with logged(LogLevel.critical) as said:
            late.wait.errback(Boom())
            assert script.realm.audit() == []
            script = self.script({"let go": Hanging(fail)})
            self.leave(script.realm)
            self.clock.advance(60)
        assert script.realm.audit() == []
        assert (
            said
            == ["critical: ScriptedSource.release failed while a session of b'alice' was closing"]
            * 2
        )
        assert len(self.flushLoggedErrors(Boom)) == 2

    def test_cancelledLater(self) -> None:
        """
        If it is cancelled a second time, by somebody else, nothing is logged.
        """
        hanging = Hanging()
        script = self.hang(hanging)
        hanging.wait.cancel()
        assert script.realm.audit() == []

    def test_succeeds(self) -> None:
        """
        One that succeeds when it is cancelled is done.
        """
        hanging = Hanging()
        hanging.wait.callback(None)
        assert self.hang(hanging).realm.audit() == []

    def test_cannotBeCancelled(self) -> None:
        """
        One whose canceller raises is logged, and no longer waited for.
        """

        def canceller(hanging: Deferred[object]) -> None:
            raise Boom

        script = self.script({"let go": lambda session: Deferred(canceller)})
        session = self.leave(script.realm)
        with logged(LogLevel.critical) as said:
            self.clock.advance(60)
        self.successResultOf(session.whenClosed())
        assert said == [
            "critical: ScriptedSource.release of a session of b'alice' could not be cancelled"
        ]
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert script.realm.audit() == []

    def test_endsItsSession(self) -> None:
        """
        One that ends its own session when it is cancelled, or another one, does no harm.
        """
        script = self.script({})
        opened(script.login())
        (other,) = script.realm.sessions
        session: Any = None

        def end() -> None:
            session.logout()
            other.logout()

        hanging = Hanging(end)
        script.acts["detached 1"] = hanging
        session = self.leave(script.realm)
        del script.acts["detached 1"]
        self.clock.advance(60)
        for each in (session, other):
            self.successResultOf(each.whenClosed())
        assert len(script.realm.audit()) == 1
        hanging.wait.callback(None)
        assert script.realm.audit() == []

    def test_several(self) -> None:
        """
        Each that was given up is mentioned as long as it goes on, whoever has logged in meanwhile.
        """
        hanging = [Hanging() for _ in range(3)]
        script = self.script({})
        for each in hanging:
            script.acts["let go"] = each
            self.leave(script.realm)
        self.clock.advance(60)
        del script.acts["let go"]
        opened(script.login())
        for left in (2, 1, 0):
            hanging.pop(0).wait.callback(None)
            assert len(script.realm.audit()) == left

    def test_mentionedAbove(self) -> None:
        """
        The audit of a realm that is stacked on another one, or stands on it, mentions what belongs
        to it.
        """
        hanging = Hanging()
        below = self.script({"let go": hanging})
        realm = PerConnection(lambda session: Thing())(below.realm)
        realm.reactor = self.clock
        self.leave(realm)
        self.clock.advance(60)
        assert not realm.sessions
        assert len(realm.audit()) == 1


class NoTimerTests(CloseCase):
    """
    When there is no timer.
    """

    def test_atOnce(self) -> None:
        """
        What finishes at once needs none.
        """

        async def atOnce(session: Session) -> None: ...

        script = self.script(dict.fromkeys(CLOSING, atOnce))
        script.realm.reactor = NoTimers()
        session = self.leave(script.realm)
        self.successResultOf(session.whenClosed())

    def test_inTime(self) -> None:
        """
        What finishes in time leaves none, however it ends.
        """
        for fails in (False, True):
            gate = Gate()
            script = self.script({"let go": gate.deferred})
            session = self.leave(script.realm)
            assert len(self.clock.getDelayedCalls()) == 1
            gate.wait.errback(Boom()) if fails else gate.wait.callback(None)
            assert not self.clock.getDelayedCalls()
            self.successResultOf(session.whenClosed())
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_none(self) -> None:
        """
        Without a deadline there is none, and what waits is waited for.
        """
        script = self.script({"let go": lambda session: Deferred()})
        script.realm.closeTimeout = None
        self.leave(script.realm)
        assert not self.clock.getDelayedCalls()
        assert len(script.realm.sessions) == 1


class BelowTests(CloseCase):
    """
    Sessions that others stand on.
    """

    def test_perConnection(self) -> None:
        """
        What an inner session undoes has the deadline of the realm on top, each hook its own; the
        outer session waits as long as that takes, and is not given up.
        """
        below = self.script({hook: lambda session: Deferred() for hook in CLOSING})
        below.realm.closeTimeout, below.realm.reactor = 1, Clock()
        above = Script({"release 0": lambda session: Deferred()})
        realm = above.blocks[0](PerConnection(lambda session: Thing())(below.realm))
        realm.closeTimeout, realm.reactor = 60, self.clock
        session = self.leave(realm)
        self.givenUp(
            realm,
            session,
            *["ScriptedBlock.detached"] * 3,
            "ScriptedSource.release",
            *["ScriptedBlock.release"] * 4,
        )
        assert below.log == [*OPENING, *undoing(7)]
        assert not below.realm.sessions

    def test_build(self) -> None:
        """
        The logout of an avatar that was built for a session is given up, and the one below comes
        next.
        """
        Leaving.saving = Deferred()
        saving: Deferred[None] = Deferred()

        class Below(Leaving):
            pass

        Below.saving = saving
        realm = PerConnection(lambda session: Leaving())(Below)
        realm.reactor = self.clock
        self.givenUp(realm, self.leave(realm), "PerConnection.release", "FactorySource.release")
        assert saving.called

    def test_cache(self) -> None:
        """
        Below a cache, only its own deadline counts.
        """
        cache: Any = AvatarCache(idleTimeout=0, retireTimeout=None, reactor=self.clock)
        realm = cache(PerConnection(lambda session: Thing())(Leaving))
        realm.reactor, Leaving.saving = self.clock, Deferred()
        self.successResultOf(self.leave(realm).whenClosed())
        assert not self.clock.getDelayedCalls()
        assert len(cache.below.sessions) == 1
        Leaving.saving.callback(None)
        assert not cache.below.sessions

    def test_retireTimeout(self) -> None:
        """
        An avatar that its cache has given up is not given up again.
        """
        cache: Any = AvatarCache(idleTimeout=0, retireTimeout=5, reactor=self.clock)
        realm = cache(Leaving)
        realm.reactor, Leaving.saving = self.clock, Deferred()
        self.leave(realm)
        self.clock.advance(1000)
        assert len(realm.audit()) == 1
        assert not Leaving.saving.called

    def test_anonymous(self) -> None:
        """
        An avatar of an anonymous login, which the cache does not keep, is given up.
        """
        realm = AvatarCache(reactor=self.clock)(Leaving)
        realm.reactor, Leaving.saving = self.clock, Deferred()
        self.givenUp(realm, self.leave(realm, ANONYMOUS), "FactorySource.release")

    def test_aboveCache(self) -> None:
        """
        Above a cache, the deadline of the realm counts.
        """
        script = self.script({"release 1": lambda session: Deferred()})
        realm = script.blocks[1](AvatarCache(reactor=self.clock)(Leaving))
        realm.reactor = self.clock
        self.givenUp(realm, self.leave(realm), "ScriptedBlock.release")


class SettingTests(CloseCase):
    """
    What may be set.
    """

    def test_defaults(self) -> None:
        """
        A minute, on the global reactor.
        """
        realm = Realm(Leaving)
        assert (realm.closeTimeout, realm.reactor) == (60, None)

    def test_inherited(self) -> None:
        """
        A realm that is stacked on another one begins as that one is, and is then its own.
        """
        below = Realm(Leaving)
        below.closeTimeout, below.reactor = 5, self.clock
        above = Block[Any]()(below)
        assert (above.closeTimeout, above.reactor) == (5, self.clock)
        above.closeTimeout, above.reactor = None, None
        assert (below.closeTimeout, below.reactor) == (5, self.clock)

    def test_later(self) -> None:
        """
        It may be changed at any time, and counts for what begins to wait from then on.
        """
        script = self.script({"let go": lambda session: Deferred()})
        self.leave(script.realm)
        script.realm.closeTimeout = 0.5
        self.leave(script.realm)
        with logged() as said:
            self.clock.advance(0.5)
        assert [each.partition(" is given up: ")[2] for each in said] == [
            "it did not finish in 0.5 seconds"
        ]
        with logged() as said:
            self.clock.advance(59.5)
        assert [each.partition(" is given up: ")[2] for each in said] == [
            "it did not finish in 60 seconds"
        ]

    def test_bad(self) -> None:
        """
        A deadline is a number of seconds, and a reactor tells the time.
        """
        realm: Any = Realm(Leaving)
        for other in ("60", True, [60]):
            with self.assertRaises(TypeError):
                realm.closeTimeout = other
        for seconds in (-1, float("inf"), float("nan")):
            with self.assertRaises(ValueError):
                realm.closeTimeout = seconds
        with self.assertRaises(TypeError):
            realm.reactor = 60
        assert (realm.closeTimeout, realm.reactor) == (60, None)


class SinceTests(CloseCase):
    """
    L{Session.since}.
    """

    def test_clock(self) -> None:
        """
        It is measured by the reactor of the realm, also for sessions that stand below.
        """
        seen: list[float] = []

        class Watching(Block):
            def attached(self, session: Session) -> None:
                seen.append(session.since)

        below = Watching()(lambda avatarId: Thing())
        middle = Watching()(PerConnection(lambda session: Thing())(below))
        built = PerConnection(lambda session: Thing())(middle)
        for realm in (Watching()(built), Watching()(AvatarCache()(below))):
            frank(realm).reactor = self.clock
            seen.clear()
            self.clock.advance(7)
            now = self.clock.seconds()
            opened(realm.requestAvatar(b"alice", None, IThing))
            (session,) = realm.sessions
            self.clock.advance(7)
            assert session.since == now
            assert set(seen) == {now}
