"""
The changelog, and the fragments for its next section.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
MARKER = "<!-- towncrier release notes start -->\n"


class FragmentTests(SynchronousTestCase):
    """
    The fragments in C{docs/changes.d}.
    """

    fragments = sorted((ROOT / "docs" / "changes.d").glob("*"))

    def test_names(self) -> None:
        """
        Each fragment is named by a word and the section that it belongs to.
        """
        for fragment in self.fragments:
            name = re.fullmatch(
                r"\+[a-z][a-z0-9-]*\.(added|changed|fixed|removed)\.md", fragment.name
            )
            assert name, f"{fragment.name} must be named like +word.added.md"

    def test_sentences(self) -> None:
        """
        Each fragment consists of whole sentences.
        """
        for fragment in self.fragments:
            lines = fragment.read_text().splitlines()
            assert lines, f"{fragment.name} is empty"
            for line in lines:
                assert re.fullmatch(r"[A-Z`].*\.", line), f"{fragment.name}: {line!r}"


class ChangelogTests(SynchronousTestCase):
    """
    The changelog.
    """

    def test_place(self) -> None:
        """
        New sections go between the introduction and the newest section.
        """
        introduction, sections = (ROOT / "CHANGELOG.md").read_text().split(MARKER)
        assert introduction.startswith("# ")
        assert "\n## " not in introduction
        assert sections.startswith("\n## ")
