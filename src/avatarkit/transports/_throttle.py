"""
Passwords cannot be guessed by trying one after the other.

Failures are counted for each name, and for each address that attempts come from.  The first ones
are free.  After those, attempts for the same name, or from the same address, are made one at a
time, and each waits before the password is checked: twice as long after each failure, up to a
maximum, like Dovecot's C{auth_penalty}.  Attempts that are being checked are counted as if they had
failed, so that many at the same time gain nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from itertools import islice
from math import ldexp
from typing import Any, cast

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from .._online.canonical import canonicalName
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._waiting.awaiting import awaited
from ..errors import LoginRefused, TooManyAttempts
from ..interfaces import IConnection
from ._addresses import IPV6_PREFIX, hostOf

# Any in this module: credentials are whatever a checker takes.


@attrs.define(eq=False)
class Tally:
    """
    The attempts for one name, or from one address.

    @ivar key: which.
    @ivar free: how many failures cost nothing.
    @ivar failures: how many attempts have failed, by the name that they were for.
    @ivar since: when the last one did.
    @ivar checking: how many attempts are being checked.
    @ivar waiting: the attempts that wait: a Deferred fires when they should look again.
    """

    key: Hashable
    free: int
    failures: Counter[Hashable] = attrs.field(factory=Counter, init=False)
    since: float = attrs.field(default=0, init=False)
    checking: int = attrs.field(default=0, init=False)
    waiting: dict[Deferred[None], None] = attrs.field(factory=dict, init=False)

    @property
    def idle(self) -> bool:
        """
        Whether no attempt is being made.
        """
        return not (self.checking or self.waiting)

    def wait(self, delay: float, most: float, now: float) -> float | None:
        """
        Return how many seconds an attempt must wait; C{None} until another one has ended.
        """
        failed = self.failures.total()
        if self.checking >= max(1, self.free - failed):
            return None
        if failed < self.free:
            return 0
        exponent = min(failed - self.free, 64)  # no float is large enough for any
        return max(0.0, self.since + min(most, ldexp(delay, exponent)) - now)

    def wake(self) -> None:
        """
        An attempt has ended: let those who wait look again, the oldest first.
        """
        for each in tuple(self.waiting):
            if each in self.waiting:
                del self.waiting[each]
                each.callback(None)


@implementer(ICredentialsChecker)
@attrs.define(eq=False)
class ThrottledChecker:
    """
    Goes around a credentials checker, and makes guessing passwords slow:
    C{Portal(realm, [ThrottledChecker(checker)])}.

    Failures of each address are counted if the server listens through a
    L{WatchingFactory<avatarkit.transports.WatchingFactory>}; without it, only those for each name
    are.  A success forgives the failures for its name, and of its address those that were for this
    name, so that somebody's own account does not help to guess others'.

    Only C{UnauthorizedLogin} is a failure.  An attempt whose client leaves before it is answered
    counts as one.

    @ivar checker: the credentials checker.
    @ivar freeForName: how many failures for a name cost nothing.
    @ivar freeFromAddress: how many from an address do; several users may share one.
    @ivar delay: how many seconds the next attempt waits after that; twice as long after each
        further failure.
    @ivar maximumDelay: how many seconds at most.
    @ivar forgetAfter: after how many seconds without a failure nothing is kept of a name or an
        address.
    @ivar maximumWaiting: how many attempts for one name, or from one address, may wait; any more
        are refused with L{TooManyAttempts<avatarkit.TooManyAttempts>}, and not checked.
    @ivar maximumKept: of how many names and addresses failures are kept; beyond that, those of the
        fewest are forgotten first.
    @ivar ipv6Prefix: see L{peerHost<avatarkit.transports.peerHost>}.
    """

    checker: ICredentialsChecker
    freeForName: int = attrs.field(default=3, kw_only=True)
    freeFromAddress: int = attrs.field(default=10, kw_only=True)
    delay: float = attrs.field(default=1, kw_only=True)
    maximumDelay: float = attrs.field(default=60, kw_only=True)
    forgetAfter: float = attrs.field(default=900, kw_only=True)
    maximumWaiting: int = attrs.field(default=100, kw_only=True)
    maximumKept: int = attrs.field(default=100_000, kw_only=True)
    ipv6Prefix: int = attrs.field(default=IPV6_PREFIX, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _tallies: OrderedDict[Hashable, Tally] = attrs.field(
        factory=OrderedDict, init=False, repr=False
    )

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        if not ICredentialsChecker.providedBy(self.checker):
            raise TypeError(f"checker must provide ICredentialsChecker, not {self.checker!r}")
        checkCount("freeForName", self.freeForName)
        checkCount("freeFromAddress", self.freeFromAddress)
        checkCount("maximumWaiting", self.maximumWaiting)
        checkCount("maximumKept", self.maximumKept, least=1)
        checkCount("ipv6Prefix", self.ipv6Prefix, least=1)
        checkSeconds("delay", self.delay)
        checkSeconds("maximumDelay", self.maximumDelay)
        checkSeconds("forgetAfter", self.forgetAfter)
        checkReactor(self._reactor)

    @property
    def credentialInterfaces(self) -> Any:
        """
        What the checker takes.
        """
        return self.checker.credentialInterfaces

    def forConnection(self, connection: IConnection) -> ICredentialsChecker:
        """
        Return the checker for the logins over a connection.
        """
        bind = getattr(self.checker, "forConnection", None)
        bound = self.checker if bind is None else bind(connection)
        return cast(ICredentialsChecker, _From(self, bound, connection))

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        Check credentials without knowing where they come from.
        """
        return self.attempt(self.checker, credentials, None)

    def attempt(
        self, checker: ICredentialsChecker, credentials: Any, address: str | None
    ) -> Deferred[Any]:
        """
        Check credentials when it is their turn.

        @raise TooManyAttempts: in the Deferred, if too many wait.
        """
        self._forget(clockOr(self._reactor).seconds())
        name, tallies = _nameIn(credentials), []
        if name is not None:
            tallies.append(self._tally(("name", name), self.freeForName))
        if address is not None:
            tallies.append(self._tally(("address", address), self.freeFromAddress))
        return Deferred.fromCoroutine(self._attempt(checker, credentials, name, tallies))

    async def _attempt(
        self, checker: ICredentialsChecker, credentials: Any, name: Hashable, tallies: list[Tally]
    ) -> Any:
        await self._turn(name, tallies)
        failed = True
        for tally in tallies:
            tally.checking += 1
        try:
            found = checker.requestAvatarId(credentials)
            waiting = awaited(found)
            result = found if waiting is None else await waiting
            self._forgive(name, tallies)
            failed = False
        except (UnauthorizedLogin, CancelledError):
            raise
        except Exception:
            failed = False
            raise
        finally:
            self._ended(name, tallies, failed)
        return result

    async def _turn(self, name: Hashable, tallies: list[Tally]) -> None:
        """
        Wait until it may be checked.
        """
        clock = clockOr(self._reactor)
        while True:
            waits = [each.wait(self.delay, self.maximumDelay, clock.seconds()) for each in tallies]
            if not any(wait is None or wait for wait in waits):
                return
            if any(len(each.waiting) >= self.maximumWaiting for each in tallies):
                self._log.info("an attempt for {name!r} is refused: too many wait", name=name)
                raise TooManyAttempts(avatarId=name)
            await _woken(clock, tallies, max((wait for wait in waits if wait), default=None))

    def _forgive(self, name: Hashable, tallies: Iterable[Tally]) -> None:
        for tally in tallies:
            del tally.failures[name]

    def _ended(self, name: Hashable, tallies: Iterable[Tally], failed: bool) -> None:
        now = clockOr(self._reactor).seconds()
        for tally in tallies:
            tally.checking -= 1
            if failed:
                tally.failures[name] += 1
                tally.since = now
        for tally in tallies:
            tally.wake()
        for tally in tallies:
            if tally.idle and not tally.failures:
                self._tallies.pop(tally.key, None)
        self._forget(now)

    def _tally(self, key: Hashable, free: int) -> Tally:
        """
        Return the tally of a name or an address, which is now the one that was used last.
        """
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(key, free)
        self._tallies.move_to_end(key)
        return tally

    def _forget(self, now: float) -> None:
        """
        Forget those that were quiet for long, and if there are too many, of the oldest those with
        the fewest failures: an attacker who tries many names does not make that of a victim be
        forgotten.
        """
        while self._tallies:
            tally = next(iter(self._tallies.values()))
            if not tally.idle or now - tally.since < self.forgetAfter:
                break
            del self._tallies[tally.key]
        while len(self._tallies) > self.maximumKept:
            oldest = [each for each in islice(self._tallies.values(), 100) if each.idle]
            if not oldest:
                return
            del self._tallies[min(oldest, key=lambda each: each.failures.total()).key]


