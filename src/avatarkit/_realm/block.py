"""
The base class of blocks.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, ClassVar, Generic, cast, overload

from zope.interface import implementer

from .._tools.typevars import A, B
from ..interfaces import IBlock
from .plan import idle
from .realm import Realm, Target
from .session import Session
from .targets import Factory, ForeignRealm, LaterFactory, Source, Stackable


@implementer(IBlock)
class Block(Stackable, Generic[A]):
    """
    A block that does nothing yet: subclass it and say what it does at a login and a logout.

    Each hook may return a Deferred or a coroutine, and may raise; see L{IBlock} for what is
    promised.  An instance may be stacked into several realms, and then spans them.

    @cvar needsMinds: whether the block is useless where there are no minds, which is below an
        L{AvatarCache<avatarkit.AvatarCache>}.
    """

    __slots__ = ()
    needsMinds: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:  # Any: they are passed on
        """
        Refuse a subclass whose only hook is misspelt.

        @raise TypeError: if it overrides no hook, and has a method with nearly the name of one.
        """
        super().__init_subclass__(**kwargs)
        if any(getattr(cls, hook) is not getattr(Block, hook) for hook in HOOKS):
            return
        for name, thing in vars(cls).items():
            meant = get_close_matches(name.strip("_").lower(), HOOKS, n=1, cutoff=0.8)
            if callable(thing) and meant:
                raise TypeError(
                    f"{cls.__name__} overrides no hook of a block, but has a method {name!r}: "
                    f"did you mean {meant[0]!r}?"
                )

    @overload
    def __call__(self, target: Realm[B] | Source[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: LaterFactory[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: Factory[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: ForeignRealm) -> Realm: ...

    def __call__(self, target: Target) -> Realm:
        """
        Return a realm with this block on top.

        @param target: see L{Realm}.
        """
        return Realm(cast("Realm", target), blocks=[self])

    @idle
    def admit(self, session: Session[A]) -> object:
        """
        A login begins: raise to refuse it.
        """

    @idle
    def release(self, session: Session[A]) -> object:
        """
        A session that was admitted has ended.
        """

    @idle
    def attached(self, session: Session[A]) -> object:
        """
        The session has its avatar: raise to refuse the login after all.
        """

    @idle
    def detached(self, session: Session[A]) -> object:
        """
        A session that was attached is ending.
        """


#: The methods of a block.
HOOKS = ("admit", "release", "attached", "detached")
