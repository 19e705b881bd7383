"""
Tests for L{avatarkit.Presence}: who is there, and who is told so.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionLimit,
    LoginAbandoned,
    Presence,
    Realm,
    Session,
    displaceOldest,
)
from avatarkit.testing import checkBlock
from logs import logged
from observing import PresenceCase, Watch
from scripted import Boom, Gate, IThing, Thing, frank, raises, waiting
from ticking import Ticking

# Any in this module: arguments of wrong types.


class MappingTests(PresenceCase):
    """
    Who is there.
    """

    linger = 5

    def test_counts(self) -> None:
        """
        It is a mapping from those who are there to how many sessions they have.
        """
        first, _bob, second = self.enter(), self.enter(b"bob"), self.enter()
        assert dict(self.presence) == {b"alice": 2, b"bob": 1}
        assert len(self.presence) == 2
        first()
        assert self.presence[b"alice"] == 1
        second()
        assert (b"alice" in self.presence, self.presence[b"alice"]) == (True, 0)
        self.clock.advance(5)
        assert dict(self.presence) == {b"bob": 1}
        with self.assertRaises(KeyError):
            self.presence[b"alice"]

    def test_meanwhile(self) -> None:
        """
        Somebody is there while their arrival is told, and no longer while their departure is.
        """
        seen: list[object] = []
        self.presence.observe(
            arrived=lambda avatarId: seen.append(dict(self.presence)),
            departed=lambda avatarId: seen.append(dict(self.presence)),
        )
        self.enter()()
        self.clock.advance(5)
        assert seen == [{b"alice": 1}, {}]

    def test_identity(self) -> None:
        """
        It is compared by identity, as the other blocks are, and is hashable.
        """
        assert self.presence == self.presence
        assert self.presence != Presence()
        assert len({self.presence, Presence()}) == 2

    def test_kinds(self) -> None:
        """
        A name that is there as bytes and is looked up, or logs in, as text is logged once.
        """
        self.stop()
        self.enter(b"alice")
        self.enter(b"bob")
        with logged(LogLevel.warn) as said:
            for _ in range(2):
                assert self.presence.get("alice") is None
            self.enter("alice")
        first, second = said
        assert "'alice' was looked up, who is not logged in; b'alice' is" in first
        assert "'alice' and b'alice' are both logged in" in second

    def test_key(self) -> None:
        """
        With a key, it knows who is there by that.
        """
        presence = Presence(key=lambda session: str(session.avatarId).lower())
        watch = Watch()
        watch.observe(presence)
        realm: Realm[Any] = presence(lambda avatarId: Thing())
        first, second = self.enter(b"Alice", realm), self.enter(b"ALICE", realm)
        assert dict(presence) == {"b'alice'": 2}
        first()
        second()
        assert watch.told == ["+b'alice'", "-b'alice'"]
        assert realm.audit() == []

    def test_badKey(self) -> None:
        """
        A login for which the key fails is refused, and nothing of it is kept.
        """
        presence = Presence(key=raises)
        realm = frank(presence(lambda avatarId: Thing()))
        with self.assertRaises(Boom):
            realm.requestAvatar(b"alice", None, IThing)
        assert (dict(presence), realm.audit()) == ({}, [])

    def test_audit(self) -> None:
        """
        The audit finds a wrong count, and somebody who wrongly lingers, or does not.
        """
        leave = self.enter()
        (who,) = self.presence._there.values()
        who.sessions = 2
        (wrong,) = self.realm.audit()
        assert wrong.endswith("counts 2 sessions of b'alice', and there are 1")
        who.sessions = 1
        leave()
        assert self.realm.audit() == []
        lingering = self.presence._going.pop(self.realm)
        (wrong,) = self.realm.audit()
        assert "b'alice' wrongly lingers in Presence(" in wrong
        self.presence._going[self.realm] = lingering
        timer, who.linger = who.linger, None
        assert len(self.realm.audit()) == 1
        who.linger = timer

    def test_auditDuring(self) -> None:
        """
        A login that has arrived and waits for a block above counts.
        """
        gate = Gate()

        class Waits(Block):
            def attached(self, session: Session) -> object:
                return gate.deferred(session)

        realm = Waits()(self.realm)
        waiting(realm.requestAvatar(b"alice", None, IThing))
        assert dict(self.presence) == {b"alice": 1}
        assert realm.audit() == []


class EdgeTests(PresenceCase):
    """
    Who comes and who goes.
    """

    def test_firstAndLast(self) -> None:
        """
        The first login of an ID is an arrival, and the last logout a departure.
        """
        first, second = self.enter(), self.enter()
        first()
        assert self.told == ["+alice"]
        second()
        self.enter(b"bob")
        assert self.told == ["+alice", "-alice", "+bob"]

    def test_refusedAbove(self) -> None:
        """
        A login that is refused when it has arrived departs again.
        """

        class Refuses(Block):
            def attached(self, session: Session) -> object:
                raise Boom

        realm = frank(Refuses()(self.realm))
        with self.assertRaises(Boom):
            realm.requestAvatar(b"alice", None, IThing)
        assert self.told == ["+alice", "-alice"]

    def test_displaced(self) -> None:
        """
        A session that takes the place of the last one comes after it has gone.
        """
        realm = ConnectionLimit(1, whenFull=displaceOldest, reactor=self.clock)(self.realm)
        self.enter(realm=realm)
        leave = self.enter(realm=realm)
        assert self.told == ["+alice", "-alice", "+alice"]
        leave()
        assert self.told[-1] == "-alice"

    def test_evicted(self) -> None:
        """
        Somebody whose avatar is evicted departs; so does somebody whose avatar retires, once.
        """
        cache: AvatarCache[Any] = AvatarCache(idleTimeout=1, reactor=self.clock)
        realm: Realm[Any] = self.presence(cache(lambda avatarId: Thing()))
        self.enter(realm=realm)
        self.enter(realm=realm)
        self.successResultOf(cache.evict(b"alice"))
        assert self.told == ["+alice", "-alice"]
        self.enter(realm=realm)()
        self.clock.advance(1)
        assert self.told == ["+alice", "-alice"] * 2

    def test_spans(self) -> None:
        """
        In several realms it knows who is in any of them.
        """
        other = self.presence(lambda avatarId: Thing())
        here, there = self.enter(), self.enter(realm=other)
        here()
        assert self.told == ["+alice"]
        there()
        assert self.told == ["+alice", "-alice"]

    def test_sayCount(self) -> None:
        """
        Below a cache, where it counts avatars, the cache says so.
        """
        with logged(LogLevel.warn) as said:
            AvatarCache()(self.realm)
        assert "is below a cache" in said[0]

    def test_block(self) -> None:
        """
        It keeps the promises of blocks.
        """
        checkBlock(Presence)


class LingerTests(PresenceCase):
    """
    Who comes back soon.
    """

    linger = 5

    def test_blip(self) -> None:
        """
        Somebody who comes back before they have lingered long enough has not been away.
        """
        for _ in range(3):
            leave = self.enter()
            leave()
            self.clock.advance(4.9)
        leave = self.enter()
        assert self.realm.audit() == []
        self.clock.advance(100)
        assert self.told == ["+alice"]
        leave()
        self.clock.advance(4.9)
        assert self.told == ["+alice"]
        self.clock.advance(0.1)
        assert self.told == ["+alice", "-alice"]
        assert self.clock.getDelayedCalls() == []

    def test_displaced(self) -> None:
        """
        A session that takes the place of another one does not make its user depart.
        """
        realm = ConnectionLimit(1, whenFull=displaceOldest, reactor=self.clock)(self.realm)
        self.enter(realm=realm)
        leave = self.enter(realm=realm)
        leave()
        self.clock.advance(5)
        assert self.told == ["+alice", "-alice"]

    def test_comesBackLate(self) -> None:
        """
        Somebody who comes back, twice, while the departure is told arrives when that is done.
        """
        self.enter()()
        self.watch.waiting = True
        self.clock.advance(5)
        leaving = [self.enter(), self.enter()]
        self.watch.finish()
        assert self.told == ["+alice", "-alice", "+alice"]
        for leave in leaving:
            leave()
        assert (dict(self.presence), self.realm.audit()) == ({b"alice": 0}, [])

    def test_changed(self) -> None:
        """
        How long somebody lingers can be changed at any time.
        """
        first, second = self.enter(), self.enter(b"bob")
        first()
        self.presence.linger = 0
        second()
        assert self.told == ["+alice", "+bob", "-bob"]
        self.clock.advance(5)
        assert self.told[-1] == "-alice"

    def test_nothingKept(self) -> None:
        """
        Nothing is kept of those who have gone.
        """
        for number in range(10):
            self.enter(b"%d" % number)()
        assert len(self.presence._going[self.realm]) == 10
        self.clock.advance(5)
        kept = (self.presence._there, self.presence._leaving, self.presence._going)
        assert kept == ({}, {}, {})


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
