"""
Tests for the wheel: very many things, and one timer.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit._waiting.slices import SLICE
from avatarkit._waiting.wheel import LATE, Wheel
from scripted import Boom
from ticking import Ticking

#: The seconds of a tick: a number that no calculation makes another one of.
TICK = 0.125


class WheelTests(SynchronousTestCase):
    """
    A wheel with eight ticks a second, in which there are words.
    """

    def setUp(self) -> None:
        """
        Note what is due, and when.
        """
        self.clock = Clock()
        self.seen: list[tuple[float, str]] = []
        self.wheel = self.make(self.clock)

    def tearDown(self) -> None:
        """
        An empty wheel keeps no timer, and nothing else.
        """
        for thing in self.wheel.things():
            self.wheel.remove(thing)
        assert not self.clock.getDelayedCalls()
        assert not self.wheel._slots

    def make(self, clock: Clock) -> Wheel[str]:
        """
        Return a new wheel.
        """
        return Wheel(TICK, lambda thing: self.seen.append((clock.rightNow, thing)), clock)

    def run_(self, seconds: float, step: float = TICK / 2) -> list[str]:
        """
        Let time pass, and return what was looked at.
        """
        self.seen.clear()
        self.clock.pump([step] * round(seconds / step))
        return [thing for _when, thing in self.seen]

    def test_due(self) -> None:
        """
        A thing is looked at once, when its time has come, and less than a tick later.
        """
        self.clock.advance(7.03)
        self.wheel.put("a", 0.5)
        assert self.run_(2, step=TICK / 8) == ["a"]
        ((when, _thing),) = self.seen
        assert 7.53 <= when < 7.53 + TICK

    def test_boundary(self) -> None:
        """
        One whose time is that of a tick is looked at then, whatever calculations lose.
        """
        self.wheel = Wheel(0.1, lambda thing: self.seen.append((0, thing)), self.clock)
        for count in range(1, 30):
            self.clock.advance(0.1 * count - self.clock.rightNow)
            self.wheel.put("a", 0.3)
            for late in (1, 2, 3):
                assert self.seen == []
                self.clock.advance(0.1 * (count + late) - self.clock.rightNow)
            assert self.seen.pop() == (0, "a")
            self.clock.rightNow = 0.1 * count

    def test_moved(self) -> None:
        """
        A thing is looked at when it was last said to be, earlier or later.
        """
        self.wheel.put("a", 0.5)
        self.wheel.put("b", 0.5)
        self.wheel.put("a", 1)
        self.wheel.put("b", 0.25)
        assert self.run_(0.25) == ["b"]
        assert self.run_(0.6875) == []
        assert self.run_(0.0625) == ["a"]

    def test_removed(self) -> None:
        """
        A thing that is removed is not looked at, and the timer stops with the last one.
        """
        self.wheel.put("a", 0.5)
        self.wheel.put("b", 0.5)
        self.wheel.remove("a")
        self.wheel.remove("a")
        assert self.wheel.things() == {"b"}
        assert len(self.clock.getDelayedCalls()) == 1
        self.wheel.remove("b")
        assert not self.clock.getDelayedCalls()
        assert self.run_(1) == []

    def test_emptied(self) -> None:
        """
        The timer stops when nothing is left to look at, and starts again with the next thing.
        """
        self.wheel.put("a", 0.5)
        assert self.run_(0.5) == ["a"]
        assert not self.clock.getDelayedCalls()
        self.clock.advance(3)
        self.wheel.put("b", 0.5)
        assert self.run_(0.4375) == []
        assert self.run_(0.0625) == ["b"]

    def test_again(self) -> None:
        """
        What is looked at may be put into the wheel again, also for no time at all: it then has its
        turn in the next tick.
        """

        def due(thing: str) -> None:
            self.seen.append((0, thing))
            self.wheel.put(thing, 0)

        self.wheel.due = due
        self.wheel.put("a", 0)
        assert self.run_(1) == ["a"] * 8

    def test_others(self) -> None:
        """
        What is looked at may remove others that are due, and put something in when all are gone.
        """

        def due(thing: str) -> None:
            self.seen.append((0, thing))
            for each in ("a", "b", "c"):
                self.wheel.remove(each)
            if thing != "d":
                self.wheel.put("d", 0.25)

        self.wheel.due = due
        for each in ("a", "b", "c"):
            self.wheel.put(each, 0.25)
        assert len(self.run_(0.4375)) == 1
        assert self.run_(0.0625) == ["d"]

    def test_raises(self) -> None:
        """
        One that raises is logged, and keeps nothing from being looked at.
        """

        def due(thing: str) -> None:
            self.seen.append((0, thing))
            raise Boom

        self.wheel.due = due
        self.wheel.put("a", TICK)
        self.wheel.put("b", TICK)
        self.wheel.put("c", TICK * 2)
        assert sorted(self.run_(TICK * 2)) == ["a", "b", "c"]
        assert len(self.flushLoggedErrors(Boom)) == 3

    def test_stalled(self) -> None:
        """
        When the reactor was kept from its turns, it has one before anything is looked at, and the
        time that it was kept does not count.
        """
        self.wheel.put("a", 0.5)
        self.wheel.put("b", 7200)
        self.clock.advance(TICK / 2)
        began = self.wheel.awake()
        turns: list[int] = []

        def turn() -> None:
            turns.append(len(self.seen))
            self.clock.callLater(0, lambda: turns.append(len(self.seen)))

        self.clock.callLater(3600, turn)
        self.clock.advance(3600)
        assert turns == [0, 1]
        assert self.wheel.stalled == 3600 - TICK / 2
        assert self.wheel.awake() - began == TICK / 2
        assert self.run_(0.5) == []
        assert self.wheel.awake() - began == TICK / 2 + 0.5

    def test_alwaysLate(self) -> None:
        """
        A reactor that is always late is waited for every other time, so that it gets there.
        """
        clock = self.clock = Ticking()
        self.wheel = self.make(clock)
        self.wheel.put("a", 0.1)
        clock.rightNow += 5
        assert clock.turn()
        assert self.seen == []
        clock.rightNow += 5
        assert clock.turn()
        assert [thing for _when, thing in self.seen] == ["a"]
        assert self.wheel.stalled > 9.5

    def test_slightlyLate(self) -> None:
        """
        Being a little late counts for nothing.
        """
        self.wheel.put("a", 5)
        assert self.run_(10, step=TICK * LATE) == ["a"]
        assert self.wheel.stalled == 0

    def test_slices(self) -> None:
        """
        What is due at one moment is looked at in slices of some milliseconds, so that the reactor
        has its turns, and all are looked at.
        """
        clock = self.clock = Ticking()
        self.wheel = self.make(clock)
        for number in range(40):
            self.wheel.put(str(number), 0.5)
        clock.rightNow += 0.5
        turns = []
        while len(self.seen) < 40:
            clock.rightNow += 0.001
            before = len(self.seen)
            clock.turn()
            turns.append(len(self.seen) - before)
        assert max(turns) <= SLICE / 0.001

    def test_slicesAndOthers(self) -> None:
        """
        What is put into the wheel between two slices has its own time.
        """
        clock = self.clock = Ticking()
        self.wheel = self.make(clock)
        for number in range(40):
            self.wheel.put(str(number), 0.5)
        clock.rightNow += 0.5
        clock.turn()
        self.wheel.put("later", 1)
        self.wheel.put("0", 1)
        while len(self.seen) < 39:
            clock.rightNow += 0.001
            clock.turn()
        assert self.wheel.things() == {"later", "0"}
        assert clock.rightNow < 1.2

    @settings(deadline=None)
    @given(
        some.lists(
            some.tuples(some.integers(0, 20), some.floats(0, 3), some.floats(0.001, 0.4)),
            max_size=60,
        )
    )
    def test_law(self, moves: list[tuple[int, float, float]]) -> None:
        """
        Whatever is put, moved and removed, each thing is looked at when it is due, within a tick,
        and nothing else is.
        """
        clock, dues, seen = Clock(), dict[int, float](), list[Any]()
        wheel: Wheel[int] = Wheel(0.1, seen.append, clock)
        for thing, seconds, step in moves:
            if seconds < 0.3:
                wheel.remove(thing)
                dues.pop(thing, None)
            else:
                wheel.put(thing, seconds)
                dues[thing] = clock.rightNow + seconds
            clock.advance(step)
            for each in seen:
                assert dues.pop(each) <= clock.rightNow + 1e-6
            assert all(due > clock.rightNow - 0.1 - 1e-6 for due in dues.values())
            seen.clear()
            assert wheel.things() == dues.keys()
            assert len(clock.getDelayedCalls()) == bool(dues)
