"""
Tests for L{avatarkit.testing.checkSource}: our sources pass, and what is broken is caught.
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
    L{checkSource}, and the sources that pass it.
    """

    def test_sources(self) -> None:
        """
        Every source passes.
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
        See that a source that is broken is caught, and return what is said of it.
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
        A source that keeps sessions, goes wrong, or does not close is caught.
        """
        kept: list[Any] = []
        self.brokenSource("nothing is kept", release=lambda self, session: kept.append(session))
        kept.clear()
        self.brokenSource("goes well", release=lambda self, session: 1 / 0)

        def keep(self: Any, session: Any) -> None:
            if session.mind is None:
                kept.append(session)

        self.brokenSource("a login without a mind nothing is kept of the session", release=keep)
        kept.clear()
        self.brokenSource("the session is closed", release=lambda self, session: Deferred())
        self.brokenSource("lets go of its avatars", close=lambda self: Deferred())
        self.brokenSource("closing it goes well", close=lambda self: 1 / 0)
        self.brokenSource("it has what its interface has", close=None)
        error = self.assertRaises(AssertionError, checkSource, lambda: 3)
        assert "it can be stacked" in str(error)

    def test_sentences(self) -> None:
        """
        The sentence about a source that does not close, or about what is not a source, is the
        promise that is broken.
        """
        said = self.brokenSource("closed", close=lambda self: Deferred())
        assert said == (
            "a promise is broken: after a logout it lets go of its avatars when it is closed"
        )
        error = self.assertRaises(AssertionError, checkSource, lambda: 3)
        assert str(error).startswith("a promise is broken: it can be stacked: 3 ")
