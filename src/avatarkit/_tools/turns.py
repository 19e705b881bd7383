"""
One at a time, in the order in which they came.

L{DeferredLock<twisted.internet.defer.DeferredLock>} runs who is next inside of the stack of who was
before, so that a long queue ends in a C{RecursionError}; here a loop calls them, one after the
other.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs
from twisted.internet.defer import Deferred


@attrs.define(eq=False)
class Turns:
    """
    A queue for each key, as long as there is somebody in it.
    """

    _queues: dict[Hashable, _Queue] = attrs.field(factory=dict, init=False)

    def __contains__(self, key: object) -> bool:
        return key in self._queues

    def __len__(self) -> int:
        return len(self._queues)

    def turn(self, key: Hashable) -> Turn:
        """
        Answer a turn that can be taken.
        """
        return Turn(self, key)


@attrs.define(eq=False)
class Turn:
    """
    The turn of one of those who wait.
    """

    _turns: Turns
    _key: Hashable
    _taken: bool = False

    async def take(self) -> None:
        """
        Wait until it comes.
        """
        await self._turns._queues.setdefault(self._key, _Queue()).wait()
        self._taken = True

    def end(self) -> None:
        """
        Let the others have theirs; harmless if it has not come, or has ended.
        """
        if not self._taken:
            return
        self._taken = False
        queue = self._turns._queues[self._key]
        queue.taken = False
        queue.handOn()
        if not (queue.taken or queue.handing):
            del self._turns._queues[self._key]


@attrs.define(eq=False)
class _Queue:
    """
    @ivar taken: whether it is somebody's turn.
    @ivar handing: whether the loop is at work that calls who is next.
    """

    taken: bool = False
    handing: bool = False
    _waiting: dict[Deferred[None], None] = attrs.field(factory=dict)

    async def wait(self) -> None:
        """
        Wait for one's turn.
        """
        if self.taken or self._waiting:
            turn: Deferred[None] = Deferred(lambda turn: self._waiting.pop(turn, None))
            self._waiting[turn] = None
            await turn
        self.taken = True

    def handOn(self) -> None:
        """
        Call who is next, and who is next when that one is done at once.
        """
        if self.handing:
            return
        self.handing = True
        while self._waiting and not self.taken:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            turn.callback(None)
        self.handing = False
