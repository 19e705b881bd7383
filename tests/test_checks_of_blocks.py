"""
Tests for L{avatarkit.testing.checkBlock}: our blocks pass, and broken ones are caught.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    Block,
    ConnectionCounter,
    ConnectionLimit,
    IBlock,
    LoginRefused,
    MindRegistry,
    displaceOldest,
    everyone,
)
from avatarkit.testing import checkBlock
from scripted import Boom, Thing


class BlockContractTests(SynchronousTestCase):
    """
    L{checkBlock} and the blocks that it is given.
    """

    def test_blocks(self) -> None:
        """
        All of avatarkit's blocks pass.
        """
        for make in (
            Block,
            ConnectionCounter,
            ConnectionLimit,
            lambda: ConnectionLimit(2, key=everyone),
            lambda: ConnectionLimit(whenFull=displaceOldest(flapping=99)),
            lambda: ConnectionLimit(quota=lambda session: 1),
            MindRegistry,
            lambda: MindRegistry(maximumPending=1),
        ):
            checkBlock(make)

    def brokenBlock(self, promise: str, **changes: Any) -> str:
        """
        Check that a broken block is caught, and return the sentence.
        """
        before = list(globalLogPublisher._observers)
        kind: Any = type("Broken", (Block,), changes)
        error = self.assertRaises(AssertionError, checkBlock, kind)
        assert promise in str(error), error
        assert str(error).count("a promise is broken") == 1
        self.flushLoggedErrors()
        assert list(globalLogPublisher._observers) == before
        return str(error)

    def test_brokenBlocks(self) -> None:
        """
        A block is caught if it keeps sessions, fails, never finishes, admits a user only once, or
        lacks methods.
        """
        self.brokenBlock(
            "nothing refers to the session", kept=[], attached=lambda self, s: self.kept.append(s)
        )
        self.brokenBlock("nothing fails during a logout", release=lambda self, session: 1 / 0)
        self.brokenBlock("every session is closed", detached=lambda self, session: Deferred())
        self.brokenBlock(
            "nothing fails during a login without a mind",
            detached=lambda self, session: session.mind.calls,
        )
        self.brokenBlock("has its result at once", attached=lambda self, session: Deferred())

        def bye(self: Any, session: Any) -> None:
            if session.mind is not None:
                session.mind.callRemote("bye", pbanswer=False)

        self.brokenBlock(
            "nothing fails during a login whose client leaves while it waits", detached=bye
        )

        def once(self: Any, session: Any) -> None:
            if getattr(self, "taken", False):
                raise LoginRefused
            self.taken = True

        self.brokenBlock("the next login succeeds", admit=once)

        def byName(self: Any, session: Any) -> None:
            self.names = getattr(self, "names", set()) | {session.avatarId}

        def remove(self: Any, session: Any) -> None:
            self.names.remove(session.avatarId)

        self.brokenBlock(
            "nothing fails during two sessions at once", attached=byName, detached=remove
        )

        def late(self: Any, session: Any) -> None:
            self.taken = False

        self.brokenBlock("the next login succeeds", admit=once, detached=late)
        error = self.assertRaises(AssertionError, checkBlock, Thing)
        assert "provides IBlock" in str(error)

        half: Any = type("Half", (), {})
        implementer(IBlock)(half)
        error = self.assertRaises(AssertionError, checkBlock, half)
        assert "it implements IBlock: " in str(error)

    def test_brokenCloses(self) -> None:
        """
        A block is caught if it stops working when another of its realms is closed, or if its
        C{close} fails or waits.
        """

        def over(self: Any, session: Any) -> None:
            if getattr(self, "closed", False):
                raise LoginRefused

        self.brokenBlock(
            "after the close of another realm that shares the block, the next login succeeds",
            admit=over,
            close=lambda self: setattr(self, "closed", True),
        )
        self.brokenBlock("is done at once", close=lambda self: Deferred())
        self.brokenBlock("nothing fails during the close", close=lambda self: 1 / 0)

    def test_ways(self) -> None:
        """
        The sentence names the way in which the login ended.
        """

        def breaking(number: int) -> type[Block]:
            numbers = count()

            class Broken(Block):
                def __init__(self) -> None:
                    self.number = next(numbers)

                def release(self, session: Any) -> None:
                    if self.number == number:
                        raise Boom("no release")

            return Broken

        for number, way in enumerate(
            (
                "a logout",
                "three logouts of one session",
                "a login without a mind",
                "two sessions at once",
                "a login that a block below refuses",
                "a login that has its avatar when a block above refuses it",
                "a login whose client leaves while it waits",
                "a login without a mind whose connection is lost while it waits",
                "a session whose connection is lost",
                "a login that is cancelled before it has its avatar",
                "a session that is logged out before its login is complete",
            )
        ):
            error = self.assertRaises(AssertionError, checkBlock, breaking(number))
            promise = f"a promise is broken: nothing fails during {way}: ['no release', "
            assert str(error).startswith(promise)
            self.flushLoggedErrors(Boom)

    def test_afterwards(self) -> None:
        """
        The sentence says what broke the promise: a login, what is left of it, or the next login.
        """

        def at(number: int, reason: Exception) -> Any:
            def admit(self: Any, session: Any) -> None:
                self.logins += 1
                if self.logins == number:
                    raise reason

            return admit

        refused, boom = LoginRefused("no"), Boom("no")
        for promise, changes in (
            ("after a logout, every session is closed", {"detached": lambda self, s: Deferred()}),
            (f"after a logout, the next login succeeds: {refused!r}", {"admit": at(50, refused)}),
            (f"after a logout, the next login succeeds: {refused!r}", {"admit": at(51, refused)}),
            (f"nothing fails during a logout: {boom!r}", {"admit": at(50, boom)}),
            (f"nothing fails during a login after a logout: {boom!r}", {"admit": at(51, boom)}),
        ):
            said = self.brokenBlock(promise, logins=0, **changes)
            assert said == f"a promise is broken: {promise}"

    def test_sharedBlock(self) -> None:
        """
        A block that mixes up the sessions of its realms is caught.
        """

        class Last(Block):
            sessions = 0
            realm: Any = None

            def attached(self, session: Any) -> None:
                self.realm, self.sessions = session.realm, self.sessions + 1

            def detached(self, session: Any) -> None:
                self.sessions -= 1
                if self.sessions == 0 and self.realm is not session.realm:
                    raise Boom
                assert session.realm is self.realm

        error = self.assertRaises(AssertionError, checkBlock, Last)
        assert "nothing fails during sessions in two realms that share the block: " in str(error)
        self.flushLoggedErrors()

        class First(Block):
            def __init__(self) -> None:
                self.realm: Any = None
                self.sessions: list[Any] = []

            def attached(self, session: Any) -> None:
                self.realm = self.realm or session.realm
                self.sessions.append(session)

            def detached(self, session: Any) -> None:
                if session.realm is self.realm:
                    self.sessions.remove(session)

        error = self.assertRaises(AssertionError, checkBlock, First)
        assert "after sessions in two realms that share the block, nothing refers" in str(error)

    def test_leaking(self) -> None:
        """
        A block that leaks slots, keeps minds or avatars, or needs a mind is caught; one that
        refuses with an exception of C{twisted.cred} passes.
        """

        class Leaking(Block):
            maximum, taken = 10, 0

            def admit(self, session: Any) -> None:
                if self.taken >= self.maximum:
                    raise UnauthorizedLogin
                self.taken += 1

            def detached(self, session: Any) -> None:
                self.taken -= 1

        self.brokenBlock("a block below refuses, the next login succeeds", **vars(Leaking))
        self.brokenBlock(
            "nothing refers to the mind", seen=[], admit=lambda self, s: self.seen.append(s.mind)
        )
        self.brokenBlock(
            "nothing refers to the avatar",
            all=[],
            attached=lambda self, s: self.all.append(s.avatar),
        )
        self.brokenBlock(
            "nothing fails during a login without a mind: AttributeError",
            admit=lambda self, s: s.mind.calls,
        )

        class Right(Leaking):
            maximum = 1

            def detached(self, session: Any) -> None:
                pass

            def release(self, session: Any) -> None:
                self.taken -= 1

        checkBlock(Right)

    def test_rarely(self) -> None:
        """
        A block that fails only sometimes, miscounts, or keeps a login that fails late is caught,
        and the sentence says after what.
        """

        def thirtieth(self: Any, session: Any) -> None:
            self.logins += 1
            if self.logins == 30:
                raise LoginRefused

        self.brokenBlock("after a logout, the next login succeeds", logins=0, admit=thirtieth)

        class Miscounting(ConnectionCounter):
            def detached(self, session: Any) -> None:
                pass

        error = self.assertRaises(AssertionError, checkBlock, Miscounting)
        assert 'after a logout, audit() finds nothing: ["Miscounting' in str(error)

        def unless(self: Any, session: Any) -> None:
            if session.loggedIn or session.mind.disconnected:
                self.kept.remove(session)

        self.brokenBlock(
            "after a login that has its avatar when a block above refuses it, nothing refers to",
            kept=[],
            attached=lambda self, session: self.kept.append(session),
            detached=unless,
        )
