"""
How a realm comes to its end.

It refuses logins, ends those in progress, logs everybody out, and has its sources let go of their
avatars.  All of that may take time, and so has a deadline; of many sessions, it takes many turns of
the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from operator import attrgetter
from typing import Protocol, runtime_checkable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import Interface

from .._clients.minds import areSame
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.saying import say
from .._waiting.awaiting import awaited, then
from .._waiting.slices import forEach
from ..errors import Kicked, RealmClosed
from ..interfaces import IAvatarSource
from .roll import Roll
from .session import CLOSED, Session, asReason


def stopTimers(sources: Iterable[IAvatarSource]) -> None:
    """
    Nobody waits any more for sources to let go of their avatars: those that measure how long that
    takes need not.
    """
    for source in sources:
        if isinstance(source, Timed):
            source._stopTimers()


@runtime_checkable
class Timed(Protocol):
    """
    A source that sees to it itself that its avatars do not take too long to go.
    """

    def _stopTimers(self) -> None: ...


@attrs.define(eq=False)
class Closing:
    """
    The end of a realm.

    @ivar roll: the realm's sessions.
    @ivar sources: its sources.
    @ivar begun: whether logins are refused.
    @ivar _unclosed: the sources that have been told to let go, and have not yet.
    """

    roll: Roll
    sources: tuple[IAvatarSource, ...]
    begun: bool = attrs.field(default=False, init=False)
    _unclosed: list[IAvatarSource] = attrs.field(factory=list, init=False)

    _log = Logger()

    def close(
        self,
        timeout: float | None,
        reactor: IReactorTime | None,
        everySession: Callable[[], Iterable[Session]],
    ) -> Deferred[None]:
        """
        End everything; see L{Realm.close<avatarkit.Realm.close>}.

        @param everySession: returns the sessions of the realm and those of the realms below, for
            the log if time runs out.
        """
        closing = self.drain()
        forEach(self.roll.sessions, _end, reactor)
        if timeout is None or closing.called:
            return closing
        return self._orLate(closing, timeout, reactor, everySession)

    def drain(self, waived: AbstractSet[Session] = frozenset()) -> Deferred[None]:
        """
        Refuse logins and let go of avatars; see L{Realm.drain<avatarkit.Realm.drain>}.

        @param waived: sessions whose end nobody waits for.
        """
        self.begun = True
        waits: list[Deferred[None]] = [self.roll.whenEmpty()]
        if waived:
            waits = [each.whenClosed() for each in self.roll.sessions if each not in waived]
        for source in self.sources:
            self._unclosed.append(source)
            closing: Deferred[object] = maybeDeferred(lambda close: awaited(close()), source.close)
            closing.addErrback(self._notClosed, source)
            waits.append(closing.addCallback(self._closed, source))
        return DeferredList(waits, consumeErrors=True).addCallback(lambda results: None)

    def _orLate(
        self,
        closing: Deferred[None],
        timeout: float,
        reactor: IReactorTime | None,
        everySession: Callable[[], Iterable[Session]],
    ) -> Deferred[None]:
        """
        Return a Deferred that fires when C{closing} does, or when time runs out, which is logged.
        """
        closed: Deferred[None] = Deferred()

        def late() -> None:
            unfinished = filter(attrgetter("ended"), everySession())
            logging = forEach(unfinished, partial(self._logSession, timeout), reactor)
            self._logSources(timeout)
            stopTimers(self.sources)
            then(logging, closed.callback)

        def done(ignored: object) -> None:
            if deadline.active():
                deadline.cancel()
                closed.callback(None)

        deadline = clockOr(reactor).callLater(timeout, late)
        closing.addCallback(done)
        return closed

    def _closed(self, result: object, source: IAvatarSource) -> None:
        self._unclosed.remove(source)

    def _notClosed(self, failure: Failure, source: IAvatarSource) -> None:
        say(
            self._log.failure,
            "{source} could not be closed",
            failure=failure,
            source=safe_repr(source),
        )

    def _logSession(self, timeout: float, session: Session) -> None:
        if session._state is CLOSED:  # meanwhile
            return
        say(
            self._log.error,
            "{hook} of a session of {avatarId!r} did not finish in {timeout} seconds",
            hook=session._currentHook(),
            avatarId=session.avatarId,
            timeout=timeout,
        )

    def _logSources(self, timeout: float) -> None:
        for source in self._unclosed:
            say(
                self._log.error,
                "{source} was not closed in {timeout} seconds",
                source=safe_repr(source),
                timeout=timeout,
            )


def _end(session: Session) -> None:
    session._end(RealmClosed(avatarId=session.avatarId))


def disconnectAll(
    sessions: Iterable[Session],
    reason: Exception | str | None,
    timeout: float,
    reactor: IReactorTime | None,
    excluding: Session | None = None,
) -> Deferred[None]:
    """
    Disconnect sessions; see L{Session.disconnect<avatarkit.Session.disconnect>}.

    @param excluding: the session that stays, and its connection with it: others that share that
        are only logged out.
    @return: a Deferred that fires with C{None} when all of them are closed.
    """
    checkSeconds("timeout", timeout)
    checkReactor(reactor)
    why = asReason(reason, Kicked)
    if excluding is not None and not isinstance(excluding, Session):
        raise TypeError(f"excluding must be a session, not {excluding!r}")
    closing: list[Deferred[None]] = []
    for each in tuple(sessions):
        if each is excluding:
            continue
        if excluding is not None and _shareConnection(each, excluding):
            closing.append(each.whenClosed())
            each.logout(why)
        else:
            closing.append(each.disconnect(why, timeout=timeout, reactor=reactor))
    return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)


def _shareConnection(one: Session, other: Session) -> bool:
    """
    Return whether two sessions are known to share a connection.
    """
    if one.connection is not None or other.connection is not None:
        return one.connection is other.connection
    return areSame(one.mind, other.mind)


@attrs.define(eq=False)
class RealmService(Service):
    """
    Closes a realm when it is stopped.

    @ivar close: closes it, and returns a Deferred of that.
    """

    close: Callable[[], Deferred[None]]

    def getComponent(self, interface: type[Interface], default: object = None) -> object:
        """
        Say to twistd, which asks this of an application, what it has been given.

        @raise TypeError: always.
        """
        raise TypeError(
            "a realm's service is not an application: write application = Application(name), and "
            "then realm.service().setServiceParent(application)"
        )

    def stopService(self) -> Deferred[None]:
        """
        Close the realm.
        """
        super().stopService()
        return self.close()
