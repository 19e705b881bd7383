"""
Where a session gets its avatar from, short of a realm of ours: a factory, or a realm that somebody
already has.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import cast

import attrs
from twisted.cred.portal import IRealm
from twisted.python.reflect import safe_repr
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from .._waiting.awaiting import then
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
        _checkSignature(target)
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


def _checkSignature(factory: Callable[..., object]) -> None:
    """
    Refuse what cannot be called with an avatar ID alone, as far as it says so.
    """
    try:
        signature = inspect.signature(factory)
    except Exception:  # many that are written in C do not say
        return
    if _takes(signature, 1):
        return
    hint = "write a function of the session and wrap it in PerConnection if it needs more"
    if _takes(signature, 3):
        hint = f"if this is the requestAvatar of a realm, give the realm; otherwise {hint}"
    raise TypeError(
        f"{factory!r} takes {signature}, but a factory is called with an avatar ID alone: {hint}"
    )


def _takes(signature: inspect.Signature, number: int) -> bool:
    """
    Return whether something can be called with so many arguments.
    """
    try:
        signature.bind(*range(number))
    except TypeError:
        return False
    return True


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
        made = self.factory(session.avatarId)
        kind = type(made)
        if kind is tuple:
            return self._alone(made)
        return then(made, self._alone) if hasattr(kind, "__await__") else made

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

    def _alone(self, made: object) -> object:
        """
        Refuse what a realm returns.
        """
        if isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], InterfaceClass):
            raise TypeError(
                f"{self.factory!r} returned {made!r}, but a factory returns the avatar alone: "
                "give what returns (interface, avatar, logout) as the requestAvatar of a realm"
            )
        return made


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
                f"{safe_repr(self.realm)} returned {safe_repr(result)} instead of "
                "(interface, avatar, logout)"
            )
        session.interface = interface
        self._logouts[session] = logout
        return avatar
