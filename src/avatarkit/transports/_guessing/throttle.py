"""
Passwords cannot be guessed by trying one after the other.

Before a password is checked, the attempt waits: a little longer after each failure, for its name or
from its address.  What others do, and what was made of it here:

  - Dovecot's C{auth_penalty} makes attempts from an address wait before the password is looked up,
    doubling up to a maximum, and does not count the same wrong password twice: a program that has
    an old password must not slow down everybody at its address.  So it is here.  But Dovecot says
    that attempts in parallel pass its penalty; here they wait for each other.
  - OpenSSH's C{PerSourcePenalties} bounds how many addresses it keeps, and takes a network of IPv6
    for one; so it is here.  It refuses connections, and like C{fail2ban} it ends an attacker's
    innocent neighbours too; here, they wait.
  - C{django-axes} locks out names or addresses, so that anybody can lock out anybody; here they
    wait, and the user passes the attacker (see L{avatarkit.transports._guessing.tallies}).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NoReturn, cast

import attrs
from twisted.conch.error import ValidPublicKey
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from ..._tools.checks import checkCount, checkReactor, checkSeconds
from ..._tools.clock import clockOr
from ..._waiting.awaiting import awaited
from ..._waiting.shielding import shielded
from ...errors import TooManyAttempts
from ...interfaces import IConnection
from .._addresses import IPV6_PREFIX, LOCAL, checkPrefix, hostOf
from .._portals import checkerFor
from .._turns import inLine
from .names import Marks, nameIn
from .tallies import Tallies
from .tally import Attempt, Pace

# Any in this module: credentials are whatever a checker takes.


@implementer(ICredentialsChecker)
@attrs.define(eq=False)
class ThrottledChecker:
    """
    Goes around a credentials checker, and makes guessing passwords slow:
    C{Portal(realm, [ThrottledChecker(checker)])}.

    Failures are counted for each name and for each address.  After some that cost nothing, attempts
    for the name, or from the address, are checked one at a time, and each only some time after the
    last failure: twice as long after each further one, up to a maximum.  Attempts that are being
    checked are counted as if they had failed, so that many at the same time gain nothing.

    Addresses are known if the server listens through a
    L{WatchingFactory<avatarkit.transports.WatchingFactory>}; without it, or over UNIX sockets, only
    names are counted.

    A success forgives the failures for its name, and of its address those that were for this name,
    so that somebody's own account does not help to guess others'.

    Only C{UnauthorizedLogin} is a failure, and for an address the same wrong password for the same
    name counts once, if the password itself arrives, as it does not over Perspective Broker, with
    HTTP digest or CRAM-MD5.  An attempt whose client leaves while it is checked counts too; one
    that leaves while it waits has learnt nothing, and does not.  A valid public key of SSH without
    a signature is no failure.

    One instance is one count: give the same one to several portals to count over all of them.

    @ivar checker: the credentials checker.  If it has a C{forConnection}, that is called as well.
    @ivar freeForName: how many failures for a name cost nothing; 0 means the same as 1.  C{None}:
        names are not counted.
    @ivar freeFromAddress: how many from an address, which several users may share; C{None}:
        addresses are not counted.
    @ivar delay: how many seconds after the last of these the next attempt is checked; twice as long
        after each further one.
    @ivar maximumDelay: how many seconds at most.
    @ivar forgetAfter: after how many seconds without a failure nothing is kept of a name or an
        address, though not before its delay is over.
    @ivar checkTimeout: how many seconds a check may take, more than 0.  One that takes longer is
        cancelled and counts neither as a failure nor as a success; its attempt fails with
        L{TimeoutError<twisted.internet.defer.TimeoutError>}.
    @ivar maximumWaiting: how many attempts for one name, or from one address, may wait; if there
        are more, the one whose turn would come last is refused with
        L{TooManyAttempts<avatarkit.TooManyAttempts>}, and not checked.
    @ivar maximumWaitingTotal: how many may wait in all; if there are more, the one whose turn would
        come last for the name, or from the address, with the most that wait is refused likewise.
    @ivar maximumKept: of how many names and addresses failures are kept, by default as many as
        OpenSSH keeps sources (C{max-sources4}); beyond that, those of the fewest are forgotten
        first.
    @ivar ipv6Prefix: see L{peerHost<avatarkit.transports.peerHost>}.
    @ivar key: a callable of the credentials that returns whom they are for, something hashable, or
        C{None} if nobody can be named; by default their C{username} as
        L{canonicalName<avatarkit.canonicalName>} has it.
    """

    checker: ICredentialsChecker
    freeForName: int | None = attrs.field(default=3, kw_only=True)
    freeFromAddress: int | None = attrs.field(default=10, kw_only=True)
    delay: float = attrs.field(default=1, kw_only=True)
    maximumDelay: float = attrs.field(default=60, kw_only=True)
    forgetAfter: float = attrs.field(default=900, kw_only=True)
    checkTimeout: float = attrs.field(default=60, kw_only=True)
    maximumWaiting: int = attrs.field(default=100, kw_only=True)
    maximumWaitingTotal: int = attrs.field(default=10_000, kw_only=True)
    maximumKept: int = attrs.field(default=65_536, kw_only=True)
    ipv6Prefix: int = attrs.field(default=IPV6_PREFIX, kw_only=True)
    key: Callable[[Any], Hashable] = attrs.field(default=nameIn, kw_only=True, repr=False)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _tallies: Tallies = attrs.field(init=False, repr=False)
    _marks: Marks = attrs.field(factory=Marks, init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        if not ICredentialsChecker.providedBy(self.checker):
            raise TypeError(f"checker must provide ICredentialsChecker, not {self.checker!r}")
        for name in ("freeForName", "freeFromAddress"):
            if getattr(self, name) is not None:
                checkCount(name, getattr(self, name))
        checkCount("maximumWaiting", self.maximumWaiting)
        checkCount("maximumWaitingTotal", self.maximumWaitingTotal)
        checkCount("maximumKept", self.maximumKept, least=1)
        checkPrefix(self.ipv6Prefix)
        for name in ("delay", "maximumDelay", "forgetAfter"):
            checkSeconds(name, getattr(self, name))
        checkSeconds("checkTimeout", self.checkTimeout, positive=True)
        if not callable(self.key):
            raise TypeError(f"key must be a callable of credentials, not {self.key!r}")
        checkReactor(self._reactor)
        pace = Pace(
            self.delay,
            self.maximumDelay,
            self.forgetAfter,
            self.maximumWaiting,
            self.maximumWaitingTotal,
            self.maximumKept,
        )
        self._tallies = Tallies(pace, self._reactor)

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
        bound = checkerFor(connection, self.checker)
        return cast(ICredentialsChecker, _From(self, bound, connection))

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        Check credentials without knowing where they come from.
        """
        return self._check(self.checker, credentials, None)

    def _check(
        self, checker: ICredentialsChecker, credentials: Any, address: str | None
    ) -> Deferred[Any]:
        """
        Check credentials when it is their turn.

        @param address: where they come from, if that is known.
        """
        return Deferred.fromCoroutine(self._inTurn(checker, credentials, address))

    async def _inTurn(
        self, checker: ICredentialsChecker, credentials: Any, address: str | None
    ) -> Any:
        attempt = self._attempt(credentials, address)
        try:
            turn = self._tallies.enter(attempt)
            with inLine(credentials, turn):
                await turn
        except TooManyAttempts:
            self._log.info("an attempt from {address} is refused: too many wait", address=address)
            raise
        right: bool | None = None
        try:
            result = checker.requestAvatarId(credentials)
            waiting = awaited(result)
            if waiting is not None:
                result = await self._inTime(waiting, address)
            right = True
        except ValidPublicKey:  # it asks whether a signature would do
            raise
        except (UnauthorizedLogin, CancelledError):
            right = False
            raise
        finally:
            self._tallies.ended(attempt, right)
        return result

    def _attempt(self, credentials: Any, address: str | None) -> Attempt:
        """
        Return an attempt, with the tallies that it counts for.
        """
        attempt, name = Attempt(self._marks.of(credentials)), self.key(credentials)
        if name is not None and self.freeForName is not None:
            tally = self._tallies.of(("name", name), self.freeForName, oneUser=True)
            attempt.tallies[tally] = address
        if address is not None and self.freeFromAddress is not None:
            tally = self._tallies.of(("address", address), self.freeFromAddress, oneUser=False)
            attempt.tallies[tally] = name
        return attempt

    def _inTime(self, waiting: Deferred[Any], address: str | None) -> Deferred[Any]:
        """
        Give a check up when it has taken too long, whether or not it can be cancelled.
        """
        check = shielded(waiting, self._notCancelled)
        if check.called:
            return check
        late = partial(self._late, address)
        return check.addTimeout(self.checkTimeout, clockOr(self._reactor), late)

    def _late(self, address: str | None, result: object, seconds: float) -> NoReturn:
        """
        A check is given up.

        @param result: what has come of it when it was cancelled, even if that is an answer.
        @raise TimeoutError: always.
        """
        if isinstance(result, Failure) and not result.check(CancelledError, UnauthorizedLogin):
            self._notCancelled(result)
        self._log.error(
            "{checker} is given up: it took longer than {seconds:g} seconds to check an attempt "
            "from {address}",
            checker=safe_repr(self.checker),
            seconds=seconds,
            address=address or "an unknown address",
        )
        raise defer.TimeoutError(f"the check took longer than {seconds:g} seconds")

    def _notCancelled(self, failure: Failure) -> None:
        self._log.failure(
            "{checker} could not be cancelled", failure=failure, checker=safe_repr(self.checker)
        )


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
        host = hostOf(self.connection, self.throttle.ipv6Prefix)
        address = None if host == LOCAL else host
        return self.throttle._check(self.checker, credentials, address)
