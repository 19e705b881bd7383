"""
Avatar IDs that are C{bytes} in one place and C{str} in another.

Most credentials checkers make C{bytes} of a name, and some, such as those of FTP, C{str}.  The two
are never equal, so that C{alice} may be there twice, and who looks her up finds nobody.
"""

from __future__ import annotations

from collections.abc import Container, Hashable

import attrs
from twisted.logger import Logger


def otherKind(avatarId: object) -> str | bytes | None:
    """
    Return the C{str} for C{bytes}, and the other way round, if there is one.
    """
    try:
        if isinstance(avatarId, bytes):
            return avatarId.decode("utf-8")
        if isinstance(avatarId, str):
            return avatarId.encode("utf-8")
    except UnicodeError:
        pass
    return None


@attrs.define(eq=False)
class Kinds:
    """
    Says once that a name logs in as both kinds, and once that one is looked up as the wrong kind.

    @ivar _known: who is there.
    @ivar only: the type of all avatar IDs so far, as long as there is one: those who log in with
        an ID of that type need not be said.
    """

    _known: Container[Hashable]
    only: type | None = attrs.field(default=None, init=False)
    _mixed: bool = attrs.field(default=False, init=False)
    _loginSaid: bool = attrs.field(default=False, init=False)
    _lookUpSaid: bool = attrs.field(default=False, init=False)

    _log = Logger()

    def loggedIn(self, avatarId: Hashable) -> None:
        """
        Somebody logs in who was not there, with an ID of another type than C{only}.
        """
        if self._loginSaid:
            return
        if self.only is None and not self._mixed:
            self.only = type(avatarId)
            return
        self.only, self._mixed = None, True
        other = otherKind(avatarId)
        if other is not None and other in self._known:
            self._loginSaid = True
            self._log.warn(
                "{avatarId!r} and {other!r} are both logged in, and are two avatar IDs: have all "
                "credentials checkers return the same kind",
                avatarId=avatarId,
                other=other,
            )

    def missed(self, avatarId: object) -> None:
        """
        Somebody is looked up who is not there.
        """
        if self._lookUpSaid:
            return
        other = otherKind(avatarId)
        if other is not None and other in self._known:
            self._lookUpSaid = True
            self._log.warn(
                "{avatarId!r} was looked up, who is not logged in; {other!r} is, which is another "
                "avatar ID",
                avatarId=avatarId,
                other=other,
            )
