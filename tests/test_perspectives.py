"""
What a client holds of its session over Perspective Broker.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from traceback import extract_tb
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import Interface, implementer

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionLimit,
    Evicted,
    Kicked,
    Realm,
    RealmFailed,
    Session,
    SessionEnded,
    currentSession,
    displaceOldest,
    everyone,
)
from avatarkit.testing import login
from perspectives import PerspectiveCase, Shared

# Any in this module: references, and what they are called with.


def itself(avatar: Any, avatarId: object) -> Any:
    """
    Make an avatar.
    """
    return avatar


class CallTests(PerspectiveCase):
    """
    Calls.
    """

    def setUp(self) -> None:
        """
        Serve avatars that are shared.
        """
        self.serve(AvatarCache()(Shared))

    def test_whose(self) -> None:
        """
        A method of a shared avatar knows whose call it is, also when it has waited and others have
        called meanwhile.
        """
        (one, its), (other, others) = self.logIn(), self.logIn()
        assert its.avatar is others.avatar
        waits = [self.call(one, "wait", "a"), self.call(other, "wait", "b")]
        assert self.successResultOf(self.call(one, "name")) == its.id
        assert self.successResultOf(self.call(other, "name")) == others.id
        assert its.id != others.id
        its.avatar.gate("b").callback(2)
        its.avatar.gate("a").callback(1)
        self.portal.pump()
        assert self.successResultOf(waits[0]) == [its.id, its.id, 1]
        assert self.successResultOf(waits[1]) == [others.id, others.id, 2]
        assert currentSession() is None

    def test_fails(self) -> None:
        """
        A coroutine that fails is told as any other method: as it says if it is for clients, and
        logged otherwise.
        """
        held, _session = self.logIn()
        told: Any = self.failureResultOf(self.call(held, "fail", "told"))
        assert told.getErrorMessage() == "told"
        assert self.flushLoggedErrors(pb.Error) == []
        self.failureResultOf(self.call(held, "fail", "not told"))
        assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_arguments(self) -> None:
        """
        Wrong arguments, and a method that is not there, are what they are without it.
        """
        held, _session = self.logIn()
        for call, kind in ((("note", 1, 2), TypeError), (("missing",), AttributeError)):
            error: Any = self.failureResultOf(self.call(held, *call))
            assert error.type == f"builtins.{kind.__name__}".encode()
            assert len(self.flushLoggedErrors(kind)) == 1

    ENDS: tuple[tuple[Callable[[CallTests, Session], object], str, str], ...] = (
        (lambda self, session: session.logout(), "LoggedOut", "logged out"),
        (lambda self, session: session.logout("spam"), "Kicked", "spam"),
        (lambda self, session: session.logout(Evicted(mayReturn=3)), "Evicted", Evicted.text),
        (lambda self, session: session.logout(ValueError("x")), "SessionEnded", SessionEnded.text),
        (lambda self, session: self.realm.close(), "RealmClosed", "the server is shutting down"),
        (
            lambda self, session: self.realm.sources[0].evict(b"alice", "deleted"),
            "Evicted",
            "deleted",
        ),
    )

    def test_refused(self) -> None:
        """
        When its session has ended, however it did, a client calls nothing any more: no argument is
        looked at, nothing is logged, and it is told why.
        """
        for end, kind, text in self.ENDS:
            self.setUp()
            held, session = self.logIn()
            avatar = session.avatar
            end(self, session)
            answer = self.call(held, "note", Loud())
            failure: Any = self.failureResultOf(answer)
            assert failure.type == f"avatarkit.errors.{kind}".encode()
            assert failure.getErrorMessage() == text
            assert [each for each in avatar.said if each[0] != "logout"] == []
            assert Loud.heard == []
            assert self.flushLoggedErrors() == []
            assert not self.client.lost

    def test_meanwhile(self) -> None:
        """
        What is unserialized for a call may end its session: then the method is not called.
        """
        held, session = self.logIn()
        self.addCleanup(Loud.heard.clear)
        Loud.then = lambda: session.logout("loud")
        self.addCleanup(setattr, Loud, "then", bool)
        assert self.refused(self.call(held, "note", Loud()), Kicked) == "loud"
        assert session.avatar.said == []
        assert len(Loud.heard) == 1

    def test_cancelled(self) -> None:
        """
        Calls that wait are cancelled when their session ends, before the avatar is told, and their
        client is told why; those of others are not.
        """
        self.serve(AvatarCache(idleTimeout=0)(Shared))
        held, session = self.logIn()
        avatar = session.avatar
        answers = [self.call(held, "wait", "a"), self.call(held, "later", "b")]
        session.logout("enough")
        self.portal.pump()
        for answer in answers:
            assert self.refused(answer, Kicked) == "enough"
        assert avatar.said == [("a", "cancel"), ("b", "cancel"), ("logout", "Kicked")]
        assert session._calls == {}

    def test_others(self) -> None:
        """
        A call of another session of the same avatar goes on.
        """
        (one, its), (other, _others) = self.logIn(), self.logIn()
        waits = [self.call(one, "wait", "a"), self.call(other, "wait", "b")]
        its.logout()
        self.portal.pump()
        self.failureResultOf(waits[0])
        self.assertNoResult(waits[1])
        its.avatar.gate("b").callback(1)
        self.portal.pump()
        self.successResultOf(waits[1])

    def test_done(self) -> None:
        """
        A call that is done is forgotten, whether it waits or not.
        """
        held, session = self.logIn()
        answer = self.call(held, "wait", "a")
        assert len(session._calls) == 1
        session.avatar.gate("a").callback(1)
        self.portal.pump()
        self.successResultOf(answer)
        assert session._calls == {}
        session.avatar.gates.clear()
        answer = self.call(held, "later", "a")
        session.avatar.gate("a").errback(CancelledError())
        self.portal.pump()
        failure: Any = self.failureResultOf(answer)
        assert failure.type == b"twisted.internet.defer.CancelledError"
        assert session._calls == {}
        self.flushLoggedErrors(CancelledError)

    def test_endsItself(self) -> None:
        """
        A call that ends its own session goes on, and is answered; others of the session do not.
        """
        for method in ("end", "endOld"):
            self.setUp()
            held, session = self.logIn()
            waits = ((each, f"for {each}") for each in ("wait", "later", "inline"))
            waiting = [self.call(held, *each) for each in waits]
            answer = self.call(held, method, "a")
            for each in waiting:
                assert self.refused(each, Kicked) == "enough"
            self.assertNoResult(answer)
            session.avatar.gate("a").callback(None)
            self.portal.pump()
            assert self.successResultOf(answer) == "done"
            assert self.refused(self.call(held, "name"), Kicked) == "enough"

    def test_endsItselfLater(self) -> None:
        """
        So it does if it has waited before it ends its session.
        """
        held, session = self.logIn()
        answer = self.call(held, "endLater", "a")
        session.avatar.gate("a").callback(None)
        self.portal.pump()
        assert self.successResultOf(answer) == "done"
        assert session.ended

    def test_otherWay(self) -> None:
        """
        Code of the server may call it as an L{IPerspective}.
        """
        held, session = self.logIn()
        answer = self.call(held, "name")
        self.successResultOf(answer)
        result: Any = self.realm.requestAvatar(b"bob", None, pb.IPerspective)
        broker: Any = self.client._server.protocol
        told = result[1].perspectiveMessageReceived(broker, "name", [b"tuple"], [b"dictionary"])
        assert told not in (None, session.id)

    def test_stubborn(self) -> None:
        """
        A canceller that raises is logged, and ends nothing but itself.
        """
        held, session = self.logIn()

        def cancel(gate: object) -> None:
            raise ValueError("on purpose")

        session.avatar.gates["a"] = Deferred(cancel)
        answers = [self.call(held, "later", "a"), self.call(held, "wait", "b")]
        session.logout()
        self.portal.pump()
        assert session.ended
        assert len(self.flushLoggedErrors(ValueError)) == 1
        for answer in answers:
            self.failureResultOf(answer)

    def test_hooks(self) -> None:
        """
        In a hook that undoes something, and in what it waits for, the session is the one that ends;
        in one that does something there is none.
        """
        seen: list[Session | None] = []
        gate: Deferred[None] = Deferred()

        class Watching(Block):
            async def attached(self, session: Session) -> None:
                seen.append(currentSession())

            async def detached(self, session: Session) -> None:
                seen.append(currentSession())
                await gate
                seen.append(currentSession())

            def release(self, session: Session) -> None:
                seen.append(currentSession())

        self.serve(Watching()(Shared))
        _held, session = self.logIn()
        session.logout()
        gate.callback(None)
        assert seen == [None, session, session, session]
        assert session.avatar.said == [("logout", "LoggedOut")]

    def test_noPerspective(self) -> None:
        """
        A login fails, and leaves nothing, whose avatar is not what it says it is; also if it has
        waited.
        """

        @implementer(pb.IPerspective)
        class Hollow:  # type: ignore[misc]  # which is the mistake
            pass

        for avatar in (succeed(Hollow()), Deferred[Any]()):
            made: Any = partial(itself, avatar)
            self.serve(ConnectionLimit(1)(made))
            answer = self.portal.connect().login("alice")
            self.portal.pump()
            if not avatar.called:
                avatar.callback(Hollow())
                self.portal.pump()
            assert "something went wrong" in self.refused(answer, RealmFailed)
            (error,) = self.flushLoggedErrors(AttributeError)
            assert "perspectiveMessageReceived" in str(error.value)
            assert not self.realm.sessions
            assert self.realm.audit() == []

    def test_sameReason(self) -> None:
        """
        A reason that cannot be copied, and is raised for each call, keeps nothing of these.
        """

        class Single(Kicked):
            def __reduce_ex__(self, protocol: object) -> Any:
                raise TypeError

        self.serve(Realm(Shared))
        held, session = self.logIn()
        reason = Single("no copies")
        session.logout(reason)
        sizes = set()
        for _ in range(3):
            self.failureResultOf(self.call(held, "name"))
            sizes.add(len(extract_tb(reason.__traceback__)))
        assert len(sizes) == 1

    def test_afterwards(self) -> None:
        """
        What a call has begun and not waited for belongs to its session until that is closed; a call
        that has ended its session belongs to it until it is over.
        """
        seen: list[object] = []
        gates: list[Deferred[None]] = [Deferred(), Deferred(), Deferred()]

        class Working(Avatar):
            def perspective_begin(self) -> None:
                Deferred.fromCoroutine(self.work())

            async def work(self) -> None:
                for gate in gates[:2]:
                    await gate
                    seen.append(currentSession())

            async def perspective_end(self) -> None:
                session = currentSession()
                assert session is not None
                session.logout()
                seen.append(currentSession())
                await gates[2]
                seen.append(currentSession())

        self.serve(Realm(lambda avatarId: Working()))
        held, session = self.logIn()
        self.call(held, "begin")
        gates[0].callback(None)
        self.call(held, "end")
        for gate in (gates[2], gates[1]):
            gate.callback(None)
        assert seen == [session, session, session, None]

    def test_letIn(self) -> None:
        """
        A login that gets in because a session has ended is not that session's doing, nor is what
        its factory waits for.
        """
        seen: list[Session | None] = []
        gates: list[Deferred[None]] = [Deferred(), Deferred(), Deferred()]

        class Saving(Block):
            def detached(self, session: Session) -> object:
                return gates[0] if session.avatarId == b"alice" else None

        async def make(avatarId: object) -> Avatar:
            if avatarId == b"bob":
                for gate in gates[1:]:
                    seen.append(currentSession())
                    await gate
                seen.append(currentSession())
            return Avatar()

        clock = Clock()
        limit = ConnectionLimit(1, key=everyone, whenFull=displaceOldest, reactor=clock)
        realm = limit(Saving()(make))
        realm.reactor = clock
        login(realm, b"alice")
        login(realm, b"bob")
        for gate in gates:
            gate.callback(None)
            clock.advance(0)
        assert seen == [None] * 3


class Stepping(Avatar):
    """
    An avatar whose methods wait several times.
    """

    def __init__(self, avatarId: object) -> None:
        self.late = 0
        self.started = 0
        self.gates: list[Deferred[None]] = []

    async def perspective_step(self) -> str:
        """
        Wait three times.
        """
        session = currentSession()
        assert session is not None
        self.started += 1
        self.late += session.ended
        for _ in range(3):
            self.gates.append(Deferred())
            await self.gates[-1]
            assert currentSession() is session
            self.late += session.ended
        return "done"

    def go(self) -> bool:
        """
        Let the method that has waited longest go on; return whether there was one.
        """
        waiting = [each for each in self.gates if not each.called]
        if waiting:
            waiting[0].callback(None)
        return bool(waiting)


class EveryAwaitTests(PerspectiveCase):
    """
    Sessions that end in every way, at every point of several calls.
    """

    def lose(self, session: Session) -> None:
        """
        The connection is lost.
        """
        self.client.drop()

    def kick(self, session: Session) -> None:
        """
        Somebody kicks it.
        """
        session.disconnect("spam", reactor=self.clock)

    def logOut(self, session: Session) -> None:
        """
        The protocol logs out.
        """
        session.logout()

    def displace(self, session: Session) -> None:
        """
        Another login takes its place.
        """
        self.other = self.portal.connect().login("alice")
        self.portal.pump()

    def evict(self, session: Session) -> None:
        """
        Its avatar must go.
        """
        self.cache.evict(b"alice")

    def close(self, session: Session) -> None:
        """
        The realm is closed.
        """
        self.realm.close(reactor=self.clock)

    def test_every(self) -> None:
        """
        No method is begun, and none goes on, when the session has ended, and every call of a client
        that is still there is answered.
        """
        ways = (self.lose, self.kick, self.logOut, self.displace, self.evict, self.close)
        for way in ways:
            for place in range(14):
                self.endAt(place, way)

    def endAt(self, place: int, end: Callable[[Session], None]) -> None:
        """
        End a session after some steps.
        """
        self.clock, self.cache = Clock(), AvatarCache[Any](idleTimeout=0)
        limit = ConnectionLimit(1, whenFull=displaceOldest, reactor=self.clock)
        self.serve(limit(self.cache(Stepping)))
        held, session = self.logIn()
        avatar, client = session.avatar, self.client
        answers = [self.call(held, "step") for _ in range(2)]
        for step in range(14):
            if step == place:
                end(session)
                self.portal.pump()
                started = avatar.started
            if step % 4 == 3 and not client.lost:
                answers.append(self.call(held, "step"))
            avatar.go()
            self.portal.pump()
        assert session.ended
        assert avatar.late == 0
        assert avatar.started == started
        results = [each.result for each in answers if each.called]
        for answer in answers:
            answer.addErrback(lambda failure: None)
        assert len(results) == len(answers)
        assert all(isinstance(each, Failure) or each == "done" for each in results)
        assert session._calls == {}
        self.realm.close(reactor=self.clock)
        self.flushLoggedErrors(pb.PBConnectionLost)


class Loud(pb.Copyable, pb.RemoteCopy):
    """
    An argument that does something when it is looked at.
    """

    heard: list[object] = []  # for all
    then: Callable[[], object] = bool

    def setCopyableState(self, state: object) -> None:
        """
        Be looked at.
        """
        Loud.heard.append(state)
        Loud.then()


pb.setUnjellyableForClass(Loud, Loud)


class ObjectTests(PerspectiveCase):
    """
    The object itself.
    """

    def setUp(self) -> None:
        """
        Ask a realm, as code of the server may.
        """
        self.realm: Realm[Shared] = Realm(Shared)
        result: Any = self.realm.requestAvatar(b"alice", None, pb.IPerspective)
        self.interface, self.held, self.logout = result
        (self.session,) = self.realm.sessions

    def test_looks(self) -> None:
        """
        It has what the avatar has, and what is set on it is set on the avatar; but it is not the
        avatar, which is the session's.
        """
        avatar = self.session.avatar
        assert self.held is not avatar
        assert self.held.said is avatar.said
        self.held.mood = "good"
        assert avatar.mood == "good"  # type: ignore[attr-defined]  # it was set
        del self.held.mood
        assert not hasattr(avatar, "mood")
        assert pb.IPerspective.providedBy(self.held)
        assert repr(self.held) == f"<Perspective of {self.session!r}>"
        error = self.assertRaises(AttributeError, getattr, self.held, "missing")
        assert "Shared" in str(error)
        assert login(self.realm, b"alice").avatar.said == []  # the avatar, in tests

    def test_names(self) -> None:
        """
        It hides no private attribute of the avatar's, whatever that is called.
        """

        class Secretive(Avatar):
            def __init__(self, avatarId: object) -> None:
                self._session, self._look, self._avatar = "its session", "its look", "its avatar"

        result: Any = Realm(Secretive).requestAvatar(b"x", None, pb.IPerspective)
        held = result[1]
        assert (held._session, held._look, held._avatar) == (
            "its session",
            "its look",
            "its avatar",
        )
        held._session = "another"
        assert held._session == "another"
        private = {name for name in dir(type(held)) if name[0] == "_" != name[1]}
        assert all(name.startswith("_avatarkit") for name in private)

    def test_adapts(self) -> None:
        """
        It adapts to what the avatar adapts to.
        """

        class INamed(Interface):
            pass

        @implementer(INamed)
        class Named(Avatar):
            pass

        result: Any = Realm(lambda avatarId: Named()).requestAvatar(b"x", None, pb.IPerspective)
        assert type(INamed(result[1])) is Named
        assert INamed(self.held, None) is None

    def test_copied(self) -> None:
        """
        It cannot be copied or pickled.
        """
        for take in (copy.copy, copy.deepcopy, pickle.dumps):
            error = self.assertRaises(TypeError, take, self.held)
            assert "belongs to its session" in str(error)

    def test_each(self) -> None:
        """
        Each login has its own.
        """
        realm = AvatarCache()(Shared)
        one: Any = realm.requestAvatar(b"alice", None, pb.IPerspective)
        other: Any = realm.requestAvatar(b"alice", None, pb.IPerspective)
        assert one[1] is not other[1]
        assert one[1].processUniqueID() != other[1].processUniqueID()

    def test_id(self) -> None:
        """
        A session's name is short, and its own.
        """
        login(self.realm, b"bob")
        ids = [each.id for each in self.realm.sessions]
        assert ids == [each.id for each in self.realm.sessions]
        assert len(set(ids)) == 2
        assert all(0 < len(each) < 12 and each.isalnum() for each in ids)

    def test_since(self) -> None:
        """
        A session says since when it is there.
        """
        from twisted.internet import reactor

        clock: Any = reactor
        assert 0 <= clock.seconds() - self.session.since < 60


class KindTests(PerspectiveCase):
    """
    Avatars that Perspective Broker knows in another way.
    """

    def test_own(self) -> None:
        """
        An avatar's own way to be called is called, until its session has ended.
        """

        @implementer(pb.IPerspective)
        class Own:
            def perspectiveMessageReceived(
                self, broker: Any, message: Any, args: Any, kw: Any
            ) -> Any:
                session = currentSession()
                assert session is not None
                return broker.serialize([message, *broker.unserialize(args), session.id])

        self.serve(Realm(lambda avatarId: Own()))
        held, session = self.logIn()
        assert self.successResultOf(self.call(held, "hello", 1)) == ["hello", 1, session.id]
        session.logout()
        self.failureResultOf(self.call(held, "hello", 1))

    def test_referenceable(self) -> None:
        """
        A plain Referenceable is called by its C{remote_} methods, until its session has ended.
        """

        @implementer(pb.IPerspective)
        class Plain(pb.Referenceable):
            perspectiveMessageReceived = None

            def remote_name(self) -> str:
                session = currentSession()
                assert session is not None
                return session.id

        self.serve(Realm(lambda avatarId: Plain()))
        held, session = self.logIn()
        assert self.successResultOf(self.call(held, "name")) == session.id
        session.logout()
        self.failureResultOf(self.call(held, "name"))

    def test_views(self) -> None:
        """
        What an avatar returns is seen through the avatar, as ever.
        """

        class Room(pb.Viewable):
            def view_enter(self, perspective: Any) -> bool:
                return type(perspective) is Owner

        class Owner(Avatar):
            def perspective_room(self) -> Room:
                return Room()

        self.serve(Realm(lambda avatarId: Owner()))
        held, _session = self.logIn()
        room = self.successResultOf(self.call(held, "room"))
        assert self.successResultOf(self.call(room, "enter")) is True

    def test_copyable(self) -> None:
        """
        One that says itself how it is sent is sent as it says.
        """

        class Received(pb.RemoteCopy):
            name: object

        class Sent(pb.Copyable, Avatar):
            def __init__(self, avatarId: object) -> None:
                self.name = avatarId

            def getTypeToCopyFor(self, perspective: object) -> bytes:
                return b"avatarkit.tests.Sent"

            def getStateToCopy(self) -> dict[str, object]:
                return {"name": self.name}

        pb.setUnjellyableForClass("avatarkit.tests.Sent", Received)
        self.serve(Realm(Sent))
        held, session = self.logIn()
        assert type(held) is Received
        assert held.name == b"alice"
        assert not session.ended


class MindlessTests(PerspectiveCase):
    """
    Clients without a mind.
    """

    def test_connection(self) -> None:
        """
        Their connection is known when the avatar is sent, and closed by a kick.
        """
        self.serve(AvatarCache()(Shared))
        _held, session = self.logIn()
        assert session.connection is not None
        session.disconnect()
        self.portal.pump()
        assert self.client.lost

    def test_displaced(self) -> None:
        """
        Of two logins over one connection, with a limit of one, the newcomer survives; over two
        connections the other connection is closed.
        """
        self.serve(ConnectionLimit(1, whenFull=displaceOldest)(AvatarCache()(Shared)))
        held, session = self.logIn()
        again = self.client.login("alice")
        self.portal.pump()
        newer = self.successResultOf(again)
        assert session.ended
        assert not self.client.lost
        self.failureResultOf(self.call(held, "name"))
        self.successResultOf(self.call(newer, "name"))
        first = self.client
        newest, _session = self.logIn()
        self.successResultOf(self.call(newest, "name"))
        assert first.lost
        assert not self.client.lost
        assert len(self.realm.sessions) == 1

    def test_displacedInVain(self) -> None:
        """
        If the newcomer's login fails, the connection of the one that had to go is closed too.
        """

        class Failing(Block):
            def attached(self, session: Session) -> None:
                if len(test.realm.sessions) > 1 or session.avatar.said:
                    raise ValueError("on purpose")

        test = self
        self.serve(ConnectionLimit(1, whenFull=displaceOldest)(Failing()(AvatarCache()(Shared))))
        _held, session = self.logIn()
        session.avatar.said.append("full")
        first = self.client
        failing = self.portal.connect().login("alice")
        self.portal.pump()
        self.failureResultOf(failing)
        self.flushLoggedErrors(ValueError)
        assert first.lost

    def test_tooMany(self) -> None:
        """
        A login whose avatar cannot be sent is not left behind.
        """
        self.serve(AvatarCache()(Shared))
        self.client = self.portal.connect()
        broker: Any = self.client._server.protocol
        broker.registerReference = lambda thing: 1 / 0
        failing = self.client.login("alice")
        self.portal.pump()
        assert not self.realm.sessions
        del failing
        self.flushLoggedErrors(ZeroDivisionError)
