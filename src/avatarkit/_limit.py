"""
How many sessions each avatar ID may have.

The slot is taken in C{admit}, before anything is waited for, so that no number of simultaneous slow
logins can pass the limit; and given back in C{release}, whatever way the session ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import attrs

from ._audit import Audited, miscounts
from ._realm import Block, isTarget
from ._session import Session
from .errors import TooManyConnections

__all__ = ["ConnectionLimit"]


@attrs.define(eq=False)
class ConnectionLimit(Audited, Block):
    """
    Refuses a login when its avatar ID has as many sessions as it may have, logins in progress
    included.

    @ivar maximum: how many that is, at least 1; 1 unless said otherwise, as in the how-to.
        Anonymous logins are one avatar ID here: they share the maximum.
    """

    maximum: int = attrs.field(default=1)
    _slots: dict[Hashable, int] = attrs.field(factory=dict, init=False, repr=False)

    @maximum.validator
    def _wholeNumber(self, attribute: object, maximum: object) -> None:
        if isTarget(maximum):
            raise TypeError(
                f"ConnectionLimit takes a number, not {maximum!r}: "
                "write @ConnectionLimit(...) above a target, with the call"
            )
        if not isinstance(maximum, int) or isinstance(maximum, bool):
            raise TypeError(f"a maximum is a whole number, not {maximum!r}")
        if maximum < 1:
            raise ValueError(f"a maximum is at least 1, not {maximum!r}")

    def admit(self, session: Session) -> None:
        """
        Take a slot.

        @raise TooManyConnections: if there is none left.
        """
        taken = self._slots.get(session.avatarId, 0)
        if taken >= self.maximum:
            raise TooManyConnections(avatarId=session.avatarId, maximum=self.maximum)
        self._slots[session.avatarId] = taken + 1

    def release(self, session: Session) -> None:
        """
        Give the slot back.
        """
        taken = self._slots[session.avatarId] - 1
        if taken:
            self._slots[session.avatarId] = taken
        else:
            del self._slots[session.avatarId]

    def audit(self) -> Iterator[str]:
        """
        Say whose slots are counted wrong.
        """
        return miscounts(self, self._slots, self.passed(self.release))