@implementer(ICredentialsChecker)
@attrs.frozen(eq=False)
class _From:
    """
    A throttled checker, for the logins over one connection.
    """

    throttle: ThrottledChecker
    checker: ICredentialsChecker
    connection: IConnection

    @property
    def credentialInterfaces(self) -> Any:
        """
        What the checker takes.
        """
        return self.checker.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        Check credentials.
        """
        address = hostOf(self.connection, self.throttle.ipv6Prefix)
        return self.throttle.attempt(self.checker, credentials, address)


def _nameIn(credentials: Any) -> Hashable:
    """
    Return whom credentials are for; C{None} if they do not say.
    """
    name = getattr(credentials, "username", None)
    if not isinstance(name, (bytes, str)):
        return None
    try:
        return canonicalName(name)
    except LoginRefused:  # it is not text
        return name


def _woken(clock: IReactorTime, tallies: Iterable[Tally], seconds: float | None) -> Deferred[None]:
    """
    Return a Deferred that fires when an attempt should look again: when the time is up, or another
    attempt has ended.
    """
    timer: list[IDelayedCall] = []

    def over(result: Any = None) -> Any:
        for each in tallies:
            each.waiting.pop(woken, None)
        for call in timer:
            if call.active():
                call.cancel()
        return result

    woken: Deferred[None] = Deferred()
    for each in tallies:
        each.waiting[woken] = None
    if seconds is not None:
        timer.append(clock.callLater(seconds, woken.callback, None))
    return woken.addBoth(over)
