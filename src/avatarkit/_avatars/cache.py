"""
One avatar per avatar ID.

What becomes of each avatar is its L{Life<avatarkit._avatars.life.Life>}; how long it is kept when
nobody uses it is up to the L{Shelf<avatarkit._avatars.shelf.Shelf>}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Iterator, Mapping
from typing import cast, overload

import attrs
from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from .._realm.audit import Audited
from .._realm.inner import InnerSessions
from .._realm.keys import Key, avatarIdOf, checkedKey, checkKey
from .._realm.realm import Realm, Target, partsOf
from .._realm.session import Session, asReason
from .._realm.targets import Factory, ForeignRealm, LaterFactory, Source, Stackable
from .._tools.checks import checkCount, checkReactor, checkSeconds
from .._tools.typevars import A, B
from ..errors import Evicted, RealmClosed
from ..interfaces import IAvatarSource
from .keeping import State
from .life import Life
from .shelf import Shelf

_log = Logger()


@implementer(IAvatarSource)
@attrs.define(eq=False, repr=False)
class AvatarCache(Audited, Stackable, Mapping[Hashable, A]):
    """
    Keeps one avatar per avatar ID for all sessions of that ID, and for some time after the last of
    them: by default for ever.

    It is a read-only mapping from avatar ID to avatar, of the avatars that are ready.

    Over a realm that is not ours, which chooses the interface that its avatar is seen through, an
    ID may have several avatars, one for each interface.  A login gets one whose interface it asks
    for.  The mapping then shows the oldest of each ID; L{retire} and L{evict} mean all of them.

    The realm below is asked once, with no mind, however many logins want the avatar at the same
    time.  If it fails, all of them fail, and the next login asks again.  An avatar that no login
    succeeded with is not kept.  Anonymous logins never share an avatar, and theirs are not kept.

    To retire an avatar is to end its inner session: its C{logout} is called, if it has one, and may
    wait.  A login that comes meanwhile waits for that, and gets a new avatar.  An avatar that is
    still not gone after C{retireTimeout} seconds is given up, which is logged: logins wait for it
    no longer, and L{Realm.audit<avatarkit.Realm.audit>} mentions it until it is gone.

    A login that would wait for itself, because the factory, a C{logout} or a block below waits for
    it, fails with L{avatarkit.LoginWaitsForItself} if the cache can see that: if a coroutine awaits
    it, or its Deferred is returned.  C{inlineCallbacks} and C{ensureDeferred} show it too, but
    perhaps only to the next login.

    A cache wraps one target; to share its avatars between several realms, stack blocks on the
    realm that it returned.

    @ivar key: a callable of the session that returns something hashable, which the sessions that
        share an avatar have in common, if that is not their avatar ID: for IDs that are new objects
        at each login, for example.  Such keys then take the place of the avatar IDs mentioned here,
        except that the realm below is asked with the ID of the login that came first.
    @ivar idleTimeout: how many seconds an avatar is kept after its last session; C{None}: for ever,
        0: not at all.
    @ivar maximumIdle: how many avatars are kept that are not in use; those unused longest are
        retired first; C{None}: all are kept.
    @ivar retireTimeout: how many seconds an avatar may take to retire, until it is given up;
        C{None}: any number.
    """

    key: Key = attrs.field(default=avatarIdOf, kw_only=True, validator=checkKey, repr=False)
    idleTimeout: float | None = attrs.field(default=None, kw_only=True)
    maximumIdle: int | None = attrs.field(default=None, kw_only=True)
    retireTimeout: float | None = attrs.field(default=60, kw_only=True)
    _reactor: IReactorTime | None = attrs.field(default=None, alias="reactor", kw_only=True)
    _shelf: Shelf[A] | None = attrs.field(default=None, init=False)
    _anonymous: InnerSessions[A] | None = attrs.field(default=None, init=False)
    _closing: bool = attrs.field(default=False, init=False)

    @idleTimeout.validator
    def _checkIdleTimeout(self, attribute: object, seconds: object) -> None:
        checkSeconds("idleTimeout", seconds, orNone=True)

    @maximumIdle.validator
    def _checkMaximumIdle(self, attribute: object, maximum: object) -> None:
        if maximum is not None:
            checkCount("maximumIdle", maximum)

    @retireTimeout.validator
    def _checkRetireTimeout(self, attribute: object, seconds: object) -> None:
        checkSeconds("retireTimeout", seconds, orNone=True)

    @_reactor.validator
    def _checkReactor(self, attribute: object, reactor: object) -> None:
        checkReactor(reactor)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

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
        Return a realm whose sessions share the avatars of the target.

        @param target: see L{Realm}.
        @raise TypeError: if the cache already has a target, or if part of the target is useless
            without minds.
        """
        if self._shelf is not None:
            raise TypeError(f"{self!r} already has a target: make another cache for another one")
        realm: Realm = Realm(cast("Realm", target))
        if realm.needsMinds:
            raise TypeError(
                f"{realm!r} needs minds, and below a cache there are none: stack it above the cache"
            )
        _sayWhatCounts(realm)
        self._shelf = Shelf(realm, self, self._reactor)
        self._anonymous = InnerSessions(realm, minds=False)
        return Realm(self)

    def __repr__(self) -> str:
        return "AvatarCache()" if self._shelf is None else f"AvatarCache({self.below!r})"

    def __getitem__(self, avatarId: Hashable) -> A:
        for life in self._every(avatarId):
            if life.state is State.READY:
                return life.avatar
        raise KeyError(avatarId)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(() if self._shelf is None else self._shelf.keys())

    def __len__(self) -> int:
        return 0 if self._shelf is None else len(self._shelf.keys())

    @property
    def below(self) -> Realm[A]:
        """
        The realm that the avatars come from.
        """
        return self._kept.below

    def retire(self, avatarId: Hashable) -> Deferred[bool]:
        """
        Retire an avatar now, if it is there and idle.

        @return: a Deferred that fires when the avatar's logout is done, or is given up, with
            whether the avatar was there and idle.
        """
        idle = [life for life in self._every(avatarId) if life in self._kept.idle]
        return _allOf([life.retire().addCallback(lambda gone: True) for life in idle])

    def evict(
        self, avatarId: Hashable, reason: Exception | str | None = None, *, discard: bool = False
    ) -> Deferred[bool]:
        """
        Make an avatar go now, whatever its state: end the sessions that use it and the logins that
        wait for it, and then retire it.  A login that comes meanwhile waits for that, and gets a
        new avatar.

        It may be called from inside any hook, which must not wait for it.

        @param reason: why the sessions end, see L{Session.logout<avatarkit.Session.logout>}: an
            exception, or the text of an L{Evicted<avatarkit.Evicted>}, which is the default.
        @param discard: whether to skip the avatar's C{logout}, and the logout that a realm which is
            not ours returned, for a user that no longer exists.  Blocks see the end of the avatar's
            session all the same.  A C{logout} that has been called already goes on.  On a source of
            your own, C{discard(session)} is called instead of C{release}, if it has such a method.
        @return: a Deferred that fires when the avatar is gone, or given up, with whether there was
            one.
        @raise TypeError: if the reason is neither an exception nor a text.
        @raise ValueError: if the ID is that of anonymous logins, which share no avatar.
        """
        why = asReason(reason, Evicted)
        if avatarId == ANONYMOUS:
            raise ValueError("anonymous logins share no avatar: end their sessions instead")
        lives = self._every(avatarId)
        return _allOf([life.evict(why, discard=discard) for life in lives])

    def acquire(self, session: Session) -> A | Awaitable[A]:
        """
        Return the avatar of the session's ID, or a Deferred of it.

        @raise RealmClosed: after L{close}.
        """
        shelf = self._shelf
        assert shelf is not None
        if self._closing:
            raise RealmClosed(avatarId=session.avatarId)
        if session.avatarId == ANONYMOUS:
            return self._guests.acquire(session)
        key = session.avatarId if self.key is avatarIdOf else checkedKey(self.key(session))
        life = shelf.ready.get(key) or shelf.seek(key, session)
        return life.use(session) if life.state is State.READY else life.join(session)

    def release(self, session: Session) -> object:
        """
        The session no longer needs the avatar.
        """
        if session.avatarId == ANONYMOUS:
            return self._guests.release(session)
        shelf = self._shelf
        assert shelf is not None
        shelf.lent.pop(session).leave(session)
        return None

    def close(self) -> Deferred[None]:
        """
        Retire all avatars, each as soon as nobody uses it, and load no more.

        @return: a Deferred that fires with C{None} when all of them are gone, or given up.
        """
        self._closing = True
        return Deferred.fromCoroutine(self._close())

    def audit(self) -> Iterator[str]:
        """
        Report avatars that have the wrong users, are wrongly idle, or were given up and are not
        gone yet.
        """
        if self._shelf is None:
            return
        lives = self._shelf.lives()
        for kept, there, what in (
            ({each for life in lives for each in life.users}, self._sessionsPast, "uses"),
            (
                {each for life in lives for each in life.waiting.values()},
                self._sessionsAt,
                "waits for",
            ),
        ):
            named = {each for each in there(self.release) if each.avatarId != ANONYMOUS}
            for session in kept.symmetric_difference(named):
                yield (
                    f"{session!r} {what} an avatar of {self!r}, "
                    "but the cache and the session disagree about it"
                )
        for life in self._shelf.ready.values():
            if (life in self._shelf.idle) is bool(life.users):
                yield f"the avatar of {life.key!r} in {self!r} is wrongly idle, or not idle"

        for life in self._shelf.overdue:
            yield (
                f"the avatar of {life.key!r} in {self!r} was given up: "
                f"{life.inTheWay()} has not finished"
            )

    async def _close(self) -> None:
        if self._shelf is not None:
            await self._shelf.close()
            await self._guests.close({life.inner for life in self._shelf.overdue if life.inner})

    def _stopTimers(self) -> None:
        """
        Nobody waits for L{close} any more.
        """
        self._kept.stopTimers()
        self._guests._stopTimers()

    def _asSources(self) -> tuple[IAvatarSource, ...]:
        return super()._asSources() if self._shelf is None else (self,)

    def _every(self, key: Hashable) -> list[Life[A]]:
        return [] if self._shelf is None else self._shelf.every(key)

    @property
    def _kept(self) -> Shelf[A]:
        assert self._shelf is not None
        return self._shelf

    @property
    def _guests(self) -> InnerSessions[A]:
        assert self._anonymous is not None
        return self._anonymous


def _sayWhatCounts(below: Realm) -> None:
    """
    Log which parts of a realm below a cache count avatars there, though they are for sessions.
    """
    for part in partsOf(below):
        if getattr(part, "countsSessions", False):
            _log.warn(
                "{part!r} is below a cache, where it counts avatars, each of which has one "
                "connection: stack it above the cache to count logins",
                part=part,
            )


def _allOf(ends: list[Deferred[bool]]) -> Deferred[bool]:
    """
    Return a Deferred that fires when several avatars are gone, with whether any of them was there.
    """
    if len(ends) == 1:
        return ends[0]
    return gatherResults(ends).addCallback(any)
