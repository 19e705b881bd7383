"""
Minds of every kind: fake, slow, stalled, or of a broker; and what each of them was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.spread import banana, pb
from zope.interface import implementer

from avatarkit import IMind, MindRegistry
from avatarkit._push.delivery import SLICE
from avatarkit.testing import FakeMind, MemoryPortal
from players import Client, Player
from scripted import IThing, opened


class Ours(pb.Copyable):
    """
    Something that is sent as a copy.
    """


def connect(broker: Any = None, *, luid: Any = 1) -> Any:
    """
    Answer the mind of a broker whose bytes can be looked at.
    """
    broker = pb.Broker(isClient=False) if broker is None else broker
    broker.makeConnection(StringTransport())
    broker.currentDialect = b"pb"
    broker.transport.clear()
    return pb.RemoteReference(None, broker, luid, False)


def sentTo(mind: Any) -> bytes:
    """
    Answer what a mind was sent since one last asked.
    """
    sent: bytes = mind.broker.transport.value()
    mind.broker.transport.clear()
    return sent


def methods(mind: Any) -> list[bytes]:
    """
    Answer the names of the methods that a mind was told to call since one last asked.
    """
    decoder, found = banana.Banana(isClient=False), list[Any]()
    decoder.makeConnection(StringTransport())
    decoder.currentDialect = b"pb"
    decoder.expressionReceived = found.append  # type: ignore[method-assign]
    decoder.dataReceived(sentTo(mind))
    return [each[3] for each in found]


@implementer(IMind)
class Slow(FakeMind):
    """
    A mind for which it takes some time to be called.
    """

    def __init__(self, clock: Clock, args: Any = list) -> None:
        super().__init__()
        self.clock, self.args = clock, args

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Take as long as a slice.
        """
        self.clock.rightNow += SLICE
        return super().callRemote(name, *(args if self.args is list else ()), **kw)


def login(realm: Any, mind: Any, avatarId: Any = b"alice") -> Any:
    """
    Log in, and answer the logout.
    """
    return opened(realm.requestAvatar(avatarId, mind, IThing))[2]


def stalled() -> FakeMind:
    """
    Answer a mind whose client does not go when its connection is closed politely.
    """
    mind = FakeMind()
    mind.stalled = True
    return mind


def realMind() -> tuple[Any, Callable[[], object]]:
    """
    Answer a mind of Perspective Broker, connected in memory, and what drops its connection.
    """
    online = MindRegistry()
    portal = MemoryPortal(online(Player))
    connection = portal.connect()
    connection.avatar = connection.login(mind=Client())  # type: ignore[attr-defined]
    portal.pump()
    (mind,) = online.everyone
    return mind, connection.drop


def fakeMind() -> tuple[Any, Callable[[], object]]:
    """
    Answer a fake, and what has its client leave.
    """
    mind = FakeMind()
    return mind, mind.disconnect
