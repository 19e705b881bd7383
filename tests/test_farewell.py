"""
Tests of what a client is told when its session ends.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    CanonicalId,
    ClientLost,
    ConnectionCounter,
    ConnectionLimit,
    Evicted,
    Farewell,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
    SessionEnded,
    displaceOldest,
)
from avatarkit._push.lanes import SLICE
from avatarkit.testing import FakeConnection, FakeMind, checkRealm, login
from farewells import FarewellTestCase, Hearing, told
from logs import logged

# Any in this module: minds, and what is no argument.


class ToldTests(FarewellTestCase):
    """
    Who is told what.
    """

    def test_reasons(self) -> None:
        """
        A client is told the name and the text of the reason, and when it may return.
        """

        class Banned(Kicked):
            text = "banned"

        for reason, words in (
            ("spam", ("Kicked", "spam", 0)),
            (Kicked(), ("Kicked", "disconnected by the server", 0)),
            (Evicted(), ("Evicted", "please log in again", 1)),
            (Banned(mayReturn=60.5), ("Banned", "banned", 60.5)),
            (SessionEnded("over"), ("SessionEnded", "over", 0)),
        ):
            mind = FakeMind()
            self.enter(mind).logout(reason)
            assert told(mind) == [words]

    def test_inside(self) -> None:
        """
        Of a reason that was not written for clients, they are told nothing.
        """
        mind = FakeMind()
        self.enter(mind).logout(OSError("/var/lib/players is full"))
        assert told(mind) == [("SessionEnded", "the session has ended", 0)]

    def test_closed(self) -> None:
        """
        When the realm closes, all are told.
        """
        minds = [FakeMind() for _ in range(200)]
        for number, mind in enumerate(minds):
            self.enter(mind, number)
        closed = self.realm.close(reactor=self.clock)
        self.clock.pump([0, 0.1])
        self.successResultOf(closed)
        for mind in minds:
            assert told(mind) == [("RealmClosed", "the server is shutting down", 10)]

    def test_displaced(self) -> None:
        """
        A client whose place another login takes is told before its connection is closed.
        """
        self.stack(ConnectionLimit(1, whenFull=displaceOldest, reactor=self.clock))
        mind = FakeMind()
        self.enter(mind)
        self.enter(FakeMind())
        assert told(mind) == [("Displaced", "logged in elsewhere", 0)]
        assert mind.closings == ["lose"]

    def test_evicted(self) -> None:
        """
        A client whose avatar must go is told, and keeps its connection.
        """
        cache: AvatarCache[Avatar] = AvatarCache()
        realm = Farewell(reactor=self.clock)(cache(lambda avatarId: Avatar()))
        mind = FakeMind()
        login(realm, b"alice", mind=mind)
        cache.evict(b"alice", "the character was deleted")
        assert told(mind) == [("Evicted", "the character was deleted", 1)]
        assert mind.closings == []

    def test_leavers(self) -> None:
        """
        A client that has logged out, or is gone, is not told.
        """
        for reason in (None, LoggedOut(), ClientLost()):
            mind = FakeMind()
            self.enter(mind).logout(reason)
            assert mind.calls == []
        mind, connection = FakeMind(), FakeConnection()
        self.enter(mind, connection=connection)
        connection.disconnect()
        assert mind.calls == []
        gone = Gone()
        session = self.enter(gone)
        gone.disconnect()
        session.disconnect(reactor=self.clock)
        assert gone.asked == 0

    def test_without(self) -> None:
        """
        A client that cannot be called is not told, and its session ends.
        """
        for mind in (None, 7, object()):
            session = self.enter(mind)
            self.successResultOf(session.disconnect("spam", reactor=self.clock))

    def test_login(self) -> None:
        """
        A login that is in progress fails with the reason, and nobody is told besides.
        """
        mind = FakeMind()
        self.stack(Stopping())
        self.assertRaises(LoginAbandoned, login, self.realm, b"alice", mind=mind)
        assert mind.calls == []

    def test_message(self) -> None:
        """
        The method may have another name.
        """
        realm = Farewell("bye")(lambda avatarId: Avatar())
        mind = FakeMind()
        login(realm, b"alice", mind=mind)
        realm.disconnect(b"alice", "spam", reactor=self.clock)
        assert [(call.name, call.args) for call in mind.calls] == [("bye", ("Kicked", "spam", 0))]


class OrderTests(FarewellTestCase):
    """
    When a client is told.
    """

    def test_first(self) -> None:
        """
        The client is told before anything of its session is undone, and its connection is closed
        afterwards.
        """
        mind = FakeMind()
        seen: list[object] = []

        class Looking(Block):
            def detached(self, session: Session) -> None:
                seen.append((told(mind), mind.closings[:], session.reason))

        self.stack(Looking())
        session = self.enter(mind)
        self.successResultOf(session.disconnect("spam", reactor=self.clock))
        assert seen == [([("Kicked", "spam", 0)], [], session.reason)]
        assert mind.closings == ["lose"]

    def test_atOnce(self) -> None:
        """
        If the client is told at once, as it nearly always is, nothing waits, and no time is
        measured.
        """

        class Timeless(Clock):
            def callLater(self, *args: Any, **kw: Any) -> Any:
                raise AssertionError("a timer is started")

        mind = FakeMind()
        self.clock = Timeless()
        self.stack(MindRegistry(reactor=self.clock))
        session = self.enter(mind)
        session.logout("spam")
        self.successResultOf(session.whenClosed())
        assert (told(mind), self.flushLoggedErrors()) == ([("Kicked", "spam", 0)], [])

    def test_behind(self) -> None:
        """
        It is told behind all that was pushed before, also if that waits for its turn: until then
        the session is not undone, and the connection not closed.  What is pushed later fails.
        """
        mind, session = self.busy(3)
        second = self.online.everyone.callRemote("second")
        ended = session.disconnect("spam", reactor=self.clock)
        late = self.online.everyone.callRemote("late")
        for _ in range(2):
            assert "sessionEnded" not in mind.heard
            assert mind.closings == []
            self.assertNoResult(ended)
            assert b"alice" in self.online
            self.turn()
        assert mind.heard == ["first"] * 3 + ["second", "sessionEnded", "lose"]
        self.successResultOf(ended)
        ((_, failure),) = self.successResultOf(second)
        assert failure.check(pb.PBConnectionLost)
        self.turn()
        ((_, failure),) = self.successResultOf(late)
        assert failure.check(pb.DeadReferenceError)
        assert self.clock.getDelayedCalls() == []

    def test_fromInside(self) -> None:
        """
        A client that is kicked because of a push gets the rest of what was pushed before.
        """
        mind = Hearing()
        session = self.enter(mind)

        def kick() -> None:
            self.online.everyone.callRemote("second", pbanswer=False)
            session.disconnect("spam", reactor=self.clock)
            self.online.everyone.callRemote("later", pbanswer=False)
            assert mind.closings == []

        kicker = FakeMind({"first": kick})
        self.enter(kicker, b"bob")
        self.online.select(lambda each: each is not session).callRemote("first", pbanswer=False)
        assert mind.heard == ["second", "sessionEnded", "lose"]

    def test_tooFarBehind(self) -> None:
        """
        A client that is disconnected since it is too far behind is told so.
        """
        import avatarkit

        self.online = MindRegistry(
            maximumBacklog=10, whenBehind=avatarkit.disconnect, reactor=self.clock
        )
        self.stack(self.online)
        mind = Hearing()
        mind.stalled = True
        self.enter(mind)
        mind.backlog = 11
        self.online.everyone.callRemote("news", pbanswer=False)
        assert mind.heard == ["sessionEnded", "lose"]
        assert told(mind)[0][0] == "Kicked"
        mind.disconnect()

    def test_logoutThenDisconnect(self) -> None:
        """
        Whoever closes the connection of a session that is still to be told waits for that, too, and
        so does whoever does it again.
        """
        mind, session = self.busy(2)
        session.logout("spam")
        for _ in range(2):
            session.disconnect(reactor=self.clock)
        assert mind.heard == ["first"]
        for _ in range(2):
            self.turn()
        assert mind.heard == ["first", "first", "sessionEnded", "lose"]

    def test_cutOff(self) -> None:
        """
        The seconds of a disconnection count from its beginning: when they are over, the connection
        is closed by force, and it is not closed again.
        """
        mind, session = self.busy(10)
        ended = session.disconnect("spam", timeout=3.5 * SLICE, reactor=self.clock)
        for _ in range(5):
            self.turn()
        assert mind.heard == ["first"] * 6 + ["abort"]
        self.assertNoResult(ended)
        for _ in range(10):
            self.turn()
        self.successResultOf(ended)
        assert mind.heard == ["first"] * 6 + ["abort"]

    def test_timeout(self) -> None:
        """
        The end of a session waits some seconds and no longer; then the client is not told, which is
        logged by name, and its connection is closed.
        """
        self.stack(self.online, timeout=3.5 * SLICE)
        mind, session = self.busy(10)
        mind.stalled = True
        ended = session.disconnect("spam", reactor=self.clock)
        with logged() as said:
            for _ in range(5):
                self.turn()
        assert said == ["error: the farewell to b'alice' was not written in 0.0175 seconds"]
        self.successResultOf(ended)
        assert mind.heard == ["first"] * 6 + ["lose"]
        for _ in range(10):
            self.turn()
        assert mind.heard == ["first"] * 6 + ["lose"]

    def test_closedElsewhere(self) -> None:
        """
        It waits all the same when another realm with the same farewell is closed.
        """
        (farewell, *_) = self.realm.blocks
        other = farewell(lambda avatarId: Avatar())
        mind, session = self.busy(2)
        ended = session.disconnect("spam", reactor=self.clock)
        self.successResultOf(other.close(reactor=self.clock))
        self.assertNoResult(ended)
        for _ in range(2):
            self.turn()
        assert mind.heard[-2:] == ["sessionEnded", "lose"]
        self.successResultOf(ended)


class Gone(FakeMind):
    """
    A mind that counts how often it is called.
    """

    asked = 0

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Count.
        """
        self.asked += 1
        return super().callRemote(name, *args, **kw)


