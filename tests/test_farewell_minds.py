"""
Tests of minds that are told that their session has ended, and of what must leave the process then.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred, fail
from twisted.python.components import registerAdapter
from twisted.spread import pb
from twisted.spread.banana import BananaError

from avatarkit import IMind, Kicked, Session
from avatarkit.testing import FakeMind, MemoryPortal
from farewells import FarewellTestCase, told
from logs import logged
from minds import connect, methods
from scripted import Boom

# Any in this module: minds, and what they are called with.


class MindTests(FarewellTestCase):
    """
    Minds that do no harm, whatever they do when they are told.
    """

    def ends(self, mind: FakeMind) -> Session:
        """
        Check that a mind's session ends, and its connection is closed, and nothing is left.
        """
        session = self.enter(mind)
        self.successResultOf(session.disconnect("spam", reactor=self.clock))
        assert mind.closings == ["lose"]
        assert session not in self.realm.sessions
        assert self.realm.audit() == []
        assert self.clock.getDelayedCalls() == []
        return session

    def test_raises(self) -> None:
        """
        What a mind raises is logged, unless it is that its client is gone.
        """
        error: type[BaseException]
        for error in (Boom, SystemExit):
            self.ends(Doing(partial(throw, error)))
            assert len(self.flushLoggedErrors(error)) == 1
        for error in (pb.DeadReferenceError, pb.PBConnectionLost):
            self.ends(Doing(partial(throw, error)))
        assert self.flushLoggedErrors() == []

    def test_fails(self) -> None:
        """
        What cannot be sent is logged; what a client answers is its own affair, and nobody waits for
        it.
        """
        answers = [fail(Boom()), fail(pb.PBConnectionLost()), Deferred[Any](), Deferred[Any]()]
        for answer in answers:
            self.ends(Doing(partial(give, answer)))
        answers[2].errback(Boom())
        assert len(self.flushLoggedErrors(Boom)) == 1
        never = Kicked(mayReturn=2**5000)
        mind = FakeMind()
        self.enter(mind).logout(never)
        real = connect()
        self.enter(real).logout(never)
        assert (mind.calls, methods(real)) == ([], [])
        assert len(self.flushLoggedErrors(BananaError)) == 2

    def test_logsOut(self) -> None:
        """
        A client may log out, be disconnected, or leave, while it is told.
        """
        for act in (
            Session.logout,
            Session.disconnect,
            lambda session: session.disconnect(timeout=0, reactor=self.clock),
            lambda session: session.mind.disconnect(),
        ):
            mind = Doing(lambda: None)
            session = self.enter(mind)
            mind.act = partial(act, session)
            reason = Kicked("spam")
            self.successResultOf(session.disconnect(reason, reactor=self.clock))
            assert (mind.disconnected, session.reason) == (True, reason)
            assert told(mind) == [("Kicked", "spam", 0)]
        assert self.realm.audit() == []

    def test_logsIn(self) -> None:
        """
        A client may log in again while it is told, with the same mind too, and that session stays.
        """
        mind = Doing(lambda: self.enter(mind))
        self.enter(mind).logout("spam")
        (session,) = self.realm.sessions
        assert (session.mind, session.ended) == (mind, False)
        assert len(self.online[b"alice"]) == 1
        mind.act = lambda: None
        session.logout("again")
        assert [args[1] for args in told(mind)] == ["spam", "again"]
        assert self.realm.audit() == []

    def test_closesRealm(self) -> None:
        """
        Somebody may close the realm while a client is told, which is told once.
        """
        closed: list[Any] = []
        mind = Doing(lambda: closed.append(self.realm.close(reactor=self.clock)))
        other = FakeMind()
        self.enter(other, b"bob")
        self.ends(mind)
        self.successResultOf(closed[0])
        assert (len(told(mind)), len(told(other))) == (1, 1)

    def test_brokenAdapter(self) -> None:
        """
        If nobody can tell whether a client is there, or what waits for it, its session ends all the
        same.
        """
        broken = Broken()
        session = self.enter(broken)
        broken.isBroken = True
        session.logout("spam")
        assert session not in self.realm.sessions
        assert (len(self.flushLoggedErrors(Boom)), broken.calls) == (1, [])
        broken = Broken()
        broken.backlog = 1
        session = self.enter(broken)
        closed = self.realm.close(reactor=self.clock)
        broken.isBroken = True
        self.assertNoResult(closed)
        self.clock.advance(0)
        self.successResultOf(closed)
        assert len(told(broken)) == 1

    def test_adapted(self) -> None:
        """
        A mind of any other kind, which has an adapter, is told.
        """

        class Telephone:
            pass

        telephone, mind = Telephone(), FakeMind()
        registerAdapter(lambda original: mind, Telephone, IMind)
        self.enter(telephone).logout("spam")
        assert told(mind) == [("Kicked", "spam", 0)]

    def test_two(self) -> None:
        """
        Of a client with two sessions, each session that ends is told.
        """
        mind = FakeMind()
        first, second = self.enter(mind), self.enter(mind)
        first.logout("first")
        assert [args[1] for args in told(mind)] == ["first"]
        self.online.everyone.callRemote("news", pbanswer=False)
        second.logout("second")
        assert [call.name for call in mind.calls] == ["sessionEnded", "news", "sessionEnded"]


class LeavingTests(FarewellTestCase):
    """
    A realm that closes waits until its clients' farewells have left the process, which may end
    then.
    """

    def setUp(self) -> None:
        """
        Have a client with a connection in memory.
        """
        super().setUp()
        self.portal = MemoryPortal(self.realm, reactor=self.clock)
        self.connection = self.portal.connect()
        self.client = Client()
        self.waiting = self.connection.login(mind=self.client)
        self.portal.pump()
        self.avatar = self.successResultOf(self.waiting)

    def test_closing(self) -> None:
        """
        The session ends as soon as everything has left.
        """
        closed = self.realm.close(reactor=self.clock)
        self.clock.advance(0)
        self.clock.advance(1)
        self.assertNoResult(closed)
        assert self.client.told == []
        self.portal.pump()
        self.assertNoResult(closed)
        assert self.client.told == [("RealmClosed", "the server is shutting down", 10)]
        self.clock.advance(1)
        self.successResultOf(closed)
        assert self.clock.getDelayedCalls() == []

    def test_atOnce(self) -> None:
        """
        It looks in the reactor's next turn for the first time.
        """
        closed = self.realm.close(reactor=self.clock)
        self.portal.pump()
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_gone(self) -> None:
        """
        It does not wait for a client that is gone.
        """
        closed = self.realm.close(reactor=self.clock)
        self.connection.drop()
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_stalled(self) -> None:
        """
        It waits for one that does not read, and no longer than its timeout.
        """
        self.connection.stall()
        closed = self.realm.close(reactor=self.clock)
        seconds = self.clock.seconds()
        looks = set()
        with logged() as said:
            while not said:
                looks.add(min(call.getTime() for call in self.clock.getDelayedCalls()))
                self.clock.advance(0.005)
        assert said == ["error: the farewell to b'alice' was not written in 5 seconds"]
        assert 4.9 < self.clock.seconds() - seconds < 5.1
        assert len(looks) < 20  # each waits for longer than the one before
        self.successResultOf(closed)
        assert self.clock.getDelayedCalls() == []

    def test_late(self) -> None:
        """
        It waits no longer than the realm does that closes.
        """
        self.connection.stall()
        closed = self.realm.close(timeout=1, reactor=self.clock)
        self.clock.advance(0.9)
        self.assertNoResult(closed)
        self.clock.advance(0.1)
        self.successResultOf(closed)
        assert not self.realm.sessions
        assert self.clock.getDelayedCalls() == []

    def test_kicked(self) -> None:
        """
        Other endings do not wait for that.
        """
        self.connection.stall()
        (session,) = self.realm.sessions
        session.logout("spam")
        assert not self.realm.sessions
        self.connection.resume()
        self.portal.pump()
        assert self.client.told == [("Kicked", "spam", 0)]

    def test_keeps(self) -> None:
        """
        Nothing is kept of a session that has ended.
        """
        (session,) = self.realm.sessions
        kept = ref(session)
        session.disconnect("spam", reactor=self.clock)
        self.portal.pump()
        del session
        gc.collect()
        assert kept() is None


class Doing(FakeMind):
    """
    A mind that does something when it is told.
    """

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Do it, and return what that returns.
        """
        super().callRemote(name, *args, **kw)
        return self.act()


class Broken(FakeMind):
    """
    A mind that nobody can ask anything.

    @ivar isBroken: whether it is broken yet.
    """

    isBroken = False

    def __getattribute__(self, name: str) -> Any:
        """
        Raise, if it is broken.
        """
        if name == "disconnected" and self.isBroken:
            raise Boom
        return super().__getattribute__(name)


class Client(pb.Referenceable):
    """
    A client that notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def remote_sessionEnded(self, *args: Any) -> None:
        """
        Take note.
        """
        self.told.append(args)


def throw(error: type[BaseException]) -> None:
    """
    Raise.
    """
    raise error


def give(answer: Deferred[Any]) -> Deferred[Any]:
    """
    Return an answer.
    """
    return answer
