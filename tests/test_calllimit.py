"""
Tests for L{avatarkit.CallLimit}.
"""

from __future__ import annotations

import traceback
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread.pb import IPerspective
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    CallLimit,
    Kicked,
    PerConnection,
    Resume,
    Session,
    TooManyCalls,
)
from avatarkit.testing import FakeConnection, MemoryPortal, login
from players import Player

# Any in this module: references, and wrong arguments.


class CallLimitTests(SynchronousTestCase):
    """
    Calls over Perspective Broker.
    """

    def setUp(self) -> None:
        """
        Serve players who may call twice a second, and five times at once.
        """
        self.clock = Clock()
        self.limit: CallLimit = CallLimit(rate=2, burst=5, reactor=self.clock)
        self.realm = self.limit(AvatarCache()(Player))
        self.portal = MemoryPortal(self.realm, reactor=self.clock)
        self.held, self.session = self.logIn()

    def logIn(self) -> tuple[Any, Session]:
        """
        Log in.
        """
        before = {*self.realm.sessions}
        self.client = self.portal.connect()
        login = self.client.login("alice")
        self.portal.pump()
        (session,) = {*self.realm.sessions} - before
        return self.successResultOf(login), session

    def calls(self, number: int, held: Any = None) -> list[bool]:
        """
        Call so many times; return which calls were made.
        """
        answers: list[Deferred[Any]] = [
            (held or self.held).callRemote("name") for _ in range(number)
        ]
        self.portal.pump()
        return [self.wasMade(each) for each in answers]

    def wasMade(self, answer: Deferred[Any]) -> bool:
        """
        Return whether a call was made, and was refused otherwise as it should be.
        """
        made: list[Any] = []
        answer.addBoth(made.append)
        (result,) = made
        if result == b"alice":
            return True
        assert result.type == b"avatarkit.errors.TooManyCalls"
        assert result.getErrorMessage() == TooManyCalls.text
        return False

    def test_burst(self) -> None:
        """
        So many may come at once, and then as many as the rate says; it never grows beyond that.
        """
        assert self.calls(7) == [True] * 5 + [False] * 2
        self.clock.advance(1)
        assert self.calls(3) == [True] * 2 + [False]
        self.clock.advance(1000)
        assert self.calls(6) == [True] * 5 + [False]
        assert not self.session.ended
        assert self.flushLoggedErrors() == []

    def test_each(self) -> None:
        """
        Each session has its own, also of one avatar.
        """
        other, _session = self.logIn()
        assert self.calls(6) == [True] * 5 + [False]
        assert self.calls(6, other) == [True] * 5 + [False]

    def test_goesOn(self) -> None:
        """
        A client whose refused calls are too many as well is disconnected, and nobody else is.
        """
        other, others = self.logIn()
        first = self.portal.connections[0]
        assert self.calls(10) == [True] * 5 + [False] * 5
        assert not self.session.ended
        assert self.calls(1) == [False]
        assert self.session.ended
        assert type(self.session.reason) is Kicked
        assert str(self.session.reason) == "too many calls"
        self.portal.pump()
        assert first.lost
        assert not others.ended
        assert self.calls(1, other) == [True]

    def test_slowly(self) -> None:
        """
        A client that calls at twice the rate has half of its calls refused, and stays.
        """
        self.calls(5)
        for _ in range(100):
            self.clock.advance(0.5)
            assert self.calls(2) == [True, False]
        assert not self.session.ended

    def test_nothingKept(self) -> None:
        """
        Nothing is kept of a session that has ended, or has called nothing.
        """
        assert self.limit._buckets == {}
        self.calls(1)
        assert list(self.limit._buckets) == [self.session]
        assert self.realm.audit() == []
        self.session.logout("spam")
        assert self.limit._buckets == {}
        answer: Deferred[Any] = self.held.callRemote("name")
        self.portal.pump()
        told: Any = self.failureResultOf(answer)
        assert told.getErrorMessage() == "spam"
        assert self.limit._buckets == {}
        self.limit._buckets[self.session] = None  # type: ignore[assignment]  # what should not be
        (found,) = self.realm.audit()
        assert found.endswith(f"is still kept by {self.limit!r}")
        self.limit._buckets.clear()

    def test_wrong(self) -> None:
        """
        Wrong arguments are refused where they are given.
        """
        wrong: Any
        for error, wrong in (
            (TypeError, ("2", 5)),
            (ValueError, (0, 5)),
            (ValueError, (-1, 5)),
            (TypeError, (2, "5")),
            (TypeError, (2, 1.5)),
            (ValueError, (2, 0)),
            (TypeError, (Player, 5)),
        ):
            self.assertRaises(error, CallLimit, *wrong)
        self.assertRaises(TypeError, CallLimit, 2, 5, key=5)
        self.assertRaises(TypeError, CallLimit, 2, 5, timeout=wrong)
        self.assertRaises(TypeError, CallLimit, 2, 5, reactor=wrong)


