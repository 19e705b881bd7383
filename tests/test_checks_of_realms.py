"""
Tests for L{avatarkit.testing.checkRealm}: our realms pass, and what is broken is caught.
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
    displaceUnresponsive,
)
from avatarkit.testing import checkRealm
from players import Player
from realms import Foreign, Later
from scripted import Boom, IThing, Thing


class RealmContractTests(SynchronousTestCase):
    """
    L{checkRealm}, and the realms that pass it.
    """

    def test_realms(self) -> None:
        """
        Every realm passes.
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

    def brokenRealm(self, promise: str, answer: Any, audit: bool = False) -> str:
        """
        See that a realm that is broken is caught, and return what is said of it.
        """

        @implementer(IRealm)
        class Broken:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return answer(avatarId, interfaces)

        error = self.assertRaises(AssertionError, checkRealm, Broken)
        assert promise in str(error), error
        assert str(error).startswith("a promise is broken: ")
        self.flushLoggedErrors()
        return str(error)

    def test_brokenRealms(self) -> None:
        """
        A realm that does not answer as one is caught.
        """

        async def coroutine() -> Any:
            raise Boom

        started: list[Any] = []

        def asynchronous(avatarId: Any, interfaces: Any) -> Any:
            started.append(coroutine())
            return started[-1]

        perspective = pb.IPerspective
        player = Player(b"alice")
        self.brokenRealm("answers (interface", asynchronous)
        started.pop().close()
        self.brokenRealm("answers (interface", lambda name, interfaces: (perspective, player))
        self.brokenRealm("answered", lambda name, interfaces: Deferred())
        self.brokenRealm("one that was asked for", lambda name, interfaces: (IThing, player, list))
        self.brokenRealm("the avatar provides", lambda n, interfaces: (perspective, Thing(), list))
        self.brokenRealm("NotImplementedError", lambda n, interfaces: (perspective, player, list))
        error = self.assertRaises(AssertionError, checkRealm, Thing)
        assert "has a requestAvatar" in str(error)

    def test_sentences(self) -> None:
        """
        The sentence about a realm that does not answer as one is the promise that is broken, and
        what the realm did instead.
        """
        asked, player, thing = pb.IPerspective, Player(b"alice"), Thing()
        for answer, promise in (
            (3, "a realm answers (interface, avatar, logout), and not 3"),
            (
                (IThing, player, list),
                f"the interface is one that was asked for, and not {IThing!r}",
            ),
            ((asked, thing, list), f"the avatar provides the interface, and {thing!r} does not"),
            (
                (asked, player, list),
                "an interface that there is not is answered by NotImplementedError",
            ),
            (Deferred(), "a login that need not wait is answered"),
        ):
            said = self.brokenRealm(promise, lambda name, interfaces, answer=answer: answer)
            assert said == f"a promise is broken: {promise}"

    def test_oneInterface(self) -> None:
        """
        So is one that looks at the first interface only, cannot have a second login beside the
        first (to refuse it is right), or lets nobody in any more after a login that failed.
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
            ("first", "a login that asks for several interfaces, and one beside it goes well"),
            ("alone", "a login that asks for several interfaces, and one beside it goes well"),
            ("failed", "a login after one that failed goes well"),
        ):
            error = self.assertRaises(AssertionError, checkRealm, partial(Broken, how))
            assert promise in str(error)
        checkRealm(partial(Broken, "right"))
        checkRealm(lambda: ConnectionLimit(1)(Player))

    def test_brokenLogouts(self) -> None:
        """
        So is one that leaves something of a login, or fails when it is logged out twice.
        """

        class Keeping(Block):
            def detached(self, session: Any) -> Any:
                return Deferred()

        error = self.assertRaises(AssertionError, checkRealm, lambda: Keeping()(Player))
        assert str(error).endswith("after a logout nothing is left of the login's mind")

        class Miscounting(ConnectionCounter):
            def detached(self, session: Any) -> Any:
                pass

        error = self.assertRaises(AssertionError, checkRealm, lambda: Miscounting()(Player))
        assert str(error).endswith("after a logout nothing is left of the login")

        class KeepingFailed(ConnectionLimit):
            def release(self, session: Any) -> None:
                if session.loggedIn:
                    super().release(session)

        error = self.assertRaises(AssertionError, checkRealm, lambda: KeepingFailed(9)(Player))
        assert str(error).endswith("after a login that failed nothing is left of it")

        @implementer(IRealm)
        class Once(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, [None].pop

        error = self.assertRaises(AssertionError, checkRealm, Once)
        assert "a login and two logouts goes well" in str(error)

        @implementer(IRealm)
        class Logging(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, lambda: Logger().failure("no", failure=Failure(Boom()))

        error = self.assertRaises(AssertionError, checkRealm, Logging)
        assert "a login and two logouts goes well" in str(error)
        assert len(self.flushLoggedErrors(Boom)) > 0

        @implementer(IRealm)
        class KeepingMinds(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                minds.append(mind)
                return super().requestAvatar(avatarId, mind, *interfaces)

        minds: list[Any] = []
        error = self.assertRaises(AssertionError, checkRealm, KeepingMinds)
        assert "after a logout nothing is left" in str(error)
