"""
Tests for L{avatarkit.testing.checkSource}: our sources pass, and broken ones are caught.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import AvatarCache, ConnectionLimit, IAvatarSource, PerConnection
from avatarkit._realm.sources import FactorySource
from avatarkit.testing import checkSource
from players import Player
from realms import Foreign
from scripted import IThing, Thing


class SourceContractTests(SynchronousTestCase):
    """
    L{checkSource} and the sources that it is given.
    """

    def test_sources(self) -> None:
        """
        All of avatarkit's sources pass.
        """
        for make in (
            lambda: Player,
            lambda: FactorySource(Player),
            lambda: AvatarCache()(Player),
            lambda: AvatarCache(maximumIdle=0)(ConnectionLimit()(Player)),
            lambda: PerConnection(lambda shared: Player(shared))(AvatarCache()(Player)),
            Foreign,
            lambda: AvatarCache()(Foreign()),
        ):
            checkSource(make)
        checkSource(lambda: lambda avatarId: Thing(), interface=IThing)

    def brokenSource(self, promise: str, **changes: Any) -> str:
        """
        Check that a broken source is caught, and return the sentence.
        """

        @implementer(IAvatarSource)
        class Broken:
            def acquire(self, session: Any) -> Any:
                return Player(session.avatarId)

            def release(self, session: Any) -> Any:
                return None

            def close(self) -> Any:
                return None

        for name, change in changes.items():
            setattr(Broken, name, change)
        error = self.assertRaises(AssertionError, checkSource, Broken)
        assert promise in str(error), error
        assert str(error).startswith("a promise is broken: ")
        self.flushLoggedErrors()
        return str(error)

    def test_brokenSources(self) -> None:
        """
        A source that keeps sessions, fails, or does not close is caught.
        """
        kept: list[Any] = []
        self.brokenSource(
            "nothing refers to the session", release=lambda self, session: kept.append(session)
        )
        kept.clear()
        self.brokenSource("nothing fails during a logout", release=lambda self, session: 1 / 0)

        def keep(self: Any, session: Any) -> None:
            if session.mind is None:
                kept.append(session)

        self.brokenSource("a login without a mind, nothing refers to the session", release=keep)
        kept.clear()
        self.brokenSource("every session is closed", release=lambda self, session: Deferred())
        self.brokenSource("lets go of every avatar", close=lambda self: Deferred())
        self.brokenSource("nothing fails during the realm's close()", close=lambda self: 1 / 0)
        self.brokenSource("it implements IAvatarSource: ", close=None)
        error = self.assertRaises(AssertionError, checkSource, lambda: 3)
        assert "a realm can be built with it" in str(error)

    def test_sentences(self) -> None:
        """
        The sentence about a source that does not close, or about something that is not a source, is
        the broken promise.
        """
        said = self.brokenSource("close()", close=lambda self: Deferred())
        assert said == (
            "a promise is broken: after a logout, close() lets go of every avatar at once"
        )
        error = self.assertRaises(AssertionError, checkSource, lambda: 3)
        assert str(error).startswith("a promise is broken: a realm can be built with it: 3 ")