class KeyTests(SynchronousTestCase):
    """
    Calls that are counted under a key.
    """

    def setUp(self) -> None:
        """
        Serve users who may call once a second, and three times at once, with all their sessions.
        """
        self.clock = Clock()
        self.limit: CallLimit = CallLimit(1, 3, key=lambda s: s.avatarId, reactor=self.clock)
        self.realm = self.limit(AvatarCache()(Player))

    def enter(self, name: bytes = b"alice") -> Session:
        """
        Log in, and return the session.
        """
        login(self.realm, name)
        *_, session = self.realm.sessions
        assert isinstance(session, Session)
        return session

    def calls(self, session: Session, number: int) -> int:
        """
        Call so many times, and return how many of the calls were made.
        """
        made = 0
        for _ in range(number):
            try:
                self.limit.called(session, "name")
            except TooManyCalls:
                continue
            made += 1
        return made

    def test_together(self) -> None:
        """
        Sessions of one key share what they may do, and logging in again brings nothing more; others
        have their own.
        """
        first, second, other = self.enter(), self.enter(), self.enter(b"bob")
        assert [self.calls(first, 2), self.calls(second, 2), self.calls(other, 3)] == [2, 1, 3]
        first.logout()
        second.logout()
        again = self.enter()
        assert self.calls(again, 1) == 0
        self.clock.advance(1)
        assert self.calls(again, 2) == 1
        assert self.realm.audit() == []

    def test_goesOn(self) -> None:
        """
        The session that goes on is disconnected, and not the others of its key.
        """
        first, second = self.enter(), self.enter()
        self.calls(first, 6)
        assert not first.ended
        self.calls(first, 1)
        assert (first.ended, second.ended) == (True, False)

    def test_forgets(self) -> None:
        """
        What is full again is forgotten at the next call, and nothing else is.
        """
        session, others = self.enter(), [self.enter(b"%d" % each) for each in range(5)]
        self.calls(session, 1)
        for other in others:
            self.calls(other, 1)
            other.logout()
        self.calls(session, 3)
        self.clock.advance(2.9)
        self.calls(session, 1)
        assert len(self.limit._buckets) == 6
        self.clock.advance(0.2)
        self.calls(session, 1)
        assert list(self.limit._buckets) == [b"alice"]
        self.clock.advance(1000)
        assert self.calls(session, 5) == 3
        session.logout()
        assert self.realm.audit() == []
        assert self.limit._keys is not None
        assert self.limit._keys._noted == {}

    def test_wrongKey(self) -> None:
        """
        A key that cannot be hashed fails the login, and nothing is kept of it.
        """
        limit: CallLimit = CallLimit(1, 3, key=lambda session: [])  # type: ignore[arg-type,return-value]  # wrong on purpose
        realm = limit(Player)
        realm.hideFaults = False
        self.assertRaises(TypeError, realm.requestAvatar, b"alice", None, IPerspective)
        assert not realm.sessions


class HookTests(SynchronousTestCase):
    """
    Blocks that are told of calls.
    """

    def test_called(self) -> None:
        """
        A block that has a method C{called} is told of each call before it is made, outermost first.
        """
        seen: list[Any] = []

        class Seeing(Block):
            def __init__(self, name: str) -> None:
                self.name = name

            def called(self, session: Session, message: str) -> None:
                seen.append((self.name, session.avatarId, message))

        portal = MemoryPortal(Seeing("outer")(Seeing("inner")(AvatarCache()(Player))))
        entering = portal.connect().login("alice")
        portal.pump()
        held = self.successResultOf(entering)
        answer = held.callRemote("name")
        portal.pump()
        self.successResultOf(answer)
        assert seen == [("outer", b"alice", "name"), ("inner", b"alice", "name")]

    def test_ends(self) -> None:
        """
        A block that ends the session has the last word: the call is not made, and the blocks below
        are not told of it, and so keep nothing.
        """
        limit: CallLimit = CallLimit(1, 1)

        class Guard(Block):
            def called(self, session: Session, message: str) -> None:
                session.logout("not now")

        realm = Guard()(limit(Player))
        portal = MemoryPortal(realm)
        entering = portal.connect().login("alice")
        portal.pump()
        answer = self.successResultOf(entering).callRemote("name")
        portal.pump()
        assert self.failureResultOf(answer).getErrorMessage() == "not now"
        assert (limit._buckets, realm.audit()) == ({}, [])

    def test_below(self) -> None:
        """
        Below a source of its own sessions such a block would be told of nothing, and is refused.
        """
        below = CallLimit(rate=2, burst=5)(Player)
        stacks: Any = AvatarCache(), PerConnection(lambda session: session.avatar), Resume()
        for stack in stacks:
            error = self.assertRaises(TypeError, stack, below)
            assert "a block that wants to know of calls" in str(error)

    def test_sameRefusal(self) -> None:
        """
        A refusal that is raised for each call does not keep them.
        """
        refusal = TooManyCalls()

        class Refusing(Block):
            def called(self, session: Session, message: str) -> None:
                raise refusal

        portal = MemoryPortal(Refusing()(Player))
        login = portal.connect().login("alice")
        portal.pump()
        held = self.successResultOf(login)
        sizes = set()
        for _ in range(3):
            answer = held.callRemote("name")
            portal.pump()
            self.failureResultOf(answer)
            sizes.add(len(traceback.extract_tb(refusal.__traceback__)))
        assert len(sizes) == 1

    def test_without(self) -> None:
        """
        A login without a client that calls costs nothing.
        """
        limit: CallLimit = CallLimit(1, 1)
        entered: Any = login(limit(Player), b"alice", connection=FakeConnection())
        entered.logout()
        assert limit._buckets == {}
