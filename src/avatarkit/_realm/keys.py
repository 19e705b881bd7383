"""
What a block files sessions under: by default their avatar IDs, or what a function of the session
returns.

What it returned when the session came is what counts until the session is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeAlias

import attrs

from .._tools.checks import checkHashable
from .._tools.typevars import A
from .session import Session

#: A callable of the session that returns something hashable.
Key: TypeAlias = Callable[[Session[A]], Hashable]


def avatarIdOf(session: Session) -> Hashable:
    """
    The key that a session has by default.
    """
    return session.avatarId


def checkedKey(key: Hashable) -> Hashable:
    """
    Return a key, which must be hashable.

    @raise TypeError: if it is not, or must be waited for.
    """
    checkHashable("a key", key)
    if hasattr(type(key), "__await__"):
        getattr(key, "close", lambda: None)()  # a coroutine that nobody will wait for
        raise TypeError(f"a key cannot be waited for: {key!r}")
    return key


def checkKey(instance: object, attribute: object, key: object) -> None:
    """
    Check what a user gives as C{key}; a validator.

    @raise TypeError: if it cannot be called.
    """
    if not callable(key):
        raise TypeError(f"key must be a callable of a session, not {key!r}")


@attrs.define(eq=False)
class Keys(Generic[A]):
    """
    The keys that a user's function has returned.

    @ivar function: the function.
    """

    function: Key[A]
    _noted: dict[Session[A], Hashable] = attrs.field(factory=dict, init=False)

    def note(self, session: Session[A]) -> Hashable:
        """
        Return the key of a session that comes.

        @raise TypeError: if it is not hashable, or must be waited for.
        """
        key = self._noted[session] = checkedKey(self.function(session))
        return key

    def of(self, session: Session[A]) -> Hashable:
        """
        Return the key of a session that is there.
        """
        return self._noted[session]

    def forget(self, session: Session[A]) -> Hashable:
        """
        Return the key of a session that goes.
        """
        return self._noted.pop(session)


def keysOf(function: Key[A]) -> Keys[A] | None:
    """
    Return what keeps the keys of sessions; C{None} if these are the avatar IDs, which nothing need
    keep.

    @raise TypeError: if C{function} cannot be called.
    """
    checkKey(None, None, function)
    return None if function is avatarIdOf else Keys(function)