class Stopping(Block):
    """
    Ends each session while it logs in.
    """

    def attached(self, session: Session) -> None:
        """
        End it.
        """
        session.logout("no")


class StackTests(SynchronousTestCase):
    """
    Where the block stands.
    """

    def test_onTop(self) -> None:
        """
        It stands on top of all other blocks but a L{CanonicalId}, however that is written.
        """

        def make(avatarId: Any) -> Avatar:
            return Avatar()

        low: Realm = Farewell()(make)
        for stack in (
            lambda: ConnectionLimit(3)(low),
            lambda: Realm(make, blocks=[ConnectionLimit(3), Farewell()]),
            lambda: Realm(make, blocks=[CanonicalId(), ConnectionLimit(3), Farewell()]),
            lambda: Farewell()(low),
            lambda: PerConnection(lambda session: session.avatar)(low),
        ):
            error = self.assertRaises(TypeError, stack)
            assert str(error).startswith("Farewell(message='sessionEnded', timeout=5) must be on")
            assert "would be undone before the client is told: stack it last" in str(error)
        error = self.assertRaises(TypeError, lambda: Farewell()(CanonicalId()(make)))
        assert str(error).startswith("CanonicalId(")
        error = self.assertRaises(TypeError, lambda: AvatarCache()(low))
        assert "needs minds" in str(error)
        both: Realm = CanonicalId()(low)
        mind = FakeMind()
        login(both, "Alice", mind=mind)
        both.disconnect(b"alice", "spam")
        assert told(mind) == [("Kicked", "spam", 0)]

    def test_arguments(self) -> None:
        """
        What makes no sense is refused.
        """
        wrong: Any
        for wrong in (b"bye", 5, None):
            error = self.assertRaises(TypeError, Farewell, wrong)
            assert str(error) == f"message must be the name of a remote method, not {wrong!r}"
        wrong = Avatar
        error = self.assertRaises(TypeError, Farewell, wrong)
        assert "write @Farewell(...) above a target" in str(error)
        self.assertRaises(ValueError, Farewell, timeout=-1)
        wrong = "soon"
        self.assertRaises(TypeError, Farewell, timeout=wrong)
        self.assertRaises(TypeError, Farewell, reactor=wrong)

    def test_stacks(self) -> None:
        """
        It tells a client once over four blocks, over avatars for each connection, and over a realm
        of somebody else's.
        """

        class Foreign:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return interfaces[0], Avatar(), lambda: None

        def make(avatarId: Any) -> Avatar:
            return Avatar()

        shared = Farewell()
        realms: list[Realm] = [
            shared(MindRegistry()(ConnectionLimit(3)(ConnectionCounter()(AvatarCache()(make))))),
            shared(PerConnection(lambda session: Avatar())(MindRegistry()(AvatarCache()(make)))),
            shared(PerConnection(lambda session: Avatar())(MindRegistry()(make))),
            shared(MindRegistry()(Foreign())),
            shared(Realm(Foreign())),
            Realm(shared(Foreign())),
        ]
        for realm in realms:
            mind = FakeMind()
            login(realm, b"alice", mind=mind)
            realm.disconnect(b"alice", "spam")
            assert told(mind) == [("Kicked", "spam", 0)]
            assert mind.closings == ["lose"]
            assert (len(realm.sessions), realm.audit()) == (0, [])

    def test_contract(self) -> None:
        """
        A realm with it keeps what realms promise.
        """
        checkRealm(lambda: Farewell()(MindRegistry()(AvatarCache()(lambda avatarId: Avatar()))))
