"""
Sessions that have lost their clients, and are held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    Block,
    CanonicalId,
    ClientLost,
    ConnectionCounter,
    ConnectionLimit,
    Displaced,
    Farewell,
    IAvatarSource,
    Kicked,
    LoggedOut,
    RealmClosed,
    RealmFailed,
    Session,
    TooManyConnections,
    Unresponsive,
    displaceOldest,
    displaceUnresponsive,
)
from avatarkit._realm.plan import Resuming
from avatarkit._realm.session import hold, isLoss, letGo, takeOver
from avatarkit.testing import FakeMind
from minds import login
from scripted import Boom, IThing, Thing

# Any in this module: minds, and what a login returns.


@implementer(IAvatarSource)
@attrs.define(eq=False)
class Keeper:
    """
    A source that holds each session that is lost.

    @ivar lost: what the next session takes over.
    @ivar said: what it was asked to do.
    @ivar proceeding: called with a session that is about to be logged in.
    """

    lost: Session | None = None
    said: list[str] = attrs.field(factory=list)
    proceeding: Callable[[Session], object] = lambda session: None

    def claim(self, session: Session) -> None:
        """
        Have it take over another one.
        """
        self.said.append(f"claim {session.avatarId!r}")
        takeOver(session, self.lost)

    def unclaim(self, session: Session) -> None:
        """
        It is over.
        """
        self.said.append("unclaim")

    def acquire(self, session: Session) -> Thing:
        """
        Make an avatar.
        """
        self.said.append("acquire")
        return Thing()

    def release(self, session: Session) -> None:
        """
        Nothing is kept.
        """
        self.said.append("release")

    def proceed(self, session: Session) -> None:
        """
        It is logged in.
        """
        self.said.append("proceed")
        self.proceeding(session)

    def keep(self, session: Session) -> Deferred[None] | None:
        """
        Hold it.
        """
        self.said.append("keep")
        return hold(session) if isLoss(session.reason) else None

    def close(self) -> None:
        """
        Nothing is kept.
        """


@attrs.define(eq=False)
class Saying(Block[Any]):
    """
    A block that says what it does.
    """

    said: list[str]

    def admit(self, session: Session) -> None:
        """
        Say so.
        """
        self.said.append(f"admit {session.avatarId!r}")

    def release(self, session: Session) -> None:
        """
        Say so.
        """
        self.said.append("give back")

    def attached(self, session: Session) -> None:
        """
        Say so.
        """
        self.said.append("attached")

    def detached(self, session: Session) -> None:
        """
        Say so.
        """
        self.said.append("detached")


class HeldTests(SynchronousTestCase):
    """
    A session that is held keeps everything that it has.
    """

    def setUp(self) -> None:
        """
        Start with a limit of one.
        """
        self.keeper, self.clock = Keeper(), Clock()
        self.counter = ConnectionCounter[Any]()
        self.stack(ConnectionLimit(1))

    def stack(self, limit: ConnectionLimit) -> None:
        """
        Stack a limit on the rest.
        """
        self.limit = limit
        self.realm = limit(self.counter(self.keeper))
        self.realm.reactor = self.clock

    def lost(self) -> Session:
        """
        Return the session of a client that is lost.
        """
        mind = FakeMind()
        login(self.realm, mind)
        session = next(each for each in self.realm.sessions if each.mind is mind)
        assert not session.held
        mind.disconnect()
        session.logout(ClientLost())
        assert session.held
        return session

    def test_order(self) -> None:
        """
        What a session takes over is known before it is admitted, except by the blocks on top of
        all, which may give it another ID; and when it has ended, it may be held before anything
        else happens.
        """
        said = self.keeper.said
        realm = CanonicalId()(Farewell()(Saying(said)(self.keeper)))
        logout = login(realm, FakeMind(), b"Alice")
        opening = ["claim b'alice'", "admit b'alice'", "acquire", "attached", "proceed"]
        assert said == opening
        logout()
        assert said == [*opening, "keep", "detached", "release", "give back", "unclaim"]
        assert isinstance(self.keeper, Resuming)

    def test_held(self) -> None:
        """
        A held session has ended, has a reason, is one of its realm's, and is counted.
        """
        session = self.lost()
        assert session.ended
        assert isinstance(session.reason, ClientLost)
        assert session in self.realm.sessions
        assert self.counter[b"alice"] == 1
        assert self.limit.sessions(b"alice") == (session,)
        assert self.realm.audit() == []

    def test_asLongAsItTakes(self) -> None:
        """
        It is held longer than anything else that is undone may take.
        """
        session = self.lost()
        closed = session.whenClosed()
        self.clock.advance(3600)
        assert session.held
        assert not closed.called
        letGo(session)
        assert not session.held
        assert closed.called
        assert b"alice" not in self.counter
        letGo(session)

    def test_lostAgain(self) -> None:
        """
        It stays held when it ends once more because its client is lost, which is what a logout
        means whose client is gone.
        """
        session = self.lost()
        for reason in (ClientLost(), Unresponsive(), None):
            session.logout(reason)
            assert session.held

    def test_ended(self) -> None:
        """
        Whatever else ends it lets go of it.
        """
        endings: list[Callable[[Session], object]] = [
            lambda session: session.logout("spam"),
            lambda session: session.logout(LoggedOut()),
            lambda session: session.disconnect(),
            lambda session: self.realm.disconnect(b"alice"),
            lambda session: self.realm.close(),
        ]
        for end in endings:
            session = self.lost()
            closed = session.whenClosed()
            end(session)
            assert closed.called
            assert isinstance(session.reason, ClientLost)
        assert self.refused().check(RealmClosed)

    def refused(self) -> Failure:
        """
        Return what a login fails with.
        """
        login: Deferred[Any] = maybeDeferred(self.realm.requestAvatar, b"alice", FakeMind(), IThing)
        failure: Failure = self.failureResultOf(login)
        return failure

    def test_notHeld(self) -> None:
        """
        Only a session that has lost its client is held.
        """
        for reason in (None, "spam", LoggedOut(), Kicked()):
            mind = FakeMind()
            login(self.realm, mind)
            (session,) = self.realm.sessions
            session.logout(reason)
            assert not session.held
            assert not self.realm.sessions

    def test_full(self) -> None:
        """
        It keeps its place: another login of its user is refused.
        """
        self.lost()
        assert self.refused().check(TooManyConnections)

    def test_displaced(self) -> None:
        """
        A login that displaces others displaces it at once.
        """
        for policy in (displaceOldest(), displaceUnresponsive(reactor=self.clock)):
            self.stack(ConnectionLimit(1, whenFull=policy, reactor=self.clock))
            session = self.lost()
            again = self.realm.requestAvatar(b"alice", FakeMind(), IThing)
            self.clock.advance(0)
            assert session.whenClosed().called
            if isinstance(again, Deferred):
                self.successResultOf(again)
            (there,) = self.realm.sessions
            assert not there.ended
            assert self.realm.audit() == []
            there.logout()

    def test_inherited(self) -> None:
        """
        A session that takes over a lost one has its slot, from the moment at which it is admitted.
        """
        self.keeper.lost = self.lost()
        logout = login(self.realm, FakeMind())
        (there,) = self.limit.sessions(b"alice")
        assert there.resumes is self.keeper.lost
        assert not there.ended
        assert self.counter[b"alice"] == 2
        assert self.realm.audit() == []
        letGo(self.keeper.lost)
        assert self.limit.sessions(b"alice") == (there,)
        assert self.counter[b"alice"] == 1
        assert self.realm.audit() == []
        logout()
        assert self.limit.sessions(b"alice") == ()

    def test_inheritedAndLost(self) -> None:
        """
        If its login fails after that, the slot is free, even while the lost one is still held.
        """

        def fail(session: Session) -> None:
            raise Boom

        lost = self.keeper.lost = self.lost()
        self.keeper.proceeding = fail
        assert self.refused().check(RealmFailed)
        self.flushLoggedErrors(Boom)
        assert self.limit.sessions(b"alice") == ()
        letGo(lost)
        assert self.realm.audit() == []

    def test_notInherited(self) -> None:
        """
        It has no slot to take over if the lost one has another key, has lost its own, or must go.
        """
        lost = self.lost()
        self.limit.key = lambda session: id(session)
        self.keeper.lost = lost
        logout = login(self.realm, FakeMind())
        assert self.limit.sessions(b"alice") == (lost,)
        logout()
        self.limit.key = lambda session: session.avatarId
        lost.logout(Displaced())
        logout = login(self.realm, FakeMind())
        assert lost not in self.limit.sessions(b"alice")
        logout()
        assert self.realm.audit() == []

    def test_notInheritedFromLeaving(self) -> None:
        """
        Nor if the lost one is leaving for somebody else, and has not left yet.
        """
        leaving: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def detached(self, session: Session) -> Deferred[None]:
                leaving.append(Deferred())
                return leaving[-1]

        self.realm = Slow()(self.realm)
        self.keeper.lost = lost = self.lost()
        lost.logout(Displaced())
        assert self.limit.sessions(b"alice") == (lost,)
        assert self.refused().check(TooManyConnections)
        leaving[0].callback(None)
        assert self.limit.sessions(b"alice") == ()

    def test_anotherLimit(self) -> None:
        """
        Nor if the lost one is another realm's, and holds no slot of this limit.
        """
        self.keeper.lost = lost = self.lost()
        other = ConnectionLimit[Any](1)
        logout = login(other(self.keeper), FakeMind())
        assert len(other.sessions(b"alice")) == 1
        assert self.limit.sessions(b"alice") == (lost,)
        logout()
