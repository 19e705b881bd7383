"""
How a realm comes to its end.

It refuses logins, ends those that are going on, logs everybody out, and has its sources let go of
their avatars; all of that may take its time, and so has an end of its own.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._tools.clock import clockOr
from ..errors import RealmClosed

if TYPE_CHECKING:
    from .realm import Realm


@attrs.define(eq=False)
class Closing:
    """
    The end of a realm.

    @ivar begun: whether logins are refused.
    @ivar _unclosed: the sources that have been told to let go, and have not yet.
    """

    realm: Realm
    begun: bool = attrs.field(default=False, init=False)
    _unclosed: list[Any] = attrs.field(factory=list, init=False)

    _log = Logger()

    def close(self, timeout: float | None, reactor: IReactorTime | None) -> Deferred[None]:
        """
        End everything; see L{Realm.close<avatarkit.Realm.close>}.
        """
        closing = self.drain()
        for session in tuple(self.realm.sessions):
            session.end(RealmClosed(avatarId=session.avatarId))
        if timeout is None or closing.called:
            return closing
        closed: Deferred[None] = Deferred()

        def late() -> None:
            self._logUnfinished(timeout)
            closed.callback(None)

        def done(ignored: object) -> None:
            if deadline.active():
                deadline.cancel()
                closed.callback(None)

        deadline = clockOr(reactor).callLater(timeout, late)
        closing.addCallback(done)
        return closed

    def drain(self) -> Deferred[None]:
        """
        Refuse logins and let go of avatars; see L{Realm.drain<avatarkit.Realm.drain>}.
        """
        self.begun = True
        waits: list[Deferred[Any]] = [each.whenClosed() for each in self.realm.sessions]
        for source in self.realm.sources:
            self._unclosed.append(source)
            closing = maybeDeferred(source.close).addErrback(self._notClosed, source)
            waits.append(closing.addCallback(self._closed, source))
        return DeferredList(waits, consumeErrors=True).addCallback(lambda results: None)

    def _closed(self, result: object, source: object) -> None:
        self._unclosed.remove(source)

    def _notClosed(self, failure: Failure, source: object) -> None:
        self._log.failure("{source} could not be closed", failure=failure, source=repr(source))

    def _logUnfinished(self, timeout: float) -> None:
        for realm in self.realm.realms():
            for session in filter(attrgetter("ended"), realm.sessions):
                self._log.error(
                    "{hook} of a session of {avatarId!r} did not finish in {timeout} seconds",
                    hook=session.stage,
                    avatarId=session.avatarId,
                    timeout=timeout,
                )
        for source in self._unclosed:
            self._log.error(
                "{source} was not closed in {timeout} seconds", source=repr(source), timeout=timeout
            )


@attrs.define(eq=False)
class RealmService(Service):
    """
    Closes a realm when it is stopped.
    """

    realm: Realm
    timeout: float | None
    reactor: IReactorTime | None

    def stopService(self) -> Deferred[None]:
        """
        Close the realm.
        """
        super().stopService()
        return self.realm.close(timeout=self.timeout, reactor=self.reactor)
