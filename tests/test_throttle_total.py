"""
Tests for what a L{avatarkit.transports.ThrottledChecker} does when too many attempts wait in all.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import TooManyAttempts
from avatarkit.transports._guessing.tallies import Tallies
from avatarkit.transports._guessing.tally import Attempt, Pace, Tally
from test_throttle_order import HERE, THERE, OrderCase

#: What may happen: an attempt comes, one ends, one leaves, time passes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("enter"), st.just(0), st.integers(0, 3)),
        st.tuples(st.just("enter"), st.integers(4, 9), st.integers(0, 1)),
        st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from((True, False, None))),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("pass"), st.sampled_from((1, 2, 61)), st.just(0)),
    ),
    min_size=20,
    max_size=80,
)

#: How many may wait in the laws, in one tally and in all.
LINE, TOTAL = 4, 7


def check(tallies: Tallies) -> None:
    """
    Check that the lines are those that there are, and not too long.
    """
    lengths: dict[int, set[Tally]] = {}
    for tally in tallies.kept.values():
        if tally.waiting:
            lengths.setdefault(len(tally.waiting), set()).add(tally)
    lines = tallies._lines
    assert {length: set(each) for length, each in lines._byLength.items()} == lengths
    assert lines.longest == max(lengths, default=0) <= LINE
    waiting = {each for tally in tallies.kept.values() for each in tally.waiting}
    assert tallies.waiting == len(waiting) <= TOTAL


class Crowd:
    """
    Attempts of which some wait, some are checked, and some are refused.

    @ivar again: how many of those that are refused try again at once.
    """

    def __init__(self, again: int = 0) -> None:
        self.clock = Clock()
        pace = Pace(1, 60, 900, LINE, TOTAL, 1000)
        self.tallies = Tallies(pace, self.clock)
        self.waiting: list[Attempt] = []
        self.going: list[Attempt] = []
        self.refused: list[Attempt] = []
        self.again = again

    def attempt(self, name: int, host: int) -> Attempt:
        """
        Return an attempt that has not come yet.
        """
        attempt = Attempt(None)
        attempt.tallies[self.tallies.of(("name", name), 2, oneUser=True)] = host
        attempt.tallies[self.tallies.of(("address", host), 2, oneUser=False)] = name
        return attempt

    def come(self, attempt: Attempt) -> None:
        """
        Let it come.
        """
        self.waiting.append(attempt)

        def goes(result: None) -> None:
            self.waiting.remove(attempt)
            self.going.append(attempt)

        def ends(failure: Any) -> None:
            self.waiting.remove(attempt)
            if not failure.check(TooManyAttempts):
                return
            self.refused.append(attempt)
            if self.again:
                self.again -= 1
                self.come(self.attempt(self.again % 3, self.again % 2))

        self.tallies.enter(attempt).addCallbacks(goes, ends)

    def enter(self, name: int, host: int) -> None:
        """
        An attempt comes.
        """
        self.come(self.attempt(name, host))

    def end(self, which: int, right: bool | None) -> None:
        """
        One that is being checked ends.
        """
        if self.going:
            self.tallies.ended(self.going.pop(which % len(self.going)), right)

    def leave(self, which: int, unused: int = 0) -> None:
        """
        One that waits leaves.
        """
        if self.waiting:
            self.waiting[which % len(self.waiting)].turn.cancel()

    def let(self, seconds: int, unused: int = 0) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    def act(self, kind: str, first: int, second: Any) -> None:
        """
        Do a step.
        """
        {"enter": self.enter, "end": self.end, "leave": self.leave, "pass": self.let}[kind](
            first, second
        )

    def clear(self) -> None:
        """
        Let all go.
        """
        while self.waiting or self.going:
            self.leave(0)
            self.end(0, None)


class LawTests(SynchronousTestCase):
    """
    What always holds, whoever comes and goes.
    """

    @settings(max_examples=200, deadline=None)
    @given(STEPS)
    def test_last(self, steps: list[tuple[str, int, Any]]) -> None:
        """
        Whoever is refused is the last of a line that is too long; if none is, but too many wait in
        all, the last of a line that is one of the longest.
        """
        crowd = Crowd()
        for kind, first, second in steps:
            if kind == "enter":
                self.comes(crowd, crowd.attempt(first, second))
            else:
                crowd.act(kind, first, second)
            check(crowd.tallies)
        crowd.clear()
        check(crowd.tallies)
        assert crowd.tallies.waiting == 0
        assert not crowd.clock.getDelayedCalls()

    def comes(self, crowd: Crowd, attempt: Attempt) -> None:
        """
        Let an attempt come, and check who is refused.
        """
        lines = {tally: dict(tally.waiting) for tally in crowd.tallies.kept.values()}
        number, crowd.refused = crowd.tallies.waiting, []
        crowd.come(attempt)
        if attempt in crowd.going:
            assert not crowd.refused
            return
        number += 1
        for tally, under in attempt.tallies.items():
            ahead = [each for each in lines[tally] if each.tallies[tally] == under]
            lines[tally][attempt] = tally.failures.get(under, 0) + len(ahead)
        for refused in crowd.refused:
            most = [lines[tally] for tally in attempt.tallies if len(lines[tally]) > LINE]
            if not most:
                assert number > TOTAL
                longest = max(map(len, lines.values()))
                most = [each for each in lines.values() if len(each) == longest]
            assert any(max(reversed(each), key=each.__getitem__) is refused for each in most)
            number -= 1
            for tally in refused.tallies:
                del lines[tally][refused]
        assert {tally: each for tally, each in lines.items() if each} == {
            tally: tally.waiting for tally in crowd.tallies.kept.values() if tally.waiting
        }

    @settings(max_examples=200, deadline=None)
    @given(STEPS, st.integers(1, 30))
    def test_again(self, steps: list[tuple[str, int, Any]], again: int) -> None:
        """
        That holds, and no more wait than may, if those that are refused try again at once.
        """
        crowd = Crowd(again)
        for kind, first, second in steps:
            crowd.act(kind, first, second)
            check(crowd.tallies)
        crowd.clear()
        assert crowd.tallies.waiting == 0
        assert not crowd.clock.getDelayedCalls()


class ShareTests(OrderCase):
    """
    How the places are shared.
    """

    def fill(self, networks: int = 10) -> list[Any]:
        """
        Have so many networks take all places there are, ten each, for other names than alice's.
        """
        self.make(maximumWaiting=10, maximumWaitingTotal=100)
        crowd = []
        for number in range(networks):
            host, name = f"2001:db8:0:{number:x}::1", b"other%d" % number
            self.guess(3, name, host)
            crowd += [self.attempt(name, host) for _ in range(100 // networks)]
        assert self.tallies.waiting == 100
        return crowd

    def test_nobodyTakesAll(self) -> None:
        """
        When attempts of many networks have taken all places, a user who must wait takes one of
        them, and gets in.
        """
        crowd = self.fill()
        self.guess(3, b"alice", THERE)
        user = self.attempt(host=HERE, right=True)
        refused = [each for each in crowd if each.called]
        assert refused == crowd[-1:]
        self.failureResultOf(refused[0], TooManyAttempts)
        self.clock.advance(1)
        assert self.successResultOf(user) == b"alice"
        self.giveUp(crowd[:-1])
        assert self.tallies.waiting == 0

    def test_whoeverHasMost(self) -> None:
        """
        A newcomer takes a place from the longest line, and is refused if its own is as long.
        """
        crowd = self.fill(20)
        self.guess(3, b"alice", THERE)
        mine = [self.attempt() for _ in range(4)]
        refused = [crowd[5 * number - 1] for number in (17, 18, 19, 20)]
        assert [each for each in crowd if each.called] == refused
        self.failureResultOf(self.attempt(), TooManyAttempts)
        self.giveUp(crowd + mine)

    def test_byName(self) -> None:
        """
        A name has its share as well as an address, and of those for it, the one goes that would
        come last.
        """
        self.make(maximumWaitingTotal=4)
        self.guess(3, b"bob", "10.0.0.1")
        self.guess(3, b"alice", THERE)
        crowd = [self.attempt(b"bob", f"10.0.0.{number}") for number in (3, 1, 2)]
        mine = [self.attempt(b"alice", HERE) for _ in range(2)]
        self.failureResultOf(crowd[1], TooManyAttempts)
        self.giveUp([crowd[0], crowd[2], *mine])

    def test_lineFirst(self) -> None:
        """
        If a line is too long, and too many wait in all, one attempt is refused, and that is in the
        line.
        """
        self.make(maximumWaiting=2, maximumWaitingTotal=4, freeFromAddress=None)
        self.guess(3)
        self.guess(3, b"bob")
        bobs = [self.attempt(b"bob", f"10.0.0.{number}") for number in range(2)]
        guesses = [self.attempt() for _ in range(2)]
        user = self.attempt(host=THERE, right=True)
        self.failureResultOf(guesses[1], TooManyAttempts)
        self.giveUp([guesses[0], user, *bobs])

    def test_none(self) -> None:
        """
        If none may wait, only those are refused that would have to.
        """
        self.make(maximumWaitingTotal=0)
        self.guess(3)
        self.failureResultOf(self.attempt(), TooManyAttempts)
        self.failureResultOf(self.attempt(b"bob"), UnauthorizedLogin)
        assert self.tallies.waiting == 0
