"""
All benchmarks, one after the other; takes about a minute.

    python docs/benchmarks
"""

import subprocess
import sys
from pathlib import Path

for command in (["logins.py"], ["push.py"], ["push.py", "--tcp"]):
    print(f"\n{' '.join(command)}\n", flush=True)
    script = Path(__file__).with_name(command[0])
    subprocess.run([sys.executable, script, *command[1:]], check=True)  # noqa: S603  # our own
