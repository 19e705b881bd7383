"""
Sessions that stand on sessions: each session of a realm above gets its avatar from an I{inner
session} of a realm below.

A session that stands on an inner one ends before it does, whichever of the two is ended first.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Generic, cast

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import Interface, implementer

from .._tools.typevars import A
from .._waiting.awaiting import awaited
from ..interfaces import IAvatarSource
from .closing import stopTimers
from .entrance import Entrance
from .plan import Resuming
from .realm import Realm
from .session import Above, LoginResult, Session
from .sources import RealmSource


@attrs.define(eq=False, repr=False)
class InnerSession(Session[A]):
    """
    A session that one or more other sessions stand on.

    One that several stand on has no time limits of its own: whatever it belongs to has one.

    @ivar _upper: the session above, if there is only one.
    @ivar _late: if there may be several, is given what their logins fail with if this one takes too
        long.
    """

    _upper: Session | None = None
    _late: Callable[[Exception], object] | None = None

    @property
    def _wayOut(self) -> Entrance | None:
        return None if self._upper is None else self._upper._wayOut

    def _now(self) -> float:
        return super()._now() if self._upper is None else self._upper._now()

    def _unsaid(self) -> BaseException:
        """
        Return why the session ends if nobody has said so: for the reason of the one above.
        """
        upper = self._upper
        return upper.reason if upper is not None and upper.reason else super()._unsaid()

    def _expire(self, reason: Exception) -> None:
        """
        The logins above take too long: they are what fails now, and this session ends with them.
        """
        if self._late is not None:
            self._late(reason)
        else:
            assert self._upper is not None
            self._upper._expire(reason)


def unchosen(session: Session) -> type[Interface] | None:
    """
    Return the interface of a session for which none has been chosen: for an inner session one that
    everything provides, since nobody looks at its avatar.
    """
    return Interface if isinstance(session, InnerSession) else None


def choosesInterfaces(below: Realm) -> bool:
    """
    Return whether a realm of somebody else's at the bottom chooses what avatars are seen through.
    """
    return any(isinstance(each, RealmSource) for realm in below._realms() for each in realm.sources)


def innerSession(
    below: Realm[A],
    session: Session,
    *,
    client: bool,
    late: Callable[[Exception], object] | None = None,
) -> InnerSession[A]:
    """
    Return a new session of a realm below, not yet opened.

    Nobody looks at its avatar through an interface, so that the avatar may be anything; a realm of
    somebody else's at the bottom is asked for the interfaces of the session above, and chooses one
    of them.

    @param client: whether it has the mind and the connection of the session above, or none.
    @param late: if others than that session may wait for it, is given what their logins fail with
        if it takes too long.
    """
    mind, connection = (session.mind, session._connection) if client else (None, None)
    return InnerSession(
        below,
        below._plan,
        session.avatarId,
        mind,
        session.interfaces,
        interface=Interface,
        since=session._now(),
        connection=connection,
        upper=session if late is None else None,
        late=late,
    )


def openInner(inner: Session) -> Deferred[LoginResult]:
    """
    Log an inner session in.
    """
    return maybeDeferred(inner._open)  # type: ignore[call-overload, no-any-return]  # now or later


def standOn(inner: Session, above: Above) -> None:
    """
    Make the sessions above an inner session end before it.

    @param above: is given the reason, and calls its other argument, which ends a session, with each
        session that must end first; when they are gone it sees to it that L{closeInner} is called.
    """
    inner._above = above


def closeInner(inner: Session, reason: BaseException | None) -> Deferred[None]:
    """
    Log out an inner session that no other session stands on any more.

    @param reason: why.
    @return: a Deferred that fires with C{None} when it is closed.
    """
    inner._above = None
    inner._end(reason)
    return inner.whenClosed()


def discardInner(inner: Session) -> None:
    """
    Make an inner session close without telling its avatar.
    """
    sources = cast("Realm", inner.realm).sources
    undos: dict[object, Callable[[Session], object]]
    undos = {each.release: getattr(each, "discard", each.release) for each in sources}
    inner._plan = tuple(hook._replace(undo=undos.get(hook.undo, hook.undo)) for hook in inner._plan)


def endSession(session: Session, reason: Exception) -> None:
    """
    Log out a session that stands on an inner one.
    """
    session._end(reason)


def expireAbove(reason: Exception, session: Session) -> None:
    """
    Have a login fail that takes too long, since what it waits for does.
    """
    session._expire(reason)


def awaitedBy(inner: Session) -> Deferred[object] | None:
    """
    Return what an inner session waits for while it opens or closes.
    """
    return inner._hindrance()


def inTheWayOf(session: Session) -> str:
    """
    Return what keeps a session from being closed, for the log: a hook, or the session itself if it
    has not even ended.
    """
    return session._currentHook() if session.ended else repr(session)


@implementer(IAvatarSource)
@attrs.define(eq=False)
class InnerSessions(Generic[A]):
    """
    Gives each session the avatar of an inner session of its own.

    @ivar below: the realm of the inner sessions.
    @ivar minds: whether an inner session has the mind of the session above it, or none.
    """

    below: Realm[A]
    minds: bool = attrs.field(default=True, kw_only=True)
    _inner: dict[Session, InnerSession[A]] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.below._callHooks:
            raise TypeError(
                f"{self.below!r} has a block that wants to know of calls, which are calls of the "
                "sessions above: stack it around this, and not inside"
            )
        for source in self.below.sources:
            if isinstance(source, Resuming):
                raise TypeError(
                    f"{source!r} must be around everything that makes avatars: stack it around "
                    "this, and not inside"
                )

    @property
    def needsMinds(self) -> bool:
        """
        Whether something below is useless without minds.
        """
        return self.below.needsMinds

    async def acquire(self, session: Session) -> A:
        """
        Open the inner session; if that fails, or is cancelled, it is closed before this goes on.
        """
        inner = innerSession(self.below, session, client=self.minds)
        try:
            opening = awaited(inner._open())
            if opening is not None:
                await opening
        except Exception:
            await inner.whenClosed()
            raise
        standOn(inner, lambda reason, end: end(session))
        return self._give(session, inner)

    def of(self, session: Session) -> Session[A] | None:
        """
        Return the inner session of a session, if it has one.
        """
        return self._inner.get(session)

    def handOver(self, former: Session, session: Session) -> A:
        """
        Let a session have the inner session of another one, and return its avatar.
        """
        inner = self._inner.pop(former)
        inner._upper = session
        return self._give(session, inner)

    def release(self, session: Session) -> Deferred[None]:
        """
        Close the inner session.
        """
        inner = self._inner.pop(session)
        inner.loggedIn = session.loggedIn
        return closeInner(inner, session.reason)

    def discard(self, session: Session) -> Deferred[None]:
        """
        Close the inner session without telling its avatar.
        """
        discardInner(self._inner[session])
        return self.release(session)

    def close(self, waived: Set[Session] = frozenset()) -> Deferred[None]:
        """
        Let the realm below come to its end.

        @param waived: sessions of the realm below that are not waited for.
        """
        return self.below._closing.drain(waived)

    def _give(self, session: Session, inner: InnerSession[A]) -> A:
        self._inner[session] = inner
        if inner.interface is not Interface:  # a foreign realm below has chosen it
            session.interface = inner.interface
        return inner.avatar

    def _stopTimers(self) -> None:
        """
        Nobody waits for L{close} any more.
        """
        stopTimers(self.below.sources)
