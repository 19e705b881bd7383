"""
Minds of every kind, fake, slow, stalled or of a real broker, and what each of them was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.spread import banana, pb
from zope.interface import implementer

from avatarkit import IMind, MindRegistry
from avatarkit._push.lanes import SLICE
from avatarkit.testing import FakeMind, MemoryPortal
from players import Client, Player
from scripted import IThing, opened


class Ours(pb.Copyable):
    """
    A class whose instances are sent as copies.
    """


def connect(broker: Any = None, *, luid: Any = 1) -> Any:
    """
    Return the mind of a broker that writes into a string transport.
    """
    broker = pb.Broker(isClient=False) if broker is None else broker
    broker.makeConnection(StringTransport())
    broker.currentDialect = b"pb"
    broker.transport.clear()
    return pb.RemoteReference(None, broker, luid, False)


def sentTo(mind: Any) -> bytes:
    """
    Return what a mind was sent since the last call.
    """
    sent: bytes = mind.broker.transport.value()
    mind.broker.transport.clear()
    return sent


def methods(mind: Any) -> list[bytes]:
    """
    Return the names of the methods that were called on a mind since the last call.
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
    A mind that takes some time to call.
    """

    def __init__(self, clock: Clock, args: Any = list) -> None:
        super().__init__()
        self.clock, self.args = clock, args

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Take as long as a whole slice.
        """
        self.clock.rightNow += SLICE
        return super().callRemote(name, *(args if self.args is list else ()), **kw)


def login(realm: Any, mind: Any, avatarId: Any = b"alice") -> Any:
    """
    Log in, and return the logout.
    """
    return opened(realm.requestAvatar(avatarId, mind, IThing))[2]


def stalled() -> FakeMind:
    """
    Return a mind whose client does not leave when its connection is closed politely.
    """
    mind = FakeMind()
    mind.stalled = True
    return mind


def realMind() -> tuple[Any, Callable[[], object]]:
    """
    Return a real mind, connected in memory, and a callable that drops its connection.
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
    Return a fake mind and a callable that makes its client leave.
    """
    mind = FakeMind()
    return mind, mind.disconnect
