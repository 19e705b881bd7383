"""
Time comes in as an argument; the global reactor is the default, and is imported when it is needed.

A reactor reads the clock of the machine, which may be set back.  Whoever computes how long ago
something was uses L{steadySeconds}, so that this is never a negative time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import cast

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: The attribute of a reactor that holds its L{_Steady}.
_STEADY = "_avatarkitSteady"


def clockOr(reactor: IReactorTime | None) -> IReactorTime:
    """
    Return a reactor, or the global one if none is given.
    """
    if reactor is None:
        from twisted.internet import reactor as globalReactor

        return cast(IReactorTime, globalReactor)
    return reactor


@attrs.define(eq=False)
class _Steady:
    """
    The time of a reactor that does not go back.

    @ivar last: what it was last.
    @ivar setBack: how many seconds the reactor's time was set back, in all.
    """

    last: float
    setBack: float = 0


def steadySeconds(clock: IReactorTime) -> float:
    """
    Return the time of a reactor, to be compared with what this returns at other times: if the clock
    of the machine is set back, it goes on from where it was.

    What it must know is kept on the reactor.  One that takes no attributes has its own time.
    """
    now, steady = clock.seconds(), getattr(clock, _STEADY, None)
    if not isinstance(steady, _Steady):
        with suppress(Exception):
            setattr(clock, _STEADY, _Steady(now))
        return now
    now += steady.setBack
    if now < steady.last:
        steady.setBack += steady.last - now
        return steady.last
    steady.last = now
    return now


def setAgain(timer: IDelayedCall, seconds: float, clock: IReactorTime) -> None:
    """
    If a timer that was started for a number of seconds is later than that, since the clock of the
    machine was set back by more than a second, start it again: others wait for it that have come
    after that.
    """
    if timer.active() and timer.getTime() - clock.seconds() > seconds + 1:
        timer.reset(seconds)
