"""
The browsers that are logged in, by their cookies.

What is kept of a cookie is its hash: looking it up takes no longer for one that is nearly right.
An expiry is waited for by a single timer, since all browsers have the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeAlias, TypeVar

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..._tools.clock import setAgain, steadySeconds
from ..._waiting.slices import Slices
from ...errors import IdleTooLong, TooManyConnections

#: A hash of the credentials of a login, and where it came from.
Origin: TypeAlias = tuple[bytes, Hashable]


class Browsing(Protocol):
    """
    A browser, as far as its cookie and its end are concerned.

    @ivar origin: what is the same for the requests of one browser that log in at the same time.
    @ivar cookie: what the browser shows, once it is logged in.
    """

    origin: Origin
    cookie: bytes

    @property
    def isOpening(self) -> bool:
        """
        Whether its login goes on.
        """

    @property
    def isOpen(self) -> bool:
        """
        Whether it is logged in.
        """

    def end(self, reason: Exception) -> bool:
        """
        End its session, for a reason.
        """


B = TypeVar("B", bound=Browsing)


def hashOf(cookie: bytes) -> bytes:
    """
    Return what a cookie is filed under.
    """
    return hashlib.sha256(cookie).digest()


@attrs.define(eq=False)
class Browsers(Generic[B]):
    """
    The browsers of one wrapper.

    @ivar timeout: after how many seconds without a request a browser's session ends.
    @ivar maximum: how many there may be, apart from those whose passwords are still being checked.
    """

    timeout: float
    maximum: int
    clock: Callable[[], IReactorTime]
    retryAfter: int
    _byCookie: dict[bytes, B] = attrs.field(factory=dict, init=False)
    _byOrigin: dict[Origin, B] = attrs.field(factory=dict, init=False)
    _idle: dict[B, float] = attrs.field(factory=dict, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _expiring: Slices = attrs.field(factory=Slices, init=False)

    def __len__(self) -> int:
        """
        Return how many there are that count.
        """
        return len(self._byCookie)

    def known(self, cookie: bytes | None) -> B | None:
        """
        Return the browser that has been given a cookie, and is still logged in.
        """
        return self._logged(self._byCookie.get(hashOf(cookie))) if cookie else None

    def opening(self, origin: Origin) -> B | None:
        """
        Return the browser that logs in, or has done so, from the same origin.
        """
        browser = self._byOrigin.get(origin)
        return browser if browser is None or browser.isOpening else self._logged(browser)

    def logsIn(self, browser: B) -> None:
        """
        A browser begins to log in.
        """
        self._byOrigin[browser.origin] = browser

    def admit(self, browser: B) -> None:
        """
        The password of a browser was right, and the realm is going to be asked.

        @raise TooManyConnections: if there are too many already.
        """
        if len(self) >= self.maximum:
            raise TooManyConnections("too many users are logged in", maximum=self.maximum)
        self._byCookie[hashOf(browser.cookie)] = browser

    def forget(self, browser: B) -> None:
        """
        A browser is over.
        """
        self._byCookie.pop(hashOf(browser.cookie), None)
        if self._byOrigin.get(browser.origin) is browser:
            del self._byOrigin[browser.origin]
        self.busy(browser)
        if not self._idle and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def busy(self, browser: B) -> None:
        """
        A browser requests something: it does not expire meanwhile.
        """
        self._idle.pop(browser, None)

    def idle(self, browser: B) -> None:
        """
        It has got its last answer.
        """
        clock = self.clock()
        self._idle[browser] = steadySeconds(clock) + self.timeout
        if self._timer is None:
            self._timer = clock.callLater(self.timeout, self._expire)
        else:
            setAgain(self._timer, self.timeout, clock)

    def _logged(self, browser: B | None) -> B | None:
        return browser if browser is not None and browser.isOpen else None

    def _expire(self) -> None:
        self._timer = None
        self._expiring.add(self._expireOldest, self.clock())

    def _expireOldest(self) -> bool:
        """
        Expire one; return whether there may be more.
        """
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        left = self._idle[oldest] - steadySeconds(self.clock())
        if left <= 0:
            oldest.end(IdleTooLong())
            return True
        if self._timer is None:
            self._timer = self.clock().callLater(left, self._expire)
        return False
