"""
Take one statement after the other out of the package, and see whether a test fails.

    .venv/bin/python .ci/mutants.py [part of a module's name ...]

Each statement is tried with the tests that run it, the quickest first.  Prints those that no test
misses.  All modules together take more than an hour.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "avatarkit"
PYTEST = ["-q", "-x", "-p", "no:cacheprovider", "tests"]

#: What is not tried: it does nothing by itself, or is there for those who read.
IDLE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass, ast.Assert, ast.Nonlocal)


def statements(body: list[ast.stmt], *, inside: bool = False) -> Iterator[ast.stmt]:
    """
    Return the statements of functions, including nested ones.
    """
    for node in body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        last = isinstance(node, ast.Return) and node is body[-1]
        empty = last and ast.unparse(node) in ("return", "return None", "return False")
        if inside and not (text or empty or isinstance(node, IDLE)):
            yield node
        deeper = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for part in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, part, []), inside=deeper)
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body, inside=deeper)


def measure(work: Path) -> tuple[dict[str, float], dict[tuple[str, int], set[str]]]:
    """
    Run all tests once.

    @return: how many seconds each takes, and which run each line.
    """
    data = work / "coverage"
    printed = subprocess.run(  # noqa: S603  # our own
        [
            *(sys.executable, "-m", "pytest", *PYTEST, "--deselect=tests/test_benchmarks.py"),
            *("--cov=avatarkit", "--cov-context=test", "--cov-report=", "--durations=0"),
            "--durations-min=0",
        ],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(data)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    seconds: dict[str, float] = defaultdict(float)
    for took, test in re.findall(r"^([\d.]+)s (?:call|setup|teardown)\s+(\S+)$", printed, re.M):
        seconds[test] += float(took)
    runs: dict[tuple[str, int], set[str]] = defaultdict(set)
    covered = coverage.CoverageData(str(data))
    covered.read()
    for name in covered.measured_files():
        for line, contexts in covered.contexts_by_lineno(name).items():
            runs[Path(name).relative_to(SOURCES).as_posix(), line] |= {
                context.partition("|")[0] for context in contexts if context
            }
    return seconds, runs


def passes(copy: Path, tests: list[str], timeout: float) -> bool:
    """
    Return whether the tests pass with a copy of the package before the timeout.
    """
    child = os.fork()
    if not child:
        os.setsid()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.chdir(ROOT)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(copy))
        os.environ["PYTHONPATH"] = str(copy)
        import pytest

        os._exit(int(pytest.main([*PYTEST[:-1], *tests])))
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def survives(copy: Path, tests: list[str], seconds: dict[str, float]) -> bool:
    """
    Return whether no test fails, trying the quickest two seconds of tests first.
    """
    quick, took = 0, 0.0
    while quick < len(tests) and (not quick or took < 2):
        took += seconds[tests[quick]]
        quick += 1
    return passes(copy, tests[:quick], 20) and (
        quick == len(tests) or passes(copy, tests[quick:], 240)
    )


def main(*names: str) -> None:
    """
    Try them all.
    """
    work = Path(tempfile.mkdtemp())
    seconds, runs = measure(work)
    copy = work / "src"
    tried, survived = 0, []
    for path in sorted(SOURCES.rglob("*.py")):
        module = path.relative_to(SOURCES).as_posix()
        if names and not any(name in module for name in names):
            continue
        text = path.read_text()
        for node in statements(ast.parse(text).body):
            tests = sorted(runs[module, node.lineno], key=seconds.__getitem__)
            lines = text.splitlines()
            first = lines[node.lineno - 1].strip()
            if not tests or first.startswith("elif"):  # it runs at the import, if not in a test
                continue
            lines[node.lineno - 1 : node.end_lineno] = [" " * node.col_offset + "pass"]
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(SOURCES, copy / "avatarkit")
            (copy / "avatarkit" / module).write_text("\n".join(lines) + "\n")
            tried += 1
            if survives(copy, tests, seconds):
                survived.append(f"{module}:{node.lineno} {first}")
                print(survived[-1], flush=True)
    shutil.rmtree(work)
    print(f"{tried} tried, {len(survived)} survived")


if __name__ == "__main__":
    main(*sys.argv[1:])
