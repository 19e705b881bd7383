"""
What a realm can do with a mind, whatever kind of mind it is.

A mind is used for four things: to find out that its client is gone, to call the client, to close
its connection, and to ask how much waits to be sent.  L{IMind<avatarkit.IMind>} and
L{IDisconnectableMind<avatarkit.IDisconnectableMind>} are what those need.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.components import registerAdapter
from twisted.spread.pb import RemoteReference
from zope.interface import implementer

from .._tools.adapting import adapted
from .._tools.clock import clockOr
from ..interfaces import IConnection, IDisconnectableMind, IMind
from .connections import bufferedIn, partingsOf
from .transports import connectionAt


def mindOf(mind: object) -> IMind | None:
    """
    Return an L{IMind} for a mind, or C{None} if it cannot be adapted.
    """
    return None if mind is None else adapted(IMind, mind)


def callRemoteOf(mind: object) -> Callable[..., object] | None:
    """
    Return what calls the client of a mind, or C{None} if the mind is nothing that can be called:
    it is what the client chose to send, and may be a number.
    """
    own: object = getattr(mind, "callRemote", None)
    if callable(own):
        return own
    found = mindOf(mind)
    return None if found is None else found.callRemote


def isDead(mind: object) -> bool:
    """
    Return whether the client of a mind is known to be gone.
    """
    if type(mind) is RemoteReference:  # nearly always, and cheaper than finding the adapter
        return bool(mind.broker.disconnected)
    adapted = mindOf(mind)
    return adapted is not None and bool(adapted.disconnected)


def isGone(connection: IConnection | None, mind: object) -> bool:
    """
    Return whether a client is known to be gone, from its connection or its mind.
    """
    return (connection is not None and connection.disconnected) or isDead(mind)


def closeConnection(
    connection: IConnection | None,
    mind: object,
    timeout: float,
    reactor: IReactorTime | None,
    *,
    after: Deferred[None] | None = None,
    failed: Callable[[], object],
) -> None:
    """
    Close a client's connection, if that is possible and has not been done: politely at first, and
    by force after C{timeout} seconds, since a peer that has stopped reading never lets go of a
    connection that is closed politely.

    @param connection: the connection, or C{None} if only the mind may know how to close it.
    @param after: what to wait for before it is closed politely; the seconds count from now.
    @param failed: called in an C{except} clause when the mind, or somebody's adapter, raises; what
        is left to do is done all the same.
    """
    closing: IConnection | IDisconnectableMind | None = connection
    try:
        if closing is None and mind is not None:
            closing = adapted(IDisconnectableMind, mind)
        if closing is None or closing.disconnected:
            return
    except BaseException:
        failed()
    else:
        _Kick(closing, failed).begin(timeout, clockOr(reactor), after)


@attrs.define(eq=False)
class _Kick:
    """
    A connection that is being closed.

    @ivar _watched: whether it will say when the client is gone.
    @ivar _deadline: the call that closes the connection by force.
    """

    _closing: IConnection | IDisconnectableMind
    _failed: Callable[[], object]
    _watched: bool = attrs.field(default=False, init=False)
    _deadline: IDelayedCall | None = attrs.field(default=None, init=False)

    def begin(self, timeout: float, clock: IReactorTime, after: Deferred[None] | None) -> None:
        """
        Close the connection politely.
        """
        self._deadline = clock.callLater(timeout, self._late)
        self._attempt(self._watch)
        if after is None:
            self._lose()
        else:
            after.addCallback(self._lose)

    def _lose(self, ignored: object = None) -> None:
        assert self._deadline is not None
        if self._deadline.active():  # it is not closed yet
            self._attempt(self._closing.loseConnection)

    def _watch(self) -> None:
        self._closing.notifyOnDisconnect(self._gone)
        self._watched = True

    def _gone(self, mind: object) -> None:
        assert self._deadline is not None
        if self._deadline.active():
            self._deadline.cancel()

    def _late(self) -> None:
        self._attempt(self._unwatch)
        self._attempt(self._abort)

    def _unwatch(self) -> None:
        if self._watched:
            self._closing.dontNotifyOnDisconnect(self._gone)

    def _abort(self) -> None:
        if self._watched or not self._closing.disconnected:
            self._closing.abortConnection()

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException:  # somebody's adapter
            self._failed()


def identityOf(mind: object) -> Hashable:
    """
    Return what is the same for all objects that stand for one mind: Perspective Broker makes a new
    reference each time that a client sends the mind.
    """
    if isinstance(mind, RemoteReference) and isinstance(mind.luid, (int, bytes)):
        return mind.broker, mind.luid
    return id(mind)


def areSame(one: object, other: object) -> bool:
    """
    Return whether two objects stand for one mind.
    """
    return identityOf(one) == identityOf(other)


@implementer(IDisconnectableMind)
@attrs.define(eq=False)
class PBMind:
    """
    A L{RemoteReference}, which does not itself say whether it is dead.

    Disconnect callbacks are kept for the connection and not registered with the reference: a
    callback of the reference that raises suppresses those after it.
    """

    reference: RemoteReference

    @property
    def disconnected(self) -> bool:
        """
        Whether the connection is lost.
        """
        return bool(self.reference.broker.disconnected)

    @property
    def backlog(self) -> int | None:
        """
        How many bytes wait to be sent to the client; C{None} if that is not known.
        """
        return bufferedIn(self.reference.broker.transport)

    # Any: the arguments and the answer are the client's.
    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Deferred[Any] | None:
        """
        Call the client.
        """
        answer: Deferred[Any] | None = self.reference.callRemote(name, *args, **kw)
        return answer

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with the reference when the connection is lost.
        """
        partingsOf(self.reference.broker).add(callback, self.reference)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take the callback back.
        """
        partingsOf(self.reference.broker).discard(callback, self.reference)

    def loseConnection(self) -> None:
        """
        Close the connection when everything is written.
        """
        connectionAt(self.reference.broker).loseConnection()

    def abortConnection(self) -> None:
        """
        Close it now.
        """
        self.reference.broker.transport.abortConnection()


registerAdapter(PBMind, RemoteReference, IDisconnectableMind)
