"""
Where a session gets its avatar from, short of a realm of ours: a factory, or a realm that somebody
already has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
from twisted.cred.portal import IRealm
from zope.interface import implementer

from .._tools.awaiting import then
from ..interfaces import IAvatarSource, IBlock
from .session import LoginResult, Session
from .targets import AskedRealm, Factory


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
        raise TypeError(f"{target!r} is a block, which gives no avatars: stack it on something")
    elif IRealm.providedBy(target):
        realm: AskedRealm = target
        return RealmSource(realm)
    if callable(target):
        return FactorySource(target)
    raise TypeError(
        f"{target!r} cannot be made a realm: give an avatar factory (a callable of one avatar ID), "
        "an IAvatarSource, or an IRealm"
    )


def _checkClass(target: type) -> None:
    """
    Refuse a class whose instance was meant.
    """
    for interface in (IRealm, IBlock, IAvatarSource):
        if interface.implementedBy(target):
            raise TypeError(
                f"{target.__name__} is a class of {interface.__name__}s; "
                f"use an instance: {target.__name__}(...)"
            )


def logoutOf(avatar: object) -> object:
    """
    Tell an avatar that it is over, if it has a C{logout}.
    """
    logout = getattr(avatar, "logout", None)
    return None if logout is None else logout()


def logoutAspect(session: Session) -> object:
    """
    Tell what a session's avatar was seen through that the session is over, if that is an adapter
    with a C{logout} of its own, like L{twisted.words.service.WordsRealm}.
    """
    aspect, avatar = session.aspect, session.avatar
    if aspect is avatar or getattr(aspect, "logout", None) == getattr(avatar, "logout", None):
        return None
    return logoutOf(aspect)


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

    def discard(self, session: Session) -> None:
        """
        Do not tell the avatar.
        """

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

    realm: AskedRealm
    _logouts: dict[Session, Callable[[], object]] = attrs.field(factory=dict, init=False)

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

    def discard(self, session: Session) -> None:
        """
        Do not log out.
        """
        del self._logouts[session]

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
                f"{self.realm!r} returned {result!r} instead of (interface, avatar, logout)"
            )
        session.interface = interface
        self._logouts[session] = logout
        return avatar
