"""
Base classes for avatars that keep what the blocks tell them.

None of them has an C{__init__}, so that a subclass need not call it: the how-to's avatars do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import repeat
from typing import TYPE_CHECKING, Any
from weakref import ref

import attrs
from twisted.spread import pb
from zope.interface import implementer

from .._push.addressees import Addressee
from .._push.groups import MindGroup
from .._push.lines import find
from .._tools.counting import countDown
from ..interfaces import IConnectionAware, IMindAware, IPresenceAware
from .telling import UNCOUNTED, UNTOLD, checked, mustCallSuper

# Any in this module: a mind is whatever the client, or the protocol, chose to send.


class Uncounted:
    """
    How many sessions an avatar has of which nobody has told it any: the attribute of that name
    takes its place when somebody does.
    """

    def __get__(self, avatar: object, kind: type) -> int:
        """
        Return that there are none.
        """
        if avatar is not None:
            UNCOUNTED.say(avatar)
        return 0


@implementer(IConnectionAware)
class ConnectionAware:
    """
    Keeps how many sessions an avatar has, as a
    L{ConnectionCounter<avatarkit.ConnectionCounter>} tells it.

    A subclass that overrides one of the methods must call that of this class.

    @ivar connections: how many.
    """

    if TYPE_CHECKING:
        connections: int = 0
    else:
        connections = Uncounted()

    def connect(self) -> object:
        """
        A session has begun.
        """
        self.connections = self.__dict__.get("connections", 0) + 1
        return None

    def disconnect(self) -> object:
        """
        A session has ended.
        """
        self.connections -= 1
        if type(self).disconnect is not ConnectionAware.disconnect:
            _note(self, 1)
        return None


@implementer(IMindAware)
class MindAware:
    """
    Keeps the minds of an avatar's clients, as a L{MindRegistry<avatarkit.MindRegistry>} tells it.

    A subclass that overrides one of the methods must call that of this class.
    """

    @cached_property
    def minds(self) -> MindGroup:
        """
        The clients of this avatar, to push to.
        """
        return MindGroup(self._attachedMinds)

    @cached_property
    def _attachedMinds(self) -> MindBag:
        return MindBag(ref(self))

    def attached(self, mind: Any) -> object:
        """
        A client has logged in.
        """
        self._attachedMinds.add(mind)
        return None

    def detached(self, mind: Any) -> object:
        """
        A client has logged out, or is gone.

        @raise TypeError: if it has not logged in.
        """
        try:
            self._attachedMinds.remove(mind)
        except KeyError:
            raise TypeError(mustCallSuper(self, "attached(mind)")) from None
        return None


@implementer(IPresenceAware)
class PresenceAware:
    """
    Can be told by a L{Presence<avatarkit.Presence>} that its user has come or gone: override what
    you want to know.
    """

    def arrived(self) -> object:
        """
        The user has come.
        """

    def departed(self) -> object:
        """
        The user has gone.
        """


def connecting(aware: IConnectionAware) -> Callable[[], object]:
    """
    Return what tells an avatar with a C{connect} of its own that a session has begun.

    If it leaves the C{disconnect} of L{ConnectionAware} as it is, its C{connect} must have counted.
    """
    if (
        not isinstance(aware, ConnectionAware)
        or type(aware).disconnect is not ConnectionAware.disconnect
    ):
        return aware.connect
    return checked(
        aware.connect, lambda: None if _counted(aware) else mustCallSuper(aware, "connect()")
    )


def disconnecting(aware: IConnectionAware) -> Callable[[], object]:
    """
    Return what tells an avatar with a C{connect} or C{disconnect} of its own that a session has
    ended.

    Its C{connect} must have counted as often as its C{disconnect} does, and the other way round.
    """
    if not isinstance(aware, ConnectionAware):
        return aware.disconnect
    avatar = aware

    def wrong() -> str | None:
        own = type(avatar).disconnect is not ConnectionAware.disconnect
        forgotten = own and _note(avatar, -1) < 0
        if forgotten:
            _note(avatar, 1)
        if _counted(avatar) < 0:
            return mustCallSuper(avatar, "connect()")
        return mustCallSuper(avatar, "disconnect()") if forgotten and _counted(avatar) else None

    return checked(avatar.disconnect, wrong)


def isPlain(aware: IConnectionAware) -> bool:
    """
    Return whether an avatar has both methods from L{ConnectionAware}.
    """
    kind = type(aware)
    return (
        getattr(kind, "connect", None) is ConnectionAware.connect
        and getattr(kind, "disconnect", None) is ConnectionAware.disconnect
    )


def _note(avatar: ConnectionAware, change: int) -> int:
    """
    Count, for an avatar with a C{disconnect} of its own, by how many the calls of that of
    L{ConnectionAware} are ahead of those of its own that are done; return how many.

    Several may be in progress at once, so that no single one can be told to have made its call.
    """
    ahead: int = vars(avatar).pop("_ahead", 0) + change
    if ahead:
        vars(avatar)["_ahead"] = ahead
    return ahead


def _counted(avatar: ConnectionAware) -> int:
    count: int = vars(avatar).get("connections", 0)
    return count


def attaching(aware: IMindAware, mind: Any) -> Callable[[], object]:
    """
    Return what tells an avatar with an C{attached} of its own that a client has logged in.

    If it leaves the C{detached} of L{MindAware} as it is, its C{attached} must have kept the mind.
    """
    tell = partial(aware.attached, mind)
    if not isinstance(aware, MindAware) or type(aware).detached is not MindAware.detached:
        return tell
    return checked(
        tell,
        lambda: None if mind in aware._attachedMinds else mustCallSuper(aware, "attached(mind)"),
    )


def detaching(aware: IMindAware, mind: Any, isThere: Callable[[], object]) -> Callable[[], object]:
    """
    Return what tells an avatar with a C{detached} of its own that a client has logged out.

    It must have let go of the mind, if C{attached} has kept it.

    @param isThere: returns whether the avatar has another session with the mind.
    """

    def wrong() -> str | None:
        kept = isinstance(aware, MindAware) and mind in aware._attachedMinds and not isThere()
        return mustCallSuper(aware, "detached(mind)") if kept else None

    return checked(partial(aware.detached, mind), wrong)


class Avatar(ConnectionAware, MindAware, PresenceAware, pb.Avatar):
    """
    A Perspective Broker avatar that knows its clients.
    """


@attrs.define(eq=False)
class MindBag:
    """
    The minds that an avatar was told of, by identity, in the order in which they came.

    @ivar avatar: a weak reference to the avatar.
    @ivar told: whether the avatar was told of a session, with a mind or without one.
    @ivar _again: how many more times a mind is there, for those that are there more than once.
    """

    avatar: Callable[[], object] = lambda: None
    _minds: dict[int, Any] = attrs.field(factory=dict, init=False)
    _again: dict[int, int] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)
    told: bool = attrs.field(default=False, init=False)

    def __iter__(self) -> Iterator[Any]:
        for key, mind in self._minds.items():
            yield from repeat(mind, 1 + self._again.get(key, 0))

    def __len__(self) -> int:
        return self._size

    def __contains__(self, mind: object) -> bool:
        return id(mind) in self._minds

    def addressees(self) -> Iterator[Addressee]:
        """
        Return whom a push to them goes to.
        """
        avatar = self.avatar()
        if not self.told and avatar is not None:
            UNTOLD.say(avatar)
        return find(self, avatar)

    def add(self, mind: Any) -> None:
        """
        Put a mind in, once more if it is there.
        """
        key = id(mind)
        if key in self._minds:
            self._again[key] = self._again.get(key, 0) + 1
        else:
            self._minds[key] = mind
        self._size += 1
        self.told = True

    def remove(self, mind: Any) -> None:
        """
        Take a mind out, once if it is there more often.

        @raise KeyError: if it is not there.
        """
        key = id(mind)
        if key not in self._minds:
            raise KeyError(f"{mind!r} was never attached, or has been detached")
        if key in self._again:
            countDown(self._again, key)
        else:
            del self._minds[key]
        self._size -= 1
