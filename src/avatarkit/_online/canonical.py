"""
One avatar ID for each user, however the name is written.

C{Alice}, C{alice} and C{b"alice"} are three avatar IDs: three avatars, and three times as many
sessions as a limit allows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import ClassVar, TypeVar

import attrs

from .._realm.block import Block
from .._realm.plan import Topmost
from .._realm.realm import rename
from .._realm.session import Session
from .._tools.typevars import A
from .._waiting.awaiting import then
from ..errors import LoginRefused

H = TypeVar("H", bound=Hashable)


def canonicalName(name: H, kind: type[bytes] | type[str] = bytes) -> H | bytes | str:
    """
    Return the one way to write a user's name: lower case, in the Unicode form NFKC.

    This is what RFC 8265 has for user names (C{UsernameCaseMapped}), except that it folds all
    compatibility characters, and not only those of another width, and forbids no characters, such
    as spaces.

    @param name: the name, as text or as UTF-8; anything else is returned as it is, for example
        L{ANONYMOUS<twisted.cred.checkers.ANONYMOUS>}.
    @param kind: what to return.
    @raise LoginRefused: if the name is C{bytes}, and not UTF-8.
    """
    if kind not in (bytes, str):
        raise TypeError(f"kind must be bytes or str, not {kind!r}")
    if not isinstance(name, (bytes, str)):
        return name
    try:
        text = name if isinstance(name, str) else str(name, "utf-8")
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
        return text if kind is str else text.encode("utf-8")
    except UnicodeError:
        raise LoginRefused("a user name must be text in UTF-8", avatarId=name) from None


def _canonicalNameOf(session: Session) -> Hashable:
    return canonicalName(session.avatarId)


@attrs.define(eq=False)
class CanonicalId(Block[A]):
    """
    Replaces the avatar ID of each session by a canonical one, for everything below it: blocks,
    caches, and the avatar factory.

    It must be on top of all other blocks, which would otherwise file sessions under the ID that it
    replaces.

    @ivar canonical: a callable of the session that returns the ID, something hashable, or a
        Deferred or coroutine of it; by default L{canonicalName<avatarkit.canonicalName>} of the ID
        that the session has.
    """

    mustBeOutermost: ClassVar[Topmost] = Topmost(
        2, "since those around it would see the avatar ID that it replaces"
    )

    canonical: Callable[[Session[A]], Hashable | Awaitable[Hashable]] = attrs.field(
        default=_canonicalNameOf
    )

    @canonical.validator
    def _checkCanonical(self, attribute: object, canonical: object) -> None:
        if not callable(canonical):
            raise TypeError(f"canonical must be a callable of a session, not {canonical!r}")

    def admit(self, session: Session[A]) -> object:
        """
        Replace the session's avatar ID.
        """
        return then(self.canonical(session), partial(rename, session))
