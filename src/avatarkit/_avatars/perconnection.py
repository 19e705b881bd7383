"""
An avatar of its own for each session, made from what its sessions share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from zope.interface import implementer

from .._realm.realm import Realm, Stackable, Target
from .._realm.session import Session
from .._realm.sources import InnerSessions, logoutOf
from ..interfaces import IAvatarSource


@implementer(IAvatarSource)
@attrs.define(eq=False)
class PerConnection(Stackable):
    """
    Gives each session an avatar of its own.

    It is the second system of the how-to "Managing Clients of Perspectives", cached state and
    fresh avatars: C{PerConnection(build)(AvatarCache()(Greeter))}.  It is a source too, for
    avatars that are made from the mind alone: C{ConnectionLimit(1)(PerConnection(build))}.

    The C{logout} of the avatar that was built, if it has one, is called when its session ends.

    @ivar build: called with the session, whose C{avatar} is what the realm below gave (C{None} if
        there is none), and answers the avatar, or a Deferred or coroutine of it.
    """

    build: Callable[[Session], object] = attrs.field()

    @build.validator
    def _callable(self, attribute: object, build: object) -> None:
        if not callable(build):
            raise TypeError(f"PerConnection takes a callable of a session, not {build!r}")

    def __call__(self, target: Target) -> Realm:
        """
        Answer a realm that builds its avatars from those of the target.

        @param target: see L{Realm}.
        """
        return Realm(_Upon((InnerSessions(Realm(target)), self)))

    def asSources(self) -> tuple[Any, ...]:
        """
        Answer this: it needs no target.
        """
        return (self,)

    def acquire(self, session: Session) -> object:
        """
        Build the session's avatar.
        """
        return self.build(session)

    def release(self, session: Session) -> object:
        """
        Tell the avatar that it is over.
        """
        return logoutOf(session.avatar)

    def close(self) -> None:
        """
        Nothing is kept here.
        """


@attrs.frozen(eq=False)
class _Upon(Stackable):
    """
    What gives an avatar, and what makes another one of it.
    """

    sources: tuple[Any, ...]

    def asSources(self) -> tuple[Any, ...]:
        """
        Answer both.
        """
        return self.sources
