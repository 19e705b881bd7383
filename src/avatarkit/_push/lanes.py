"""
What waits to be sent, and whose turn it is.

Every message waits in the I{lane} of its receiver, and leaves it when it is its turn.  So these
promises are kept here:

  - I{Order}: a lane is emptied from its front, whoever empties it, so that a client gets what it
    is sent in the order in which it was pushed.
  - I{Big groups yield}: after some milliseconds of work the reactor has its turn, and what is left
    in the lanes is sent after that.

A push empties the lanes of its own receivers, so that a small one does not wait for a big one to
others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import suppress
from itertools import islice
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from .._clients.connections import connectionOf
from .addressees import Addressee
from .journal import laneOf

#: How many seconds of work there are before the reactor has its turn.
SLICE = 0.005

#: The attribute of a reactor that holds its L{Lanes}.
_LANES = "_avatarkitLanes"


class Sending(Protocol):
    """
    One message to some receivers.
    """

    @property
    def addressees(self) -> tuple[Addressee, ...]:
        """
        Whom it goes to.
        """

    def deliver(self, place: int) -> None:
        """
        Send it to one of them; called once for each, and never raises.
        """

    def keep(self) -> None:
        """
        Part of it is sent later, when the caller has gone on.
        """


@attrs.define(eq=False)
class Lanes:
    """
    What waits for its turn, by receiver.

    @ivar _pushes: what has not been looked at yet, because something else is being sent.
    @ivar _lanes: what waits in each lane, with its place in its push, in the order in which the
        lanes are emptied.  The minds of one connection share a lane.
    @ivar _busy: whether something is being sent.
    @ivar _until: when the reactor has its turn.
    @ivar _scheduled: whether it goes on after that.
    """

    _pushes: deque[Sending] = attrs.field(factory=deque, init=False)
    _lanes: OrderedDict[int, deque[tuple[Sending, int]]] = attrs.field(
        factory=OrderedDict, init=False
    )
    _busy: bool = attrs.field(default=False, init=False)
    _until: float = attrs.field(default=0, init=False)
    _scheduled: bool = attrs.field(default=False, init=False)

    def push(self, push: Sending, clock: IReactorTime) -> None:
        """
        Send a push on its way, and as much of it as there is time for at once.
        """
        self._pushes.append(push)
        if self._busy:  # somebody pushes because of a push: it goes behind that
            push.keep()
        else:
            self._work(clock)

    def _work(self, clock: IReactorTime, *, ahead: bool = False) -> None:
        """
        Send until the time is up.

        @param ahead: whether to send what waits in lanes before what has not been looked at yet.
        """
        self._busy, self._until = True, clock.seconds() + SLICE
        try:
            while ahead and self._lanes and clock.seconds() < self._until:
                lane = next(iter(self._lanes))
                if not self._empty(lane, clock):
                    self._lanes.move_to_end(lane)  # the others have their turn as well
            atOnce = 0 if ahead else 1  # there is always time for the first one
            while self._pushes:
                self._send(self._pushes.popleft(), clock, atOnce=atOnce)
                atOnce = 0
        finally:
            self._busy = False
        if self._lanes and not self._scheduled:
            self._scheduled = True
            clock.callLater(0, self._goOn, clock)

    def _goOn(self, clock: IReactorTime) -> None:
        """
        The reactor has had its turn.
        """
        self._scheduled = False
        self._work(clock, ahead=True)

    def _send(self, push: Sending, clock: IReactorTime, *, atOnce: int) -> None:
        seconds, until = clock.seconds, self._until
        for place, to in enumerate(push.addressees):
            inTime = place < atOnce or seconds() < until
            if not inTime or (self._lanes and not self._empty(_laneOf(to), clock)):
                self._lineUp(push, place)
                return
            push.deliver(place)

    def _lineUp(self, push: Sending, first: int) -> None:
        """
        Have what is left of a push wait in the lanes of its receivers.
        """
        push.keep()
        for place, to in enumerate(islice(push.addressees, first, None), first):
            self._lanes.setdefault(_laneOf(to), deque()).append((push, place))

    def _empty(self, lane: int, clock: IReactorTime) -> bool:
        """
        Send what waits in a lane, until the time is up; return whether the lane is empty.
        """
        waiting = self._lanes.get(lane, ())
        while waiting:
            if clock.seconds() >= self._until:
                return False
            push, place = waiting.popleft()
            push.deliver(place)
        self._lanes.pop(lane, None)
        return True


def _laneOf(to: Addressee) -> int:
    return laneOf(to.session, connectionOf(to.mind))


def lanesOf(clock: IReactorTime) -> Lanes:
    """
    Return the lanes of a reactor.  All pushes that it sends share them, so that they keep their
    order whatever group each goes to.

    They are kept on the reactor, and go with it.  One that takes no attributes has new lanes for
    each push: it sends what does not fit into a turn later than what is pushed meanwhile.
    """
    lanes = getattr(clock, _LANES, None)
    if not isinstance(lanes, Lanes):
        lanes = Lanes()
        with suppress(Exception):
            setattr(clock, _LANES, lanes)
    return lanes
