"""
Tests for closing a realm with a timeout.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, PerConnection, Realm, RealmClosed, Session
from saved import Player
from scripted import Boom, Gate, IThing, Script, ScriptedSource, Thing, fails, opened, waiting


class DeadlineTests(SynchronousTestCase):
    """
    L{Realm.close} with hooks that never finish.
    """

    def setUp(self) -> None:
        """
        Collect the log events.
        """
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def unfinished(self) -> list[Any]:
        """
        Return what was logged as unfinished.
        """
        late = [each for each in self.events if "timeout" in each]
        return [(each.get("hook", each.get("source")), each.get("avatarId")) for each in late]

    def test_hangingUndo(self) -> None:
        """
        close() fires after the timeout even if a hook never finishes, and logs the hook's name.
        """
        gate = Gate()
        script = Script({"detached 1": gate.deferred})
        opened(script.login())
        closing = script.realm.close(timeout=7, reactor=self.clock)
        self.clock.advance(6.9)
        self.assertNoResult(closing)
        self.clock.advance(0.1)
        assert self.successResultOf(closing) is None
        assert self.unfinished() == [("ScriptedBlock.detached", b"alice")]
        gate.wait.callback(None)
        assert script.log[-1] == "release 0"

    def test_stubbornLogin(self) -> None:
        """
        A hook that goes on despite being cancelled during a login is logged by name, too, and the
        login fails when the time is up.
        """
        gate = Gate()

        async def stubborn(session: object) -> object:
            while True:
                try:
                    return await gate.wait
                except Exception:
                    gate.wait = Deferred()

        script = Script({"attached 2": stubborn})
        failures: list[Any] = []
        waiting(script.login()).addErrback(failures.append)
        closing = script.realm.close(timeout=7, reactor=self.clock)
        assert failures == []
        self.clock.advance(7)
        self.successResultOf(closing)
        assert [failure.type for failure in failures] == [RealmClosed]
        assert self.unfinished() == [("ScriptedBlock.attached", b"alice")]
        gate.wait.callback(None)
        assert script.log[-1] == "release 0"

    def test_hangingAvatar(self) -> None:
        """
        An avatar whose logout never finishes is logged; the others are retired before the timeout,
        even while a session hangs.
        """
        Player.made = []
        Player.saving = lambda player: Deferred() if player.name == b"bob" else None
        gate = Gate()

        def hang(session: Session) -> object:
            return gate.wait if session.avatarId == b"alice" else None

        script = Script({"detached 0": hang})
        realm = script.blocks[0](AvatarCache()(Player))
        realm.reactor = self.clock
        for name in (b"alice", b"bob", b"carol"):
            opened(realm.requestAvatar(name, None, IThing))
        opened(realm.requestAvatar(b"idle", None, IThing))[2]()
        closing = realm.close(reactor=self.clock)
        assert {each.name: each.saved for each in Player.made} == {
            b"alice": 0,
            b"bob": 1,
            b"carol": 1,
            b"idle": 1,
        }
        self.clock.advance(30)
        self.successResultOf(closing)
        *hooks, cache = self.unfinished()
        assert sorted(hooks) == [
            ("FactorySource.release", b"bob"),
            ("ScriptedBlock.detached", b"alice"),
        ]
        assert str(cache[0]).startswith("AvatarCache(")

    def test_hangingFactory(self) -> None:
        """
        A factory that goes on despite being cancelled is logged by its source's name, and a source
        that does not close by its repr.
        """
        gate = Gate()

        async def factory(name: object) -> object:
            try:
                await Deferred()
            except Exception:
                await gate.wait
            return Thing()

        realm = Realm(factory)
        waiting(realm.requestAvatar(b"alice", None, IThing)).addErrback(lambda failure: None)
        closing = realm.close(timeout=7, reactor=self.clock)
        self.clock.advance(7)
        self.successResultOf(closing)
        assert self.unfinished() == [("FactorySource.acquire", b"alice")]
        gate.wait.callback(None)

        class Hanging(ScriptedSource):
            def close(self) -> Any:
                return Deferred()

            def __repr__(self) -> str:
                return "the hanging source"

        del self.events[:]
        closing = Realm(Hanging(Script())).close(timeout=1, reactor=self.clock)
        self.clock.advance(1)
        self.successResultOf(closing)
        assert self.unfinished() == [("the hanging source", None)]

    def test_inTime(self) -> None:
        """
        A close that finishes in time leaves no delayed call, and logs nothing.
        """
        gate = Gate()
        script = Script({"detached 1": gate.deferred})
        opened(script.login())
        closing = script.realm.close(timeout=7, reactor=self.clock)
        assert len(self.clock.getDelayedCalls()) == 1
        gate.wait.callback(None)
        self.successResultOf(closing)
        assert self.clock.getDelayedCalls() == []
        assert self.unfinished() == []

    def test_failingSource(self) -> None:
        """
        If a source fails to close, that is logged, and close() fires all the same.
        """
        script = Script()
        script.source.close = fails  # type: ignore[method-assign, assignment]
        self.successResultOf(script.realm.close())
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_below(self) -> None:
        """
        Sessions below a PerConnection end after those above them.
        """
        gate, below = Gate(), Script()
        above = Script({"detached 0": gate.deferred})
        realm = above.blocks[0](PerConnection(lambda session: Thing())(below.realm))
        opened(realm.requestAvatar(b"alice", None, IThing))
        del below.log[:]
        closing = realm.close(timeout=None)
        assert below.log == ["close"]
        gate.wait.callback(None)
        self.successResultOf(closing)
        assert below.log[-1] == "release 0"
