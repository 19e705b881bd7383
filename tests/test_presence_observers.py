"""
Tests for the observers of a L{avatarkit.Presence}: who is told what, and when, and what if they are
no good.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from avatarkit import LoginAbandoned, Presence
from logs import logged
from observing import PresenceCase, Watch
from scripted import Boom, Gate, Thing
from ticking import Ticking

# Any in this module: arguments of wrong types.


class ObserverTests(PresenceCase):
    """
    Who is told, and when.
    """

    def test_order(self) -> None:
        """
        Observers are told in the order in which they were added, of departures too.
        """
        for name in ("second", "third"):
            Watch(name, self.told).observe(self.presence)
        self.enter()()
        arrivals = ["+alice", "second+alice", "third+alice"]
        assert self.told == [*arrivals, *(each.replace("+", "-") for each in arrivals)]

    def test_oneOfThem(self) -> None:
        """
        Either of the two may be left out.
        """
        self.presence.observe(arrived=Watch("a", self.told).arrived)
        self.presence.observe(departed=Watch("d", self.told).departed)
        self.enter()()
        assert self.told == ["+alice", "a+alice", "-alice", "d-alice"]

    def test_inTurn(self) -> None:
        """
        The next observer is told when the one before is done, and the next edge when all are; the
        logins and logouts do not wait.
        """
        Watch("second", self.told).observe(self.presence)
        self.watch.waiting = True
        leave = self.enter()
        assert self.told == ["+alice"]
        leave()
        assert (self.told, len(self.realm.sessions)) == (["+alice"], 0)
        self.watch.finish()
        assert self.told == ["+alice", "second+alice", "-alice"]
        self.enter()
        assert self.told[3:] == []
        self.watch.finish()
        assert self.told[3:] == ["second-alice", "+alice"]
        self.watch.finish()
        assert self.told[5:] == ["second+alice"]

    def test_others(self) -> None:
        """
        Nobody waits until observers are done with somebody else.
        """
        self.watch.waiting = True
        self.enter()
        self.enter(b"bob")
        assert self.told == ["+alice", "+bob"]

    def test_meanwhile(self) -> None:
        """
        What comes and goes while observers are being told is not told, and not kept.
        """
        self.watch.waiting = True
        leave = self.enter()
        for _ in range(100):
            leave()
            leave = self.enter()
        self.watch.finish()
        assert self.told == ["+alice"]
        leave()
        for _ in range(100):
            self.enter()()
        self.watch.finish()
        assert (self.told, self.watch.waits) == (["+alice", "-alice"], [])
        assert self.presence._leaving == {}

    def test_lingersMeanwhile(self) -> None:
        """
        Somebody who comes and lingers while a departure is told arrives when that is done.
        """
        self.watch.waiting = True
        self.enter()()
        self.watch.finish()
        self.presence.linger = 5
        self.enter()()
        self.watch.finish()
        self.watch.finish()
        self.clock.advance(5)
        assert self.told == ["+alice", "-alice", "+alice", "-alice"]

    def test_coroutine(self) -> None:
        """
        An observer may be a coroutine, which is awaited.
        """
        gate: Deferred[None] = Deferred()

        async def slow(avatarId: Any) -> None:
            await gate
            self.told.append("slow")

        self.presence.observe(arrived=slow)
        Watch("third", self.told).observe(self.presence)
        self.enter()
        gate.callback(None)
        assert self.told == ["+alice", "slow", "third+alice"]

    def test_stop(self) -> None:
        """
        An observer that has stopped is told nothing more, not even the departure of those whose
        arrival it was told; stopping again is harmless.
        """
        leave = self.enter()
        self.stop()
        self.stop()
        leave()
        self.enter(b"bob")
        assert self.told == ["+alice"]

    def test_stopMeanwhile(self) -> None:
        """
        An observer that stops while it waits for its turn is not told.
        """
        late = Watch("late", self.told)
        stop = late.observe(self.presence)
        self.watch.waiting = True
        leave = self.enter()
        stop()
        self.watch.finish()
        leave()
        assert self.told == ["+alice", "-alice"]

    def test_late(self) -> None:
        """
        Who begins to observe is told nothing of those who are there, nor of their departure, until
        they come again.
        """
        leave = self.enter()
        Watch("late", self.told).observe(self.presence)
        leave()
        assert self.told == ["+alice", "-alice"]
        self.enter()()
        assert self.told[2:] == ["+alice", "late+alice", "-alice", "late-alice"]

    def test_already(self) -> None:
        """
        Who asks for it is told at once of those who are there, and later of their departure.
        """
        leaving = [self.enter(name) for name in (b"alice", b"bob")]
        Watch("late", self.told).observe(self.presence, already=True)
        assert self.told == ["+alice", "+bob", "late+alice", "late+bob"]
        leaving[0]()
        assert self.told[4:] == ["-alice", "late-alice"]
        self.enter()
        assert self.told[6:] == ["+alice", "late+alice"]

    def test_alreadyInTurn(self) -> None:
        """
        They are told in turn: when observers are done with the one before.
        """
        self.watch.waiting = True
        leave = self.enter()
        late = Watch("late", self.told)
        stop = late.observe(self.presence, already=True)
        Watch("last", self.told).observe(self.presence, already=True)
        assert self.told == ["+alice"]
        self.watch.finish()
        assert self.told == ["+alice", "late+alice", "last+alice"]
        stop()
        leave()
        assert self.told[3:] == ["-alice"]
        self.watch.finish()
        assert self.told[4:] == ["last-alice"]

    def test_alreadyGone(self) -> None:
        """
        Nobody is told of somebody who has gone meanwhile.
        """
        self.watch.waiting = True
        self.enter()()
        Watch("late", self.told).observe(self.presence, already=True)
        self.watch.finish()
        self.watch.finish()
        assert self.told == ["+alice", "-alice"]

    def test_forgotten(self) -> None:
        """
        Observers that come and go leave nothing behind while somebody stays.
        """
        self.enter()
        for _ in range(10):
            Watch().observe(self.presence, already=True)()
        Watch().observe(self.presence, already=True)
        (who,) = self.presence._there.values()
        assert who.told is not None
        assert len(who.told) == 2

    def test_wrong(self) -> None:
        """
        Something to call is needed, and it must be callable.
        """
        wrong: Any = "hello"
        with self.assertRaisesRegex(TypeError, "arrived=, departed=, or both"):
            self.presence.observe()
        for kw in ({"arrived": wrong}, {"departed": wrong}):
            with self.assertRaisesRegex(TypeError, "must be a callable of an avatar ID"):
                self.presence.observe(**kw)
        with self.assertRaisesRegex(TypeError, "already must be a bool"):
            self.presence.observe(arrived=print, already=wrong)

    def test_badArguments(self) -> None:
        """
        What is no number of seconds, no key or no reactor is refused, and so is a target.
        """
        wrong: Any
        for wrong in (-1, "5", None, True, float("nan")):
            self.assertRaises((TypeError, ValueError), Presence, wrong)
            self.assertRaises((TypeError, ValueError), Presence, timeout=wrong)
        for kw in ({"key": 5}, {"reactor": 5}):
            wrong = kw
            self.assertRaises(TypeError, Presence, **wrong)
        wrong = lambda avatarId: Thing()  # noqa: E731  # it stands for a factory
        with self.assertRaisesRegex(TypeError, "Presence takes a number of seconds"):
            Presence(wrong)


class FaultTests(PresenceCase):
    """
    Observers that are no good.
    """

    def setUp(self) -> None:
        """
        Have one observer that is no good, and another one after it.
        """
        super().setUp()
        self.stop()
        self.last = Watch("", self.told)

    def observe(self, arrived: Any) -> None:
        """
        Add them.
        """
        self.presence.observe(arrived=arrived)
        self.last.observe(self.presence)

    def test_raises(self) -> None:
        """
        One that raises is logged by name, at once or later, and the others are told.
        """
        gate: Deferred[object] = Deferred()

        def early(avatarId: Any) -> None:
            raise Boom

        def exits(avatarId: Any) -> None:
            raise SystemExit

        for bad in (early, exits, lambda avatarId: fail(Boom()), lambda avatarId: gate):
            self.presence.observe(arrived=bad)
        self.last.observe(self.presence)
        with logged() as said:
            self.enter()()
            gate.errback(Boom())
        assert self.told == ["+alice", "-alice"]
        names = ["early", "exits", "<lambda>", "<lambda>"]
        for name, line in zip(names, said, strict=True):
            assert f"{name} failed when told that b'alice' has arrived" in line
        assert len(self.flushLoggedErrors(Boom, SystemExit)) == 4

    def test_hangs(self) -> None:
        """
        One that takes too long is cancelled and logged by name, and the next is told.
        """
        cancelled: list[object] = []

        def hangs(avatarId: Any) -> object:
            return Deferred(cancelled.append)

        self.observe(hangs)
        self.enter()
        with logged() as said:
            self.clock.advance(29.9)
            assert (self.told, said) == ([], [])
            self.clock.advance(0.1)
        assert len(cancelled) == 1
        assert self.told == ["+alice"]
        (line,) = said
        assert line.startswith(
            "error: FaultTests.test_hangs.<locals>.hangs is given up: it was told "
        )
        assert line.endswith("b'alice' has arrived, and did not finish in 30 seconds")
        assert self.clock.getDelayedCalls() == []

    def test_hangsEach(self) -> None:
        """
        Each call has a time of its own, and one that is in time leaves no timer.
        """
        presence = Presence(timeout=3, reactor=self.clock)
        realm = presence(lambda avatarId: Thing())
        watch = Watch()
        watch.waiting = True
        watch.observe(presence)
        leave = self.enter(realm=realm)
        self.clock.advance(2)
        watch.finish()
        assert self.clock.getDelayedCalls() == []
        leave()
        with logged() as said:
            self.clock.advance(2.9)
            assert said == []
            self.clock.advance(0.1)
        assert said[0].endswith("b'alice' has departed, and did not finish in 3 seconds")

    def test_stubborn(self) -> None:
        """
        One that does not mind being cancelled is given up all the same; if it fails later, that is
        logged, and changes nothing.
        """
        gate = Gate()

        async def stubborn(avatarId: Any) -> object:
            try:
                return await Deferred()
            except BaseException:
                return await gate.wait

        self.observe(stubborn)
        leave = self.enter()
        self.clock.advance(30)
        leave()
        assert self.told == ["+alice", "-alice"]
        gate.wait.errback(Boom())
        assert self.told == ["+alice", "-alice"]
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_thorny(self) -> None:
        """
        So is one whose canceller raises, which is logged.
        """

        def thorny(cancelled: object) -> None:
            raise Boom

        self.observe(lambda avatarId: Deferred(thorny))
        self.enter()
        self.clock.advance(30)
        assert self.told == ["+alice"]
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_logsOut(self) -> None:
        """
        One that logs everybody out from inside does no harm: they arrive, and then depart.
        """

        def bounce(avatarId: Any) -> None:
            for session in tuple(self.realm.sessions):
                session.logout()

        self.observe(bounce)
        with self.assertRaises(LoginAbandoned):
            self.enter()
        assert (self.told, dict(self.presence)) == (["+alice", "-alice"], {})
        self.presence.observe(departed=bounce)
        assert self.realm.audit() == []

    def test_logsIn(self) -> None:
        """
        One that logs somebody in from inside does no harm: they arrive when it is done, however
        many there are.
        """

        def invite(avatarId: Any) -> None:
            number = int(avatarId)
            if number:
                self.enter(b"%d" % (number - 1))

        self.observe(invite)
        self.enter(b"2000")
        assert len(self.told) == 2001
        assert self.realm.audit() == []

    def test_pingPong(self) -> None:
        """
        One that logs somebody out who arrives, and in who departs, leaves the reactor its turns.
        """
        clock = Ticking()
        presence = Presence(reactor=clock)
        realm = presence(lambda avatarId: Thing())
        watch = Watch()
        watch.observe(presence)
        leaving: list[Any] = []

        def again(avatarId: Any) -> None:
            leaving.append(self.enter(realm=realm))

        presence.observe(arrived=lambda avatarId: leaving and leaving.pop()(), departed=again)
        self.enter(realm=realm)()
        for _ in range(10):
            before = len(watch.told)
            assert clock.turn()
            assert 0 < len(watch.told) - before < 10
        assert watch.told == ["+alice", "-alice"] * (len(watch.told) // 2) + ["+alice"] * (
            len(watch.told) % 2
        )

    def test_observesInside(self) -> None:
        """
        One that begins to observe, or stops, from inside does no harm.
        """
        stops: list[Any] = []

        def change(avatarId: Any) -> None:
            stops.append(Watch(f"{len(stops)}", self.told).observe(self.presence))
            if len(stops) > 1:
                stops[-2]()

        self.observe(change)
        self.enter()()
        self.enter()()
        assert self.told == ["+alice", "-alice", "+alice", "-alice"]

    def test_waitsForTheEnd(self) -> None:
        """
        One that waits until its user has logged out keeps nobody from doing so.
        """

        def waits(avatarId: Any) -> object:
            (session,) = self.realm.sessions
            return session.whenClosed()

        self.observe(waits)
        leave = self.enter()
        assert self.told == []
        leave()
        assert self.told == ["+alice", "-alice"]
