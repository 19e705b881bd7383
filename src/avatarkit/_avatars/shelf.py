"""
How long avatars are kept.

An avatar that nobody uses rests on the shelf until its time is up or others need the place; only a
resting avatar is ever retired, so nothing in use is evicted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._realm.realm import Realm
from .._realm.session import Session
from .._tools.clock import clockOr
from .._tools.typevars import A
from .life import Life


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
    The avatars of a cache: the L{Keeper<avatarkit._avatars.life.Keeper>} of each.

    @ivar below: the realm that they come from.
    @ivar closing: whether each avatar goes as soon as nobody uses it.
    @ivar ready: those that can be had, by avatar ID.
    @ivar unready: those that are loading, or retiring.
    @ivar idle: those that nobody uses, longest unused first, and the calls that will retire them.
    @ivar overdue: those that were given up, as they took too long to retire, and are not gone yet.
    @ivar lent: the sessions that use avatars, and the life of the avatar that each of them uses.
    """

    below: Realm[A]
    _patience: Patience
    _reactor: IReactorTime | None
    closing: bool = attrs.field(default=False, init=False)
    ready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    unready: dict[Hashable, Life[A]] = attrs.field(factory=dict, init=False)
    idle: dict[Life[A], IDelayedCall | None] = attrs.field(factory=dict, init=False)
    overdue: dict[Life[A], None] = attrs.field(factory=dict, init=False)
    lent: dict[Session, Life[A]] = attrs.field(factory=dict, init=False)

    @property
    def retireTimeout(self) -> float | None:
        """
        How many seconds an avatar may take to retire.
        """
        return self._patience.retireTimeout

    def lives(self) -> list[Life[A]]:
        """
        Return what there is.
        """
        return [*self.ready.values(), *self.unready.values(), *self.overdue]

    def find(self, avatarId: Hashable) -> Life[A] | None:
        """
        Return the life of an ID's avatar, if there is one, or is about to be.
        """
        return self.ready.get(avatarId) or self.unready.get(avatarId)

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

    def file(self, life: Life[A]) -> None:
        """
        An avatar is ready.
        """
        self.ready[life.avatarId] = self.unready.pop(life.avatarId)

    def withdraw(self, life: Life[A]) -> None:
        """
        An avatar is loading, or retiring.
        """
        self.ready.pop(life.avatarId, None)
        self.unready[life.avatarId] = life

    def drop(self, life: Life[A]) -> None:
        """
        An avatar is gone.
        """
        del self.unready[life.avatarId]

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
        seconds = self.retireTimeout
        return None if seconds is None else clockOr(self._reactor).callLater(seconds, late)

    def giveUp(self, life: Life[A], heir: Life[A]) -> None:
        """
        An avatar takes too long to retire.
        """
        self.unready[life.avatarId] = heir
        self.overdue[life] = None

    def forget(self, life: Life[A]) -> None:
        """
        An avatar that was given up is gone.
        """
        del self.overdue[life]
