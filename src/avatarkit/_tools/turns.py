"""
One at a time, first come first served.

L{DeferredLock<twisted.internet.defer.DeferredLock>} runs the next one inside the stack of the one
before, so that a long queue ends in a C{RecursionError}; here a loop calls them one after the
other.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs
from twisted.internet.defer import Deferred


@attrs.define(eq=False)
class Turns:
    """
    A queue for each key, for as long as there is anyone in it.
    """

    _queues: dict[Hashable, Queue] = attrs.field(factory=dict, init=False)

    def __contains__(self, key: object) -> bool:
        return key in self._queues

    def __len__(self) -> int:
        return len(self._queues)

    def turn(self, key: Hashable) -> Turn:
        """
        Return a turn that can be taken.
        """
        return Turn(self, key)

    def queueOf(self, key: Hashable) -> Queue:
        """
        Return the queue of a key, a new one if there is none.
        """
        return self._queues.setdefault(key, Queue())

    def drop(self, key: Hashable) -> None:
        """
        Forget the queue of a key, which is empty.
        """
        del self._queues[key]


@attrs.define(eq=False)
class Turn:
    """
    One turn at a key: it is taken and ended, perhaps several times.
    """

    _turns: Turns
    _key: Hashable
    _taken: bool = False

    async def take(self) -> None:
        """
        Wait until it is this one's turn.
        """
        await self._turns.queueOf(self._key).wait()
        self._taken = True

    def end(self) -> None:
        """
        Let the next one have its turn; harmless if this turn was not taken, or has ended.
        """
        if not self._taken:
            return
        self._taken = False
        queue = self._turns.queueOf(self._key)
        queue.taken = False
        queue.handOn()
        if not (queue.taken or queue.handing):
            self._turns.drop(self._key)


@attrs.define(eq=False)
class Queue:
    """
    Who waits for the turns of one key.

    @ivar taken: whether it is anyone's turn.
    @ivar handing: whether the loop that calls the next one is running.
    """

    taken: bool = False
    handing: bool = False
    _waiting: dict[Deferred[None], None] = attrs.field(factory=dict)

    async def wait(self) -> None:
        """
        Wait for a turn, and take it.
        """
        if self.taken or self._waiting:
            turn: Deferred[None] = Deferred(lambda turn: self._waiting.pop(turn, None))
            self._waiting[turn] = None
            await turn
        self.taken = True

    def handOn(self) -> None:
        """
        Call the next one, and the one after that if the next one is done at once, and so on.
        """
        if self.handing:
            return
        self.handing = True
        while self._waiting and not self.taken:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            turn.callback(None)
        self.handing = False
