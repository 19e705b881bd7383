"""
A realm whose clients are told why their sessions end, and clients that note what they are told.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import Avatar, Block, Farewell, IDisconnectableMind, MindGroup, MindRegistry, Session
from avatarkit._push.lanes import SLICE
from avatarkit.testing import FakeMind, login

# Any in this module: minds, and what they are called with.


def told(mind: FakeMind) -> list[tuple[Any, ...]]:
    """
    Return what a client was told when its sessions ended.
    """
    return [call.args for call in mind.calls if call.name == "sessionEnded"]


@implementer(IDisconnectableMind)
class Hearing(FakeMind):
    """
    A mind that notes what it hears, and how its connection is closed, in order.

    @ivar clock: what each call takes a slice of, if it is slow.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.clock = clock

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Note it.
        """
        if self.clock is not None:
            self.clock.rightNow += SLICE
        result = super().callRemote(name, *args, **kw)
        self.heard.append(name)
        return result

    def loseConnection(self) -> None:
        """
        Note it.
        """
        self.heard.append("lose")
        super().loseConnection()

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.heard.append("abort")
        super().abortConnection()


class FarewellTestCase(SynchronousTestCase):
    """
    A test with a realm that says farewell, and a registry.
    """

    def setUp(self) -> None:
        """
        Stack the realm.
        """
        self.clock = Clock()
        self.online: MindRegistry = MindRegistry(reactor=self.clock)
        self.stack(self.online)

    def stack(self, *blocks: Block, timeout: float = 5) -> None:
        """
        Stack the realm anew, with blocks below the farewell.
        """
        realm = (lambda avatarId: Avatar()) if blocks else self.online(lambda avatarId: Avatar())
        for block in blocks:
            realm = block(realm)
        self.realm: Any = Farewell(timeout=timeout, reactor=self.clock)(realm)

    def enter(self, mind: Any, avatarId: Hashable = b"alice", **kw: Any) -> Session:
        """
        Log a client in, and return its session.
        """
        login(self.realm, avatarId, mind=mind, **kw)
        *_, session = self.realm.sessions
        assert isinstance(session, Session)
        return session

    def busy(self, waiting: int) -> tuple[Hearing, Session]:
        """
        Log in a client for which a number of pushes, C{first}, wait after each has taken a slice.
        """
        mind = Hearing(self.clock)
        session = self.enter(mind)
        group = MindGroup([mind] * (1 + waiting), reactor=self.clock)
        group.callRemote("first", pbanswer=False)
        assert mind.heard == ["first"]
        mind.heard.clear()
        return mind, session

    def turn(self) -> None:
        """
        Run the reactor for one turn.
        """
        calls: Any = self.clock.getDelayedCalls()
        for call in calls:
            if call.getTime() <= self.clock.seconds() and call.active():
                function, args, kw = call.func, call.args, call.kw
                call.cancel()
                function(*args, **kw)
