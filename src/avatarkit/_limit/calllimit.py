"""
How often the client of a session may call.

Each session, or each key, has two token buckets, as a network has that lets bursts through and no
more in the long run: a call takes a token of the first; one that finds none is refused, and takes a
token of the second; one that finds none there either is of a client that does not slow down.

The buckets of a session go with it.  Those of a key stay until they must be full again, which a
later call notices: a client cannot have new ones by logging in again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.keys import Key, Keys, checkKey
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.clock import clockOr, steadySeconds
from .._tools.typevars import A
from ..errors import Kicked, TooManyCalls


@attrs.define(eq=False)
class Bucket:
    """
    What a session, or a key, may still do.

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
    Refuses calls of a session that come too often: C{CallLimit(rate=10, burst=50)}; with a C{key},
    those of all sessions of a key.

    Over Perspective Broker a call is a call of the avatar, and one too many is refused with
    L{TooManyCalls<avatarkit.TooManyCalls>}, before anything in it is looked at.  On the web it is a
    request, which is a 429; where each request is a login of its own, as with
    C{HTTPAuthSessionWrapper}, only a C{key} limits them.  Other protocols hold the avatar itself,
    and are not limited.

    A client that goes on, so that its refused calls exceed the limit as well, is disconnected, with
    the reason L{Kicked<avatarkit.Kicked>}.

    @ivar rate: how many calls a second a session, or all of a key, may make in the long run, more
        than 0.
    @ivar burst: how many it may make at once, at least 1.
    @ivar timeout: how many seconds a client that is disconnected has to receive what was already
        sent.
    @ivar key: a callable of the session that returns what its calls are counted under, something
        hashable: its avatar ID, or
        L{avatarkit.transports.peerHost<avatarkit.transports.peerHost>}; C{None}, the default: each
        session for itself.
    @ivar _buckets: the buckets of each session; with a key those of each key, last used last.
    """

    rate: float = attrs.field()
    burst: int = attrs.field()
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    key: Key[A] | None = attrs.field(default=None, kw_only=True, repr=False)
    _keys: Keys[A] | None = attrs.field(init=False, repr=False)
    _buckets: OrderedDict[Hashable, tuple[Bucket, Bucket]] = attrs.field(
        factory=OrderedDict, init=False, repr=False
    )

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        checkCount("burst", self.burst, least=1)
        checkSeconds("timeout", self.timeout)
        checkReactor(self._reactor)
        if self.key is not None:
            checkKey(None, None, self.key)
        self._keys = None if self.key is None else Keys(self.key)

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
        calls, refusals = self._bucketsOf(session, now)
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
        Take note of its key; nothing is counted before the first call.
        """
        if self._keys is not None:
            self._keys.note(session)

    def detached(self, session: Session[A]) -> None:
        """
        Forget the session.
        """
        if self._keys is None:
            self._buckets.pop(session, None)
        else:
            self._keys.forget(session)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions are kept that are gone.
        """
        if self._keys is None:
            for session in self._buckets.keys() - set(self._sessionsPast(self.detached)):
                yield f"{session!r} is still kept by {self!r}"

    def _bucketsOf(self, session: Session[A], now: float) -> tuple[Bucket, Bucket]:
        if self._keys is None:
            key: Hashable = session
        else:
            key = self._keys.of(session)
            self._forgetFull(now)
        buckets = self._buckets.get(key)
        if buckets is None:
            buckets = self._buckets[key] = Bucket(self.burst, now), Bucket(self.burst, now)
        self._buckets.move_to_end(key)
        return buckets

    def _forgetFull(self, now: float) -> None:
        """
        Forget the buckets of keys that were not used for so long that they are full.
        """
        while self._buckets:
            calls, _refusals = next(iter(self._buckets.values()))
            if (now - calls.since) * self.rate < self.burst:
                return
            self._buckets.popitem(last=False)
