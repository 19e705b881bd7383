"""
How a realm comes to its end.

It refuses logins, ends those in progress, logs everybody out, has its sources let go of their
avatars, and, when no session is left, its blocks of what they keep.  All of that may take time, and
so has a deadline; of many sessions, it takes many turns of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Protocol, runtime_checkable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import Interface

from .._clients.minds import areSame
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.saying import say
from .._waiting.awaiting import awaited, cancel, then
from .._waiting.slices import forEach
from ..errors import Kicked, RealmClosed
from ..interfaces import IAvatarSource, IBlock
from .roll import Roll
from .session import CLOSED, Session, asReason

_log = Logger()


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


@runtime_checkable
class Closable(Protocol):
    """
    A block that is told when its realm is closed; see L{IBlock<avatarkit.IBlock>}.
    """

    def close(self) -> object: ...


def closable(blocks: Iterable[IBlock | Closable]) -> list[Closable]:
    """
    Return the blocks that are told when their realm is closed.
    """
    return [each for each in blocks if isinstance(each, Closable)]


@attrs.define(eq=False)
class BlocksClosing:
    """
    The end of a realm's blocks: each that wants to know is told once that no session is left.

    @ivar _untold: those that have not been told.
    @ivar _unclosed: those that have been, and are not done, each with what it waits for.
    @ivar _ends: the Deferreds of L{close}.
    """

    _untold: list[Closable] = attrs.field(converter=closable)
    _unclosed: list[tuple[Closable, Deferred[object]]] = attrs.field(factory=list, init=False)
    _ends: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def close(self, ignored: object = None) -> Deferred[None]:
        """
        Tell them.

        @return: a Deferred that fires with C{None} when all of them are done.
        """
        end: Deferred[None] = Deferred()
        self._ends.append(end)
        while self._untold:
            block = self._untold.pop(0)
            closing = beginning(block)
            self._unclosed.append((block, closing))
            closing.addBoth(self._closed, block)
        self._look()
        return end

    def giveUp(self, timeout: float) -> None:
        """
        Time is up: tell those that have not been told, and wait for none.
        """
        self.close()
        for block, closing in tuple(self._unclosed):
            sayLate(block, timeout)
            failure = cancel(closing)
            if failure is not None:
                sayFailed(block, failure)

    def _closed(self, result: object, block: Closable) -> None:
        self._unclosed = [each for each in self._unclosed if each[0] is not block]
        if isinstance(result, Failure) and not result.check(CancelledError):
            sayFailed(block, result)
        self._look()

    def _look(self) -> None:
        if not (self._untold or self._unclosed):
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)


@attrs.define(eq=False)
class Closing:
    """
    The end of a realm.

    @ivar roll: the realm's sessions.
    @ivar sources: its sources.
    @ivar blocks: the end of its blocks.
    @ivar begun: whether logins are refused.
    @ivar _unclosed: the sources that have been told to let go, and have not yet.
    """

    roll: Roll
    sources: tuple[IAvatarSource, ...]
    blocks: BlocksClosing
    begun: bool = attrs.field(default=False, init=False)
    _unclosed: list[IAvatarSource] = attrs.field(factory=list, init=False)

    def close(
        self,
        timeout: float | None,
        reactor: IReactorTime | None,
        everyClosing: Callable[[], Iterable[Closing]],
    ) -> Deferred[None]:
        """
        End everything; see L{Realm.close<avatarkit.Realm.close>}.

        @param everyClosing: returns what this is of the realm and of those below, for what is left
            if time runs out.
        """
        closing = self.drain()
        forEach(self.roll.sessions, _end, reactor)
        if timeout is None or closing.called:
            return closing
        return self._orLate(closing, timeout, reactor, everyClosing)

    def drain(self, waived: AbstractSet[Session] = frozenset()) -> Deferred[None]:
        """
        Refuse logins and let go of avatars; see L{Realm.drain<avatarkit.Realm.drain>}.

        @param waived: sessions whose end nobody waits for.
        """
        self.begun = True
        ends = [self.roll.whenEmpty()]
        if waived:
            ends = [each.whenClosed() for each in self.roll.sessions if each not in waived]
        waits = [DeferredList(ends).addCallback(self.blocks.close)]
        for source in self.sources:
            self._unclosed.append(source)
            waits.append(beginning(source).addBoth(self._closed, source))
        return DeferredList(waits).addCallback(lambda results: None)

    def giveUp(self, timeout: float) -> None:
        """
        Nobody waits any longer.
        """
        self.begun = True
        for source in self._unclosed:
            sayLate(source, timeout)
        self.blocks.giveUp(timeout)

    def _orLate(
        self,
        closing: Deferred[None],
        timeout: float,
        reactor: IReactorTime | None,
        everyClosing: Callable[[], Iterable[Closing]],
    ) -> Deferred[None]:
        """
        Return a Deferred that fires when C{closing} does, or when time runs out, which is logged.
        """
        closed: Deferred[None] = Deferred()

        def late() -> None:
            every = tuple(everyClosing())
            unfinished = [session for each in every for session in each.roll.ending()]
            logging = forEach(unfinished, partial(_giveUp, timeout), reactor)
            stopTimers(self.sources)
            for each in every:
                each.giveUp(timeout)
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
        if isinstance(result, Failure):
            sayFailed(source, result)


def beginning(part: IAvatarSource | Closable) -> Deferred[object]:
    """
    Have a part of a realm come to its end, and return a Deferred of that.
    """
    return maybeDeferred(lambda close: awaited(close()), part.close)


def sayFailed(part: object, failure: Failure) -> None:
    """
    Log that a part of a realm could not be closed.
    """
    say(_log.failure, "{source} could not be closed", failure=failure, source=safe_repr(part))


def sayLate(part: object, timeout: float) -> None:
    """
    Log that a part of a realm takes too long to be closed.
    """
    say(
        _log.error,
        "{source} was not closed in {timeout} seconds",
        source=safe_repr(part),
        timeout=timeout,
    )


def _giveUp(timeout: float, session: Session) -> None:
    """
    Nobody waits any longer until a session is closed, nor a client whose login goes on all the
    same.
    """
    if session._state is CLOSED:  # meanwhile
        return
    say(
        _log.error,
        "{hook} of a session of {avatarId!r} did not finish in {timeout} seconds",
        hook=session._currentHook(),
        avatarId=session.avatarId,
        timeout=timeout,
    )
    session._expire(RealmClosed(avatarId=session.avatarId))


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
