"""
The random machines, driven by a seed: what they find can be replayed, and how often each move came
is known.

    python tests/machines.py --runs 20000
    python tests/machines.py --seed 1 --only Lives --first 4711 --runs 1

Each machine makes that many runs, of at least 30 moves each.  The machines are those of
C{lives.py}, a full stack beside a model of it, and of C{contests.py}, a limit with each policy.
It prints the seed, and in how many of 100 runs each move and each case came at least once.
It fails if one of them came in fewer than 5 of 100, and if a run fails: it then prints the moves of
that run, without those that are not needed to see it fail.
"""

from __future__ import annotations

import argparse
import gc
import random
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from twisted.logger import globalLogBeginner, globalLogPublisher

from contests import Contests
from lives import Lives
from moves import Machine, Move, isUnhandled

T = TypeVar("T")

MACHINES: tuple[type[Machine], ...] = (Lives, Contests)

#: How many moves a run has, at least and at most.
LEAST, MOST = 30, 50

#: In how many of 100 runs each move and each case must come.
OFTEN = 5

#: How many runs there are between two collections of garbage.
COLLECT = 100


class Step(NamedTuple):
    """
    A move that was made, or the beginning.

    @ivar draws: the numbers that its choices were made by.
    @ivar chosen: what was chosen.
    """

    name: str
    draws: list[int]
    chosen: list[str]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.chosen)})"


class Chooser:
    """
    Chooses by numbers: those of an earlier run, and random ones when there are no more.
    """

    def __init__(self, numbers: random.Random, given: Sequence[int] = ()) -> None:
        self.random, self.given = numbers, list(given)
        self.draws: list[int] = []
        self.chosen: list[str] = []

    def __call__(self, what: Sequence[T], /) -> T:
        """
        Choose.
        """
        number = self.given.pop(0) if self.given else self.random.getrandbits(16)
        self.draws.append(number)
        chosen = what[number % len(what)]
        self.chosen.append(repr(chosen))
        return chosen


class Run:
    """
    One run of a machine.

    @ivar steps: what was done.
    @ivar failed: the exception that ended it, if one did.
    """

    def __init__(self, machine: type[Machine], numbers: random.Random) -> None:
        self.random, self.machine = numbers, machine()
        self.steps: list[Step] = []
        self.failed: Exception | None = None

    @property
    def moves(self) -> list[str]:
        """
        The names of the moves that were made.
        """
        return [step.name for step in self.steps[1:]]

    def play(self, length: int) -> Run:
        """
        Make random moves.
        """

        def make() -> None:
            for _ in range(length):
                self._random()

        return self._whole(make, ())

    def replay(self, steps: list[Step]) -> Run:
        """
        Make the moves of another run, apart from those that are not possible.
        """
        moves = {each.name: each for each in self.machine.moves()}

        def again() -> None:
            for step in steps[1:]:
                if moves[step.name].when(self.machine):
                    self._make(moves[step.name], step.draws)

        return self._whole(again, steps[0].draws)

    def _whole(self, make: Callable[[], None], draws: Sequence[int]) -> Run:
        try:
            chooser = self._step("begin", draws)
            self.machine.begin(chooser)
            self.machine.check()
            make()
            self.machine.finish()
        except Exception as error:
            self.failed = error
        finally:
            self.machine.dispose()
        return self

    def _random(self) -> None:
        possible = [each for each in self.machine.moves() if each.when(self.machine)]
        (move,) = self.random.choices(possible, [each.often for each in possible])
        self._make(move, ())

    def _make(self, move: Move, draws: Sequence[int]) -> None:
        move.make(self.machine, self._step(move.name, draws))
        self.machine.check()

    def _step(self, name: str, draws: Sequence[int]) -> Chooser:
        chooser = Chooser(self.random, draws)
        self.steps.append(Step(name, chooser.draws, chooser.chosen))
        return chooser


def shrunk(machine: type[Machine], run: Run) -> Run:
    """
    Return the shortest run found that fails as another one does: with the same kind of exception in
    the same place.
    """
    size = len(run.steps) // 2
    while size:
        start = 1
        while start < len(run.steps):
            steps = run.steps[:start] + run.steps[start + size :]
            shorter = Run(machine, random.Random(0)).replay(steps)
            if sameFault(shorter, run) and len(shorter.steps) < len(run.steps):
                run = shorter
            else:
                start += size
        size //= 2
    return run


