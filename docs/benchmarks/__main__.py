"""
Run all benchmarks, one after the other; this takes some minutes.

    python docs/benchmarks

Their output goes into results.txt, which the page about them includes.
"""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

here = Path(__file__).parent
results = [
    "<!-- machine -->",
    f"Twisted {version('twisted')} on Python {platform.python_version()}, "
    f"{platform.system()} with {os.cpu_count()} cores.",
    "",
]
for script, *options in (
    ["logins.py"],
    ["connections.py"],
    ["calls.py"],
    ["heartbeat.py"],
    ["push.py"],
    ["push.py", "--tcp"],
):
    command = [sys.executable, str(here / script), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            results.append(line.rstrip("\n"))
    if running.returncode:
        sys.exit(running.returncode)
    results.append("")
(here / "results.txt").write_text("\n".join([*results, "<!-- end -->", ""]))
