"""
Tests for L{avatarkit.Presence}: who is there, and who is told so.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionLimit,
    Presence,
    Realm,
    Session,
    displaceOldest,
)
from avatarkit.testing import checkBlock
from logs import logged
from observing import PresenceCase, Watch
from scripted import Boom, Gate, IThing, Thing, frank, raises, waiting

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
