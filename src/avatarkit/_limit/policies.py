"""
Who must go when a limit is full.

A policy is a callable of the session that wants to get in and the sessions that are in, oldest
first; it returns those of them that must go, now or later.  If it returns none, the login is
refused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeAlias

import attrs
from twisted.internet.interfaces import IReactorTime

from .._realm.session import Session
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.clock import clockOr, steadySeconds
from .._tools.counting import countDown
from .._tools.typevars import A
from .asking import Unresponsive


class Holders(tuple[Session[A], ...], Generic[A]):
    """
    What a C{whenFull} of L{ConnectionLimit<avatarkit.ConnectionLimit>} chooses from: the sessions
    that hold the slots of a key, oldest first, without those that are leaving already.

    It is a tuple of them.

    @ivar key: the key that they share: their avatar ID, or what the limit's C{key} returned.
    @ivar excess: how many of them must go for one more to get in, at least 1: more if the maximum
        was lowered, or the quota of the session that wants to get in is smaller than another's.
    """

    key: Hashable = None
    excess: int = 1


#: The sessions that must go.
Choice: TypeAlias = Iterable[Session[A]] | None

#: Returns the sessions that must go.
Policy: TypeAlias = Callable[[Session[A], Holders[A]], "Choice[A] | Awaitable[Choice[A]]"]


def refuse(session: Session, holders: Holders) -> Iterable[Session]:
    """
    Nobody goes: the login is refused.
    """
    return ()


def displaceOldest(
    *, flapping: int = 5, per: float = 60, reactor: IReactorTime | None = None
) -> Policy:
    """
    The new login wins: the oldest session must go.

    Two clients that would displace each other for ever are stopped: after C{flapping} logins of a
    key that displaced others within C{per} seconds, the next one is refused instead.
    A login counts once, however many must go for it: several, if the maximum was lowered.
    Limits that share one such policy share its counts.

    @param flapping: how many logins may displace others.
    @param per: within how many seconds.
    @param reactor: measures the time; the global reactor by default.
    """
    checkCount("flapping", flapping)
    checkSeconds("per", per)
    checkReactor(reactor)
    return _Oldest(flapping, per, reactor)


def displaceUnresponsive(
    message: str = "ping",
    *,
    timeout: float = 10,
    answerFresh: float = 5,
    reactor: IReactorTime | None = None,
) -> Policy:
    """
    Clients that are no longer there must go: the cure for users who are locked out by their own
    dead connection.

    All holders are asked at once, by C{callRemote(message)}.  Any answer is a sign of life, even an
    error from the client, such as that it has no such method.  A mind that cannot be asked, like
    C{None}, counts as alive.  Logins that come while a holder is being asked share the question,
    and those that come soon after share its answer.

    @param message: the remote method to call.
    @param timeout: how many seconds the clients have to answer.
    @param answerFresh: for how many seconds a client that answered is not asked again; 0 to ask for
        each login.
    @param reactor: measures the time; the global reactor by default.
    """
    if not isinstance(message, str):
        raise TypeError(f"message must be the name of a remote method, not {message!r}")
    checkSeconds("timeout", timeout)
    checkSeconds("answerFresh", answerFresh)
    checkReactor(reactor)
    return Unresponsive(message, timeout, answerFresh, reactor)


def policy(given: Policy[A] | Callable[[], Policy[A]]) -> Policy[A]:
    """
    Return the policy that was given; if it is one of the factories above, call it.

    @raise TypeError: if it cannot be called.
    """
    if given is displaceOldest or given is displaceUnresponsive:
        return given()
    if not callable(given):
        raise TypeError(f"whenFull must be a callable of a session and the holders, not {given!r}")
    return given  # type: ignore[return-value]  # the two that make policies are dealt with


@attrs.define(eq=False)
class _Oldest:
    """
    @ivar _log: the logins that displaced others in the last C{per} seconds, oldest first: the
        time and the key of each.
    @ivar _counts: how many of them each key has.
    """

    flapping: int
    per: float
    reactor: IReactorTime | None
    _log: deque[tuple[float, Hashable]] = attrs.field(factory=deque, init=False, repr=False)
    _counts: Counter[Hashable] = attrs.field(factory=Counter, init=False, repr=False)

    def __call__(self, session: Session, holders: Holders) -> Iterable[Session]:
        """
        Return the oldest, unless too many were displaced recently.
        """
        now = steadySeconds(clockOr(self.reactor))
        while self._log and self._log[0][0] <= now - self.per:
            _time, key = self._log.popleft()
            countDown(self._counts, key)
        if self._counts[holders.key] >= self.flapping:
            return ()
        self._log.append((now, holders.key))
        self._counts[holders.key] += 1
        return holders[: holders.excess]
