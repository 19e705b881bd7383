"""
Tests for what becomes of blocks when their realm is closed: C{close}, and a presence.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, Block, PerConnection, Presence, Realm, Session
from logs import logged
from observing import PresenceCase, Watch
from scripted import Boom, Gate, IThing, Thing, opened, waiting
from ticking import Ticking

# Any in this module: what a login returns, and what is awaited.


class Ending(Block):
    """
    A block that notes when it is told that a realm is closed.

    @ivar ends: how many sessions there were each time.
    @ivar act: what it does then.
    """

    def __init__(self, act: Any = lambda: None) -> None:
        self.sessions, self.act = 0, act
        self.ends: list[int] = []

    def attached(self, session: Session) -> None:
        """
        A session begins.
        """
        self.sessions += 1

    def detached(self, session: Session) -> None:
        """
        It ends.
        """
        self.sessions -= 1

    def close(self) -> object:
        """
        Its realm is closed.
        """
        self.ends.append(self.sessions)
        return self.act()


class Slow(Block):
    """
    A block whose sessions end when the test says so.
    """

    def __init__(self) -> None:
        self.gate: Deferred[None] = Deferred()

    def detached(self, session: Session) -> object:
        """
        Wait.
        """
        return self.gate


def enter(realm: Realm[Any], avatarId: bytes = b"alice") -> Any:
    """
    Log in, and return what logs out.
    """
    return opened(realm.requestAvatar(avatarId, None, IThing))[2]


class BlockTests(SynchronousTestCase):
    """
    What a block with a C{close} is promised.
    """

    def setUp(self) -> None:
        """
        Have a clock.
        """
        self.clock = Clock()

    def test_told(self) -> None:
        """
        It is told when the last session is closed, and only once.
        """
        slow, block = Slow(), Ending()
        realm = block(slow(lambda avatarId: Thing()))
        enter(realm)
        closing = realm.close(reactor=self.clock)
        assert block.ends == []
        slow.gate.callback(None)
        self.successResultOf(closing)
        self.successResultOf(realm.close(reactor=self.clock))
        self.successResultOf(realm.drain())
        assert block.ends == [0]

    def test_closing(self) -> None:
        """
        A realm says whether it is closed, or drained.
        """
        one, two = (Realm(lambda avatarId: Thing()) for _ in range(2))
        assert (one.closing, two.closing) == (False, False)
        one.drain()
        self.successResultOf(two.close(reactor=self.clock))
        assert (one.closing, two.closing) == (True, True)

    def test_drained(self) -> None:
        """
        It is told when a realm that is drained has no session any more.
        """
        block = Ending()
        realm = block(lambda avatarId: Thing())
        leave = enter(realm)
        draining = realm.drain()
        assert block.ends == []
        leave()
        self.successResultOf(draining)
        assert block.ends == [0]

    def test_awaited(self) -> None:
        """
        It is awaited, each time that the realm is closed, and the others do not wait for it.
        """
        gate = Gate()
        one, two = Ending(lambda: gate.wait), Ending(lambda: succeed(None))
        realm = two(one(lambda avatarId: Thing()))
        closings = [realm.close(reactor=self.clock), realm.close(reactor=self.clock)]
        for each in closings:
            self.assertNoResult(each)
        assert (one.ends, two.ends) == ([0], [0])
        gate.wait.callback("done")
        for each in closings:
            assert self.successResultOf(each) is None
        assert self.clock.getDelayedCalls() == []

    def test_fails(self) -> None:
        """
        One that fails, at once or later, is logged by name, and the others are told.
        """
        gate = Gate()

        def raises() -> None:
            raise Boom

        blocks = [Ending(raises), Ending(lambda: gate.wait), Ending()]
        realm = Realm(lambda avatarId: Thing(), blocks=blocks)
        closing = realm.close(reactor=self.clock)
        with logged() as said:
            gate.wait.errback(Boom())
        self.successResultOf(closing)
        assert len(said) == 1
        assert "Ending object" in said[0]
        assert "could not be closed" in said[0]
        assert [each.ends for each in blocks] == [[0], [0], [0]]
        assert len(self.flushLoggedErrors(Boom)) == 2

    def test_late(self) -> None:
        """
        One that takes too long is cancelled, and logged by name.
        """
        cancelled: list[object] = []
        block = Ending(lambda: Deferred(cancelled.append))
        realm = block(lambda avatarId: Thing())
        closing = realm.close(timeout=3, reactor=self.clock)
        with logged() as said:
            self.clock.advance(3)
        self.successResultOf(closing)
        assert len(cancelled) == 1
        (line,) = said
        assert "Ending object" in line
        assert line.endswith("was not closed in 3 seconds")
        self.successResultOf(realm.close(reactor=self.clock))

    def test_thorny(self) -> None:
        """
        One whose canceller raises is logged, too.
        """

        def thorny(cancelled: object) -> None:
            raise Boom

        realm = Ending(lambda: Deferred(thorny))(lambda avatarId: Thing())
        closing = realm.close(timeout=3, reactor=self.clock)
        self.clock.advance(3)
        self.successResultOf(closing)
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_hangingSession(self) -> None:
        """
        If sessions take too long, it is told when the time is up, and not again when they end.
        """
        slow, block = Slow(), Ending()
        realm = slow(block(lambda avatarId: Thing()))
        realm.closeTimeout = None
        enter(realm)
        closing = realm.close(timeout=3, reactor=self.clock)
        assert block.ends == []
        self.clock.advance(3)
        self.successResultOf(closing)
        slow.gate.callback(None)
        assert block.ends == [1]

    def test_spans(self) -> None:
        """
        One in several realms is told by each that is closed, and its sessions in the others go on.
        """
        block = Ending()
        one, two = (block(lambda avatarId: Thing()) for _ in range(2))
        enter(one)
        leave = enter(two)
        self.successResultOf(one.close(reactor=self.clock))
        assert (block.ends, len(two.sessions)) == ([1], 1)
        leave()
        enter(two)
        self.successResultOf(two.close(reactor=self.clock))
        assert block.ends == [1, 0]

    def test_below(self) -> None:
        """
        So are blocks below a cache and below a C{PerConnection}, each when its realm is at its end,
        or when the time is up.
        """
        for late in (False, True):
            slow = Slow()
            blocks = [Ending() for _ in range(3)]
            cached = AvatarCache(reactor=self.clock)(slow(blocks[0](lambda avatarId: Thing())))
            each = PerConnection(lambda session: Thing())(blocks[1](cached))
            realm = blocks[2](each)
            leave = enter(realm)
            closing = realm.close(timeout=3, reactor=self.clock)
            del leave
            assert blocks[0].ends == []
            if late:
                self.clock.advance(3)
            else:
                slow.gate.callback(None)
            self.successResultOf(closing)
            assert [each.ends for each in blocks] == [[int(late)], [0], [0]]

    def test_notCallable(self) -> None:
        """
        An attribute of that name that is no method is left alone.
        """

        class Open(Ending):
            close: Any = None

        self.successResultOf(Open()(lambda avatarId: Thing()).close(reactor=self.clock))


class LingerTests(PresenceCase):
    """
    Who lingers in a realm that is closed.
    """

    linger = 5

    def close(self, realm: Realm[Any] | None = None, timeout: float = 3) -> Deferred[None]:
        """
        Close a realm.
        """
        return (realm or self.realm).close(timeout=timeout, reactor=self.clock)

    def test_departs(self) -> None:
        """
        Those who linger depart when the realm is closed, those who are logged out by that depart at
        once, and no timer is left.
        """
        self.enter()()
        self.enter(b"bob")
        self.successResultOf(self.close())
        assert self.told == ["+alice", "+bob", "-bob", "-alice"]
        assert self.clock.getDelayedCalls() == []

    def test_awaited(self) -> None:
        """
        The close waits until all observers have been told.
        """
        Watch("second", self.told).observe(self.presence)
        self.enter()()
        self.enter(b"bob")
        self.watch.waiting = True
        closing = self.close()
        assert self.told[4:] == ["-bob", "-alice"]
        self.watch.finish()
        self.assertNoResult(closing)
        self.watch.finish()
        self.successResultOf(closing)
        assert self.told[6:] == ["second-bob", "second-alice"]
        assert self.clock.getDelayedCalls() == []

    def test_severalClose(self) -> None:
        """
        If several realms are closed, each waits for those who were in one that is closed, and only
        for those.
        """
        other = self.presence(lambda avatarId: Thing())
        self.enter()
        self.enter(b"bob", other)
        self.watch.waiting = True
        first, second = self.close(), self.close(other)
        self.watch.finish()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.watch.finish()
        self.successResultOf(second)

    def test_stillArriving(self) -> None:
        """
        It waits for a departure that is told only after an arrival.
        """
        self.watch.waiting = True
        self.enter()
        closing = self.close()
        self.watch.finish()
        self.assertNoResult(closing)
        self.watch.finish()
        self.successResultOf(closing)
        assert self.told == ["+alice", "-alice"]

    def test_late(self) -> None:
        """
        If observers take too long for the close, they are given up, which is logged by name; all of
        them are told, and no timer is left.
        """
        second = Watch("second", self.told)
        second.observe(self.presence)
        Watch("third", self.told).observe(self.presence)
        self.enter()()
        self.watch.waiting = second.waiting = True
        closing = self.close()
        self.clock.advance(2.9)
        self.assertNoResult(closing)
        with logged() as said:
            self.clock.advance(0.1)
        self.successResultOf(closing)
        assert self.told[3:] == ["-alice", "second-alice", "third-alice"]
        assert "Presence(linger=5) was not closed in 3 seconds" in said[0]
        assert [line.partition(" is given up")[0] for line in said[1:]] == [
            "error: Watch.departed"
        ] * 2
        assert said[1].endswith("has departed, and did not finish before its realm was closed")
        assert self.clock.getDelayedCalls() == []
        assert self.presence._leaving == {}

    def test_lateSession(self) -> None:
        """
        If a session takes too long, nobody lingers when the time is up, nor when it ends at last.
        """
        slow = Slow()
        realm = slow(self.realm)
        realm.closeTimeout = None
        self.enter(b"bob")()
        self.enter(realm=realm)
        closing = self.close(realm)
        self.clock.advance(3)
        self.successResultOf(closing)
        slow.gate.callback(None)
        assert self.told == ["+bob", "+alice", "-alice"]  # bob is in another realm
        self.successResultOf(self.close())
        assert self.told[3:] == ["-bob"]
        assert self.clock.getDelayedCalls() == []

    def test_spans(self) -> None:
        """
        Who lingers in another realm goes on to do so, and whoever logs in there is there.
        """
        other = self.presence(lambda avatarId: Thing())
        self.enter()()
        self.enter(b"bob", other)()
        self.successResultOf(self.close())
        assert self.told[2:] == ["-alice"]
        leave = self.enter(b"bob", other)
        leave()
        self.enter(b"alice", other)()
        self.clock.advance(5)
        assert self.told[3:] == ["+alice", "-bob", "-alice"]

    def test_hurriesOnlyThose(self) -> None:
        """
        When the time of one realm is up, observers that are told of others are not given up; and
        whoever comes back is told in peace.
        """
        other = self.presence(lambda avatarId: Thing())
        leaving = [self.enter(name, other) for name in (b"bob", b"carol")]
        self.enter()()
        self.watch.waiting = True
        self.presence.linger = 0
        leaving[0]()
        closing = self.close()
        with logged() as said:
            self.clock.advance(3)
            self.successResultOf(closing)
            assert len(said) == 2
            self.enter(b"alice", other)
            self.clock.advance(20)
            assert len(said) == 2
        assert len(self.watch.waits) == 3
        self.watch.finish()
        assert self.presence._leaving == {}

    def test_comesBackMeanwhile(self) -> None:
        """
        Somebody who comes back through another realm before the close gets round to them stays, and
        the close does not wait for them to go.
        """
        clock = Ticking()
        presence = Presence(1000, reactor=clock)
        one, two = (presence(lambda avatarId: Thing()) for _ in range(2))
        watch = Watch()
        for number in range(300):
            self.enter(b"%d" % number, one)()
        watch.observe(presence)
        closing = one.close(timeout=None)
        self.assertNoResult(closing)
        leave = self.enter(b"299", two)
        self.enter(b"298", two)()
        while clock.turn():
            pass
        self.successResultOf(closing)
        assert set(presence) == {b"299", b"298"}
        leave()
        assert [len(presence), len(presence._going[two]), watch.told] == [2, 2, []]

    def test_lateInSlices(self) -> None:
        """
        If the time is up before the close gets round to all, the others depart all the same, and
        nobody waits for observers any longer.
        """
        clock = Ticking()
        presence = Presence(1000, reactor=clock)
        realm = presence(lambda avatarId: Thing())
        watch = Watch()
        watch.observe(presence)
        for number in range(300):
            self.enter(b"%d" % number, realm)()
        watch.told.clear()
        watch.waiting = True
        closing = realm.close(timeout=0.001, reactor=clock)
        assert 0 < len(watch.told) < 300
        with logged():
            while not closing.called:
                clock.turn()
            assert len(watch.told) < 300
            back = self.enter(b"299", presence(lambda avatarId: Thing()))
            while clock.turn():
                pass
        assert len(watch.told) == 299
        assert (list(presence), presence._leaving) == ([b"299"], {})
        presence.linger = 0
        back()
        assert watch.told[-1] == "-299"
        assert len(clock.getDelayedCalls()) == 1
        watch.waits[-1].callback(None)
        assert clock.getDelayedCalls() == []
        assert (presence._closers, presence._going) == ([], {})

    def test_nobody(self) -> None:
        """
        If nobody lingers, there is nothing to wait for.
        """
        assert self.presence.close() is None

    def test_below(self) -> None:
        """
        Below a cache, avatars that are retired linger no longer than the realm.
        """
        realm: Realm[Any] = AvatarCache(idleTimeout=0, reactor=self.clock)(self.realm)
        self.enter(realm=realm)()
        self.enter(b"bob", realm)
        self.successResultOf(self.close(realm))
        assert self.told == ["+alice", "+bob", "-alice", "-bob"]
        assert self.clock.getDelayedCalls() == []

    def test_refusedMeanwhile(self) -> None:
        """
        A login that waits when the realm is closed departs.
        """
        gate = Gate()

        class Waits(Block):
            def attached(self, session: Session) -> object:
                return gate.deferred(session)

        realm = Waits()(self.realm)
        failures: list[Any] = []
        waiting(realm.requestAvatar(b"alice", None, IThing)).addErrback(failures.append)
        self.successResultOf(self.close(realm))
        assert self.told == ["+alice", "-alice"]
        assert len(failures) == 1
