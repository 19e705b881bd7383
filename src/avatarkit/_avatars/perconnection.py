"""
An avatar of its own for each session, built from what the sessions share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, cast, overload

import attrs
from zope.interface import implementer

from .._realm.inner import InnerSessions, unchosen
from .._realm.realm import Realm, Target
from .._realm.session import Session
from .._realm.sources import logoutOf
from .._realm.targets import Factory, ForeignRealm, Source, Stackable
from .._tools.typevars import A, B
from .._waiting.awaiting import then
from ..interfaces import IAvatarSource


@implementer(IAvatarSource)
@attrs.define(eq=False, init=False)
class PerConnection(Stackable, Generic[A, B]):
    """
    Gives each session an avatar of its own.

    It is the second system of the how-to "Managing Clients of Perspectives", cached state and
    fresh avatars: C{PerConnection(build)(AvatarCache()(Greeter))}.  It is a source too, for
    avatars that are built from the mind alone: C{ConnectionLimit(1)(PerConnection(build))}.

    The C{logout} of the avatar that was built, if it has one, is called when its session ends,
    unless what was built is the avatar below, which is logged out there.

    If the realm below has chosen the interface, as one that is not ours does, it stays chosen for
    an avatar that provides it, and for the avatar below, whatever that provides.  C{build} finds it
    in the session's C{interface}.

    @ivar build: called with the session, whose C{avatar} is what the realm below gave (C{None} if
        there is none); returns the avatar, or a Deferred or coroutine of it.
    """

    build: Callable[[Session[A]], B | Awaitable[B]] = attrs.field()
    _borrowed: set[Session[A]] = attrs.field(factory=set, init=False, repr=False)

    @overload
    def __init__(self, build: Callable[[Session[A]], Awaitable[B]]) -> None: ...

    @overload
    def __init__(self, build: Callable[[Session[A]], B | Awaitable[B]]) -> None: ...

    def __init__(self, build: Callable[[Session[A]], B | Awaitable[B]]) -> None:
        self.__attrs_init__(build)

    @build.validator
    def _checkBuild(self, attribute: object, build: object) -> None:
        if not callable(build):
            raise TypeError(f"build must be a callable of a session, not {build!r}")

    @overload
    def __call__(self, target: Realm[A] | Source[A]) -> Realm[B]: ...

    @overload
    def __call__(self, target: Factory[A]) -> Realm[B]: ...

    @overload
    def __call__(self, target: ForeignRealm) -> Realm[B]: ...

    def __call__(self, target: Target) -> Realm[B]:
        """
        Return a realm that builds its avatars from those of the target.

        @param target: see L{Realm}.
        """
        below: Realm = Realm(cast("Realm", target))
        return Realm(cast("Realm[B]", _Upon((InnerSessions(below), self))))

    def acquire(self, session: Session[A]) -> B | Awaitable[B]:
        """
        Build the session's avatar.
        """
        return then(self.build(session), partial(self._built, session))

    def release(self, session: Session) -> object:
        """
        Tell the avatar that it is over.
        """
        if session in self._borrowed:
            self._borrowed.remove(session)
            return None
        return logoutOf(session.avatar)

    def discard(self, session: Session) -> None:
        """
        Do not tell the avatar.
        """
        self._borrowed.discard(session)

    def close(self) -> None:
        """
        Nothing is kept here.
        """

    def _built(self, session: Session[A], built: B) -> B:
        """
        Take note of what the session gets.
        """
        below, interface = session.avatar, session.interface
        if built is below and below is not None:
            self._borrowed.add(session)
        elif interface is not None and not interface.providedBy(built):
            session.interface = unchosen(session)
        return built

    def _asSources(self) -> tuple[IAvatarSource, ...]:
        return (self,)


@attrs.frozen(eq=False)
class _Upon(Stackable):
    """
    What gives an avatar, and what builds another one from it.
    """

    sources: tuple[IAvatarSource, ...]

    def _asSources(self) -> tuple[IAvatarSource, ...]:
        return self.sources
