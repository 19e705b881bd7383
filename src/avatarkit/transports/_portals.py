"""
The portal of one connection: a copy of the server's, which knows the connection.

It asks the same realm, and the same checkers as long as they are registered, but the realm learns
which connection the login came over, and so does a checker that wants to.  It also knows the logins
that are going on, so that they can be cancelled when the connection is lost, or when they take too
long, the checking of the password included.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from functools import partial
from typing import Any, cast

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import Interface, implementer

from .._liveness.logintimeout import LoginTimeout, timeoutOf
from .._realm.entrance import TELLABLE
from .._realm.realm import Realm, askThrough, timeAt
from .._realm.session import LoginResult, expire, loginOver
from .._tools.saying import say
from .._waiting.awaiting import cancel
from ..errors import LoginAbandoned, LoginTimedOut
from ..interfaces import IConnection
from ._checks import CancellableChecker
from ._turns import turnOf

#: Where the portal of a connection has the one that it is a copy of.
_SERVERS_OWN = "_avatarkitServersOwn"


def checkPortal(portal: object) -> None:
    """
    Check that something is a portal.

    @raise TypeError: if it is not, or cannot be copied for each connection.
    """
    if not isinstance(portal, Portal):
        raise TypeError(f"portal must be a twisted.cred.portal.Portal, not {portal!r}")
    if "login" in vars(portal):
        raise TypeError(
            f"{portal!r} has a login of its own, as an attribute, which would not be watched: "
            "define it in a subclass of Portal"
        )


def serversOwn(portal: Portal) -> Portal:
    """
    Return the portal that one of a connection is a copy of; the same if it is none.
    """
    own: Portal = vars(portal).get(_SERVERS_OWN, portal)
    return own


@attrs.define(eq=False)
class Realms:
    """
    The realm that a portal asks, as one of ours.

    A realm of somebody else's is wrapped, once.
    """

    portal: Portal
    _theirs: object = attrs.field(default=None, init=False)
    _ours: Realm | None = attrs.field(default=None, init=False)
    _timed: Realm | None = attrs.field(default=None, init=False)
    _timeout: LoginTimeout | None = attrs.field(default=None, init=False)

    def current(self) -> Realm:
        """
        Return the realm that the portal asks now.
        """
        realm: object = self.portal.realm
        if isinstance(realm, Realm):
            return realm
        if self._ours is None or realm is not self._theirs:
            ours = Realm(cast(IRealm, realm))
            ours.hideFaults, ours.maximumWaiting = False, None  # it decides on these itself
            self._theirs, self._ours = realm, ours
        return self._ours

    def timeout(self) -> LoginTimeout | None:
        """
        Return what limits how long its logins take, if anything does.
        """
        realm = self.current()
        if realm is not self._timed:
            self._timed, self._timeout = realm, timeoutOf(realm)
        return self._timeout


@attrs.define(eq=False)
class Logins:
    """
    The logins over one connection that are going on.

    @ivar whenBusy: called with whether there are any, when that changes.
    @ivar whenLoggedIn: called when the first one has succeeded.
    @ivar succeeded: whether one has succeeded.
    """

    connection: IConnection
    whenBusy: Callable[[bool], object] | None = None
    whenLoggedIn: Callable[[], object] | None = None
    succeeded: bool = attrs.field(default=False, init=False)
    _waiting: dict[Deferred[object], None] = attrs.field(factory=dict, init=False)
    _overdue: set[Deferred[object]] = attrs.field(factory=set, init=False)
    _through: _RealmThrough = attrs.field(init=False)
    _portal: Any = attrs.field(default=None, init=False)  # Any: a Portal with another method

    _log = Logger()

    def __bool__(self) -> bool:
        """
        Return whether there are any.
        """
        return bool(self._waiting)

    def portal(self, portal: Portal, realms: Realms) -> Portal:
        """
        Return the portal for this connection.
        """
        mine: Any = copy.copy(portal)
        mine.realm = self._through = _RealmThrough(self.connection, realms)
        mine.checkers = _CheckersFor(portal.checkers, self.connection, realms)
        mine.login = partial(self._logIn, mine.login)
        vars(mine).setdefault(_SERVERS_OWN, portal)
        self._portal = mine
        return cast(Portal, mine)

    def abandon(self) -> None:
        """
        Cancel all of them.
        """
        for login in tuple(self._waiting):
            failure = cancel(login)
            if failure is not None:
                self._notCancelled(failure)

    def close(self) -> None:
        """
        The connection is lost: there will be no more.

        What stands for it leads no longer to what it stood for, so that all of that can go at once.
        """
        self.abandon()
        self.whenBusy = self.whenLoggedIn = None
        self._portal.login = _tooLate

    # Any: a subclass of Portal may take, and return, what it likes.
    def _logIn(self, logIn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[object]:
        if self.connection.disconnected:
            return _tooLate()
        timeout = self._through.begun()
        result: Deferred[object] = maybeDeferred(logIn, *args, **kwargs)
        self._waiting[result] = None
        self._tell(len(self._waiting) == 1)
        result.addBoth(self._done, result)
        if timeout is not None and result in self._waiting:
            late = partial(self._late, result, timeout.seconds, args)
            begin = partial(timeout.limit, result, late)
            turn = turnOf(args[0]) if args else None
            if turn is None:
                begin()
            else:
                turn.addCallback(lambda ignored: begin())
        return result

    def _late(self, login: Deferred[object], seconds: float, args: tuple[object, ...]) -> None:
        """
        A login takes too long: end its session, or give the check up if it has none yet.
        """
        session = loginOver(self.connection, login)
        if session is not None:
            expire(session, seconds)
            return
        say(
            self._log.error,
            "a login from {peer} is given up: {checker} did not finish in {seconds:g} seconds",
            peer=self.connection.getPeer(),
            checker=safe_repr(self._portal.checkers.of(*args[:1])),
            seconds=seconds,
        )
        self._overdue.add(login)
        failure = cancel(login)
        if failure is not None:
            self._notCancelled(failure, "its time was over")

    def _done(self, result: object, login: Deferred[object]) -> object:
        del self._waiting[login]
        self._tell(not self._waiting)
        if not isinstance(result, Failure):
            self._succeed()
        elif login in self._overdue:
            if not result.check(*TELLABLE):
                self._notCancelled(result, "its time was over")
            return Failure(LoginTimedOut())
        elif self.connection.disconnected and not result.check(*TELLABLE):
            self._notCancelled(result)
            return Failure(LoginAbandoned())
        elif self.connection.disconnected and result.check(CancelledError):
            return Failure(LoginAbandoned())
        return result

    def _succeed(self) -> None:
        first, self.succeeded = not self.succeeded, True
        if first and self.whenLoggedIn is not None:
            self.whenLoggedIn()

    def _notCancelled(self, failure: Failure, when: str = "its connection was lost") -> None:
        """
        Log that somebody's checker does not bear being cancelled.
        """
        say(
            self._log.failure,
            "a login from {peer} could not be cancelled when {when}",
            failure=failure,
            peer=self.connection.getPeer(),
            when=when,
        )

    def _tell(self, changed: bool) -> None:
        if changed and self.whenBusy is not None:
            self.whenBusy(bool(self._waiting))


def _tooLate(*args: object, **kwargs: object) -> Deferred[object]:
    return fail(LoginAbandoned())


@implementer(IRealm)
@attrs.define(eq=False)
class _RealmThrough:
    """
    A portal's realm, as it is asked over one connection; everything else is the realm's.

    @ivar since: when the login began that the portal was asked for last.
    """

    connection: IConnection
    realms: Realms
    since: float = attrs.field(default=0, init=False)

    def __getattr__(self, name: str) -> Any:  # Any: whatever the realm has
        return getattr(self.realms.portal.realm, name)

    def begun(self) -> LoginTimeout | None:
        """
        A login begins.

        @return: what limits how long it takes.
        """
        self.since = timeAt(self.realms.current())
        return self.realms.timeout()

    @property
    def requestAvatar(self) -> Callable[..., LoginResult | Deferred[LoginResult]]:
        """
        What logs in; see L{Realm.requestAvatar<avatarkit.Realm.requestAvatar>}.

        A portal gets hold of it when a login begins, and calls it when the password is checked.
        """
        return partial(self._ask, self.since)

    def _ask(
        self, since: float, avatarId: Hashable, mind: object, *interfaces: type[Interface]
    ) -> LoginResult | Deferred[LoginResult]:
        realm = self.realms.current()
        return askThrough(self.connection, realm, avatarId, mind, interfaces, since)


def checkerFor(connection: IConnection, checker: ICredentialsChecker) -> ICredentialsChecker:
    """
    Return a checker for the logins over a connection: what its C{forConnection} returns, if it has
    one.
    """
    bind = getattr(checker, "forConnection", None)
    bound: ICredentialsChecker = checker if bind is None else bind(connection)
    return bound


@attrs.define(eq=False)
class _CheckersFor(MutableMapping[type[Interface], ICredentialsChecker]):
    """
    The checkers of a portal, as they are at the moment of asking, for one connection.
    """

    checkers: MutableMapping[type[Interface], ICredentialsChecker]
    connection: IConnection
    realms: Realms

    def of(self, credentials: object = None) -> object:
        """
        Return the checker for some credentials; C{None} if there is none.
        """
        kinds = (each for each in self.checkers if each.providedBy(credentials))
        return self.checkers.get(next(kinds, Interface))

    def __getitem__(self, kind: type[Interface]) -> ICredentialsChecker:
        checker = checkerFor(self.connection, self.checkers[kind])
        return checker if self.realms.timeout() is None else CancellableChecker(checker)

    def __setitem__(self, kind: type[Interface], checker: ICredentialsChecker) -> None:
        self.checkers[kind] = checker

    def __delitem__(self, kind: type[Interface]) -> None:
        del self.checkers[kind]

    def __iter__(self) -> Iterator[type[Interface]]:
        return iter(self.checkers)

    def __len__(self) -> int:
        return len(self.checkers)
