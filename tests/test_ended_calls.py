"""
What becomes of the calls of a session that ends.
"""

from __future__ import annotations

from typing import Any

from avatarkit import AvatarCache, Kicked
from perspectives import Banned, PerspectiveCase, Shared, length

# Any in this module: references, and what they are called with.


class RefusedTests(PerspectiveCase):
    """
    Calls that come too late.
    """

    def test_traceback(self) -> None:
        """
        The reason is copied for each call that is refused, so that its traceback does not grow.
        """
        for reason in (Kicked("spam"), Banned("bob", "noon")):
            self.serve(AvatarCache()(Shared))
            held, session = self.logIn()
            session.logout(reason)
            for _ in range(2):
                failure: Any = self.failureResultOf(self.call(held, "note", 1))
                assert failure.getErrorMessage() == str(reason)
            assert session.reason is reason
            assert length(reason) == 0
