"""
The benchmarks run; their results are for people to judge.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"

#: The results in the documentation, from the last full run.
RESULTS = (BENCHMARKS / "results.txt").read_text().splitlines()


class BenchmarksTests(SynchronousTestCase):
    """
    Each benchmark prints its table and ends by itself.
    """

    def test_logins(self) -> None:
        """
        The benchmark of logins compares ways of logging in, and measures memory.
        """
        lines = run("logins.py", "--few", "--rounds", "1")
        assert rowsOf(lines) == [
            "| bare",
            "| through `Portal.login`",
            "| through Perspective Broker on loopback",
            "| the same, by hand with avatarkit alongside",
        ]
        assert any(line.startswith("Bytes per session") for line in lines)
        assert rowsOf(RESULTS)[:4] == rowsOf(lines)

    def test_connections(self) -> None:
        """
        The benchmark of connections compares watched ones with others, and measures memory.
        """
        lines = run("connections.py", "--rounds", "1")
        assert rowsOf(lines) == [
            "| a connection is made and lost",
            "| the same, of Perspective Broker",
            "| a login over Perspective Broker",
        ]
        assert any(line.startswith("Bytes per connection") for line in lines)
        assert rowsOf(RESULTS)[-14:-11] == rowsOf(lines)

    def test_calls(self) -> None:
        """
        The benchmark of calls compares those of avatarkit's avatars with those of others.
        """
        lines = run("calls.py", "--rounds", "1")
        assert rowsOf(lines) == [
            "| of a method",
            "| of a method, with a `CallLimit`",
            "| of a coroutine",
        ]
        assert rowsOf(RESULTS)[-11:-8] == rowsOf(lines)

    def test_heartbeat(self) -> None:
        """
        The benchmark of the heartbeat measures its turns, its memory, and how soon a client that is
        cut off is ended: not before its time.
        """
        lines = run("heartbeat.py", "--sessions", "2000")
        turns = [line.split(" | ")[0] for line in lines if line.endswith(" ms | 1 |")]
        assert turns == [line.split(" | ")[0] for line in RESULTS if line.endswith(" ms | 1 |")]
        assert len(turns) == 4
        (taken,) = (line for line in lines if line.startswith("Bytes per session"))
        assert int(taken.split()[-1].rstrip(".")) < 150
        (found,) = (line for line in lines if "cut off" in line)
        assert float(found.split("after ")[1].split()[0]) >= 3

    def test_push(self) -> None:
        """
        In the benchmark of pushes, avatarkit is several times as fast as a loop, and many times as
        fast with a long list.
        """
        lines = run("push.py", "--rounds", "1")
        ratios = [float(line.split("|")[4]) for line in lines if re.search(r"\d us \|", line)]
        assert rowsOf(RESULTS)[-8:] == rowsOf(lines) * 2
        assert len(ratios) == 4
        assert ratios[0] > 3
        assert ratios[1] > 3
        assert ratios[2] > 50


def rowsOf(lines: list[str]) -> list[str]:
    """
    Return the first column of tables.
    """
    return [line.split(" | ")[0] for line in lines if re.search(r"\d us \|", line)]


def run(name: str, *options: str) -> list[str]:
    """
    Run a benchmark, and return the lines that it prints.
    """
    command = [sys.executable, str(BENCHMARKS / name), *options]
    result = subprocess.run(  # noqa: S603  # our own program
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()
