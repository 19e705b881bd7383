"""
Where logins come in from outside: how many may be in progress, and what a client is told when one
fails.

A refusal was written for the client.  Anything else, such as what a database says of its password,
goes to the log, and the client learns only that there was a fault.  Neither brings a traceback.

It is also the way out: how long what a session undoes may take, and what was given up because it
took longer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial

import attrs
from twisted.cred.error import LoginFailed, Unauthorized
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from .._tools.checks import checkCount, checkReactor, checkSeconds, checkYesOrNo
from .._tools.clock import clockOr
from .._tools.saying import say
from .._tools.telling import withoutTraceback
from .._waiting.shielding import Wait
from .._waiting.timers import Timer, Timers
from ..errors import RealmFailed, TooManyLogins, UnsupportedInterface

#: What may be read by a client, or by whoever has cancelled the login.
TELLABLE = (pb.Error, LoginFailed, Unauthorized, CancelledError)


@attrs.define(eq=False)
class Entrance:
    """
    The entrance of a realm; see L{Realm<avatarkit.Realm>} for the first five.

    The session of a login that waits tells it when the wait begins, and when the login is over.

    @ivar waiting: how many logins are in progress.
    @ivar overdue: what was given up and has not finished: the name of the hook, and whose session
        it belongs to.
    """

    maximumWaiting: int | None = attrs.field(default=10_000)
    hideFaults: bool = attrs.field(default=True)
    requireWatched: bool = attrs.field(default=False)
    closeTimeout: float | None = attrs.field(default=60)
    reactor: IReactorTime | None = attrs.field(default=None)
    waiting: int = attrs.field(default=0, init=False)
    overdue: dict[Wait[object], tuple[str, Hashable]] = attrs.field(factory=dict, init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)

    _log = Logger()

    @maximumWaiting.validator
    def _checkMaximumWaiting(self, attribute: object, maximum: object) -> None:
        if maximum is not None:
            checkCount("maximumWaiting", maximum, least=1)

    @hideFaults.validator
    @requireWatched.validator
    def _checkYesOrNo(self, attribute: attrs.Attribute[bool], yes: object) -> None:
        checkYesOrNo(attribute.name, yes)

    @closeTimeout.validator
    def _checkCloseTimeout(self, attribute: object, seconds: object) -> None:
        checkSeconds("closeTimeout", seconds, orNone=True)

    @reactor.validator
    def _checkReactor(self, attribute: object, reactor: object) -> None:
        checkReactor(reactor)

    def now(self) -> float:
        """
        Return the time.
        """
        return clockOr(self.reactor).seconds()

    def limit(self, late: Callable[[float], object]) -> Timer | None:
        """
        Have C{late} called if something takes too long to be undone, with the number of seconds.
        """
        seconds = self.closeTimeout
        if seconds is None:
            return None
        self._timers.reactor = self.reactor
        return self._timers.start(seconds, partial(late, seconds))

    def audit(self) -> Iterator[str]:
        """
        Say what was given up and has not finished.
        """
        for hook, avatarId in self.overdue.values():
            yield f"{hook} of a session of {avatarId!r} was given up, and has not finished"

    def check(self, avatarId: Hashable) -> None:
        """
        Check that one more login may come in.

        @raise TooManyLogins: if too many are in progress.
        """
        maximum = self.maximumWaiting
        if maximum is None or self.waiting < maximum:
            return
        say(
            self._log.info,
            "a login of {avatarId!r} is refused: {maximum} are in progress",
            avatarId=avatarId,
            maximum=maximum,
        )
        raise TooManyLogins(avatarId=avatarId, maximum=maximum)

    def begun(self) -> None:
        """
        A login waits.
        """
        self.waiting += 1

    def over(self) -> None:
        """
        It has succeeded, or is undone.
        """
        self.waiting -= 1

    def told(self, failure: Failure, avatarId: Hashable) -> Failure:
        """
        Return the failure that the client of a login receives.
        """
        if not self.hides(failure):
            if isinstance(failure.value, BaseException):  # it did not come over the network
                self.strip(failure.value)
            return failure
        return Failure(self.hidden(failure, avatarId))

    def strip(self, reason: BaseException) -> None:
        """
        Have a client receive no traceback of a refusal, unless it is to be told everything; nor is
        one kept, which would grow if the refusal is raised again.
        """
        if self.hideFaults:
            withoutTraceback(reason)
            reason.__traceback__ = None

    def hides(self, failure: Failure) -> bool:
        """
        Return whether a login failed for a reason that is none of the client's business.
        """
        told = failure.check(*TELLABLE) and not failure.check(NotImplementedError)
        return self.hideFaults and not told

    def hidden(self, failure: Failure, avatarId: Hashable) -> Exception:
        """
        Log why a login failed, and return what its client gets instead.
        """
        say(self._log.failure, "a login of {avatarId!r} failed", failure=failure, avatarId=avatarId)
        told: RealmFailed | UnsupportedInterface = RealmFailed(avatarId=avatarId)
        if failure.check(NotImplementedError):
            interfaces = getattr(failure.value, "interfaces", ())
            told = UnsupportedInterface(avatarId=avatarId, interfaces=interfaces)
        if isinstance(failure.value, BaseException):  # it did not come over the network
            told.__cause__ = failure.value
        return told


@attrs.frozen(eq=False)
class BackDoor:
    """
    An entrance for tests, which are told everything.
    """

    entrance: Entrance

    def begun(self) -> None:
        """
        A login waits.
        """
        self.entrance.begun()

    def over(self) -> None:
        """
        It has succeeded, or is undone.
        """
        self.entrance.over()

    def told(self, failure: Failure, avatarId: Hashable) -> Failure:
        """
        Return what the login fails with.
        """
        return failure
