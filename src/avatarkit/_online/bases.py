"""
Base classes for avatars that keep what the blocks tell them.

None of them has an C{__init__}, so that a subclass need not call it, as the how-to's avatars do
not.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from weakref import ref

from twisted.spread import pb
from zope.interface import implementer

from .._push.groups import MindBag, MindGroup
from ..interfaces import IConnectionAware, IMindAware


@implementer(IConnectionAware)
class ConnectionAware:
    """
    Keeps how many sessions an avatar has, as a
    L{ConnectionCounter<avatarkit.ConnectionCounter>} tells it.

    @ivar connections: how many.
    """

    connections: int = 0

    def connect(self) -> object:
        """
        A session has begun.
        """
        self.connections += 1
        return None

    def disconnect(self) -> object:
        """
        A session has ended.
        """
        self.connections -= 1
        return None


@implementer(IMindAware)
class MindAware:
    """
    Keeps the minds of an avatar's clients, as a L{MindRegistry<avatarkit.MindRegistry>} tells it.
    """

    @cached_property
    def minds(self) -> MindGroup:
        """
        The clients of this avatar, to push to.
        """
        return MindGroup(self._attachedMinds)

    @cached_property
    def _attachedMinds(self) -> MindBag:
        return MindBag(ref(self))

    def attached(self, mind: Any) -> object:
        """
        A client has logged in.
        """
        self._attachedMinds.add(mind)
        return None

    def detached(self, mind: Any) -> object:
        """
        A client has logged out, or is gone.
        """
        self._attachedMinds.remove(mind)
        return None


class Avatar(ConnectionAware, MindAware, pb.Avatar):
    """
    A Perspective Broker avatar that knows its clients.
    """