def sameFault(one: Run, other: Run) -> bool:
    """
    Return whether two runs fail in the same place.
    """
    return placeOf(one.failed) == placeOf(other.failed)


def placeOf(error: Exception | None) -> object:
    """
    Return what kind of exception it is, and where it was raised.
    """
    if error is None:
        return None
    (*_, last) = traceback.extract_tb(error.__traceback__)
    return type(error), last.filename, last.lineno


class Search:
    """
    Many runs of one machine.

    @ivar runs: how many there were.
    @ivar moves: how many moves.
    @ivar seen: in how many runs each move and each case came.
    @ivar problems: what is wrong.
    """

    def __init__(self, machine: type[Machine], seed: int) -> None:
        self.machine, self.seed = machine, seed
        self.runs = self.moves = 0
        names = [each.name for each in machine.moves()]
        self.seen: Counter[str] = Counter(dict.fromkeys([*names, *machine.CASES], 0))
        self.shortest = MOST
        self.problems: list[str] = []

    def search(self, first: int, runs: int) -> None:
        """
        Make runs until one fails.
        """
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        gc.disable()
        began = time.monotonic()
        try:
            for number in range(first, first + runs):
                self._one(number)
                if self.runs % COLLECT == 0 or self.runs == runs:
                    gc.collect()
                if self.problems:
                    break
        finally:
            self.seconds = time.monotonic() - began
            gc.enable()
            globalLogPublisher.removeObserver(observer)

    def _observe(self, event: dict[str, Any]) -> None:
        if isUnhandled(event) and "log_failure" in event:
            failure = event["log_failure"].getTraceback(elideFrameworkCode=True)
            self.problems.append(f"nobody has handled, in one of the last runs:\n{failure}")

    def _one(self, number: int) -> None:
        numbers = random.Random(f"{self.seed} {number}")
        run = Run(self.machine, numbers).play(numbers.randint(LEAST, MOST))
        self.runs += 1
        self.moves += len(run.moves)
        self.seen.update({*run.moves, *run.machine.cases})
        if run.failed is not None:
            self.problems.append(self._explain(number, run))
            return
        self.shortest = min(self.shortest, len(run.moves))

    def _explain(self, number: int, run: Run) -> str:
        short = shrunk(self.machine, run)
        assert short.failed is not None
        name = self.machine.__name__
        return "\n".join(
            [
                f"run {number} fails; to see it again:",
                f"    python tests/machines.py --seed {self.seed} --only {name} --first {number} "
                "--runs 1",
                f"{len(run.moves)} moves, of which these are enough:",
                *(f"    {step}" for step in short.steps),
                *traceback.format_exception(short.failed),
            ]
        )

    def judge(self) -> None:
        """
        Look at how long the runs were, and how often each move and case came.
        """
        if self.shortest < LEAST:
            self.problems.append(f"a run had only {self.shortest} moves")
        for what, times in self.seen.items():
            if times * 100 < OFTEN * self.runs:
                self.problems.append(f"{what!r} came in {times} of {self.runs} runs")

    def report(self) -> str:
        """
        Return what to print.
        """
        lines = [
            f"{self.machine.__name__}: {self.runs} runs of {self.shortest} moves or more, "
            f"{self.moves} moves in all, {self.seconds:.1f} seconds; in 100 runs came:"
        ]
        for what, times in sorted(self.seen.items(), key=lambda each: -each[1]):
            lines.append(f"    {times * 100 / max(self.runs, 1):6.2f}  {what}")
        return "\n".join([*lines, *self.problems])


def main() -> None:
    """
    Search, and say what was found.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=300, help="of each machine (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="a random one")
    parser.add_argument("--first", type=int, default=0, help="the number of the first run")
    names = [each.__name__ for each in MACHINES]
    parser.add_argument("--only", choices=names, help="one machine instead of all")
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    print(f"seed {options.seed}", flush=True)  # noqa: T201
    failed = False
    for machine in MACHINES:
        if options.only in (None, machine.__name__):
            search = Search(machine, options.seed)
            search.search(options.first, options.runs)
            if options.runs >= 100:  # fewer say nothing about how often anything comes
                search.judge()
            print(search.report(), flush=True)  # noqa: T201
            failed = failed or bool(search.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
