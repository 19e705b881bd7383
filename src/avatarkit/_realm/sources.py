"""
Where a session gets its avatar from: a factory, a realm that somebody already has, or a realm of
ours below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from .._tools.awaiting import awaited, then
from ..interfaces import IAvatarSource, IBlock
from .session import Answer, Session

if TYPE_CHECKING:
    from .realm import Realm


#: What makes an avatar from an avatar ID, now or later.
AvatarFactory: TypeAlias = Callable[[Any], object]


def bottomSource(target: Any) -> Any:
    """
    Turn what a user stacks blocks on, short of a realm of ours, into a source.

    @return: an L{IAvatarSource} provider.
    @raise TypeError: if it is none of the kinds that there are.
    """
    if isinstance(target, type):
        _checkClass(target)
    elif IAvatarSource.providedBy(target):
        return target
    elif IBlock.providedBy(target):
        raise TypeError(f"{target!r} is a block, which gives no avatars: stack it on what does")
    elif IRealm.providedBy(target):
        return ForeignRealm(target)
    if callable(target):
        return Factory(target)
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
    Tell an avatar that it is over, if it wants to know, as L{twisted.words.service.WordsRealm}
    does.
    """
    logout = getattr(avatar, "logout", None)
    return None if logout is None else logout()


@implementer(IAvatarSource)
@attrs.define(eq=False)
class Factory:
    """
    Calls an avatar factory for each session, and the avatar's C{logout}, if it has one, at its end.
    """

    factory: AvatarFactory

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
class ForeignRealm:
    """
    Asks a realm that is not ours, and calls the logout that it answered.
    """

    realm: Any
    _logouts: dict[Session, Callable[[], object]] = attrs.field(factory=dict, init=False)

    def acquire(self, session: Session) -> object:
        """
        Log in to the realm: the interface that it answers is the session's.
        """
        answer = self.realm.requestAvatar(session.avatarId, session.mind, *session.interfaces)
        return then(answer, lambda answer: self._loggedIn(session, answer))

    def release(self, session: Session) -> object:
        """
        Log out.
        """
        return self._logouts.pop(session)()

    def close(self) -> None:
        """
        Its owner closes it.
        """

    def _loggedIn(self, session: Session, answer: Answer) -> object:
        try:
            interface, avatar, logout = answer
        except (TypeError, ValueError):
            logout = None
        if not callable(logout):
            raise TypeError(
                f"{self.realm!r} answered {answer!r} instead of (interface, avatar, logout)"
            )
        session.interface = interface
        self._logouts[session] = logout
        return avatar


@implementer(IAvatarSource)
@attrs.define(eq=False)
class InnerSessions:
    """
    Gives each session the avatar of an inner session of its own, in a realm below.

    @ivar minds: whether the inner session has the mind of the outer one, or none.
    """

    below: Realm
    minds: bool = attrs.field(default=True, kw_only=True)
    _inner: dict[Session, Session] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def needsMinds(self) -> bool:
        """
        Whether something below is useless without minds.
        """
        return self.below.needsMinds

    async def acquire(self, session: Session) -> object:
        """
        Open the inner session; if that fails, or is cancelled, it is closed before this goes on.
        """
        inner = innerSession(self.below, session, mind=session.mind if self.minds else None)
        try:
            opening = awaited(inner.open())
            if opening is not None:
                await opening
        except Exception:
            await inner.whenClosed()
            raise

        def above(act: Callable[[Session], object]) -> None:
            act(session)

        inner.above = above
        self._inner[session] = inner
        return inner.avatar

    def release(self, session: Session) -> Deferred[None]:
        """
        Close the inner session.
        """
        inner = self._inner.pop(session)
        inner.above, inner.loggedIn = None, session.loggedIn
        inner.logout()
        return inner.whenClosed()

    def close(self) -> Deferred[None]:
        """
        Let the realm below come to its end.
        """
        return self.below.drain()


def innerSession(realm: Realm, session: Session, *, mind: object) -> Session:
    """
    Answer a session of a realm below, to be opened.

    Nobody looks at its avatar through an interface, so that it may be anything; a foreign realm at
    the bottom is asked for the interfaces of the session above, and says which one it is.
    """
    return Session(realm, session.avatarId, mind, session.interfaces, interface=Interface)
