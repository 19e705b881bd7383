"""
How long avatars are kept.

An avatar that nobody uses rests on the shelf until its time is up or others need the place.  An
avatar in use ends only if it is evicted, or if something below ends its session, and the sessions
that use it end first.  An avatar that is loading ends if it is evicted, or if no login waits for it
any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Generic, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from .._realm.inner import choosesInterfaces
from .._realm.realm import Realm
from .._realm.session import Session
from .._tools.typevars import A
from .._waiting.awaiting import then
from .._waiting.slices import forEach, inSlices
from .._waiting.timers import Timer, Timers
from ..errors import RealmClosed
from .keeping import State
from .life import Life
from .waiters import Waiter


class Patience(Protocol):
    """
    How many unused avatars are kept, and for how long; see L{AvatarCache<avatarkit.AvatarCache>}.
    """

    @property
    def idleTimeout(self) -> float | None: ...

    @property
    def maximumIdle(self) -> int | None: ...

    @property
    def retireTimeout(self) -> float | None: ...


@attrs.define(eq=False)
class Shelf(Generic[A]):
    """
    The avatars of a cache: the L{Keeper<avatarkit._avatars.keeping.Keeper>} of each.

    @ivar below: the realm that they come from.
    @ivar reactor: measures the time; the global reactor by default.
    @ivar closing: whether each avatar goes as soon as nobody uses it.
    @ivar ready: those that are ready, by key: the avatar ID, or what the cache's C{key} returned.
    @ivar unready: those that are loading, or retiring, by key.
    @ivar groups: if the realm below may have an avatar for each interface, all lives of each key;
        C{ready} and C{unready} are then by life instead of by key.
    @ivar idle: those that nobody uses, longest unused first, and the timers that will retire them.
    @ivar overdue: those that took too long to retire and were given up, and are not gone yet.
    @ivar failing: those that are gone, and that logins wait for which are about to fail.
    @ivar lent: the sessions that use avatars, and the life of the avatar that each of them uses.
    @ivar _trimming: whether those are being retired that are too many.
    @ivar _ends: the Deferreds of those who wait for all avatars to be gone.
    """

    below: Realm[A]
    _patience: Patience
    reactor: IReactorTime | None
    closing: bool = attrs.field(default=False, init=False)
    _timed: bool = attrs.field(default=True, init=False)
    ready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    unready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    # Finding the first key of a plain dict takes the longer, the more were taken out before it.
    idle: OrderedDict[Life[A], Timer | None] = attrs.field(factory=OrderedDict, init=False)
    groups: dict[Hashable, dict[Life[A], None]] | None = attrs.field(init=False)
    overdue: dict[Life[A], None] = attrs.field(factory=dict, init=False)
    failing: dict[Life[A], None] = attrs.field(factory=dict, init=False)
    lent: dict[Session, Life[A]] = attrs.field(factory=dict, init=False)
    _timers: Timers = attrs.field(init=False)
    _trimming: bool = attrs.field(default=False, init=False)
    _ends: list[Deferred[None]] = attrs.field(factory=list, init=False)

    @_timers.default
    def _noTimers(self) -> Timers:
        return Timers(self.reactor)

    @groups.default
    def _noGroups(self) -> dict[Hashable, dict[Life[A], None]] | None:
        return {} if choosesInterfaces(self.below) else None

    @property
    def retireTimeout(self) -> float | None:
        """
        How many seconds an avatar may take to retire.
        """
        return self._patience.retireTimeout

    @property
    def apart(self) -> bool:
        """
        Whether an ID may have an avatar for each interface, because a realm of somebody else's
        below chooses the interface.
        """
        return self.groups is not None

    def lives(self) -> list[Life[A]]:
        """
        Return all lives, those of overdue avatars included, and those that logins still wait for.
        """
        return [*self.ready.values(), *self.unready.values(), *self.overdue, *self.failing]

    def keys(self) -> Collection[Hashable]:
        """
        Return the keys of the avatars that are ready.
        """
        if self.groups is None:
            return self.ready.keys()
        return dict.fromkeys(life.key for life in self.ready.values())

    def every(self, key: Hashable) -> list[Life[A]]:
        """
        Return the lives of a key that are not overdue, oldest first: at most one, unless there may
        be one for each interface.
        """
        if self.groups is not None:
            return list(self.groups.get(key, ()))
        life = self.ready.get(key) or self.unready.get(key)
        return [] if life is None else [life]

    def seek(self, key: Hashable, session: Session) -> Life[A]:
        """
        Return the life of the avatar that a session needs, a new one if there is none.
        """
        for life in self.every(key):
            if not self.apart or life.suits(session):
                return life
        return self._begin(key)

    def reroute(self, waiter: Waiter[A], session: Session) -> None:
        """
        A login waited for the wrong avatar.
        """
        life = self.seek(waiter.life.key, session)
        if life.state is State.READY:
            waiter.callback(life.use(session))
        else:
            life.adopt(waiter, session)

    async def close(self) -> None:
        """
        Retire all avatars, each as soon as nobody uses it.
        """
        self.closing = True
        hurrying = forEach((*self.unready.values(), *self.idle), self._hurry, self.reactor)
        if hurrying is not None:
            await hurrying
        await self._whenEmpty()

    def stopTimers(self) -> None:
        """
        Nobody waits any more for the avatars to be gone.
        """
        self._timed = False
        forEach(self.unready.values(), Life.stopTimer, self.reactor)

    def file(self, life: Life[A]) -> None:
        """
        An avatar is ready.
        """
        self.ready[self._name(life)] = self.unready.pop(self._name(life))

    def withdraw(self, life: Life[A]) -> None:
        """
        An avatar is loading, or retiring.
        """
        self.ready.pop(self._name(life), None)
        self.unready[self._name(life)] = life

    def drop(self, life: Life[A]) -> None:
        """
        An avatar is gone.
        """
        self._remove(life)
        if self._ends and not (self.ready or self.unready):
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)

    def dismiss(self, life: Life[A]) -> None:
        """
        The logins that waited for an avatar that is gone are about to fail.
        """
        self.failing[life] = None

    def dismissed(self, life: Life[A]) -> None:
        """
        They have failed.
        """
        del self.failing[life]

    def rest(self, life: Life[A]) -> None:
        """
        Keep an avatar that nobody uses any more, for as long as it may be kept.
        """
        self.idle[life] = None
        seconds = self._patience.idleTimeout
        if self.closing or not life.proven or seconds == 0:
            life.retire()
            return
        if seconds is not None:
            self.idle[life] = self._timers.start(seconds, life.retire)
        if self._areTooMany() and not self._trimming:
            self._trimming = True
            then(inSlices(self._trim, self.reactor), self._trimmed)

    def wake(self, life: Life[A]) -> None:
        """
        An avatar rests no longer.
        """
        timer = self.idle.pop(life)
        if timer is not None:
            timer.cancel()

    def allow(self, late: Callable[[], object]) -> Timer | None:
        """
        Arrange for a call if an avatar takes too long to retire.
        """
        seconds = self.retireTimeout if self._timed else None
        return None if seconds is None else self._timers.start(seconds, late)

    def giveUp(self, life: Life[A]) -> Life[A]:
        """
        An avatar takes too long to retire.
        """
        self._remove(life)
        self.overdue[life] = None
        heir = self._begin(life.key)
        self.withdraw(heir)
        return heir

    def forget(self, life: Life[A]) -> None:
        """
        An avatar that was given up is gone.
        """
        del self.overdue[life]

    def _begin(self, key: Hashable) -> Life[A]:
        life = Life(self, key)
        if self.groups is not None:
            self.groups.setdefault(key, {})[life] = None
        return life

    def _remove(self, life: Life[A]) -> None:
        del self.unready[self._name(life)]
        if self.groups is not None:
            del self.groups[life.key][life]
            if not self.groups[life.key]:
                del self.groups[life.key]

    def _hurry(self, life: Life[A]) -> None:
        """
        Retire an avatar, if it is still idle; or have it given up, if it is retiring and takes too
        long.
        """
        if life in self.idle:
            life.retire(RealmClosed(avatarId=life.key))
        else:
            life.allowTime()

    def _whenEmpty(self) -> Deferred[None]:
        """
        Return a Deferred that fires with C{None} when all avatars are gone, or given up.
        """
        if not (self.ready or self.unready):
            return succeed(None)
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        return end

    def _areTooMany(self) -> bool:
        maximum = self._patience.maximumIdle
        return maximum is not None and len(self.idle) > maximum

    def _trim(self) -> bool:
        """
        Retire the avatar that has been idle longest, if too many are; return whether more are.
        """
        if self._areTooMany():
            next(iter(self.idle)).retire()
        return self._areTooMany()

    def _trimmed(self, ignored: None) -> None:
        self._trimming = False

    def _name(self, life: Life[A]) -> Hashable:
        """
        Return what a life is filed under.
        """
        return life.key if self.groups is None else life
