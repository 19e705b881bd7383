"""
Base classes for avatars that keep what the blocks tell them.

None of them has an C{__init__}, so that a subclass need not call it: the how-to's avatars do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import repeat
from typing import Any
from weakref import ref

import attrs
from twisted.spread import pb
from zope.interface import implementer

from .._push.addressees import Addressee
from .._push.groups import MindGroup
from .._push.lines import find
from .._tools.counting import countDown
from ..interfaces import IConnectionAware, IMindAware

# Any in this module: a mind is whatever the client, or the protocol, chose to send.


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


@attrs.define(eq=False)
class MindBag:
    """
    The minds that an avatar was told of, by identity, in the order in which they came.

    @ivar avatar: a weak reference to the avatar.
    @ivar _again: how many more times a mind is there, for those that are there more than once.
    """

    avatar: Callable[[], object] = lambda: None
    _minds: dict[int, Any] = attrs.field(factory=dict, init=False)
    _again: dict[int, int] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[Any]:
        for key, mind in self._minds.items():
            yield from repeat(mind, 1 + self._again.get(key, 0))

    def __len__(self) -> int:
        return self._size

    def addressees(self) -> Iterator[Addressee]:
        """
        Return whom a push to them goes to.
        """
        return find(self, self.avatar())

    def add(self, mind: Any) -> None:
        """
        Put a mind in, once more if it is there.
        """
        key = id(mind)
        if key in self._minds:
            self._again[key] = self._again.get(key, 0) + 1
        else:
            self._minds[key] = mind
        self._size += 1

    def remove(self, mind: Any) -> None:
        """
        Take a mind out, once if it is there more often.

        @raise KeyError: if it is not there.
        """
        key = id(mind)
        if key not in self._minds:
            raise KeyError(f"{mind!r} was never attached, or has been detached")
        if key in self._again:
            countDown(self._again, key)
        else:
            del self._minds[key]
        self._size -= 1
