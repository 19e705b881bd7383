"""
The documentation names everything that exists, and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import avatarkit
import avatarkit.testing
from avatarkit import transports

DOCS = Path(__file__).parent.parent / "docs"


class ReferenceTests(SynchronousTestCase):
    """
    The reference page.
    """

    def test_complete(self) -> None:
        """
        The reference page names exactly the public names.
        """
        rows = (DOCS / "reference.md").read_text().split("|---|---|\n")[1].split("\n\n")[0]
        named = set(re.findall(r"`(\w+)`", rows))
        assert named == {*avatarkit.__all__, *avatarkit.testing.__all__, *transports.__all__}

    def test_sorted(self) -> None:
        """
        The public names are sorted.
        """
        for names in (avatarkit.__all__, avatarkit.testing.__all__):
            assert list(names) == sorted(names)


class DesignTests(SynchronousTestCase):
    """
    The design page.
    """

    def test_modules(self) -> None:
        """
        The table of modules names exactly the modules of the package.
        """
        table = (DOCS / "design.md").read_text().split("| module | what it is |\n")[1]
        named = set(re.findall(r"`([\w/]+\.py)`", table.split("\n\n")[0]))
        package = Path(avatarkit.__file__).parent
        there = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
        there = {name for name in there if not name.startswith("testing/")}
        assert named == {name for name in there if not name.endswith("__init__.py")}
