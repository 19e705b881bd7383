"""
How long avatars are kept.

An avatar that nobody uses rests on the shelf until its time is up or others need the place; only a
resting avatar is ever retired, so nothing in use is evicted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Generic, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._realm.inner import choosesInterfaces
from .._realm.realm import Realm
from .._realm.session import Session
from .._tools.clock import clockOr
from .._tools.typevars import A
from .keeping import State
from .life import Life
from .waiters import Waiter


class Patience(Protocol):
    """
    How long, and how many, avatars are kept that nobody uses; see
    L{AvatarCache<avatarkit.AvatarCache>}.
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
    @ivar closing: whether each avatar goes as soon as nobody uses it.
    @ivar ready: those that can be had, by key: the avatar ID, or what the cache's key made of it.
    @ivar unready: those that are loading, or retiring, by key.
    @ivar groups: if the realm below may have an avatar for each interface, all of each key; the
        other two are by life then.
    @ivar idle: those that nobody uses, longest unused first, and the calls that will retire them.
    @ivar overdue: those that were given up, as they took too long to retire, and are not gone yet.
    @ivar lent: the sessions that use avatars, and the life of the avatar that each of them uses.
    """

    below: Realm[A]
    _patience: Patience
    _reactor: IReactorTime | None
    closing: bool = attrs.field(default=False, init=False)
    _timed: bool = attrs.field(default=True, init=False)
    ready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    unready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    idle: dict[Life[A], IDelayedCall | None] = attrs.field(factory=dict, init=False)
    groups: dict[Hashable, dict[Life[A], None]] | None = attrs.field(init=False)
    overdue: dict[Life[A], None] = attrs.field(factory=dict, init=False)
    lent: dict[Session, Life[A]] = attrs.field(factory=dict, init=False)

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
        Whether the realm below may have an avatar for each interface, since a realm of somebody
        else's chooses one.
        """
        return self.groups is not None

    def lives(self) -> list[Life[A]]:
        """
        Return what there is.
        """
        return [*self.ready.values(), *self.unready.values(), *self.overdue]

    def keys(self) -> Collection[Hashable]:
        """
        Return the keys of the avatars that can be had.
        """
        if self.groups is None:
            return self.ready.keys()
        return dict.fromkeys(life.key for life in self.ready.values())

    def every(self, key: Hashable) -> list[Life[A]]:
        """
        Return the lives of a key's avatars, which are there or about to be, oldest first: no more
        than one, unless there may be one for each interface.
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
        Retire all avatars, those in use as soon as they are not.
        """
        self.closing = True
        lives = (*self.ready.values(), *self.unready.values())
        ends: list[Deferred[None]] = [life.whenGone() for life in lives]
        while self.idle:
            next(iter(self.idle)).retire()
        for end in ends:
            await end

    def stopTimers(self) -> None:
        """
        Nobody waits any more for the avatars to be gone.
        """
        self._timed = False
        for life in self.unready.values():
            life.stopTimer()

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
        del self.unready[self._name(life)]
        if self.groups is not None:
            del self.groups[life.key][life]
            if not self.groups[life.key]:
                del self.groups[life.key]

    def rest(self, life: Life[A]) -> None:
        """
        Keep an avatar that nobody uses any more, for as long as it may be kept.
        """
        self.idle[life] = None
        seconds, maximum = self._patience.idleTimeout, self._patience.maximumIdle
        if self.closing or not life.proven or seconds == 0:
            life.retire()
            return
        if seconds is not None:
            self.idle[life] = clockOr(self._reactor).callLater(seconds, life.retire)
        while maximum is not None and len(self.idle) > maximum:
            next(iter(self.idle)).retire()

    def wake(self, life: Life[A]) -> None:
        """
        An avatar rests no longer.
        """
        timer = self.idle.pop(life)
        if timer is not None and timer.active():
            timer.cancel()

    def allow(self, late: Callable[[], object]) -> IDelayedCall | None:
        """
        Say so if an avatar takes too long to retire.
        """
        seconds = self.retireTimeout if self._timed else None
        return None if seconds is None else clockOr(self._reactor).callLater(seconds, late)

    def giveUp(self, life: Life[A]) -> Life[A]:
        """
        An avatar takes too long to retire.
        """
        self.drop(life)
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

    def _name(self, life: Life[A]) -> Hashable:
        """
        Return what a life is filed under.
        """
        return life.key if self.groups is None else life
