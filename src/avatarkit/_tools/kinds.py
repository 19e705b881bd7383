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
    """

    _known: Container[Hashable]
    _loginSaid: bool = attrs.field(default=False, init=False)
    _lookUpSaid: bool = attrs.field(default=False, init=False)

    _log = Logger()

    def loggedIn(self, avatarId: Hashable) -> None:
        """
        Somebody logs in who was not there.
        """
        if self._loginSaid:
            return
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
