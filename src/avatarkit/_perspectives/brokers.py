"""
What a broker does for avatars that have a way of their own to be called.

Such an avatar unserializes what a client sends, and serializes what it returns, by itself, so it is
the broker that must know more of calls than Twisted's does.
"""

from __future__ import annotations

from functools import partial
from types import CoroutineType
from typing import Any
from weakref import ref

from twisted.spread import pb

from .calls import CURRENT, checkCall, started

# Any in this module: what goes through a broker.


def prepare(broker: Any) -> None:
    """
    Prepare a broker for avatars that have a way of their own to be called, and use it there: it
    awaits what their methods return, and unserializes nothing for a call whose session has ended.
    """
    if not isinstance(broker, pb.Broker) or broker.disconnected or "serialize" in vars(broker):
        return
    known: Any = broker
    serialize = known.serialize

    def awaiting(thing: Any, *args: Any, **kw: Any) -> Any:
        call = CURRENT.get()
        if call is not None and isinstance(thing, CoroutineType):
            thing = started(call, thing)
        return serialize(thing, *args, **kw)

    known.serialize = awaiting
    broker.notifyOnDisconnect(lambda: vars(broker).pop("serialize", None))
    known.unserialize = partial(_unserialize, ref(broker))


def _unserialize(known: ref[Any], *args: Any, **kw: Any) -> Any:
    """
    Unserialize something, unless it is for a call whose session has ended, or ends of it; also if
    the connection is lost, and the avatar goes on all the same.
    """
    broker: Any = known()
    checkCall()
    result = type(broker).unserialize(broker, *args, **kw)
    checkCall()
    return result
