"""
How clients that were lost come back to their avatars.

An avatar has a session of its own below those of its clients, as below a cache.  When the client of
the session above is lost, the avatar stays for some time, and so do the pushes that the client is
not known to have.  A client that logs in, and proves that it is the one, gets a new session above
the same avatar.

Which stay a login takes over is known before it is admitted.  From the moment that it acquires the
avatar the stay is its own, and whatever happens to the lost session does not matter any more.  That
one is let go when the new one has everything, or has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Generic

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._clients.connections import connectionOf
from .._clients.minds import callRemoteOf
from .._push.journal import Journal, journalFor
from .._realm.inner import InnerSessions, standOn
from .._realm.session import Session, hold, isLoss, keepJournal, letGo, takeOver
from .._tools.typevars import A
from .._waiting.awaiting import then
from .._waiting.slices import forEach
from .._waiting.timers import Timers
from ..errors import ClientLost
from .claims import NONSENSE, Claim, askFor, giveTicket
from .stays import Stay, Taking, Terms, Tickets


@attrs.define(eq=False, repr=False)
class Comebacks(Generic[A]):
    """
    The clients that can come back, and their avatars.

    @ivar terms: how long what is kept.
    @ivar inners: the sessions of the avatars.
    @ivar reactor: measures the time; the global reactor by default.
    @ivar lost: the stays whose clients are lost, longest lost first.
    @ivar _closing: whether nobody can come back any more.
    @ivar _stays: by the session that each belongs to.
    @ivar _taking: the logins in progress that take over a stay.
    """

    terms: Terms
    inners: InnerSessions[A]
    reactor: IReactorTime | None
    lost: dict[Stay[A], None] = attrs.field(factory=dict, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _stays: dict[Session[A], Stay[A]] = attrs.field(factory=dict, init=False)
    _taking: dict[Session[A], Taking[A]] = attrs.field(factory=dict, init=False)
    _tickets: Tickets[A] = attrs.field(factory=Tickets, init=False)
    _timers: Timers = attrs.field(init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._timers = Timers(self.reactor)

    def claim(self, session: Session[A]) -> Deferred[None] | None:
        """
        A login begins: ask its client, if it can be asked, whether it comes back.
        """
        if callRemoteOf(session.mind) is None:
            return None
        asked = askFor(session.mind, self.terms.timeout, self._timers)
        return asked.addCallback(partial(self._claimed, session))

    def unclaim(self, session: Session[A]) -> Deferred[None] | None:
        """
        A session is over.  If its login has failed before it had the avatar that it was to take
        over, nobody has that.
        """
        taking, lost = self._taking.pop(session, None), session.resumes
        if taking is None or lost is None:
            return None
        letGo(lost)
        return None if taking.stay.over else self._drop(taking.stay)

    def acquire(self, session: Session[A]) -> object:
        """
        Return the avatar that a session takes over, or a new one.
        """
        stay, received = self._taking.get(session) or (None, 0)
        if stay is not None and stay.over:  # too late after all
            takeOver(session, None)
            self._welcome(session, received)
        elif stay is not None:
            return self._moveTo(session, stay, received)
        avatar = self.inners.acquire(session)
        return avatar if journalFor(session) is None else then(avatar, partial(self._stay, session))

    def release(self, session: Session[A]) -> Deferred[None] | None:
        """
        A session has ended: so does its avatar, unless that waits, or belongs to another session.
        """
        stay = self._stays.get(session)
        if stay is None:
            return None if self.inners.of(session) is None else self.inners.release(session)
        if stay.lost and not stay.over:
            stay.parked = True
            return None
        return self._close(stay)

    def proceed(self, session: Session[A]) -> None:
        """
        A session has everything: give its client a ticket, and if it has come back, what was pushed
        to it meanwhile.
        """
        stay, lost = self._stays.get(session), session.resumes
        if stay is None:
            return
        self._taking.pop(session, None)
        stay.taker = None
        token = self._tickets.issue(stay)
        has = giveTicket(session, token, resumed=lost is not None)
        has.addCallbacks(lambda answer: self._tickets.confirm(stay, token), lambda failure: None)
        if lost is not None:
            stay.journal.begin(session.mind)
            takeOver(session, None)
            letGo(lost)

    def keep(self, session: Session[A]) -> Deferred[None] | None:
        """
        A session has ended: wait for its client, if it was lost and can come back.
        """
        stay = self._stays.get(session)
        if stay is None:
            return None
        if self._closing or not session.loggedIn or not isLoss(session.reason):
            self._finish(stay)
            return None
        stay.lost = True
        stay.journal.interrupt()
        self.lost[stay] = None
        stay.wait(self._timers.start(self.terms.window, partial(self._drop, stay)))
        held = hold(session).addCallback(self._letGo, stay) if self.terms.hold else None
        if len(self.lost) > self.terms.maximumLost:
            self._dropOldest()
        return held

    def close(self) -> Deferred[None]:
        """
        Wait for nobody any more, and let the realm below come to its end.
        """
        self._closing = True
        closed = self.inners.close()
        forEach(self.lost, self._drop, self.reactor)
        return closed

    def audit(self, there: Collection[Session[A]]) -> Iterator[str]:
        """
        Report sessions without an avatar, avatars without a session, and avatars that nobody waits
        for.

        @param there: the sessions that should have an avatar, or have given it to another one.
        """
        for stay in self._stays.values():
            if not stay.parked and stay.session not in there:
                yield f"{stay.session!r} is gone, but its avatar is not"
            if (stay in self.lost) is not stay.lost:
                yield f"it is wrong that the client of {stay.session!r} is lost, or that it is not"
            if stay.lost and stay.window is None:
                yield f"the avatar of {stay.session!r} waits for ever"
        for session in there:
            if self.inners.of(session) is None and not session.ended:
                yield f"{session!r} has no avatar"

    def _claimed(self, session: Session[A], claim: Claim | None) -> Deferred[None] | None:
        """
        The client has said whether it can come back.
        """
        if claim is None or session.ended:
            return None
        if claim is NONSENSE:
            self._refuse(session, "what its client says of itself is no claim")
            return None
        stay = self._tickets.find(claim.token)
        why = None if not claim.token else self._refusal(session, claim, stay)
        if why is not None:
            self._refuse(session, why)
        if stay is None or why is not None:
            self._welcome(session, claim.received)
            return None
        self._tickets.spend(stay, claim.token)
        stay.taker = session
        self._taking[session] = Taking(stay, claim.received)
        lost = stay.session
        takeOver(session, lost)
        if not lost.ended:  # nobody has noticed yet
            lost.disconnect(ClientLost(), timeout=0, reactor=self.reactor)
        if lost.held or stay.parked:
            return None
        return lost.whenClosed().addErrback(self._notClaimed, session)

    def _refuse(self, session: Session[A], why: str) -> None:
        self._log.warn(
            "a login of {avatarId!r} takes over nothing: {why}", avatarId=session.avatarId, why=why
        )

    def _notClaimed(self, failure: Failure, session: Session[A]) -> Failure:
        """
        A login has ended while it waited for what the lost session has.
        """
        self.unclaim(session)
        return failure

    def _refusal(self, session: Session[A], claim: Claim, stay: Stay[A] | None) -> str | None:
        """
        Return why a client cannot come back, or C{None} if it can.
        """
        if stay is None:
            return "its ticket is not good, or not any more"
        theirs = stay.session
        if (theirs.avatarId, theirs.interfaces) != (session.avatarId, session.interfaces):
            return "its ticket is somebody else's"
        if stay.taker is not None:
            return "another login with its ticket is in progress"
        if not stay.lost and not self._tickets.isNewest(stay, claim.token):
            return "its ticket was used already"
        if claim.received > stay.journal.last:
            return "its client claims to have more than it was sent"
        if connectionOf(theirs.mind) is connectionOf(session.mind):
            return "the connection that its ticket is for is not lost"
        return None

    def _welcome(self, session: Session[A], received: int) -> None:
        """
        A client can come back some day.
        """
        journal = Journal(self.terms.backlog, received, self.reactor)
        keepJournal(session, journal)
        journal.begin(session.mind)

    def _stay(self, session: Session[A], avatar: A) -> A:
        """
        A stay begins.
        """
        journal = journalFor(session)
        assert journal is not None
        self._belong(Stay(session, journal))
        return avatar

    def _moveTo(self, session: Session[A], stay: Stay[A], received: int) -> A:
        """
        A stay belongs to another session from now on.
        """
        former = stay.session
        del self._stays[former], self.lost[stay]
        stay.belong(session)
        stay.journal.resume(received)
        keepJournal(session, stay.journal)
        avatar = self.inners.handOver(former, session)
        self._belong(stay)
        return avatar

    def _belong(self, stay: Stay[A]) -> None:
        self._stays[stay.session] = stay
        inner = self.inners.of(stay.session)
        assert inner is not None
        standOn(inner, partial(self._endAbove, stay))

    def _endAbove(
        self, stay: Stay[A], reason: BaseException | None, end: Callable[[Session], object]
    ) -> None:
        """
        The avatar must go, whether anybody comes back or not.
        """
        end(stay.session)
        if stay.lost:
            self._drop(stay)

    def _letGo(self, ignored: None, stay: Stay[A]) -> None:
        """
        A session is held no longer, and its avatar goes, unless it belongs to another one.
        """
        if stay.lost and not stay.over:
            self._finish(stay)

    def _dropOldest(self) -> None:
        """
        Too many wait for their clients.
        """
        oldest = next(iter(self.lost))
        self._log.warn(
            "an avatar of {avatarId!r} is not kept any longer: {number} wait for their clients",
            avatarId=oldest.session.avatarId,
            number=self.terms.maximumLost,
        )
        self._drop(oldest)

    def _drop(self, stay: Stay[A]) -> Deferred[None] | None:
        """
        Do not wait for a client any more.
        """
        self._finish(stay)
        letGo(stay.session)
        return self._close(stay) if stay.parked else None

    def _finish(self, stay: Stay[A]) -> None:
        """
        Nobody can come back to a stay.
        """
        stay.over = stay.journal.over = True
        stay.wait(None)
        self._tickets.void(stay)
        self.lost.pop(stay, None)

    def _close(self, stay: Stay[A]) -> Deferred[None]:
        """
        Let an avatar go.
        """
        self._finish(stay)
        del self._stays[stay.session]
        stay.journal.close()
        return self.inners.release(stay.session)
