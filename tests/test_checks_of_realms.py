"""
Tests for L{avatarkit.testing.checkRealm}: our realms pass, and broken ones are caught.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
    displaceUnresponsive,
)
from avatarkit.testing import checkRealm
from players import Player
from realms import Foreign, Later
from scripted import Boom, IThing, Thing


class RealmContractTests(SynchronousTestCase):
    """
    L{checkRealm} and the realms that it is given.
    """

    def test_realms(self) -> None:
        """
        avatarkit's realms pass, and so do hand-written ones.
        """
        for make in (
            lambda: Realm(Player),
            lambda: MindRegistry()(ConnectionLimit()(ConnectionCounter()(AvatarCache()(Player)))),
            lambda: ConnectionLimit(whenFull=displaceUnresponsive())(Player),
            lambda: PerConnection(Player)(AvatarCache()(Player)),
            Foreign,
            Later,
        ):
            checkRealm(make)
        checkRealm(lambda: Realm(lambda name: Thing()), avatarId="bob", interface=IThing)

    def brokenRealm(self, promise: str, request: Any, audit: bool = False) -> str:
        """
        Check that a broken realm is caught, and return the sentence.
        """

        @implementer(IRealm)
        class Broken:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return request(avatarId, interfaces)

        error = self.assertRaises(AssertionError, checkRealm, Broken)
        assert promise in str(error), error
        assert str(error).startswith("a promise is broken: ")
        self.flushLoggedErrors()
        return str(error)

    def test_connections(self) -> None:
        """
        A realm that keeps something of a login whose connection is lost is caught.
        """

        class Keeping(Block):
            def release(self, session: Session) -> Deferred[None] | None:
                connection = session.connection
                return Deferred() if connection is not None and connection.disconnected else None

        error = self.assertRaises(
            AssertionError, checkRealm, lambda: Realm(Player, blocks=[Keeping()])
        )
        assert "when its connection is lost, nothing of a login is left" in str(error)

    def test_brokenRealms(self) -> None:
        """
        A realm that returns the wrong thing, or nothing in time, is caught.
        """

        async def coroutine() -> Any:
            raise Boom

        started: list[Any] = []

        def asynchronous(avatarId: Any, interfaces: Any) -> Any:
            started.append(coroutine())
            return started[-1]

        perspective = pb.IPerspective
        player = Player(b"alice")
        self.brokenRealm("returns (interface", asynchronous)
        started.pop().close()
        self.brokenRealm("returns (interface", lambda name, interfaces: (perspective, player))
        self.brokenRealm("has its result at once", lambda name, interfaces: Deferred())
        self.brokenRealm(
            "the interface that is returned", lambda name, interfaces: (IThing, player, list)
        )
        self.brokenRealm("the avatar provides", lambda n, interfaces: (perspective, Thing(), list))
        self.brokenRealm("NotImplementedError", lambda n, interfaces: (perspective, player, list))
        error = self.assertRaises(AssertionError, checkRealm, Thing)
        assert "has a requestAvatar" in str(error)

    def test_sentences(self) -> None:
        """
        The sentence is the broken promise, with what the realm returned instead.
        """
        asked, player, thing = pb.IPerspective, Player(b"alice"), Thing()
        for returned, promise in (
            (3, "requestAvatar returns (interface, avatar, logout), not 3"),
            (
                (IThing, player, list),
                f"the interface that is returned is {asked!r}, not {IThing!r}",
            ),
            ((asked, thing, list), f"the avatar provides the interface, which {thing!r} does not"),
            (
                (asked, player, list),
                "a login for an interface that the avatar lacks raises NotImplementedError",
            ),
            (Deferred(), "a login that need not wait has its result at once"),
        ):
            said = self.brokenRealm(promise, lambda name, interfaces, returned=returned: returned)
            assert said == f"a promise is broken: {promise}"

    def test_oneInterface(self) -> None:
        """
        A realm is caught if it looks at the first interface only, fails when a second login comes
        during the first (it may refuse it), or admits nobody after a failed login.
        """

        @implementer(IRealm)
        class Broken(Foreign):
            online = 0
            failed = False

            def __init__(self, how: str) -> None:
                self.how = how

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                if self.failed or self.online:
                    raise Boom
                try:
                    seen = interfaces[:1] if self.how == "first" else interfaces
                    seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *seen)
                except NotImplementedError:
                    self.failed = self.how == "failed"
                    raise
                self.online = self.how == "alone"
                return seenAs, avatar, self.logout

            def logout(self) -> None:
                self.online = 0

        for how, promise in (
            (
                "first",
                "during a login that asks for two interfaces, and a second login during it: ",
            ),
            (
                "alone",
                "during a login that asks for two interfaces, and a second login during it: ",
            ),
            ("failed", "nothing fails during a login after a failed one: "),
        ):
            error = self.assertRaises(AssertionError, checkRealm, partial(Broken, how))
            assert promise in str(error)
        checkRealm(partial(Broken, "right"))
        checkRealm(lambda: ConnectionLimit(1)(Player))

    def test_brokenLogouts(self) -> None:
        """
        A realm is caught if it keeps something of a login, or fails at the second logout.
        """

        class Keeping(Block):
            def detached(self, session: Any) -> Any:
                return Deferred()

        error = self.assertRaises(AssertionError, checkRealm, lambda: Keeping()(Player))
        assert str(error).endswith("after a logout, nothing refers to the mind")

        class Miscounting(ConnectionCounter):
            def detached(self, session: Any) -> Any:
                pass

        error = self.assertRaises(AssertionError, checkRealm, lambda: Miscounting()(Player))
        assert str(error).endswith("after a logout, nothing of the login is left")

        class KeepingFailed(ConnectionLimit):
            def release(self, session: Any) -> None:
                if session.loggedIn:
                    super().release(session)

        error = self.assertRaises(AssertionError, checkRealm, lambda: KeepingFailed(9)(Player))
        assert str(error).endswith("after a failed login, nothing of the login is left")

        @implementer(IRealm)
        class Once(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, [None].pop

        error = self.assertRaises(AssertionError, checkRealm, Once)
        assert "nothing fails during a login and two logouts: " in str(error)

        @implementer(IRealm)
        class Logging(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, lambda: Logger().failure("no", failure=Failure(Boom()))

        error = self.assertRaises(AssertionError, checkRealm, Logging)
        assert "nothing fails during a login and two logouts: " in str(error)
        assert len(self.flushLoggedErrors(Boom)) > 0

        @implementer(IRealm)
        class KeepingMinds(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                minds.append(mind)
                return super().requestAvatar(avatarId, mind, *interfaces)

        minds: list[Any] = []
        error = self.assertRaises(AssertionError, checkRealm, KeepingMinds)
        assert "after a logout, nothing refers to the mind" in str(error)
