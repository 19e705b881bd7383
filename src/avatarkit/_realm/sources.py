"""
Where a session gets its avatar from, short of a realm of ours: a factory, or a realm that somebody
already has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import attrs
from twisted.cred.portal import IRealm
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from .._tools.awaiting import then
from ..interfaces import IAvatarSource, IBlock
from .session import LoginResult, Session
from .targets import AskedRealm, Factory, isRealm


def bottomSource(target: object) -> IAvatarSource:
    """
    Turn what a user stacks blocks on into a source.

    @raise TypeError: if it is none of the kinds that can be stacked on.
    """
    if isinstance(target, type):
        _checkClass(target)
    elif IAvatarSource.providedBy(target):
        source: IAvatarSource = target
        return source
    elif IBlock.providedBy(target):
        raise TypeError(
            f"{safe_repr(target)} is a block, which gives no avatars: stack it on something"
        )
    elif isRealm(target):
        return RealmSource(cast(AskedRealm, target))
    if callable(target):
        return FactorySource(target)
    raise TypeError(
        f"{safe_repr(target)} cannot be made a realm: give an avatar factory (a callable of one "
        "avatar ID), an IAvatarSource, or an IRealm"
    )


def _checkClass(target: type) -> None:
    """
    Refuse a class whose instance was meant.
    """
    for interface in (IRealm, IBlock, IAvatarSource):
        undeclared = interface is IRealm and hasattr(target, "requestAvatar")
        if undeclared or interface.implementedBy(target):
            raise TypeError(
                f"{target.__name__} is a class of {interface.__name__}s; "
                f"use an instance: {target.__name__}(...)"
            )


def logoutOf(avatar: object) -> object:
    """
    Tell an avatar that it is over, if it has a C{logout}, like
    L{twisted.words.service.WordsRealm}.
    """
    logout = getattr(avatar, "logout", None)
    return None if logout is None else logout()


@implementer(IAvatarSource)
@attrs.define(eq=False)
class FactorySource:
    """
    Calls an avatar factory for each session, and the avatar's C{logout}, if it has one, at its end.
    """

    factory: Factory[object]

    def acquire(self, session: Session) -> object:
        """
        Make an avatar.
        """
        return self.factory(session.avatarId)

    def release(self, session: Session) -> object:
        """
        Tell the avatar that it is over.
        """
        return logoutOf(session.avatar)

    def close(self) -> None:
        """
        Nothing is kept here.
        """


@implementer(IAvatarSource)
@attrs.define(eq=False)
class RealmSource:
    """
    Asks a realm that is not ours, and calls the logout that it returned.
    """

    realm: AskedRealm = attrs.field(repr=safe_repr)
    _logouts: dict[Session, Callable[[], object]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def acquire(self, session: Session) -> object:
        """
        Log in to the realm: the interface that it returns is the session's.
        """
        result: LoginResult | Awaitable[LoginResult] = self.realm.requestAvatar(
            session.avatarId, session.mind, *session.interfaces
        )
        return then(result, lambda result: self._loggedIn(session, result))

    def release(self, session: Session) -> object:
        """
        Log out.
        """
        return self._logouts.pop(session)()

    def close(self) -> None:
        """
        The realm's owner closes it.
        """

    def _loggedIn(self, session: Session, result: LoginResult) -> object:
        try:
            interface, avatar, logout = result
        except (TypeError, ValueError):
            interface = avatar = logout = None  # type: ignore[assignment]  # refused below
        if not callable(logout):
            raise TypeError(
                f"{safe_repr(self.realm)} returned {safe_repr(result)} instead of "
                "(interface, avatar, logout)"
            )
        session.interface = interface
        self._logouts[session] = logout
        return avatar
