"""
The soak, for as long as a test may take.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


class SoakTests(SynchronousTestCase):
    """
    Many clients of a real server, some of which are killed in the middle of their login.
    """

    def test_soak(self) -> None:
        """
        After 2,000 logins and 200 kills, during which avatars were evicted and given up and every
        kind of refusal came, nothing is left, and memory has grown by less than a block for each
        login.
        """
        result = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, Path(__file__).with_name("soak.py"), "--logins=2000", "--kills=200"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        report = json.loads(result.stdout)
        assert report["logins"] >= 2000
        assert report["kills"] == report["cancelled"] == 200
        assert report["audit"] == []
        assert set(report["left"]) == {0}
        assert report["failed"] == 0
        assert all(report["refused"].values())
        assert report["evicted"] >= 20
        assert report["given up"] >= 5
        assert report["grown"] < report["logins"]
        assert report["seconds"] < 60
