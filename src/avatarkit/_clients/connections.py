"""
The connection behind a mind.

Several minds may share a connection, so what belongs to a connection is kept for that, and not for
a mind.  A broker of Perspective Broker keeps it itself, as an attribute, so that it disappears with
the connection, and can be found directly from a mind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.logger import Logger
from twisted.spread.pb import Broker, RemoteReference

T = TypeVar("T")

#: The attribute of a broker that holds what L{attach} was given.
_ATTACHED = "_avatarkit"

#: What is kept for minds of other kinds, by C{id}, until it is detached: nothing is written on
#: objects that belong to somebody else.
_kept: dict[int, object] = {}

#: The attribute of a broker that holds its L{Partings}.
_PARTINGS = "_avatarkitPartings"


def connectionOf(mind: object) -> object:
    """
    Return what stands for the connection of a mind: the mind itself, unless it is known to share
    one with others.
    """
    return mind.broker if isinstance(mind, RemoteReference) else mind


def attach(connection: object, thing: object) -> None:
    """
    Keep something for a connection.
    """
    if isinstance(connection, Broker):
        setattr(connection, _ATTACHED, thing)
    else:
        _kept[id(connection)] = thing


def attachedTo(connection: object, kind: type[T]) -> T | None:
    """
    Return what is kept for a connection, if there is anything.
    """
    if isinstance(connection, Broker):
        thing = getattr(connection, _ATTACHED, None)
    else:
        thing = _kept.get(id(connection))
    return thing if isinstance(thing, kind) else None


def detach(connection: object) -> None:
    """
    Keep nothing for a connection any longer; a broker takes it along when it goes.
    """
    _kept.pop(id(connection), None)


@attrs.define(eq=False)
class Partings:
    """
    What is to be done when a connection of Perspective Broker's is lost.

    A broker keeps such callbacks in a list, which it searches for one that is taken back.  So it is
    given a single one for each connection, and all others are kept here.
    """

    # Any: each callback is given what it was registered for.
    _calls: dict[tuple[Callable[[Any], object], int], Any] = attrs.field(factory=dict, init=False)

    _log = Logger()

    def add(self, call: Callable[[Any], object], what: object) -> None:
        """
        Have C{call} called with C{what} when the connection is lost.
        """
        self._calls[call, id(what)] = what

    def discard(self, call: Callable[[Any], object], what: object) -> None:
        """
        Take it back, if it is still to be called.
        """
        self._calls.pop((call, id(what)), None)

    def lost(self, *, newestFirst: bool = False) -> None:
        """
        The connection is lost.  A call that raises does not keep the others from being made.
        """
        for key in tuple(self._calls)[:: -1 if newestFirst else 1]:
            if key not in self._calls:
                continue
            call, what = key[0], self._calls.pop(key)
            try:
                call(what)
            except Exception:
                self._log.failure("{call!r} failed when a connection was lost", call=call)


# Any: Twisted does not describe its brokers.
def partingsOf(broker: Any, *, first: bool = False) -> Partings:
    """
    Return what is to be done when the connection of a broker is lost.

    @param first: whether it is to be done before anything else, such as the logout that Perspective
        Broker calls then, if nothing was to be done until now.
    @raise AttributeError: if it is lost, like C{Broker.notifyOnDisconnect}.
    """
    partings: Partings | None = getattr(broker, _PARTINGS, None)
    if partings is None or broker.disconnected:
        partings = Partings()
        broker.notifyOnDisconnect(partings.lost)
        if first:
            broker.disconnects.insert(0, broker.disconnects.pop())
        setattr(broker, _PARTINGS, partings)
    return partings


# Any: a transport is whatever a reactor, or TLS, or somebody's wrapper, makes of a connection.
def bufferedIn(transport: Any) -> int | None:
    """
    Return how many bytes wait to be written in a TCP or UNIX transport of Twisted's, or in the one
    below its TLS; C{None} for any other transport.

    Twisted has no public way to find out.  C{dataBuffer}, of which C{offset} bytes are already
    written, and C{_tempDataLen}, the bytes added since, are what
    C{twisted.internet.abstract.FileDescriptor} looks at when it decides whether it is too full for
    a producer.
    """
    while transport is not None and not hasattr(transport, "_tempDataLen"):
        transport = getattr(transport, "transport", None)
    if transport is None:
        return None
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return waiting
