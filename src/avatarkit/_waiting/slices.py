"""
Much work at once, done in slices of some milliseconds, so that the reactor has its turn in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

#: How many seconds of work there are before the reactor has its turn.
SLICE = 0.005


@attrs.define(eq=False)
class Slices:
    """
    Work that consists of many small steps.

    It is begun at once, and a step that causes more work is finished before that is begun: a long
    chain of causes does not end in a C{RecursionError}.

    @ivar _jobs: what is left to do: each does one step, and returns whether there are more.
    @ivar _running: whether it is being done, or is put off until the reactor has had its turn.
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
