"""
What becomes of avatars whose clients are lost.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from avatarkit import (
    Block,
    ClientLost,
    ConnectionLimit,
    Evicted,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    LoginRefused,
    Resume,
    Session,
    TooManyConnections,
    Unresponsive,
    displaceOldest,
)
from avatarkit._push.journal import mayComeBack
from avatarkit.testing import FakeMind
from logs import logged
from returning import ResumeTestCase, comer, ticketOf, wasBack
from scripted import IThing

# Any in this module: what a login returns.


@attrs.define(eq=False)
class Failing(Block[Any]):
    """
    A block that lets nobody take over anything.

    @ivar hook: the hook that fails.
    @ivar way: whether it raises or waits.
    """

    hook: str
    way: str

    def admit(self, session: Session) -> object:
        """
        Fail, perhaps.
        """
        return self.fail(session, "admit")

    def attached(self, session: Session) -> object:
        """
        Fail, perhaps.
        """
        return self.fail(session, "attached")

    def fail(self, session: Session, hook: str) -> object:
        """
        Fail in that hook.
        """
        if session.resumes is None or hook != self.hook:
            return None
        if self.way == "raises":
            raise LoginRefused
        return Deferred()


class EndingTests(ResumeTestCase):
    """
    If everything that the session has is kept.
    """

    def test_notLost(self) -> None:
        """
        Only a client that was lost can come back, not one that has left, was kicked, or displaced.
        """
        self.stack()
        for reason in (None, "spam", LoggedOut(), Kicked(mayReturn=5)):
            mind = comer()
            self.login(mind)
            self.session(mind).logout(reason)
            assert self.heroes[-1].over
            self.refused(ticketOf(mind), "its ticket is not good, or not any more")

    def test_leaving(self) -> None:
        """
        A client that was kicked cannot come back while its session is being undone, and is pushed
        nothing.
        """
        leaving: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def detached(self, session: Session) -> Deferred[None]:
                leaving.append(Deferred())
                return leaving[-1]

        self.stack(Slow())
        mind = comer()
        self.login(mind)
        session = self.session(mind)
        session.logout("spam")
        assert not mayComeBack(session)
        self.refused(ticketOf(mind), "its ticket is not good, or not any more")
        leaving[0].callback(None)
        assert self.heroes[0].over

    def test_unresponsive(self) -> None:
        """
        A client that gave no sign of life can come back, too.
        """
        mind = comer()
        self.login(mind)
        self.session(mind).disconnect(Unresponsive(), timeout=0, reactor=self.clock)
        self.clock.advance(0)
        again = comer(ticketOf(mind))
        self.login(again)
        assert wasBack(again)

    def test_evicted(self) -> None:
        """
        An avatar that must go, because of something below, goes although its client is lost.
        """
        self.lost()
        self.successResultOf(self.cache.evict(b"alice"))
        self.clean()

    def test_evictedThere(self) -> None:
        """
        It goes if its client is there, and that one cannot come back.
        """
        self.stack()
        mind = comer()
        self.login(mind)
        session = self.session(mind)
        self.successResultOf(self.cache.evict(b"alice"))
        assert isinstance(session.reason, Evicted)
        self.refused(ticketOf(mind), "its ticket is not good, or not any more")

    def test_endedBelow(self) -> None:
        """
        A block below ends an avatar, even if it says nothing or that its client is lost.
        """
        inner: list[Session] = []

        class Noting(Block[Any]):
            def admit(self, session: Session) -> None:
                inner.append(session)

        resume = Resume[Any](hold=self.hold, reactor=self.clock)
        self.realm = resume(Noting()(lambda avatarId: self.build(inner[-1])))
        for reason in (None, ClientLost(), "spam"):
            for there in (True, False):
                mind = comer()
                self.login(mind)
                if not there:
                    self.lose(mind)
                inner[-1].logout(reason)
                assert inner[-1].whenClosed().called
                assert resume.waiting == 0
                assert not self.realm.sessions

    def test_closed(self) -> None:
        """
        A realm that closes waits for no client.
        """
        self.lost()
        self.successResultOf(self.realm.close(reactor=self.clock))
        self.clean()

    def test_drained(self) -> None:
        """
        Nor does one that lets nobody in any more; and a client that is lost later cannot come back.
        """
        self.stack()
        mind = comer()
        self.login(mind)
        self.lost()
        drained = self.realm.drain()
        assert self.resume.waiting == 0
        assert [each.over for each in self.heroes] == [False, True]
        self.lose(mind)
        self.successResultOf(drained)
        self.clean()

    def test_closedMany(self) -> None:
        """
        Even if there are many.
        """
        for number in range(300):
            mind = comer()
            self.login(mind, number)
            self.lose(mind)
        closed = self.realm.close(reactor=self.clock)
        self.clock.advance(0)
        self.successResultOf(closed)
        for each in self.clock.getDelayedCalls():
            each.cancel()  # slices that have nothing left to do
        self.clean()

    def test_closedWhileAsked(self) -> None:
        """
        A realm that closes while a client is asked whether it comes back leaves nothing behind.
        """
        token = self.lost()
        answer: Deferred[object] = Deferred()
        login = self.realm.requestAvatar(b"alice", FakeMind({"sessionClaim": answer}), IThing)
        self.successResultOf(self.realm.close(reactor=self.clock))
        assert isinstance(login, Deferred)
        self.failureResultOf(login)
        answer.callback((token, 0))
        self.clean()

    def test_failed(self) -> None:
        """
        If the login that takes over a session fails, nobody has what that had; wherever it fails.
        """
        for hook in ("admit", "attached"):
            for way in ("raises", "waits"):
                failing = Failing(hook, way)
                self.stack(self.limit, failing)
                mind = comer(self.lost())
                if way == "raises":
                    self.assertRaises(LoginRefused, self.login, mind)
                else:
                    login = self.realm.requestAvatar(b"alice", mind, IThing)
                    mind.disconnect()
                    assert isinstance(login, Deferred)
                    self.failureResultOf(login)
                self.clean()

    def test_takenTooLate(self) -> None:
        """
        If the lost session is ended while another one is about to take it over, that one is a new
        session.
        """
        wait: Deferred[None] = Deferred()

        class Waiting(Block[Any]):
            def admit(self, session: Session) -> Deferred[None] | None:
                return None if session.resumes is None else wait

        self.stack(Waiting())
        mind = comer()
        self.login(mind)
        former = self.lose(mind)
        again = comer(ticketOf(mind))
        login = self.realm.requestAvatar(b"alice", again, IThing)
        self.end(former)
        wait.callback(None)
        assert isinstance(login, Deferred)
        self.successResultOf(login)
        assert not wasBack(again)
        assert self.session(again).resumes is None
        assert [each.over for each in self.heroes] == [True, False]
        assert self.realm.audit() == []
        self.lose(again)
        last = comer(ticketOf(again))
        self.resume.hold = True
        wait = Deferred()
        wait.callback(None)
        self.login(last)
        assert wasBack(last)

    def end(self, lost: Session) -> None:
        """
        End a lost session.
        """
        lost.logout("spam")

    def test_endedWhileAsked(self) -> None:
        """
        A login that is ended while its client is asked takes over nothing.
        """
        token = self.lost()

        def answer() -> tuple[bytes, int]:
            self.session(mind).logout("spam")
            return token, 0

        mind = FakeMind({"sessionClaim": answer, "sessionTicket": None})
        self.assertRaises(LoginAbandoned, self.login, mind)
        assert self.resume.waiting == 1
        again = comer(token)
        self.login(again)
        assert wasBack(again)

    def test_goneAtLast(self) -> None:
        """
        A client that is gone when it is about to be logged in is not waited for.
        """

        class Killing(Block[Any]):
            def attached(self, session: Session) -> None:
                session.mind.disconnected = True

        self.stack(self.limit, Killing())
        answer: Deferred[object] = Deferred()
        mind = FakeMind({"sessionClaim": answer})
        login = self.realm.requestAvatar(b"alice", mind, IThing)
        answer.callback((b"", 0))
        assert isinstance(login, Deferred)
        assert self.failureResultOf(login).check(LoginAbandoned)
        self.clean()

    def test_slowLogin(self) -> None:
        """
        The window goes on while a client comes back, until it has its avatar: one whose login takes
        longer has a new one.
        """
        waits: list[Deferred[None]] = []

        class Waiting(Block[Any]):
            def admit(self, session: Session) -> Deferred[None] | None:
                if session.resumes is None:
                    return None
                waits.append(Deferred())
                return waits[-1]

        self.stack(Waiting())
        for seconds, isBack in ((59, True), (60, False)):
            mind = comer(self.lost())
            login = self.realm.requestAvatar(b"alice", mind, IThing)
            self.clock.advance(seconds)
            waits.pop().callback(None)
            assert isinstance(login, Deferred)
            self.successResultOf(login)
            assert wasBack(mind) is isBack
            self.session(mind).logout()
        self.clean()

    def test_bound(self) -> None:
        """
        Of more avatars than may wait, the one that has waited longest goes.
        """
        self.resume.maximumLost = 2
        with logged() as said:
            for number in range(5):
                mind = comer()
                self.login(mind, number)
                self.lose(mind)
        assert said == [
            f"warn: an avatar of {number} is not kept any longer: 2 wait for their clients"
            for number in range(3)
        ]
        assert self.resume.waiting == 2
        assert [each.over for each in self.heroes] == [True, True, True, False, False]
        assert self.realm.audit() == []

    def test_audited(self) -> None:
        """
        What is wrong is found.
        """
        self.stack()
        mind = comer()
        self.login(mind)
        self.lost()
        comebacks: Any = self.resume._comebacks
        there, lost = comebacks._stays.values()
        lost.wait(None)
        assert self.realm.audit() == [f"the avatar of {lost.session!r} waits for ever"]
        there.lost = True
        assert "it is wrong that the client" in self.realm.audit()[0]
        there.lost = False
        inner = comebacks.inners._inner.pop(there.session)
        assert self.realm.audit()[-1] == f"{there.session!r} has no avatar"
        comebacks.inners._inner[there.session] = inner
        comebacks._stays[there.session].session = Session(self.realm, (), b"x", None, ())
        assert "is gone, but its avatar is not" in self.realm.audit()[0]


class EndingAvatarTests(EndingTests):
    """
    If only the avatar is kept.
    """

    hold = False

    def end(self, lost: Session) -> None:
        """
        End what is kept.
        """
        self.clock.advance(60)
        self.successResultOf(self.cache.evict(b"alice"))


class HoldTests(ResumeTestCase):
    """
    What is kept besides the avatar.
    """

    def test_online(self) -> None:
        """
        Its user stays online, and its place is taken.
        """
        self.lost()
        assert self.counter[b"alice"] == 1
        self.assertRaises(TooManyConnections, self.login, comer())

    def test_elsewhere(self) -> None:
        """
        A login from elsewhere displaces it at once, if the limit says so.
        """
        self.stack(ConnectionLimit(1, whenFull=displaceOldest(), reactor=self.clock))
        self.lost()
        self.login(comer())
        assert [each.over for each in self.heroes] == [True, False]
        assert self.resume.waiting == 0

    def test_kicked(self) -> None:
        """
        Whoever ends the session of its user ends this one.
        """
        token = self.lost()
        self.successResultOf(self.realm.disconnect(b"alice", reactor=self.clock))
        self.clean()
        self.refused(token, "its ticket is not good, or not any more")

    def test_attachedFirst(self) -> None:
        """
        The new session is there before the lost one goes, and knows which one that is.
        """
        said: list[str] = []

        class Saying(Block[Any]):
            def attached(self, session: Session) -> None:
                said.append(f"attached, takes over {len(lost)}" if session.resumes else "attached")
                assert session.resumes in (None, *lost)

            def detached(self, session: Session) -> None:
                said.append("detached")

        self.stack(self.limit, Saying())
        lost: list[Session] = []
        mind = comer()
        self.login(mind)
        lost.append(self.lose(mind))
        self.login(comer(ticketOf(mind)))
        assert said == ["attached", "attached, takes over 1", "detached"]


class NoHoldTests(ResumeTestCase):
    """
    What is not.
    """

    hold = False

    def test_offline(self) -> None:
        """
        Its user is offline, and its place is free, also for another login.
        """
        token = self.lost()
        assert b"alice" not in self.counter
        assert not self.realm.sessions
        mind = comer()
        self.login(mind)
        assert len(self.heroes) == 2
        self.assertRaises(TooManyConnections, self.login, comer(token))
        self.session(mind).logout()
        self.clean()

    def test_notGoneYet(self) -> None:
        """
        If the lost session is still being undone, its client waits for that before it is admitted.
        """
        leaving: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def detached(self, session: Session) -> Deferred[None]:
                leaving.append(Deferred())
                return leaving[-1]

        self.stack(self.limit, Slow())
        mind = comer()
        self.login(mind)
        self.lose(mind)
        again = comer(ticketOf(mind))
        login = self.realm.requestAvatar(b"alice", again, IThing)
        assert isinstance(login, Deferred)
        self.assertNoResult(login)
        leaving[0].callback(None)
        self.successResultOf(login)
        assert wasBack(again)

    def test_leavesMeanwhile(self) -> None:
        """
        If it leaves meanwhile, nobody has the avatar.
        """
        leaving: list[Deferred[None]] = []

        class Slow(Block[Any]):
            def detached(self, session: Session) -> Deferred[None]:
                leaving.append(Deferred())
                return leaving[-1]

        self.stack(self.limit, Slow())
        mind = comer()
        self.login(mind)
        self.lose(mind)
        again = comer(ticketOf(mind))
        login = self.realm.requestAvatar(b"alice", again, IThing)
        again.disconnect()
        assert isinstance(login, Deferred)
        self.failureResultOf(login)
        leaving[0].callback(None)
        self.clean()
