"""
Programs that tests run.

Import the module, and not the class, so that pytest does not collect it there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

from twisted.trial.unittest import SynchronousTestCase

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


class ProcessTestCase(SynchronousTestCase):
    """
    A test that starts processes, and kills them at its end.
    """

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """
        Start a program.
        """
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        return process


def line(process: subprocess.Popen[str]) -> str:
    """
    Return the next line that a process prints.
    """
    output: IO[str] | None = process.stdout
    assert output is not None
    return output.readline().rstrip("\n")


def enter(process: subprocess.Popen[str], *lines: str) -> None:
    """
    Give a process lines to read.
    """
    assert process.stdin is not None
    process.stdin.writelines(f"{each}\n" for each in lines)
    process.stdin.flush()
