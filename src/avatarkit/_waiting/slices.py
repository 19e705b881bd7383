"""
Doing much work in slices of some milliseconds, so that the reactor has its turn in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .._tools.clock import clockOr

T = TypeVar("T")

#: How many seconds of work are done before the reactor has its turn.
SLICE = 0.005

#: How many steps are done at once, however long that takes.
AT_ONCE = 100


@attrs.define(eq=False)
class Slices:
    """
    Work that consists of many small steps.

    It begins at once, and a step that causes more work is finished before that work begins, so that
    a long chain of causes does not end in a C{RecursionError}.

    @ivar _jobs: what is left to do: each does one step, and returns whether there are more.
    @ivar _running: whether it is being done, or is waiting for the reactor to have its turn.
    """

    _jobs: deque[Callable[[], bool]] = attrs.field(factory=deque, init=False)
    _running: bool = attrs.field(default=False, init=False)

    def add(self, job: Callable[[], bool], clock: IReactorTime) -> None:
        """
        Call C{job}, which must not raise, until it returns C{False}.
        """
        self._jobs.append(job)
        if not self._running:
            self._running = True
            self._run(clock)

    def _run(self, clock: IReactorTime) -> None:
        end = clock.seconds() + SLICE
        while self._jobs:
            job = self._jobs.popleft()
            if job():
                self._jobs.append(job)
            if self._jobs and clock.seconds() >= end:
                clock.callLater(0, self._run, clock)
                return
        self._running = False


def inSlices(step: Callable[[], bool], reactor: IReactorTime | None) -> Deferred[None] | None:
    """
    Do perhaps very many steps: the first hundred now, so that little work is done at once, and the
    others in slices, so that the reactor has its turns.

    @param step: does one step, and returns whether there are more; must not raise.
    @return: C{None} if all is done, or a Deferred that fires when it is.
    """
    for _ in range(AT_ONCE):
        if not step():
            return None
    done: Deferred[None] = Deferred()

    def job() -> bool:
        more = step()
        if not more:
            done.callback(None)
        return more

    Slices().add(job, clockOr(reactor))
    return done


def forEach(
    things: Iterable[T], act: Callable[[T], object], reactor: IReactorTime | None
) -> Deferred[None] | None:
    """
    Do something to each of perhaps very many things, see L{inSlices}.

    @param act: must not raise.
    @return: C{None} if all is done, or a Deferred that fires when it is.
    """
    everything = tuple(things)
    if len(everything) <= AT_ONCE:  # nearly always
        for thing in everything:
            act(thing)
        return None
    left = deque(everything)

    def step() -> bool:
        act(left.popleft())
        return bool(left)

    return inSlices(step, reactor)
