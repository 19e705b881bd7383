"""
Avatar IDs that are equal to nothing but themselves.
"""

from __future__ import annotations

from typing import Any

from avatarkit import Session


class Capability:
    """
    An avatar ID that is a new object at each login, as Tahoe-LAFS has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name


def nameOf(session: Session) -> Any:
    """
    Return whose login it is.
    """
    avatarId: Any = session.avatarId
    return avatarId.name
