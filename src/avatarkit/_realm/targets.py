"""
What blocks can be stacked on, as type checkers see it, and what is common to all that is stacked.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from twisted.cred.portal import IRealm
from twisted.python.reflect import safe_repr

from .._tools.typevars import A_co, B
from ..interfaces import IAvatarSource, IBlock
from .session import Session

if TYPE_CHECKING:
    from typing_extensions import Self

# Any in this module: the avatar ID is what the credentials checker made of a login, and what a
# realm of somebody else's takes and returns is its own affair.

#: What makes an avatar from an avatar ID, now or later: a class, a function.
Factory: TypeAlias = Callable[[Any], B | Awaitable[B]]

#: What makes an avatar later: an async function, or a function that returns a Deferred.  It is a
#: L{Factory} too; mypy needs it as an overload of its own.
LaterFactory: TypeAlias = Callable[[Any], Awaitable[B]]


class Source(Protocol[A_co]):
    """
    An L{IAvatarSource<avatarkit.IAvatarSource>}, with the type of its avatars.
    """

    def acquire(self, session: Session, /) -> A_co | Awaitable[A_co]:
        """
        Return an avatar.
        """

    def release(self, session: Session, /) -> object:
        """
        It is no longer needed.
        """

    def close(self) -> object:
        """
        Let go of avatars that are kept.
        """


class AskedRealm(Protocol):
    """
    An L{IRealm<twisted.cred.portal.IRealm>}, for type checkers that do not know interfaces.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, /, *interfaces: Any) -> Any:
        """
        Return C{(interface, avatar, logout)}, or a Deferred of it.
        """


class Hooks(Protocol):
    """
    An L{IBlock<avatarkit.IBlock>}, for type checkers that do not know interfaces.
    """

    def admit(self, session: Session, /) -> object:
        """
        A login begins.
        """

    def release(self, session: Session, /) -> object:
        """
        A session that was admitted is over.
        """

    def attached(self, session: Session, /) -> object:
        """
        The session has its avatar.
        """

    def detached(self, session: Session, /) -> object:
        """
        A session that was attached is ending.
        """


#: A realm that is not one of ours.
ForeignRealm: TypeAlias = "AskedRealm | IRealm"

#: What takes part in the sessions of a realm.
AnyBlock: TypeAlias = "IBlock | Hooks"


class Stackable:
    """
    Something that is called with a target and returns a realm.
    """

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """
        Catch the slip that everyone makes with decorators: C{@Block} without the call.

        This is C{__new__} and not C{__init__} because attrs writes the C{__init__} of each block,
        and Python would refuse the call there with a sentence about positional arguments that says
        nothing of decorators.  A block that takes one argument of its own refuses a target itself.
        """
        if len(args) == 1 and isTarget(args[0]) and not _takesOne(cls):
            name = cls.__name__
            raise TypeError(f"{name} takes no target: write @{name}(...) above it, with the call")
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")
        return super().__new__(cls)

    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> object:
            """
            Say to a portal, which takes anything for a realm and asks it for an avatar later, what
            it has been given.
            """
            if name == "requestAvatar":
                raise AttributeError(
                    f"{safe_repr(self)} is not a realm; the realm is what it returns when it is "
                    f"called with a target.  As a decorator, write @{type(self).__name__}(...), "
                    "with the call"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _asSources(self) -> tuple[IAvatarSource, ...]:
        """
        Return the sources that this is without a target.

        @raise TypeError: if it is none.
        """
        raise TypeError(f"{self!r} is not a target: call it with one first")


def isTarget(thing: object) -> bool:
    """
    Return whether something looks like what a block goes around.
    """
    return callable(thing) or isRealm(thing) or IAvatarSource.providedBy(thing)


def refuseTarget(block: str, takes: str, given: object) -> None:
    """
    Catch the slip that everyone makes with decorators, for a block that takes an argument:
    C{@Block} without the call.

    @param takes: what the block takes instead.
    @raise TypeError: if it is given a target.
    """
    if isTarget(given):
        raise TypeError(
            f"{block} takes {takes}, not {given!r}: write @{block}(...) above a target, with the "
            "call"
        )


def isRealm(thing: object) -> bool:
    """
    Return whether something is a realm, declared or not: a portal asks for no more than a
    C{requestAvatar}.

    What can be called is no realm because of an attribute that it makes up when it is asked: a
    C{Mock} is a factory.
    """
    if IRealm.providedBy(thing):
        return True
    if isinstance(thing, (type, Stackable)):
        return False
    if callable(thing):
        return inspect.getattr_static(thing, "requestAvatar", None) is not None
    return callable(getattr(thing, "requestAvatar", None))


def _takesOne(cls: type) -> bool:
    """
    Return whether a class can be called with a single positional argument.
    """
    initialize: Callable[..., None] = cls.__init__  # type: ignore[misc]  # it is only looked at
    if initialize is object.__init__:
        return False
    try:
        inspect.signature(initialize).bind("self", "argument")
    except TypeError:
        return False
    return True
