"""
Clients that come back to their avatars, without a network.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from avatarkit import (
    Block,
    CanonicalId,
    ClientLost,
    Heartbeat,
    LoginRefused,
    MindRegistry,
    Resume,
    Session,
)
from avatarkit.testing import FakeMind
from logs import logged
from returning import Hero, ResumeTestCase, comer, ticketOf, wasBack
from scripted import Boom, IOther, IThing, Thing

# Any in this module: what a login returns.


class ResumeTests(ResumeTestCase):
    """
    If everything that the session has is kept.
    """

    def test_back(self) -> None:
        """
        A client that was lost, and comes back in time with its token, has its avatar again.
        """
        token = self.lost()
        assert self.resume.waiting == 1
        self.clock.advance(59)
        mind = comer(token)
        logout = self.login(mind)
        assert wasBack(mind)
        (hero,) = self.heroes
        assert self.session(mind).avatar is hero
        assert not hero.over
        assert self.resume.waiting == 0
        comebacks: Any = self.resume._comebacks
        assert not comebacks._taking
        assert comebacks.inners.of(self.session(mind))._upper is self.session(mind)
        assert self.counter[b"alice"] == 1
        assert self.limit.sessions(b"alice") == (self.session(mind),)
        assert self.realm.audit() == []
        self.clock.advance(100)
        assert not hero.over
        logout()
        self.clean()

    def test_late(self) -> None:
        """
        When the window is over the avatar goes, and the token is worth nothing.
        """
        token = self.lost()
        self.clock.advance(60)
        self.clean()
        self.refused(token, "its ticket is not good, or not any more")

    def test_forged(self) -> None:
        """
        A token that nobody was given is refused.
        """
        self.stack()
        self.lost()
        self.refused(b"x" * 32, "its ticket is not good, or not any more")
        assert self.resume.waiting == 1

    def test_reused(self) -> None:
        """
        So is one that was used, by a client that has the next one.
        """
        self.stack()
        token = self.lost()
        mind = comer(token)
        self.login(mind)
        self.refused(token, "its ticket is not good, or not any more")
        self.lose(mind)
        self.refused(token, "its ticket is not good, or not any more")

    def test_unconfirmed(self) -> None:
        """
        A token is good for once more if the connection is lost before the next one has arrived.
        """
        token = self.lost()
        for _ in range(3):
            mind = comer(token)
            mind.answers = {"sessionClaim": (token, 0)}
            self.login(mind)
            assert wasBack(mind)
            self.lose(mind)
        assert len(self.heroes) == 1
        assert ticketOf(mind) != token
        self.login(comer(token))
        assert len(self.heroes) == 1
        assert self.realm.audit() == []

    def test_usedAlready(self) -> None:
        """
        But not while the session that it was used for is there.
        """
        self.stack()
        token = self.lost()
        mind = FakeMind({"sessionClaim": (token, 0)})
        self.login(mind)
        assert wasBack(mind)
        other = self.refused(token, "its ticket was used already")
        self.lose(other)
        newest = comer(ticketOf(mind))
        self.login(newest)
        assert wasBack(newest)

    def test_confirmedLate(self) -> None:
        """
        That a client has its ticket may be said when that is worth nothing any more.
        """
        has: Deferred[None] = Deferred()
        mind = FakeMind({"sessionClaim": (b"", 0), "sessionTicket": has})
        self.login(mind)()
        has.callback(None)
        self.clean()

    def test_heartbeat(self) -> None:
        """
        What a heartbeat asks a client is no push: it is not kept, and pushes nothing else out.
        """
        online, beats = MindRegistry[Any](reactor=self.clock), Heartbeat[Any](1, reactor=self.clock)
        resume = Resume[Any](reactor=self.clock, backlog=2)
        realm = beats(online(resume(lambda avatarId: Thing())))
        mind = comer()
        realm.requestAvatar(b"alice", mind, IThing)
        for number in (1, 2):
            online[b"alice"].callRemote("news", number, pbanswer=False)
        for _ in range(30):
            self.clock.advance(0.1)
        assert [each.name for each in mind.calls if each.name == "ping"]
        mind.disconnect()
        again = comer(ticketOf(mind))
        realm.requestAvatar(b"alice", again, IThing)
        self.clock.advance(0)
        pushed = [each.args for each in again.calls if each.name == "sessionPush"]
        assert pushed == [(1, "news", (1,), {}), (2, "news", (2,), {})]
        self.successResultOf(realm.close(reactor=self.clock))

    def test_newerOfTwo(self) -> None:
        """
        Its client may have the new one after all; then the old one is good no more.
        """
        token = self.lost()
        mind = FakeMind({"sessionClaim": (token, 0)})
        self.login(mind)
        self.lose(mind)
        again = comer(ticketOf(mind))
        self.login(again)
        assert wasBack(again)
        self.lose(again)
        self.stack()
        self.refused(token, "its ticket is not good, or not any more")

    def test_stolen(self) -> None:
        """
        A token is worth nothing to another user, or to one who asks for another interface; and it
        stays good for its owner.
        """
        self.stack()
        mind = comer()
        self.login(mind, b"bob")
        self.lose(mind)
        self.refused(ticketOf(mind), "its ticket is somebody else's")
        other = comer(ticketOf(mind))
        self.login(other, b"bob", IThing, IOther)
        assert not wasBack(other)
        back = comer(ticketOf(mind))
        self.login(back, b"bob")
        assert wasBack(back)

    def test_secondClaim(self) -> None:
        """
        While a login takes over a session, another one with the same token is refused.
        """
        waits: list[Deferred[None]] = []

        class Waiting(Block[Any]):
            def admit(self, session: Session) -> Deferred[None] | None:
                if session.resumes is None:
                    return None
                waits.append(Deferred())
                return waits[-1]

        self.stack(Waiting())
        token = self.lost()
        mind = comer(token)
        login = self.realm.requestAvatar(b"alice", mind, IThing)
        self.refused(token, "another login with its ticket is in progress")
        (wait,) = waits
        wait.callback(None)
        assert isinstance(login, Deferred)
        self.successResultOf(login)
        assert wasBack(mind)

    def test_tooMuch(self) -> None:
        """
        A client that claims to have more than it was sent is refused.
        """
        self.stack()
        token = self.lost()
        self.refused(token, "its client claims to have more than it was sent", received=1)

    def test_nonsense(self) -> None:
        """
        A client that answers with anything else, with a failure, or not in time, logs in as ever;
        of the first there is a warning.
        """
        self.stack()
        answers: list[object] = [
            *(None, 5, b"", (), (b"",), (b"", 0, 0), ("", 0), (b"x" * 65, 0), [None, None]),
            *((b"", -1), (b"", True), (b"", 2**62 + 1), (b"", 1.0), (b"", "1")),
            *(LoginRefused(), Deferred()),
        ]
        for answer in answers:
            mind = FakeMind({"sessionClaim": answer})
            with logged() as said:
                login = self.realm.requestAvatar(b"alice", mind, IThing)
            warned = "warn: a login of b'alice' takes over nothing: what its client says of itself"
            failed = isinstance(answer, (Deferred, LoginRefused))
            assert [each for each in said if each.startswith("warn")] == [
                f"{warned} is no claim"
            ] * (not failed)
            if isinstance(answer, Deferred):
                self.clock.advance(4.9)
                assert isinstance(login, Deferred)
                self.assertNoResult(login)
                self.clock.advance(0.2)
                self.successResultOf(login)
                answer.callback((b"", 0))
            assert [each.name for each in mind.calls] == ["sessionClaim"]
            self.lose(mind)
            assert self.resume.waiting == 0
        assert not self.realm.sessions
        assert self.realm.audit() == []

    def test_raisingMind(self) -> None:
        """
        A mind that raises when it is asked, or has nothing to be asked with, cannot come back.
        """

        class Raising:
            def callRemote(self, *args: object, **kw: object) -> None:
                raise Boom

        self.stack()
        for mind in (Raising(), 5):
            self.login(mind)
            self.session(mind).logout(ClientLost())
            assert self.heroes[-1].over

    def test_mindless(self) -> None:
        """
        A login without a mind is not asked anything, and waits for nothing.
        """
        started: list[object] = []
        self.patch(self.clock, "callLater", lambda *args: started.append(args))
        result = self.realm.requestAvatar(b"alice", None, IThing)
        assert isinstance(result, tuple)
        assert started == []
        result[2]()
        self.clean()

    def test_answersAtOnce(self) -> None:
        """
        A login does not wait longer than its client does.
        """
        assert isinstance(self.realm.requestAvatar(b"alice", comer(), IThing), tuple)

    def test_notNoticed(self) -> None:
        """
        A client may come back before the server has noticed that it was lost: its old connection is
        then closed by force.
        """
        mind = comer()
        self.login(mind)
        former = self.session(mind)
        again = comer(ticketOf(mind))
        mind.stalled = True
        self.login(again)
        assert wasBack(again)
        assert isinstance(former.reason, ClientLost)
        assert former.whenClosed().called
        self.clock.advance(0)
        assert mind.closings == ["lose", "abort"]
        assert len(self.heroes) == 1
        assert self.realm.audit() == []

    def test_sameConnection(self) -> None:
        """
        A second login over the connection that a ticket is for takes over nothing.
        """
        self.stack()
        mind = comer()
        self.login(mind)
        token = ticketOf(mind)
        mind.answers = {"sessionClaim": (token, 0)}
        with logged() as said:
            self.login(mind)
        assert "the connection that its ticket is for is not lost" in said[-1]
        assert len(self.heroes) == 2

    def test_again(self) -> None:
        """
        A client may come back again and again.
        """
        token = self.lost()
        for _ in range(100):
            mind = comer(token)
            self.login(mind)
            assert wasBack(mind)
            former = self.lose(mind)
            assert former.resumes is None
            token = ticketOf(mind)
            self.clock.advance(30)
        assert len(self.heroes) == 1
        self.clock.advance(60)
        self.clean()

    def test_canonical(self) -> None:
        """
        Who comes back is told by the canonical avatar ID.
        """
        self.stack()
        self.realm = CanonicalId()(self.realm)
        mind = comer()
        self.login(mind, b"Alice")
        self.lose(mind)
        again = comer(ticketOf(mind))
        self.login(again, b"alicE")
        assert wasBack(again)

    def test_interface(self) -> None:
        """
        The interface that somebody else's realm has chosen stays chosen.
        """

        class Foreign:
            logouts = 0

            def requestAvatar(self, avatarId: object, mind: object, *interfaces: Any) -> Any:
                return IOther, Hero(), self.logout

            def logout(self) -> None:
                self.logouts += 1

        foreign = Foreign()
        resume = Resume[Any](hold=self.hold, reactor=self.clock)
        self.realm = resume(foreign)
        mind = comer()
        self.login(mind, b"alice", IThing, IOther)
        self.lose(mind)
        again = comer(ticketOf(mind))
        self.login(again, b"alice", IThing, IOther)
        assert self.session(again).interface is IOther
        assert foreign.logouts == 0
        self.session(again).logout()
        assert foreign.logouts == 1


class ResumeAvatarTests(ResumeTests):
    """
    If only the avatar is kept.
    """

    hold = False
