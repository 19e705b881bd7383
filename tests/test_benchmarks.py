"""
The benchmarks run; what they measure is for people to look at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


class BenchmarksTests(SynchronousTestCase):
    """
    Each prints its table, and ends by itself.
    """

    def test_logins(self) -> None:
        """
        The benchmark of logins compares three ways of logging in, and measures the memory.
        """
        lines = run("logins.py", "--few", "--rounds", "1")
        ways = [line.split(" | ")[0] for line in lines if re.search(r"\d us \|", line)]
        assert ways == [
            "| bare",
            "| through `Portal.login`",
            "| through Perspective Broker on loopback",
        ]
        assert any(line.startswith("Bytes of a live session") for line in lines)

    def test_push(self) -> None:
        """
        That of pushing is several times as fast as the loop, and much faster for a long list.
        """
        rows = [line.split("|") for line in run("push.py", "--rounds", "1")[2:]]
        ratios = [float(row[4]) for row in rows]
        assert len(ratios) == 4
        assert ratios[0] > 3
        assert ratios[1] > 3
        assert ratios[2] > 50


def run(name: str, *options: str) -> list[str]:
    """
    Run a benchmark, and answer what it prints.
    """
    command = [sys.executable, str(BENCHMARKS / name), *options]
    result = subprocess.run(  # noqa: S603  # our own program
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()
