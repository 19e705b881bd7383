"""
Clocks that show what is done in one turn of the reactor, and that nothing is left for later.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock


class Ticking(Clock):
    """
    A clock on which a millisecond passes whenever it is looked at, and which a test gives one turn
    at a time.
    """

    def seconds(self) -> float:
        """
        Let one pass.
        """
        self.rightNow += 0.001
        return float(self.rightNow)

    def turn(self) -> bool:
        """
        Make the calls that are due, and not those that they lead to; return whether there were any.
        """
        due = [each for each in self.getDelayedCalls() if each.getTime() <= self.rightNow]
        for each in due:
            call: Any = each
            act = partial(call.func, *call.args, **call.kw)
            call.cancel()
            act()
        return bool(due)


class NoTimers(Clock):
    """
    A clock with which nothing can be done later.
    """

    callLater: Any = None
