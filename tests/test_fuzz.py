"""
Tests for the scenes with hostile clients: those that are kept break no promise, and what is broken
is found.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Block
from avatarkit._limit.slots import Slots
from avatarkit._push.lines import Line
from fuzz import CORPUS, seeds
from hostile import Scene
from scripted import Boom


class SceneTests(SynchronousTestCase):
    """
    Scenes.
    """

    def tearDown(self) -> None:
        """
        Perspective Broker logs what it does not understand.
        """
        self.flushLoggedErrors()

    def test_kept(self) -> None:
        """
        Every scene that was kept breaks no promise, and neither do those that are made.
        """
        kept = [each.read_bytes() for each in sorted(CORPUS.iterdir())]
        assert kept
        for data in (*kept, *seeds(100)):
            Scene(data).play()

    def test_reach(self) -> None:
        """
        The scenes get somewhere: hostile clients log in, in each way, and are pushed to.
        """
        logins, pushes, unwatched = 0, 0, 0
        for data in seeds(200):
            scene = Scene(data)
            scene.play()
            pushes += sum(len(cast("list[Any]", each.result)) > 1 for each in scene.pushes)
            logins += scene.logins
            unwatched += not scene.watched
        assert min(logins, pushes, unwatched) > 20, (logins, pushes, unwatched)

    def broken(self, scene: type[Scene]) -> str:
        """
        Return what is said of scenes in which something is broken.
        """

        def playAll() -> None:
            for data in seeds(200):
                scene(data).play()

        return str(self.assertRaises(AssertionError, playAll))

    def test_push(self) -> None:
        """
        A push that does not fire when a connection is lost is found.
        """
        self.patch(Line, "_lost", lambda line: None)
        assert "pushes do not fire" in self.broken(Scene)

    def test_books(self) -> None:
        """
        A slot that is not given back is found.
        """

        release = Slots.release

        def keep(slots: Any, session: Any) -> None:
            if session.avatarId == b"honest":
                release(slots, session)

        self.patch(Slots, "release", keep)
        assert "has a slot of" in self.broken(Scene)

    def test_failures(self) -> None:
        """
        A block that fails is found.
        """

        class Failing(Block):
            def detached(self, session: Any) -> None:
                if session.avatarId != b"honest":
                    raise Boom("no")

        class Scenery(Scene):
            def build(self) -> Any:
                return Failing()(super().build())

        assert "avatarkit failed" in self.broken(Scenery)
