"""
Whom a push goes to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from .._realm.session import Session
from .bounds import Bounds


class Addressee(NamedTuple):
    """
    One receiver of a push.

    @ivar mind: the client.
    @ivar session: its session, if that is known.
    @ivar bounds: how far it may be behind, if that is bounded.
    """

    mind: Any  # Any: a mind is whatever the client, or the protocol, chose to send
    session: Session | None = None
    bounds: Bounds | None = None


class Minds(Protocol):
    """
    What a group can be a view of: minds of any kind.
    """

    def __iter__(self) -> Iterator[Any]:
        """
        Return the minds.
        """

    def __len__(self) -> int:
        """
        Return how many there are.
        """
