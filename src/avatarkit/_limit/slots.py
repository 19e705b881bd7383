"""
Who holds the slots of a limit, and who of them is about to go.

A slot is given back when its session has ended; a session whose closing hangs loses its slot before
that, when it has had its time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from .._realm.session import Session
from .._tools.typevars import A

#: How many seconds a session that must go may take to do so.
DEADLINE = 5


@attrs.define(eq=False)
class Slots(Generic[A]):
    """
    The slots of all keys of a limit.

    @ivar holders: the sessions that hold the slots of each key, oldest first.
    @ivar otherKeys: the keys of the sessions whose key is not their avatar ID.
    @ivar going: the sessions that must go, and since when, in seconds.
    @ivar revoked: the sessions that have lost their slot and have not ended yet.
    """

    holders: dict[Hashable, dict[Session[A], None]] = attrs.field(factory=dict, init=False)
    otherKeys: dict[Session[A], Hashable] = attrs.field(factory=dict, init=False)
    going: dict[Session[A], float] = attrs.field(factory=dict, init=False)
    revoked: set[Session[A]] = attrs.field(factory=set, init=False)

    def of(self, key: Hashable) -> tuple[Session[A], ...]:
        """
        Return the sessions that hold the slots of a key, oldest first.
        """
        return tuple(self.holders.get(key, ()))

    def haveRoom(self, key: Hashable, maximum: int) -> bool:
        """
        Return whether one more session may have a slot.
        """
        return len(self.holders.get(key, ())) < maximum

    def isHeldBy(self, session: Session[A]) -> bool:
        """
        Return whether a session holds a slot.
        """
        key = self.otherKeys.get(session, session.avatarId)
        return session in self.holders.get(key, ())

    def take(self, session: Session[A], key: Hashable) -> None:
        """
        Give a session a slot.
        """
        self.holders.setdefault(key, {})[session] = None
        if key is not session.avatarId:
            self.otherKeys[session] = key

    def give(self, session: Session[A]) -> None:
        """
        Take a session's slot away.
        """
        key = self.otherKeys.pop(session, session.avatarId)
        holders = self.holders[key]
        del holders[session]
        if not holders:
            del self.holders[key]

    def release(self, session: Session[A]) -> None:
        """
        A session has ended: take its slot away, unless that has been done.
        """
        self.going.pop(session, None)
        if session in self.revoked:
            self.revoked.remove(session)
        else:
            self.give(session)

    def isLeaving(self, holder: Session[A]) -> bool:
        """
        Return whether the slot of a session is about to be free.
        """
        return holder.ended or holder in self.going

    async def untilGone(self, leaving: Iterable[Session[A]], clock: IReactorTime) -> None:
        """
        Wait until sessions are closed, but not for longer than they may take.
        """
        goers = tuple(leaving)
        since = [self.going.setdefault(each, clock.seconds()) for each in goers]
        gone: Deferred[list[tuple[bool, None]]] = Deferred()
        DeferredList([each.whenClosed() for each in goers]).chainDeferred(gone)
        try:
            if not gone.called:
                gone.addTimeout(max(min(since) + DEADLINE - clock.seconds(), 0), clock)
            await gone
        except defer.TimeoutError:
            for each in goers:
                if self.going[each] + DEADLINE <= clock.seconds() and self.isHeldBy(each):
                    self.give(each)
                    self.revoked.add(each)
        finally:
            for each in goers:
                if not self.isHeldBy(each):
                    self.going.pop(each, None)
