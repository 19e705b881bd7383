"""
What a realm can do with a mind, whatever kind of mind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.python.components import registerAdapter
from twisted.spread.pb import RemoteReference
from zope.interface import implementer

from .._tools.adapting import adapted
from .._tools.clock import clockOr
from ..interfaces import IDisconnectableMind, IMind


def mindOf(mind: object) -> Any:
    """
    Answer an L{IMind} for a mind, or C{None} if it cannot be adapted.
    """
    return None if mind is None else adapted(IMind, mind)


def isDead(mind: object) -> bool:
    """
    Answer whether the client of a mind is known to be gone.
    """
    if type(mind) is RemoteReference:  # nearly always, and an adapter costs more than the answer
        return bool(mind.broker.disconnected)
    adapted = mindOf(mind)
    return adapted is not None and bool(adapted.disconnected)


def closeConnection(mind: object, timeout: float, reactor: IReactorTime | None) -> None:
    """
    Close a client's connection, if that can be done and has not been: a peer that has stopped
    reading never lets go of one that is closed politely, so after a time it is aborted.
    """
    closing = None if mind is None else IDisconnectableMind(mind, None)
    if closing is None or closing.disconnected:
        return

    def gone(mind: object) -> None:
        deadline.cancel()

    def late() -> None:
        closing.dontNotifyOnDisconnect(gone)
        closing.abortConnection()

    deadline = clockOr(reactor).callLater(timeout, late)
    closing.notifyOnDisconnect(gone)
    closing.loseConnection()


def shareConnection(one: object, other: object) -> bool:
    """
    Answer whether two minds are known to be of one connection.
    """
    minds = [mindOf(each) for each in (one, other)]
    if not all(isinstance(each, PBMind) for each in minds):
        return False
    return minds[0].reference.broker is minds[1].reference.broker


def identityOf(mind: object) -> Hashable:
    """
    Answer what two objects have in common that stand for one mind, as Perspective Broker makes
    another one each time that a client sends it.
    """
    if isinstance(mind, RemoteReference) and isinstance(mind.luid, (int, bytes)):
        return mind.broker, mind.luid
    return id(mind)


def connectionOf(mind: Any) -> Any:
    """
    Answer what stands for the connection of a mind: itself, if it is not known to share one.
    """
    return mind.broker if isinstance(mind, RemoteReference) else mind


def areSame(one: object, other: object) -> bool:
    """
    Answer whether two minds are one.
    """
    return identityOf(one) == identityOf(other)


def bufferedIn(transport: Any) -> int | None:
    """
    Answer how many bytes wait in a transport, of Twisted's TCP, UNIX or that with TLS around it;
    C{None} if it is of another kind.

    Twisted has no public way to find out: C{dataBuffer}, of which C{offset} bytes are gone, and
    C{_tempDataLen}, for what has been added since, are what
    C{twisted.internet.abstract.FileDescriptor} decides by when it is too full for a producer.
    """
    while transport is not None and not hasattr(transport, "_tempDataLen"):
        transport = getattr(transport, "transport", None)
    if transport is None:
        return None
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # type: ignore[no-any-return]


@implementer(IDisconnectableMind)
@attrs.define(eq=False)
class PBMind:
    """
    A L{RemoteReference}, which does not say itself whether it is dead.

    It is the broker that is asked to notify, and not the reference, for which a callback that
    raises suppresses those that come after it.
    """

    reference: Any
    _notifiers: dict[Any, Callable[[], object]] = attrs.field(factory=dict, init=False)

    @property
    def disconnected(self) -> bool:
        """
        Whether the connection is lost.
        """
        return bool(self.reference.broker.disconnected)

    @property
    def backlog(self) -> int | None:
        """
        How many bytes wait to be sent to the client.
        """
        return bufferedIn(self.reference.broker.transport)

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Any:
        """
        Call the client.
        """
        return self.reference.callRemote(name, *args, **kw)

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have a callback called.
        """
        self._notifiers[callback] = partial(callback, self.reference)
        self.reference.broker.notifyOnDisconnect(self._notifiers[callback])

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take it back.
        """
        self.reference.broker.dontNotifyOnDisconnect(self._notifiers.pop(callback))

    def loseConnection(self) -> None:
        """
        Close the connection politely.
        """
        self.reference.broker.transport.loseConnection()

    def abortConnection(self) -> None:
        """
        Close it now.
        """
        self.reference.broker.transport.abortConnection()


registerAdapter(PBMind, RemoteReference, IDisconnectableMind)
