"""
The life of sessions, searched: the random machines, by hypothesis, which shrinks what it finds, and
by the command that counts how often each move comes.

More runs on request: C{HYPOTHESIS_PROFILE=search python -m pytest tests/test_machine.py}, or
C{python tests/machines.py --runs 20000}.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from contests import Contests
from lives import Lives
from machines import Run, Search
from moves import Choose, Machine, Move, move

settings.register_profile(
    "default",
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "search", settings.get_profile("default"), max_examples=20000, derandomize=False
)

#: How thoroughly hypothesis searches.
SEARCH = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class Searched(RuleBasedStateMachine):
    """
    A machine whose moves hypothesis chooses.
    """

    kind: type[Machine]

    def __init__(self) -> None:
        super().__init__()
        self.machine = self.kind()

    @initialize(data=st.data())
    def begin(self, data: Any) -> None:
        """
        Prepare for the first move.
        """
        self.machine.begin(chooser(data))

    @invariant()
    def check(self) -> None:
        """
        Check what must hold after each move.
        """
        self.machine.check()

    def teardown(self) -> None:
        """
        Check that nothing is left.
        """
        try:
            self.machine.finish()
        finally:
            self.machine.dispose()


def chooser(data: Any) -> Choose:
    """
    Return what chooses as hypothesis wants it.
    """
    return lambda what: data.draw(st.sampled_from(what))


def ruleOf(made: Move) -> Callable[..., Any]:
    """
    Return a rule that makes a move.
    """

    def make(self: Searched, data: Any) -> None:
        made.make(self.machine, chooser(data))

    make.__name__ = made.name
    possible = precondition(lambda self: bool(made.when(self.machine)))
    return possible(rule(data=st.data())(make))


def searched(machine: type[Machine]) -> Any:
    """
    Return a test case in which hypothesis drives a machine.
    """
    rules = {each.name: ruleOf(each) for each in machine.moves()}
    made: Any = type(f"Searched{machine.__name__}", (Searched,), {"kind": machine, **rules})
    made.TestCase.settings = SEARCH
    return made.TestCase


LivesTests = searched(Lives)
ContestsTests = searched(Contests)


class Toy(Machine):
    """
    A machine that breaks down when it is hit three times, and never rings.
    """

    CASES = ("it rings",)

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[int] = []

    @move(often=1)
    def hit(self, choose: Choose) -> None:
        """
        Be hit, softly or hard.
        """
        self.hits.append(choose((0, 1)))

    @move(lambda self: self.hits, often=30)
    def look(self, choose: Choose) -> None:
        """
        Be looked at.
        """

    def check(self) -> None:
        """
        Break down.
        """
        assert sum(self.hits) < 3

    def finish(self) -> None:
        """
        Come to an end.
        """


class SearchTests(SynchronousTestCase):
    """
    What a search finds, and how it says so.
    """

    def test_shrinks(self) -> None:
        """
        A run that fails is reported with its seed and its number, and with no more moves than it
        takes to fail.
        """
        search = Search(Toy, 1)
        search.search(0, 1000)
        (problem,) = search.problems
        assert f"--seed 1 --only Toy --first {search.runs - 1} --runs 1" in problem
        moves, _, _ = problem.partition("Traceback")
        steps = [line.strip() for line in moves.splitlines() if re.match(r" +\w+\(", line)]
        assert steps == ["begin()", "hit(1)", "hit(1)", "hit(1)"]

    def test_replays(self) -> None:
        """
        A run of the same seed and number makes the same moves, and so does a run that is replayed.
        """
        one, two = (Run(Lives, random.Random("1 2")).play(30) for _ in range(2))
        again = Run(Lives, random.Random(3)).replay(one.steps)
        assert [each.draws for each in one.steps] == [each.draws for each in two.steps]
        assert [each.draws for each in one.steps] == [each.draws for each in again.steps]
        assert len(one.moves) == 30
        self.flushLoggedErrors()

    def test_seldom(self) -> None:
        """
        A move or a case that comes in fewer than 5 of 100 runs is a problem, and so is a run of
        fewer than 30 moves.
        """
        search = Search(Toy, 1)
        search.runs, search.shortest = 100, 29
        search.seen.update({"look": 100, "hit": 5, "it rings": 4})
        search.judge()
        assert search.problems == ["a run had only 29 moves", "'it rings' came in 4 of 100 runs"]


class CommandTests(SynchronousTestCase):
    """
    The command that drives the machines by a seed.
    """

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """
        Run it.
        """
        program = Path(__file__).with_name("machines.py")
        return subprocess.run(  # noqa: S603  # our own program
            [sys.executable, program, *args],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def test_search(self) -> None:
        """
        300 runs of each machine find nothing, have 30 moves or more each, and make each move and
        come upon each case in at least 5 of 100 runs.
        """
        result = self.command("--runs", "300", "--seed", "14")
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        assert result.stdout.startswith("seed 14\nLives: 300 runs of 3")
        assert "\nContests: 300 runs of 3" in result.stdout
