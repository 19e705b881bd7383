"""
Telling observers who has come and who has gone: for each ID strictly in turn.

What observers know of somebody is compared with how it is, and they are told the difference, one
after the other.  Only when the last of them is done is it compared again: what came and went
meanwhile is no difference, so there is never more than one thing left to tell, however slow they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._tools.adapting import adapted
from .._tools.clock import clockOr
from .._tools.saying import nameOf, say
from .._waiting.awaiting import LATER, awaited, settle
from .._waiting.shielding import Wait
from .._waiting.slices import Slices
from .._waiting.timers import Timers
from ..interfaces import IPresenceAware
from .bases import PresenceAware
from .telling import NOT_PRESENCE_AWARE, sayIfMeant

# Any in this module: the IDs are what the credentials checkers make of them.

_log = Logger()

#: What is told.
Edge: TypeAlias = Literal["arrived", "departed"]


@attrs.define(eq=False)
class Observer:
    """
    Somebody who wants to know who comes and goes.

    @ivar arrived: called with an ID that has come, if there is something to call.
    @ivar departed: called with one that has gone.
    @ivar already: whether it is told of those who are there already.
    @ivar stopped: whether it does not want to know any more.
    """

    arrived: Callable[[Any], object] | None
    departed: Callable[[Any], object] | None
    already: bool
    stopped: bool = attrs.field(default=False, init=False)


class Call(NamedTuple):
    """
    A call that tells something.
    """

    edge: Edge
    hook: Callable[..., object]
    args: tuple[Hashable, ...]


#: No calls.
NOTHING: Iterator[Call] = iter(())


@attrs.define(eq=False)
class Who:
    """
    An ID, as it is and as the observers know it.

    @ivar isThere: whether it is there.
    @ivar arriving: the method of its avatar that is told of its arrival, if it is to be told.
    @ivar departing: the same for its departure.
    @ivar hurried: whether nobody waits for observers any longer.
    @ivar told: who has been told that it is there; C{None} if it has gone as far as they know.
    @ivar telling: whether observers are being told, or about to be.
    @ivar calls: what is still to be called.
    @ivar giveUp: gives up the call that is waited for, if there is one.
    """

    key: Hashable
    isThere: bool = False
    arriving: Callable[[], object] | None = None
    departing: Callable[[], object] | None = None
    hurried: bool = False
    told: tuple[Observer, ...] | None = None
    telling: bool = False
    calls: Iterator[Call] = NOTHING
    giveUp: Callable[[], object] | None = None


@attrs.define(eq=False)
class Observers:
    """
    Those who want to know who comes and goes, in the order in which they were added.

    @ivar timeout: how many seconds each of them may take for each call.
    @ivar reactor: measures the time.
    @ivar settled: called with a L{Who} when the observers know how it is.
    """

    timeout: float
    reactor: IReactorTime | None
    settled: Callable[[Who], object]
    _all: tuple[Observer, ...] = attrs.field(default=(), init=False)
    _slices: Slices = attrs.field(factory=Slices, init=False)
    _timers: Timers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._timers = Timers(self.reactor)

    def add(self, observer: Observer) -> None:
        """
        From now on, tell one more.
        """
        self._all = (*self._all, observer)

    def remove(self, observer: Observer) -> None:
        """
        Tell one no more; harmless if it has been removed.
        """
        observer.stopped = True
        self._all = tuple(each for each in self._all if each is not observer)

    def look(self, who: Who) -> None:
        """
        Something about an ID has changed, or who wants to know: tell them.
        """
        if not who.telling:
            who.telling = True
            self._goOn(who)

    def hurry(self, who: Who) -> None:
        """
        All that is left to tell of an ID is told at once, and nobody waits for it.
        """
        who.hurried = True
        if who.giveUp is not None:
            who.giveUp()

    def _goOn(self, who: Who) -> None:
        self._slices.add(partial(self._step, who), clockOr(self.reactor))

    def _step(self, who: Who) -> bool:
        """
        Do the next thing for an ID; return whether there is more to do at once.
        """
        call = next(who.calls, None)
        if call is not None:
            return self._make(call, who)
        calls = self._difference(who)
        if calls is not None:
            who.calls = calls
            return True
        who.telling, who.calls = False, NOTHING
        self.settled(who)
        return False

    def _difference(self, who: Who) -> Iterator[Call] | None:
        """
        Return what to call so that observers know how it is, and note that they know; C{None} if
        they do.
        """
        told, everyone = who.told, self._all
        if not who.isThere:
            if told is None:
                return None
            avatar, who.departing, who.told = who.departing, None, None
            return _calls("departed", avatar, who.key, told)
        if told is None:
            avatar, who.arriving, who.told = who.arriving, None, everyone
            return _calls("arrived", avatar, who.key, everyone)
        if told is everyone:
            return None
        late = [each for each in everyone if each.already and each not in told]
        who.told = (*(each for each in told if not each.stopped), *late)
        return _calls("arrived", None, who.key, late) if late else None

    def _make(self, call: Call, who: Who) -> bool:
        """
        Make a call; return whether it is done.
        """
        try:
            waiting = awaited(call.hook(*call.args))
        except BaseException:  # as of a session's hook
            self._failed(call, who, Failure())
            return True
        if waiting is None:
            return True
        wait = Wait(waiting, partial(self._arrived, call, who))
        early = settle(waiting, wait.arrived)
        if early is not LATER:
            self._note(early, call, who)
            return True
        who.giveUp = partial(self._giveUp, wait, call, who)
        if who.hurried:
            who.giveUp()
        else:
            wait.timer = self._timers.start(self.timeout, who.giveUp)
        return False

    def _arrived(self, call: Call, who: Who, result: object) -> None:
        """
        A call that was waited for is done.
        """
        who.giveUp = None
        self._note(result, call, who)
        self._goOn(who)

    def _giveUp(self, wait: Wait[Any], call: Call, who: Who) -> None:
        who.giveUp = None
        if wait.timer is not None:
            wait.timer.cancel()
        say(
            _log.error,
            "{observer} is given up: it was told that {avatarId!r} has {edge}, and did not finish "
            + ("before its realm was closed" if who.hurried else "in {seconds:g} seconds"),
            observer=nameOf(call.hook),
            avatarId=who.key,
            edge=call.edge,
            seconds=self.timeout,
        )
        failure = wait.giveUp(partial(self._late, call, who))
        if failure is not None:
            self._failed(call, who, failure)
        self._goOn(who)

    def _late(self, call: Call, who: Who, result: object) -> None:
        if not (isinstance(result, Failure) and result.check(CancelledError)):
            self._note(result, call, who)

    def _note(self, result: object, call: Call, who: Who) -> None:
        if isinstance(result, Failure):
            self._failed(call, who, result)

    def _failed(self, call: Call, who: Who, failure: Failure) -> None:
        say(
            _log.failure,
            "{observer} failed when told that {avatarId!r} has {edge}",
            failure=failure,
            observer=nameOf(call.hook),
            avatarId=who.key,
            edge=call.edge,
        )


def _calls(
    edge: Edge, avatar: Callable[[], object] | None, key: Hashable, observers: Iterable[Observer]
) -> Iterator[Call]:
    """
    Return the calls that tell an avatar, if it wants to know, and then observers.
    """
    if avatar is not None:
        yield Call(edge, avatar, ())
    for each in observers:
        hook = each.arrived if edge == "arrived" else each.departed
        if hook is not None and not each.stopped:
            yield Call(edge, hook, (key,))


def tellerOf(avatar: object, edge: Edge) -> Callable[[], object] | None:
    """
    Return the method of an avatar that is to be told, or C{None} if it need not be.
    """
    try:
        aware = adapted(IPresenceAware, avatar)
    except BaseException:  # somebody's adapter
        say(_log.failure, "the adapter of a {kind} failed", kind=type(avatar).__qualname__)
        return None
    if aware is None:
        sayIfMeant(NOT_PRESENCE_AWARE, avatar, "arrived", "departed")
        return None
    if getattr(type(aware), edge, None) is getattr(PresenceAware, edge):
        return None
    tell: Callable[[], object] = getattr(aware, edge)
    return tell
