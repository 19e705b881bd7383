"""
A client that was lost comes back to its avatar, and to what it has missed: the part of a realm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Generic, cast, overload

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from .._realm.audit import Audited
from .._realm.inner import InnerSessions
from .._realm.realm import Realm, Target
from .._realm.session import Session
from .._realm.targets import Factory, ForeignRealm, LaterFactory, Source, Stackable, refuseTarget
from .._tools.checks import checkCount, checkReactor, checkSeconds, checkYesOrNo
from .._tools.typevars import A, B
from ..interfaces import IAvatarSource
from .comebacks import Comebacks


@implementer(IAvatarSource)
@attrs.define(eq=False, repr=False)
class Resume(Audited, Stackable, Generic[A]):
    """
    Gives a client that was lost, and logs in again in time, its avatar back, and in order the
    pushes that it missed: C{Resume(window=60)(PerConnection(Hero)(AvatarCache()(Player)))}.

    It goes directly around what makes the avatars, and below all blocks that see clients.  The
    client must use a L{ResumingClient<avatarkit.ResumingClient>}, or speak like one; others log in
    as ever, after they have been asked.  A login without a mind is not asked.

    Only a client that was lost can come back, that is, whose session has ended with
    L{ClientLost<avatarkit.ClientLost>} or L{Unresponsive<avatarkit.Unresponsive>}, and only as the
    same avatar ID, for the same interfaces, and with a ticket that it was given: its password is
    checked as ever.  A ticket is good once.  One that is not good is refused, which is logged: the
    login goes on as a new one.

    A push through a L{MindGroup<avatarkit.MindGroup>} of minds that a
    L{MindRegistry<avatarkit.MindRegistry>} knows reaches such a client once, even if the connection
    is lost meanwhile.  Whoever waits for its answer then gets
    L{PBConnectionLost<twisted.spread.pb.PBConnectionLost>}, as ever.  A call of a mind itself is
    lost with its connection.

    It wraps one target.

    @ivar window: for how many seconds an avatar waits for its client, more than 0.
    @ivar backlog: how many pushes are kept for each client, at least 1; of more, the oldest are
        dropped, and the client learns how many it has missed.
    @ivar hold: whether everything that its session has, a slot of a limit or an entry in a
        registry, is kept as well: the user stays online, and what is pushed meanwhile is kept too.
        If not, only the avatar is kept, and the login that comes back is admitted like any other.
    @ivar maximumLost: how many avatars may wait for their clients; of more, those that have waited
        longest go.
    @ivar timeout: how many seconds a client has to say whether it can come back.
    """

    needsMinds: ClassVar[bool] = True

    window: float = attrs.field(default=60)
    backlog: int = attrs.field(default=1000, kw_only=True)
    hold: bool = attrs.field(default=True, kw_only=True)
    maximumLost: int = attrs.field(default=10_000, kw_only=True)
    timeout: float = attrs.field(default=5, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(default=None, alias="reactor", kw_only=True)
    _comebacks: Comebacks[A] | None = attrs.field(default=None, init=False)

    @window.validator
    def _checkWindow(self, attribute: object, window: object) -> None:
        refuseTarget("Resume", "a number of seconds", window)
        checkSeconds("window", window, positive=True)

    @backlog.validator
    @maximumLost.validator
    def _checkNumber(self, attribute: attrs.Attribute[int], number: object) -> None:
        checkCount(attribute.name, number, least=1)

    @hold.validator
    def _checkHold(self, attribute: object, hold: object) -> None:
        checkYesOrNo("hold", hold)

    @timeout.validator
    def _checkTimeout(self, attribute: object, timeout: object) -> None:
        checkSeconds("timeout", timeout)

    @_reactor.validator
    def _checkReactor(self, attribute: object, reactor: object) -> None:
        checkReactor(reactor)

    @overload
    def __call__(self, target: Realm[B] | Source[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: LaterFactory[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: Factory[B]) -> Realm[B]: ...

    @overload
    def __call__(self, target: ForeignRealm) -> Realm: ...

    def __call__(self, target: Target) -> Realm:
        """
        Return a realm whose lost clients may come back to the avatars of the target.

        @param target: see L{Realm}.
        @raise TypeError: if this already has a target, or if part of the target is useless without
            clients: a lost one is replaced by another.
        """
        if self._comebacks is not None:
            raise TypeError(f"{self!r} already has a target: make another one for another target")
        below: Realm = Realm(cast("Realm", target))
        if below.needsMinds:
            raise TypeError(
                f"{below!r} needs minds, and below {self!r} a client may be replaced by another: "
                "stack it above that"
            )
        self._comebacks = Comebacks(self, InnerSessions(below), self._reactor)
        return Realm(self)

    def __repr__(self) -> str:
        return f"Resume({self.window!r}{'' if self.hold else ', hold=False'})"

    @property
    def below(self) -> Realm[A]:
        """
        The realm that the avatars come from.
        """
        return self._there.inners.below

    @property
    def waiting(self) -> int:
        """
        How many avatars wait for their clients.
        """
        return 0 if self._comebacks is None else len(self._comebacks.lost)

    def claim(self, session: Session[A]) -> Deferred[None] | None:
        """
        A login begins: ask its client whether it comes back.
        """
        return self._there.claim(session)

    def unclaim(self, session: Session[A]) -> Deferred[None] | None:
        """
        The session is over.
        """
        return self._there.unclaim(session)

    def acquire(self, session: Session[A]) -> object:
        """
        Return the avatar that the client had, or a new one.
        """
        return self._there.acquire(session)

    def release(self, session: Session[A]) -> Deferred[None] | None:
        """
        The session has ended: so does its avatar, unless it waits, or belongs to another one.
        """
        return self._there.release(session)

    def proceed(self, session: Session[A]) -> None:
        """
        The session has everything: give the client what it comes back with.
        """
        self._there.proceed(session)

    def keep(self, session: Session[A]) -> Deferred[None] | None:
        """
        The session has ended: keep what it has, if its client may come back.
        """
        return self._there.keep(session)

    def close(self) -> Deferred[None]:
        """
        Wait for nobody any more, and let the realm below come to its end.
        """
        return self._there.close()

    def audit(self) -> Iterator[str]:
        """
        Report sessions that have no avatar, avatars without a session, and avatars that wait for
        ever.
        """
        return self._there.audit(set(self._sessionsPast(self.release)))

    def _stopTimers(self) -> None:
        """
        Nobody waits for L{close} any more.
        """
        self._there.inners._stopTimers()

    def _asSources(self) -> tuple[IAvatarSource, ...]:
        return super()._asSources() if self._comebacks is None else (self,)

    @property
    def _there(self) -> Comebacks[A]:
        assert self._comebacks is not None
        return self._comebacks
