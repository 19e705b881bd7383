"""
Tests for L{avatarkit.Heartbeat}, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    ClientLost,
    Farewell,
    Heartbeat,
    MindRegistry,
    Session,
    Unresponsive,
)
from avatarkit._liveness.heartbeat import UNANSWERED
from avatarkit.testing import FakeConnection, FakeMind, MemoryPortal, checkBlock, login
from logs import logged
from players import Client, Player
from scripted import Boom
from ticking import Ticking

# Any in this module: realms, and what minds are.

#: By how many seconds a client may be ended too late: two ticks.
LATE = 0.3


class HeartbeatTestCase(SynchronousTestCase):
    """
    A realm with a heartbeat of 30 and 90 seconds.
    """

    def setUp(self) -> None:
        """
        Have a realm, and a clock.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.heartbeat: Heartbeat[Any] = Heartbeat(reactor=self.clock)
        self.realm: Any = self.heartbeat(Player)

    def tearDown(self) -> None:
        """
        Closing the realm leaves no timer, and nothing else.
        """
        assert self.realm.audit() == []
        self.successResultOf(self.realm.close(timeout=None))
        assert not self.clock.getDelayedCalls()
        assert self.heartbeat._pings == {}
        assert self.heartbeat._heard == {}

    def login(self, mind: object, connection: FakeConnection | None = None) -> Session:
        """
        Log in.
        """
        if connection is not None:
            connection.lastReceived = self.clock.seconds()
        login(self.realm, b"alice", mind=mind, connection=connection)
        session: Session = list(self.realm.sessions)[-1]
        return session

    def run_(self, seconds: float) -> None:
        """
        Let time pass, as it does for a reactor that has its turns.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(0.1, end - self.clock.seconds()))

    def lifeOf(self, session: Session) -> float:
        """
        Return after how many seconds a session is ended, more than 1,000 if never.
        """
        began = self.clock.seconds()
        while not session.ended and self.clock.seconds() < began + 1000:
            self.clock.advance(0.1)
        return self.clock.seconds() - began


def pings(mind: FakeMind) -> int:
    """
    Return how often a client was asked.
    """
    assert {call.name for call in mind.calls} <= {"ping"}
    return len(mind.calls)


class SilenceTests(HeartbeatTestCase):
    """
    One client over one connection.
    """

    def setUp(self) -> None:
        """
        Log in.
        """
        super().setUp()
        self.mind, self.connection = FakeMind(), FakeConnection()
        self.session = self.login(self.mind, self.connection)

    def hear(self) -> None:
        """
        Something arrives.
        """
        self.connection.lastReceived = self.clock.seconds()

    def test_busy(self) -> None:
        """
        A client that is never silent for long is never asked, and what arrives moves no timer.
        """
        for _ in range(40):
            self.run_(29)
            self.hear()
        assert not self.session.ended
        assert self.mind.calls == []
        assert self.heartbeat._heard == {}
        assert len(self.clock.getDelayedCalls()) == 1

    def test_closedLate(self) -> None:
        """
        A realm that is closed leaves no timer, even if its sessions take too long to close; those
        of other realms are looked at.
        """
        hanging: Deferred[None] = Deferred()

        class Hangs(Block[Any]):
            def detached(self, session: Session) -> object:
                return hanging

        other: Any = Hangs()(self.heartbeat(Player))
        other.closeTimeout = None
        login(other, b"bob", mind=FakeMind(), connection=FakeConnection())
        self.session.logout()
        assert len(self.clock.getDelayedCalls()) == 1
        closing = other.close(timeout=3, reactor=self.clock)
        self.run_(3.1)
        self.successResultOf(closing)
        assert self.clock.getDelayedCalls() == []
        hanging.callback(None)

    def test_asked(self) -> None:
        """
        A silent one is asked once, after as many seconds as it was said.
        """
        self.run_(30)
        self.run_(-0.1)
        assert pings(self.mind) == 0
        self.run_(0.1 + LATE)
        assert pings(self.mind) == 1
        self.run_(59)
        assert pings(self.mind) == 1
        assert not self.session.ended

    def test_dead(self) -> None:
        """
        One that stays silent is ended when its time is over, and not before; its connection is
        aborted at once, and the log says so.
        """
        self.connection.stalled = True
        with logged() as said:
            life = self.lifeOf(self.session)
        assert 90 <= life < 90 + LATE
        assert isinstance(self.session.reason, Unresponsive)
        assert self.connection.closings[-1] == "abort"
        assert said == [
            "info: b'alice' has given no sign of life for 90 seconds, and is disconnected"
        ]

    def test_heard(self) -> None:
        """
        Whatever arrives after the question will do, however late; then the time begins anew.
        """
        self.run_(85)
        self.hear()
        assert 90 <= self.lifeOf(self.session) < 90 + LATE
        assert pings(self.mind) == 2

    def test_heardAtOnce(self) -> None:
        """
        Something that arrives in the same moment in which the client is asked will do as well.
        """
        while not pings(self.mind):
            self.run_(0.1)
        self.hear()
        self.run_(30 + LATE)
        assert pings(self.mind) == 2

    def test_answers(self) -> None:
        """
        A client that answers and does nothing else stays, and is asked whenever it has been silent
        for as long; an answer over a connection that does not notice it is one all the same.
        """
        self.mind.answers = {"ping": None}
        self.run_(600)
        assert not self.session.ended
        assert 19 <= pings(self.mind) <= 20
        self.mind.answers = {}
        assert 60 <= self.lifeOf(self.session) < 90 + LATE

    def test_errors(self) -> None:
        """
        An error is an answer, also that there is no such method.
        """
        for error in (Boom(), pb.NoSuchMethod("remote_ping"), pb.Error("no")):
            self.mind.answers = {"ping": error}
            self.run_(120)
            assert not self.session.ended

    def test_answersLater(self) -> None:
        """
        So is one that comes when the next question has been asked.
        """
        self.run_(31)
        self.hear()
        self.run_(31)
        assert pings(self.mind) == 2
        self.run_(55)
        self.mind.calls[0].answer.callback(None)
        self.run_(25)
        assert pings(self.mind) == 2
        self.run_(6)
        assert pings(self.mind) == 3

    def test_unanswered(self) -> None:
        """
        One that answers nothing, but does other things, is asked a limited number of times, and is
        ended when it has done nothing for long.
        """
        for _ in range(UNANSWERED * 2):
            self.run_(31)
            self.hear()
        assert pings(self.mind) == UNANSWERED
        self.run_(60)
        assert not self.session.ended
        self.run_(30 + LATE)
        assert self.session.ended

    def test_someUnanswered(self) -> None:
        """
        One that answers every other question does not leave more of them unanswered.
        """
        for _ in range(UNANSWERED * 4):
            self.run_(31)
            self.hear()
            if len(self.mind.calls) % 2 and not self.mind.calls[-1].answer.called:
                self.mind.calls[-1].answer.callback(None)
        open_ = [call for call in self.mind.calls if not call.answer.called]
        assert len(open_) == UNANSWERED

    def test_stalledServer(self) -> None:
        """
        A client is not ended because the server was kept from its turns for an hour: it is asked,
        and has its time to answer.
        """
        self.clock.advance(3600)
        assert not self.session.ended
        assert pings(self.mind) == 1
        assert 60 <= self.lifeOf(self.session) < 60 + LATE

    def test_stalledAfterAsking(self) -> None:
        """
        An hour in which the server was kept from its turns does not count for the time that a
        client has to answer, though it was asked before; what arrived meanwhile is read first.
        """
        self.run_(40)
        self.clock.advance(3600)
        assert pings(self.mind) == 1
        self.run_(49)
        assert not self.session.ended
        self.run_(1 + LATE)
        assert self.session.ended

    def test_readFirst(self) -> None:
        """
        What has arrived while the server was kept from its turns is read before anybody is asked.
        """
        self.clock.callLater(3600, self.hear)
        self.clock.advance(3600)
        assert pings(self.mind) == 0
        assert not self.session.ended

    def test_gone(self) -> None:
        """
        A mind that turns out to be dead when it is asked has its session end as lost.
        """
        self.mind.disconnected = True
        self.run_(30 + LATE)
        assert isinstance(self.session.reason, ClientLost)

    def test_cannotAsk(self) -> None:
        """
        A mind that raises says nothing about its client, which stays.
        """

        class Broken(FakeMind):
            def callRemote(self, *args: Any, **kw: Any) -> Any:
                raise Boom

        session = self.login(Broken(), FakeConnection())
        self.run_(500)
        assert not session.ended

    def test_logout(self) -> None:
        """
        A client that logs out is forgotten, and an answer that comes after that is no matter.
        """
        self.run_(31)
        self.session.logout()
        assert not self.clock.getDelayedCalls()
        assert self.heartbeat._pings == {}
        self.mind.calls[0].answer.callback(None)
        assert self.heartbeat._heard == {}

    def test_slowLogout(self) -> None:
        """
        A session that ends, and takes its time, is neither asked nor ended again.
        """
        waiting: Deferred[None] = Deferred()

        class Slow(Block[Any]):
            def detached(self, session: Session[Any]) -> object:
                return waiting

        self.session.logout()
        self.realm = Slow()(self.realm)
        session = self.login(FakeMind(), self.connection)
        session.logout()
        with logged() as said:
            self.run_(100)
        assert self.realm.audit() == []
        assert pings(session.mind) == 0
        assert said == []
        waiting.callback(None)

    def test_farewell(self) -> None:
        """
        It does not wait for a farewell to somebody who does not read it.
        """
        self.realm = Farewell(reactor=self.clock)(self.realm)
        connection = FakeConnection(stalled=True)
        session = self.login(FakeMind(), connection)
        self.lifeOf(session)
        assert connection.disconnected

    def test_audit(self) -> None:
        """
        The audit says who is not looked at, and who still is.
        """
        self.login(None)
        self.heartbeat._wheel.remove(self.session)
        assert self.realm.audit() == [f"{self.session!r} is not looked at by {self.heartbeat!r}"]
        self.heartbeat._wheel.put(self.session, 10)
        assert self.realm.audit() == []
        self.session.logout()
        self.heartbeat._wheel.put(self.session, 10)
        assert self.realm.audit() == [f"{self.session!r} is still looked at by {self.heartbeat!r}"]
        self.heartbeat._wheel.remove(self.session)


class ManyTests(HeartbeatTestCase):
    """
    Other clients, and several of them.
    """

    def test_cannotBeAsked(self) -> None:
        """
        Sessions whose clients cannot be called may be silent for ever, and need no timer.
        """
        sessions = [self.login(mind, FakeConnection()) for mind in (None, 5, "x", object())]
        assert not self.clock.getDelayedCalls()
        self.run_(1000)
        assert not any(each.ended for each in sessions)

    def test_withoutConnection(self) -> None:
        """
        If the connection is not known, the login and answers are signs of life.
        """
        quick, mute = FakeMind({"ping": Boom()}), FakeMind()
        alive, dead = self.login(quick), self.login(mute)
        assert 90 <= self.lifeOf(dead) < 90 + LATE
        assert mute.closings == ["lose"]
        assert isinstance(dead.reason, Unresponsive)
        self.run_(500)
        assert not alive.ended

    def test_noAnswer(self) -> None:
        """
        A failure by which a mind says that there is no answer is no sign of life.
        """

        class Slow(FakeMind):
            def callRemote(self, *args: Any, **kw: Any) -> Any:
                return fail(defer.TimeoutError())

        assert 90 <= self.lifeOf(self.login(Slow())) < 90 + LATE

    def test_otherClock(self) -> None:
        """
        The order of pushes holds with a registry that has a clock of its own.
        """
        ticking = Ticking()
        online = MindRegistry[Any](reactor=ticking)
        self.realm = online(self.realm)
        minds = [FakeMind() for _ in range(10)]
        for mind in minds:
            self.login(mind)
        self.run_(29)
        online.everyone.callRemote("notify", pbanswer=False)
        assert not minds[-1].calls
        self.run_(2)
        while ticking.turn():
            ticking.rightNow += 0.001
        assert [call.name for call in minds[-1].calls] == ["notify", "ping"]

    def test_behind(self) -> None:
        """
        A client that may not be pushed to since it is too far behind is not asked, and is ended all
        the same when its time is over.
        """
        online = MindRegistry[Any](maximumBacklog=100, reactor=self.clock)
        self.realm = online(self.realm)
        connection = FakeConnection()
        mind = FakeMind()
        mind.backlog = 1000
        session = self.login(mind, connection)
        with logged(LogLevel.warn) as said:
            assert 90 <= self.lifeOf(session) < 90 + LATE
        assert pings(mind) == 0
        assert said == ["warn: b'alice' is behind: 1000 bytes and 0 answers are outstanding"]

    def test_order(self) -> None:
        """
        The question goes behind what was pushed before, and one that is not answered counts for the
        bounds of the registry.
        """
        online = MindRegistry[Any](maximumPending=2, reactor=self.clock)
        self.realm = online(self.realm)
        session = self.login(FakeMind())
        self.run_(29)
        done = online.everyone.callRemote("notify")
        self.run_(2)
        assert [call.name for call in session.mind.calls] == ["notify", "ping"]
        ((success, _answer),) = self.successResultOf(online.everyone.callRemote("notify"))
        assert not success
        session.mind.disconnect()
        assert done.called

    def test_oneConnection(self) -> None:
        """
        Sessions that share a connection are asked once, are alive together, and dead together.
        """
        connection, minds = FakeConnection(), [FakeMind({"ping": None}) for _ in range(3)]
        sessions = [self.login(mind, connection) for mind in minds]
        self.run_(31)
        assert sum(map(pings, minds)) == 1
        self.run_(300)
        assert not any(each.ended for each in sessions)
        for mind in minds:
            mind.answers = {}
        assert 60 <= max(map(self.lifeOf, sessions)) < 90 + LATE

    def test_whoAsked(self) -> None:
        """
        When the one whose mind was called logs out, another one is.
        """
        connection, minds = FakeConnection(), [FakeMind(), FakeMind()]
        sessions = [self.login(mind, connection) for mind in minds]
        self.run_(31)
        (asked,) = (each for each in sessions if pings(each.mind))
        (other,) = (each for each in sessions if each is not asked)
        asked.logout()
        self.run_(30)
        assert pings(other.mind) == 1
        other.logout()

    def test_notWhoAsked(self) -> None:
        """
        When another one logs out, the question stands.
        """
        connection, minds = FakeConnection(), [FakeMind(), FakeMind()]
        sessions = [self.login(mind, connection) for mind in minds]
        self.run_(31)
        (asked,) = (each for each in sessions if pings(each.mind))
        (other,) = (each for each in sessions if each is not asked)
        other.logout()
        assert 58 < self.lifeOf(asked) < 59 + LATE
        assert sum(map(pings, minds)) == 1

    def test_deadMind(self) -> None:
        """
        When the mind that is called turns out to be dead, another one of its connection is called.
        """
        connection = FakeConnection()
        first = self.login(FakeMind(), connection)
        self.run_(45)
        second = self.login(FakeMind(), connection)
        second.mind.disconnected = True
        self.run_(5)
        connection.lastReceived = self.clock.seconds()
        self.run_(30 + LATE)
        assert second.ended
        assert pings(first.mind) == 2

    def test_slowlyEnding(self) -> None:
        """
        A session that ends, and takes its time, is not called, and changes nothing for others of
        its connection.
        """
        waiting: Deferred[None] = Deferred()

        class Slow(Block[Any]):
            def detached(self, session: Session[Any]) -> object:
                return waiting

        self.realm = Slow()(self.realm)
        connection = FakeConnection()
        session = self.login(FakeMind(), connection)
        began = connection.lastReceived
        self.run_(25)
        other = self.login(FakeMind(), connection)
        connection.lastReceived = began
        other.logout()
        assert 65 <= self.lifeOf(session) < 65 + LATE
        assert (pings(session.mind), pings(other.mind)) == (1, 0)
        waiting.callback(None)

    def test_foundLater(self) -> None:
        """
        A session whose connection becomes known only after its login leaves nothing behind either.
        """
        session = self.login(FakeMind())
        self.run_(31)
        session._connection = FakeConnection()
        session.logout()
        assert self.heartbeat._pings == {}

    def test_slowLogin(self) -> None:
        """
        A client may die while a block above makes its login wait, which then fails.
        """
        waiting: Deferred[None] = Deferred()

        class Slow(Block[Any]):
            def attached(self, session: Session[Any]) -> object:
                return waiting

        self.realm = Slow()(self.realm)
        connection = FakeConnection()
        connection.lastReceived = self.clock.seconds()
        failed = login(self.realm, b"alice", mind=FakeMind(), connection=connection)
        self.run_(91)
        self.failureResultOf(failed)
        assert connection.disconnected

    def test_short(self) -> None:
        """
        A client may be asked so late that it has little time left.
        """
        self.heartbeat = Heartbeat(80, timeout=90, message="there", reactor=self.clock)
        self.realm = self.heartbeat(Player)
        session = self.login(FakeMind(), FakeConnection())
        assert 90 <= self.lifeOf(session) < 90 + LATE
        (call,) = session.mind.calls
        assert call.name == "there"

    def test_timer(self) -> None:
        """
        All sessions of all its realms have one timer.
        """
        other: Any = self.heartbeat(Player)
        for realm in (self.realm, other) * 50:
            login(realm, b"alice", mind=FakeMind())
        assert len(self.clock.getDelayedCalls()) == 1
        self.successResultOf(other.close(timeout=None))

    def test_contract(self) -> None:
        """
        It keeps what every block promises.
        """
        made: list[Heartbeat[Any]] = []

        def make() -> Heartbeat[Any]:
            made.append(Heartbeat(reactor=self.clock))
            return made[-1]

        checkBlock(make)
        assert made
        assert not any(each._wheel.things() for each in made)

    def test_belowCache(self) -> None:
        """
        It cannot be stacked below a cache, where there is nobody to ask.
        """
        error = self.assertRaises(TypeError, AvatarCache(), Heartbeat()(Player))
        assert "stack it above the cache" in str(error)

    def test_badArguments(self) -> None:
        """
        Wrong arguments are refused at once.
        """
        wrong: Any = "10"
        for interval, timeout in ((0, 10), (10, 10), (20, 10), (-1, 10), (1, float("inf"))):
            self.assertRaises(ValueError, Heartbeat, interval, timeout=timeout)
        self.assertRaises(TypeError, Heartbeat, wrong)
        self.assertRaises(TypeError, Heartbeat, timeout=wrong)
        self.assertRaises(TypeError, Heartbeat, message=b"ping")
        self.assertRaises(TypeError, Heartbeat, reactor=wrong)
        error = self.assertRaises(TypeError, Heartbeat, Player)
        assert "write @Heartbeat(...) above a target" in str(error)


class MemoryTests(HeartbeatTestCase):
    """
    Perspective Broker in memory.
    """

    def connect(self, *, watched: bool) -> tuple[MemoryPortal, Any, Session]:
        """
        Return a portal, a client's connection, and its session.
        """
        portal = MemoryPortal(self.realm, watched=watched, reactor=self.clock)
        connection = portal.connect()
        connection.login("alice", mind=Client()).addCallback(self.keep)
        portal.pump()
        (session,) = self.realm.sessions
        return portal, connection, session

    def keep(self, avatar: Any) -> None:
        """
        Keep the reference to an avatar.
        """
        self.avatar = avatar

    def runPumping(self, portal: MemoryPortal, seconds: float) -> None:
        """
        Let time pass, and bytes move.
        """
        for _ in range(round(seconds)):
            self.run_(1)
            portal.pump()

    def test_noSuchMethod(self) -> None:
        """
        A client that knows nothing of heartbeats stays, since its errors arrive.
        """
        portal, connection, session = self.connect(watched=True)
        self.runPumping(portal, 300)
        assert not session.ended
        assert len(self.flushLoggedErrors(pb.NoSuchMethod)) == 9
        connection.stall()
        self.runPumping(portal, 92)
        assert isinstance(session.reason, Unresponsive)
        assert connection.lost

    def test_calls(self) -> None:
        """
        A client that calls is not asked.
        """
        portal, _connection, session = self.connect(watched=True)
        for _ in range(20):
            self.runPumping(portal, 25)
            self.avatar.callRemote("name")
            portal.pump()
        assert self.flushLoggedErrors(pb.NoSuchMethod) == []
        assert self.heartbeat._pings == {}
        session.disconnect(reactor=self.clock)
        portal.pump()
        self.run_(5)

    def test_twoSessions(self) -> None:
        """
        All sessions over a connection that is aborted have the same reason.
        """
        portal, connection, first = self.connect(watched=True)
        kept: list[Any] = []
        connection.login("alice", mind=Client()).addCallback(kept.append)
        self.run_(5)
        portal.pump()
        (second,) = self.realm.sessions - {first}
        connection.stall()
        self.runPumping(portal, 93)
        reasons = [type(each.reason) for each in (first, second)]
        assert reasons == [Unresponsive, Unresponsive]
