"""
Who holds the slots of a limit, and which of them are about to go.

A slot is given back when its session is undone.  If somebody waits for that session to go, the slot
is free only when it has closed; but a session whose closing hangs loses its slot earlier, once its
deadline has passed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic

import attrs
from twisted.logger import Logger

from .._realm.session import Session
from .._tools.typevars import A
from .._waiting.turns import Turns

#: How many seconds a session that must go may take to do so.
DEADLINE = 5


@attrs.define(eq=False)
class Slots(Generic[A]):
    """
    The slots of all keys of a limit.

    @ivar turns: the logins to be told when a slot is free.
    @ivar holders: the sessions that hold the slots of each key, oldest first.
    @ivar otherKeys: the keys of the sessions whose key is not their avatar ID.
    @ivar going: the sessions that must go, and since when, in seconds.
    @ivar closing: by key, those of them that have given their slot back but have not closed.
    @ivar revoked: the sessions that have lost their slot and have not ended yet.
    """

    turns: Turns
    holders: dict[Hashable, dict[Session[A], None]] = attrs.field(factory=dict, init=False)
    otherKeys: dict[Session[A], Hashable] = attrs.field(factory=dict, init=False)
    going: dict[Session[A], float] = attrs.field(factory=dict, init=False)
    closing: dict[Hashable, dict[Session[A], None]] = attrs.field(factory=dict, init=False)
    revoked: set[Session[A]] = attrs.field(factory=set, init=False)

    _log = Logger()

    def of(self, key: Hashable) -> tuple[Session[A], ...]:
        """
        Return the sessions that hold the slots of a key, oldest first.
        """
        return tuple(self.holders.get(key, ()))

    def haveRoom(self, key: Hashable, maximum: int) -> bool:
        """
        Return whether one more session may have a slot.
        """
        held = len(self.holders.get(key, ()))
        if self.closing:
            held += len(self.closing.get(key, ()))
        return held < maximum

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

    def inherit(self, session: Session[A], key: Hashable) -> bool:
        """
        Give a session the slot of the lost one that it takes over; return whether there is one.
        """
        lost = session.resumes
        if lost is None or not self.isHeldBy(lost) or self.isLeaving(lost):
            return False
        if self.otherKeys.get(lost, lost.avatarId) != key:
            return False
        self.give(lost)
        self.revoked.add(lost)
        self.take(session, key)
        return True

    def give(self, session: Session[A]) -> Hashable:
        """
        Take a session's slot away.

        @return: the key that the slot belongs to.
        """
        key = self.otherKeys.pop(session, session.avatarId)
        holders = self.holders[key]
        del holders[session]
        if not holders:
            del self.holders[key]
        return key

    def release(self, session: Session[A]) -> None:
        """
        A session has ended: take its slot away, unless it has lost it already.
        """
        if session in self.revoked:
            self.revoked.remove(session)
            return
        key = self.give(session)
        if not (self.going or self.turns.queues):  # nearly always
            return
        if session in self.going:
            self.closing.setdefault(key, {})[session] = None
        elif key not in self.turns.queues:
            return
        session.whenClosed().addCallback(self._gone, session, key)

    def isLeaving(self, holder: Session[A]) -> bool:
        """
        Return whether the slot of a session is about to be free.
        """
        return (holder.ended and not holder.held) or holder in self.going

    def due(self, leaving: Iterable[Session[A]], key: Hashable, now: float) -> float:
        """
        Return when the first deadline of those who are leaving passes; the time of a session
        begins now if nobody has waited for it before.
        """
        since = [self.going.setdefault(each, now) for each in leaving]
        since += [self.going[each] for each in self.closing.get(key, ())]
        return min(since) + DEADLINE

    def revoke(self, key: Hashable, now: float) -> None:
        """
        Take the slots away from those whose deadline has passed, and let whoever can go on do so.
        """
        late = [*self.holders.get(key, ()), *self.closing.get(key, ())]
        for session in late:
            if self.going.get(session, now) + DEADLINE > now:
                continue
            self._log.warn(
                "a session of {avatarId!r} did not close in {timeout} seconds, and loses its slot "
                "of {key!r}",
                avatarId=session.avatarId,
                timeout=DEADLINE,
                key=key,
            )
            if self.isHeldBy(session):
                self.give(session)
                self.revoked.add(session)
            self._forget(session, key)
        self.turns.look(key)

    def _gone(self, closed: None, session: Session[A], key: Hashable) -> None:
        self._forget(session, key)
        self.turns.look(key)

    def _forget(self, session: Session[A], key: Hashable) -> None:
        """
        A session need not be waited for any longer.
        """
        self.going.pop(session, None)
        closing = self.closing.get(key)
        if closing is not None and session in closing:
            del closing[session]
            if not closing:
                del self.closing[key]
