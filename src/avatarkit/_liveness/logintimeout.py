"""
Logins do not wait for ever.

A time limit costs something only when a login waits: a session says so when that begins, and only
then is there a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .._realm.block import Block
from .._realm.realm import Realm, partsOf
from .._realm.session import LoginResult, Session, expire
from .._realm.targets import refuseTarget
from .._tools.checks import checkReactor, checkSeconds
from .._tools.typevars import A
from .._waiting.timers import Timer, Timers

T = TypeVar("T")


@attrs.define(eq=False)
class LoginTimeout(Block[A]):
    """
    Ends a login that has not succeeded after so many seconds, whatever it waits for:
    C{LoginTimeout(30)}.

    It fails with L{LoginTimedOut<avatarkit.LoginTimedOut>}, at once: what it waits for is cancelled
    and logged by name, and what it has done is undone meanwhile.

    Where it stands among the blocks of a realm does not matter: the time of a login begins when the
    realm is asked, and ends when the last block has let it in.  Below an
    L{AvatarCache<avatarkit.AvatarCache>} it is the time to load an avatar.

    If the server listens through a L{WatchingFactory<avatarkit.transports.WatchingFactory>}, or one
    of the wrappers for the web, the time begins when the portal is asked, so that checking the
    password counts, and a checker that takes too long is cancelled.  That holds wherever in the
    realm, or below it, this stands; if there are several, the one on top counts.

    @ivar seconds: how many, more than 0.
    """

    seconds: float = attrs.field()
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _timers: Timers = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checkReactor(self._reactor)
        self._timers = Timers(self._reactor)

    @seconds.validator
    def _checkSeconds(self, attribute: object, seconds: object) -> None:
        refuseTarget("LoginTimeout", "a number of seconds", seconds)
        checkSeconds("seconds", seconds, positive=True)

    def timeLogin(self, session: Session[A], login: Deferred[LoginResult]) -> None:
        """
        Limit how long a login takes that waits; called by its session.
        """
        self.limit(login, partial(expire, session, self.seconds))

    def limit(self, login: Deferred[T], late: Callable[[], object]) -> None:
        """
        Have C{late} called if a Deferred does not fire in time.
        """
        login.addBoth(_inTime, self._timers.start(self.seconds, late))


def _inTime(result: T, timer: Timer) -> T:
    timer.cancel()
    return result


def timeoutOf(realm: Realm) -> LoginTimeout | None:
    """
    Return what limits how long logins to a realm take, if anything does.
    """
    return next((each for each in partsOf(realm) if isinstance(each, LoginTimeout)), None)
