"""
The examples do what they say.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


class ExamplesTests(SynchronousTestCase):
    """
    Each is a whole program that ends by itself.
    """

    def test_quickstart(self) -> None:
        """
        The quickstart shares, counts, limits and pushes, and says so.
        """
        assert run("quickstart.py") == [
            "the first logs in and says: <1>hello alice",
            "the second logs in and says: <2>hello alice",
            "the third is refused: too many connections",
            "online: alice, 2 times",
            "the first heard: lunch is ready",
            "the second heard: lunch is ready",
            "the second leaves; online: alice, 1 time",
            "the third logs in and says: <3>hello alice",
            "the first heard: closing at noon",
            "the third heard: closing at noon",
            "the realm is closed; online: nobody",
        ]

    def test_compare(self) -> None:
        """
        The table in the docs is what the comparison measures.
        """
        table = run("compare.py")
        assert "\n".join(table) in (EXAMPLES.parent / "why.md").read_text()
        assert all(row.endswith("| yes |") for row in table[2:])
        assert sum("**no**" in row for row in table) == 7


def run(name: str) -> list[str]:
    """
    Run an example, which has to succeed and to complain of nothing, and answer what it prints.
    """
    result = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()
