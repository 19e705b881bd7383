"""
Observers of a presence, and somebody who comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Presence, Realm
from scripted import IThing, Thing, opened

# Any in this module: avatar IDs, and what a login returns.


class Watch:
    """
    An observer that writes down what it is told, and may wait.

    @ivar told: what it was told: C{+alice}, C{-alice}.
    @ivar waits: for each call that is not done, what it waits for.
    @ivar waiting: whether its calls wait.
    """

    def __init__(self, name: str = "", told: list[str] | None = None) -> None:
        self.name, self.told = name, [] if told is None else told
        self.waits: list[Deferred[object]] = []
        self.waiting = False

    def arrived(self, avatarId: Any) -> object:
        """
        Somebody has come.
        """
        return self._note("+", avatarId)

    def departed(self, avatarId: Any) -> object:
        """
        Somebody has gone.
        """
        return self._note("-", avatarId)

    def _note(self, sign: str, avatarId: Any) -> object:
        name = avatarId.decode() if isinstance(avatarId, bytes) else avatarId
        self.told.append(f"{self.name}{sign}{name}")
        if not self.waiting:
            return None
        self.waits.append(Deferred())
        return self.waits[-1]

    def finish(self) -> None:
        """
        Finish the oldest call.
        """
        self.waits.pop(0).callback(None)

    def observe(self, presence: Presence, **kw: Any) -> Callable[[], None]:
        """
        Begin to observe.
        """
        return presence.observe(arrived=self.arrived, departed=self.departed, **kw)


class PresenceCase(SynchronousTestCase):
    """
    A presence with one observer, in a realm.
    """

    linger = 0.0

    def setUp(self) -> None:
        """
        Have a clock.
        """
        self.clock = Clock()
        self.presence = Presence(self.linger, reactor=self.clock)
        self.realm = self.presence(lambda avatarId: Thing())
        self.watch = Watch()
        self.stop = self.watch.observe(self.presence)

    @property
    def told(self) -> list[str]:
        """
        What the observer was told.
        """
        return self.watch.told

    def enter(self, avatarId: object = b"alice", realm: Realm[Any] | None = None) -> Any:
        """
        Log in, and return what logs out.
        """
        return opened((realm or self.realm).requestAvatar(avatarId, None, IThing))[2]
