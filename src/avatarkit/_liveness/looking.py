"""
Blocks that look at each session when its time comes.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.session import Session
from .._tools.typevars import A
from .._waiting.slices import forEach
from .._waiting.wheel import Wheel


@attrs.define(eq=False)
class Looking(Audited, Block[A]):
    """
    A block that looks at sessions, with one timer for all of them.

    @ivar _wheel: those that it looks at.
    """

    _wheel: Wheel[Session[A]] = attrs.field(init=False, repr=False)

    def detached(self, session: Session[A]) -> None:
        """
        Look at the session no longer.
        """
        self._wheel.remove(session)

    def close(self) -> None:
        """
        The time for closing a realm may be up: look no longer at sessions that take theirs.
        """
        forEach(self._wheel.things(), self._forgetEnded, self._wheel.reactor)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions are looked at that should not be, and the other way round.
        """
        there, seen = self._sessionsPast(self.detached), self._wheel.things()
        for session in there:
            if not session.ended and session not in seen and self._looksAt(session):
                yield f"{session!r} is not looked at by {self!r}"
        for session in seen.difference(there):
            yield f"{session!r} is still looked at by {self!r}"

    def _looksAt(self, session: Session[A]) -> bool:
        """
        Return whether a session is one to be looked at.
        """
        return True

    def _forgetEnded(self, session: Session[A]) -> None:
        if session.ended:
            self._wheel.remove(session)
