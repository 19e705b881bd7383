"""
One at a time, first come first served.

L{DeferredLock<twisted.internet.defer.DeferredLock>} runs the next one inside the stack of the one
before, so that a long queue ends in a C{RecursionError}; here they are called one after the other,
and the reactor has its turn after some milliseconds of that.

Whoever waits for something else, whether it is their turn or nobody's, can say what would let them
go on before that is there: it is looked at whenever something has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from .._tools.clock import clockOr
from .slices import Slices

T = TypeVar("T")

#: Those who wait for something, and what would let each go on before that is there.  Any: it is
#: something else for each of them.
Pauses: TypeAlias = "OrderedDict[Deferred[Any], Callable[[], bool]]"


@attrs.define(eq=False)
class Turns:
    """
    A queue for each key, for as long as there is anyone in it.

    @ivar reactor: measures the slices; the global reactor by default.
    @ivar queues: those who have a turn, or wait, by key.
    """

    reactor: IReactorTime | None = None
    queues: dict[Hashable, Queue] = attrs.field(factory=dict, init=False)
    _slices: Slices = attrs.field(factory=Slices, init=False)

    def __len__(self) -> int:
        return len(self.queues)

    def turn(self, key: Hashable) -> Turn:
        """
        Return a turn that can be taken.
        """
        return Turn(self, key)

    def queueOf(self, key: Hashable) -> Queue:
        """
        Return the queue of a key, a new one if there is none.
        """
        return self.queues.setdefault(key, Queue())

    def look(self, key: Hashable) -> None:
        """
        Something has changed: have those go on who wait for that.
        """
        if key in self.queues:
            self.queues[key].changed = True
            self.handOn(key)

    def handOn(self, key: Hashable) -> None:
        """
        Have the next one go on, if there is one who can, and then the one after that.
        """
        queue = self.queues[key]
        if not queue.calling:
            queue.calling = True
            self._slices.add(partial(self._callNext, key, queue), clockOr(self.reactor))

    def _callNext(self, key: Hashable, queue: Queue) -> bool:
        called = queue.next()
        if called is not None:
            called.callback(None)
            return True
        queue.calling = False
        if not (queue.taken or queue.pausing):
            del self.queues[key]
        return False


@attrs.define(eq=False)
class Turn:
    """
    One turn at a key: it is taken and ended, perhaps several times.
    """

    _turns: Turns
    _key: Hashable
    _taken: bool = False

    def take(self) -> Deferred[None]:
        """
        Return a Deferred that fires when it is this one's turn.
        """
        queue = self._turns.queueOf(self._key)
        if queue.isFree():
            self._take(None)
            return succeed(None)
        turn: Deferred[None] = Deferred(queue.leave)
        queue.waiting[turn] = None
        return turn.addCallback(self._take)

    def end(self) -> None:
        """
        Let the next one have its turn; harmless if this turn was not taken, or has ended.
        """
        if not self._taken:
            return
        self._taken = False
        self._turns.queueOf(self._key).taken = False
        self._turns.handOn(self._key)

    def unless(self, ready: Callable[[], bool], waiting: Deferred[T]) -> Deferred[T | None]:
        """
        Return a Deferred of what another one fires with, or of C{None} as soon as C{ready} returns
        C{True}, in or out of turn; the other one is then cancelled.

        @param waiting: can be cancelled without anything being raised.
        """
        queue = self._turns.queueOf(self._key)
        pausing = queue.holding if self._taken else queue.pausing

        def arrived(result: T | Failure) -> None:
            if not either.called:
                either.callback(result)  # a Failure starts the errbacks

        def over(result: T | None) -> T | None:
            del pausing[either]
            waiting.cancel()
            self._turns.handOn(self._key)
            return result

        either: Deferred[T | None] = Deferred()
        pausing[either] = ready
        either.addBoth(over)
        waiting.addBoth(arrived)
        if not either.called and ready():
            self._turns.look(self._key)
        return either

    def _take(self, ignored: None) -> None:
        self._taken = True
        self._turns.queueOf(self._key).taken = True


@attrs.define(eq=False)
class Queue:
    """
    Who waits at one key.

    @ivar taken: whether it is anyone's turn.
    @ivar calling: whether those who can go on are being called.
    @ivar changed: whether those who wait for something else must be asked again.
    @ivar waiting: those who wait for their turn.
    @ivar holding: the one whose turn it is, if that one waits for something else; and what would
        let it go on.
    @ivar pausing: the same of the others who wait for something else.
    """

    taken: bool = False
    calling: bool = False
    changed: bool = False
    # Finding the first key of a plain dict takes the longer, the more were taken out before it.
    waiting: OrderedDict[Deferred[None], None] = attrs.field(factory=OrderedDict)
    holding: Pauses = attrs.field(factory=OrderedDict)
    pausing: Pauses = attrs.field(factory=OrderedDict)

    def isFree(self) -> bool:
        """
        Return whether it is nobody's turn, and nobody waits for one.
        """
        return not (self.taken or self.waiting)

    def next(self) -> Deferred[Any] | None:
        """
        Return who can go on: those who wait for their turn before those who do not.
        """
        if self.taken:
            return _firstReady(self.holding)
        if self.waiting:
            return self.waiting.popitem(last=False)[0]
        ready = _firstReady(self.pausing) if self.changed else None
        self.changed = ready is not None
        return ready

    def leave(self, turn: Deferred[None]) -> None:
        """
        Take one who waits for a turn out of the queue.
        """
        del self.waiting[turn]


def _firstReady(pauses: Pauses) -> Deferred[Any] | None:
    return next((each for each, ready in pauses.items() if ready()), None)
