"""
How often the client of a session may call.

Each session has two token buckets, as a network has that lets bursts through and no more in the
long run: a call takes a token of the first; one that finds none is refused, and takes a token of
the second; one that finds none there either is of a client that does not slow down.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.clock import clockOr, steadySeconds
from .._tools.typevars import A
from ..errors import Kicked, TooManyCalls


@attrs.define(eq=False)
class Bucket:
    """
    What a session may still do.

    @ivar tokens: how many there are.
    @ivar since: when that was so.
    """

    tokens: float
    since: float

    def take(self, rate: float, burst: int, now: float) -> bool:
        """
        Take a token; return whether there was one.
        """
        self.tokens = min(burst, self.tokens + (now - self.since) * rate)
        self.since = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@attrs.define(eq=False)
class CallLimit(Audited, Block[A]):
    """
    Refuses calls of a session that come too often: C{CallLimit(rate=10, burst=50)}.

    Over Perspective Broker a call is a call of the avatar, and one too many is refused with
    L{TooManyCalls<avatarkit.TooManyCalls>}, before anything in it is looked at.  On the web it is a
    request, which is a 429.  Other protocols hold the avatar itself, and are not limited.

    A client that goes on, so that its refused calls exceed the limit as well, is disconnected, with
    the reason L{Kicked<avatarkit.Kicked>}.

    @ivar rate: how many calls a second a session may make in the long run, more than 0.
    @ivar burst: how many it may make at once, at least 1.
    @ivar timeout: how many seconds a client that is disconnected has to receive what was already
        sent.
    """

    rate: float = attrs.field()
    burst: int = attrs.field()
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _buckets: dict[Session[A], tuple[Bucket, Bucket]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        checkCount("burst", self.burst, least=1)
        checkSeconds("timeout", self.timeout)
        checkReactor(self._reactor)

    @rate.validator
    def _checkRate(self, attribute: object, rate: object) -> None:
        refuseTarget("CallLimit", "a number of calls a second", rate)
        checkSeconds("rate", rate, positive=True)

    def called(self, session: Session[A], message: str) -> None:
        """
        The client of a session calls.

        @param message: what it calls.
        @raise TooManyCalls: if it does so too often.
        """
        now = steadySeconds(clockOr(self._reactor))
        buckets = self._buckets.get(session)
        if buckets is None:
            buckets = self._buckets[session] = Bucket(self.burst, now), Bucket(self.burst, now)
        calls, refusals = buckets
        if calls.take(self.rate, self.burst, now):
            return
        if not refusals.take(self.rate, self.burst, now):
            self._log.info(
                "{avatarId!r} calls too often, and is disconnected", avatarId=session.avatarId
            )
            session.disconnect(
                Kicked("too many calls"), timeout=self.timeout, reactor=self._reactor
            )
        raise TooManyCalls

    def attached(self, session: Session[A]) -> None:
        """
        Nothing is counted before the first call.
        """

    def detached(self, session: Session[A]) -> None:
        """
        Forget the session.
        """
        self._buckets.pop(session, None)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions are kept that are gone.
        """
        for session in self._buckets.keys() - set(self._sessionsPast(self.detached)):
            yield f"{session!r} is still kept by {self!r}"
