"""
Blocks and a source together are a realm.

A L{Realm} lays out, once, in which order its hooks run, and starts a L{Session} for each login,
which does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from reprlib import recursive_repr
from typing import Generic, TypeAlias, cast, overload

import attrs
from twisted.application.service import IService
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import Interface, implementer

from .._clients.minds import isGone, mindOf
from .._tools.checks import checkHashable, checkReactor, checkSeconds
from .._tools.typevars import A
from ..errors import LoginAbandoned, RealmClosed, UnsupportedInterface, UnwatchableMind
from ..interfaces import IAvatarSource, IBlock, IConnection
from .audit import Audited, lookAfterClients
from .closing import BlocksClosing, Closing, RealmService, disconnectAll
from .entrance import BackDoor, Entrance
from .plan import checkOutermost, layPlan
from .roll import Roll
from .session import Door, Hook, LoginResult, Session, Timing
from .sources import bottomSource
from .targets import AnyBlock, Factory, ForeignRealm, LaterFactory, Source, Stackable

#: What can be stacked on.
Target: TypeAlias = "Realm | Source | Factory[object] | ForeignRealm"


@implementer(IRealm)
@attrs.define(eq=False, init=False, repr=False)
class Realm(Generic[A]):
    """
    Blocks stacked around a source: what a L{Portal<twisted.cred.portal.Portal>} asks for avatars.

    C{block(target)} is short for C{Realm(target, blocks=[block])}.

    @ivar blocks: the blocks, outermost first.
    @ivar sources: what a session gets its avatar from, and the
        L{PerConnection<avatarkit.PerConnection>} that builds another avatar from that one, if there
        is one.
    """

    blocks: tuple[IBlock, ...]
    sources: tuple[IAvatarSource, ...]
    _entrance: Entrance
    _timing: tuple[Timing, ...]
    _roll: Roll[A]
    _plan: tuple[Hook, ...]
    _closing: Closing
    _asked: dict[tuple[type[Interface], ...], tuple[type[Interface], ...]]
    _callHooks: tuple[Callable[[Session, str], object], ...]

    @overload
    def __init__(
        self, target: Realm[A] | Source[A], *, blocks: Iterable[AnyBlock] = ()
    ) -> None: ...

    @overload
    def __init__(self, target: LaterFactory[A], *, blocks: Iterable[AnyBlock] = ()) -> None: ...

    @overload
    def __init__(self, target: Factory[A], *, blocks: Iterable[AnyBlock] = ()) -> None: ...

    @overload
    def __init__(self: Realm, target: ForeignRealm, *, blocks: Iterable[AnyBlock] = ()) -> None: ...

    def __init__(self, target: Target, *, blocks: Iterable[AnyBlock] = ()) -> None:
        """
        @param target: a L{Realm} (the blocks go on top of its own, and the realm keeps the target's
            settings), an avatar factory (any callable of one avatar ID: a class, a function, an
            async function), an L{IAvatarSource}, or any other realm: whatever has a
            C{requestAvatar}, whether it declares L{IRealm<twisted.cred.portal.IRealm>} or not.
        @param blocks: L{IBlock} providers, outermost first.
        @raise TypeError: if the target cannot be stacked on, if a block is not one, or if a block
            is stacked twice.
        """
        ours = _severalBlocks(blocks)
        if isinstance(target, Realm):
            self.blocks, self.sources = (*ours, *target.blocks), target.sources
        elif isinstance(target, Stackable):
            self.blocks, self.sources = ours, target._asSources()
        else:
            self.blocks, self.sources = ours, (bottomSource(target),)
        _checkBlocks(self.blocks)
        self._entrance = attrs.evolve(target._entrance) if isinstance(target, Realm) else Entrance()
        self._roll = Roll()
        checkOutermost(block for realm in self._realms() for block in (*realm.blocks, None))
        self._plan = layPlan(Hook(self._enter, self._roll.remove), self.blocks, self.sources)
        self._closing = Closing(self._roll, self.sources, BlocksClosing(self.blocks))
        self._asked = {}
        calls = (getattr(block, "called", None) for block in self.blocks)
        self._callHooks = tuple(called for called in calls if called is not None)
        self._timing = tuple(each for each in self.blocks if isinstance(each, Timing))
        for part in self._parts():
            if isinstance(part, Audited):
                part._stackedInto(self)

    @recursive_repr("<Realm: ...>")
    def __repr__(self) -> str:
        parts = (*self.blocks, *reversed(self.sources))
        return f"<Realm: {' over '.join(map(safe_repr, parts))}>"

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        """
        Refuse to be subclassed, as a class is that became a realm when it was decorated.
        """
        raise TypeError(
            f"{self!r} is a realm, and cannot be subclassed: leave the class undecorated, and "
            "stack the blocks on it afterwards, as in realm = block(Player)"
        )

    @property
    def sessions(self) -> AbstractSet[Session[A]]:
        """
        The sessions that have not ended, oldest first: a live view.
        """
        return self._roll.sessions.keys()

    @property
    def closing(self) -> bool:
        """
        Whether there will be no more sessions, since L{close} or L{drain} was called.
        """
        return self._closing.begun

    @property
    def maximumWaiting(self) -> int | None:
        """
        How many logins may be in progress at a time, that is, wait for something, before others are
        refused with L{TooManyLogins<avatarkit.TooManyLogins>}: 10,000 by default; C{None}: any
        number.  A login that has failed, or was cancelled, counts until it is undone.

        This and the other settings are set on the finished realm, the one that the portal asks, at
        any time; a realm that is stacked on another one begins as that one is.
        """
        return self._entrance.maximumWaiting

    @maximumWaiting.setter
    def maximumWaiting(self, maximum: int | None) -> None:
        self._entrance.maximumWaiting = maximum

    @property
    def hideFaults(self) -> bool:
        """
        Whether a client whose login fails because of a fault, and not a refusal, receives
        L{RealmFailed<avatarkit.RealmFailed>} instead of what was raised, which is logged; true by
        default.
        """
        return self._entrance.hideFaults

    @hideFaults.setter
    def hideFaults(self, hide: bool) -> None:
        self._entrance.hideFaults = hide

    @property
    def requireWatched(self) -> bool:
        """
        Whether to refuse, with L{UnwatchableMind<avatarkit.UnwatchableMind>}, a client that could
        leave unnoticed: one that has neither an L{IConnection<avatarkit.IConnection>} nor a mind
        that can be adapted to L{IMind<avatarkit.IMind>}; false by default.

        Set it if the server does not listen through a
        L{WatchingFactory<avatarkit.transports.WatchingFactory>}, since the client chooses its mind,
        or to be sure that one sees all logins.
        """
        return self._entrance.requireWatched

    @requireWatched.setter
    def requireWatched(self, require: bool) -> None:
        self._entrance.requireWatched = require

    @property
    def closeTimeout(self) -> float | None:
        """
        How many seconds each hook that is undone at the end of a session may take, an avatar's
        C{logout} among them: 60 by default; C{None}: any number.

        One that takes longer is cancelled, and given up, whether it bears that or not: this is
        logged by name, and the next one is undone.  L{audit} mentions it until it has finished.
        Whatever comes of it then is ignored, except that a failure is logged.

        Below an L{AvatarCache<avatarkit.AvatarCache>}, its C{retireTimeout} counts instead.
        """
        return self._entrance.closeTimeout

    @closeTimeout.setter
    def closeTimeout(self, seconds: float | None) -> None:
        self._entrance.closeTimeout = seconds

    @property
    def reactor(self) -> IReactorTime | None:
        """
        What measures the time for C{closeTimeout}, and for L{Session.since<avatarkit.Session>};
        C{None}, the default, is the global reactor.
        """
        return self._entrance.reactor

    @reactor.setter
    def reactor(self, reactor: IReactorTime | None) -> None:
        self._entrance.reactor = reactor

    @property
    def needsMinds(self) -> bool:
        """
        Whether a part of this realm is useless below an L{AvatarCache<avatarkit.AvatarCache>},
        where sessions have no mind.
        """
        return any(getattr(part, "needsMinds", False) for part in self._parts())

    def requestAvatar(
        self, avatarId: Hashable, mind: object, *interfaces: type[Interface]
    ) -> LoginResult | Deferred[LoginResult]:
        """
        Log in.

        @param avatarId: whose avatar; anything hashable.
        @param mind: the client, or C{None}.
        @param interfaces: what the avatar is to be seen through: the first one that fits.
        @return: C{(interface, aspect, logout)}, or a Deferred of it if something must wait.
        @raise LoginRefused: if a block refuses the login.
        @raise RealmClosed: after L{close}.
        @raise LoginAbandoned: if the mind is already dead.
        @raise TooManyLogins: if C{maximumWaiting} are in progress.
        @raise UnsupportedInterface: if none of the interfaces fits, or none is given.
        @raise UnwatchableMind: if C{requireWatched} is set, and the client cannot be watched.
        @raise RealmFailed: for anything else, unless C{hideFaults} is false: what was raised is
            logged.
        """
        return self._request(avatarId, mind, interfaces, None)

    def _request(
        self,
        avatarId: Hashable,
        mind: object,
        interfaces: tuple[type[Interface], ...],
        connection: IConnection | None,
        since: float | None = None,
    ) -> LoginResult | Deferred[LoginResult]:
        """
        Log in over a connection.

        @param since: when the login began; by default, now.
        """
        entrance = self._entrance
        try:
            return self._ask(avatarId, mind, interfaces, entrance, connection, since)
        except BaseException as reason:
            if not entrance.hides(Failure()):
                entrance.strip(reason)
                raise
            raise entrance.hidden(Failure(), avatarId) from reason

    def _ask(
        self,
        avatarId: Hashable,
        mind: object,
        interfaces: tuple[type[Interface], ...],
        door: Door,
        connection: IConnection | None = None,
        since: float | None = None,
    ) -> LoginResult | Deferred[LoginResult]:
        """
        Log in; what is raised at once is not yet hidden.
        """
        checkHashable("an avatar ID", avatarId)
        if not interfaces:
            raise UnsupportedInterface(
                f"the login of {avatarId!r} asks for no interface at all", avatarId=avatarId
            )
        if isGone(connection, mind):
            raise LoginAbandoned(avatarId=avatarId)
        entrance = self._entrance
        if entrance.requireWatched and connection is None and mindOf(mind) is None:
            raise UnwatchableMind(avatarId=avatarId)
        if entrance.waiting:
            entrance.check(avatarId)
        asked = self._asked.setdefault(interfaces, interfaces)  # there are few, of many sessions
        session: Session[A] = Session(
            self,
            self._plan,
            avatarId,
            mind,
            asked,
            since=entrance.now() if since is None else since,
            connection=connection,
        )
        if connection is not None:
            connection.notifyOnDisconnect(session._connectionLost)
        return session._open(door)

    def disconnect(
        self,
        avatarId: Hashable,
        reason: Exception | str | None = None,
        *,
        excluding: Session[A] | None = None,
        timeout: float = 5,
        reactor: IReactorTime | None = None,
    ) -> Deferred[None]:
        """
        End all sessions of an avatar ID, logins in progress too, and close the connections of their
        clients.

        @param avatarId: whose: with a L{CanonicalId<avatarkit.CanonicalId>}, the canonical ID.
        @param reason: why, see L{Session.disconnect}: an exception, or the text of a
            L{Kicked<avatarkit.Kicked>}.
        @param excluding: a session that stays, such as that of
            L{currentSession<avatarkit.currentSession>}; others that share its connection are only
            logged out.  C{None}: end all of them.
        @param timeout: how many seconds the clients have to receive what was already sent.
        @param reactor: measures the time; the global reactor by default.
        @return: a Deferred that fires with C{None} when all of them are closed.
        @raise TypeError: if the reason is neither an exception nor a text, or C{excluding} is not a
            session.
        """
        sessions = self._sessionsOf(avatarId)
        return disconnectAll(sessions, reason, timeout, reactor, excluding)

    def close(
        self, *, timeout: float | None = 30, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Refuse logins from now on, end those in progress, log everybody out, have the sources let go
        of their avatars, and, when no session is left, tell the blocks that have a C{close}.

        A source that other realms share is closed for them as well; a block goes on working for
        them.

        @param timeout: after how many seconds to stop waiting for what does not finish; that is
            then logged by name.  C{None}: wait for ever.
        @param reactor: measures the time; the global reactor by default.
        @return: a Deferred that fires with C{None} when all of that is done, or time runs out.
        """
        checkSeconds("timeout", timeout, orNone=True)
        checkReactor(reactor)
        return self._closing.close(timeout, reactor, self._everyClosing)

    def drain(self) -> Deferred[None]:
        """
        Refuse logins from now on, and let go of avatars as soon as they are not used, but log
        nobody out.

        @return: a Deferred that fires with C{None} when the last session has ended, the last avatar
            is gone, and the blocks that have a C{close} are done with it.
        """
        return self._closing.drain()

    def audit(self) -> list[str]:
        """
        Say what is inconsistent in this realm and those below it: a session whose mind is dead; a
        slot, count or group entry without a session, or the other way round; a cached avatar with
        the wrong number of users; what was given up and has not finished.  What a hook sees while
        it runs may be half done.

        @return: a sentence for each inconsistency; nothing if all is well.
        """
        found: list[str] = []
        for realm in self._realms():
            found.extend(lookAfterClients(realm.sessions))
            found.extend(realm._entrance.audit())
            for part in realm._parts():
                if isinstance(part, Audited):
                    found.extend(part.audit())
        return found

    def service(
        self, *, timeout: float | None = 30, reactor: IReactorTime | None = None
    ) -> IService:
        """
        Return a service that closes the realm when it is stopped, for C{setServiceParent}.

        @param timeout: see L{close}.
        @param reactor: see L{close}.
        """
        checkSeconds("timeout", timeout, orNone=True)
        checkReactor(reactor)
        return RealmService(partial(self.close, timeout=timeout, reactor=reactor))

    def _parts(self) -> tuple[IBlock | IAvatarSource, ...]:
        return (*self.blocks, *self.sources)

    def _realms(self) -> Iterator[Realm]:
        """
        Return this realm and those below it.
        """
        yield self
        for source in self.sources:
            below = getattr(source, "below", None)
            if isinstance(below, Realm):
                yield from below._realms()

    def _everyClosing(self) -> Iterator[Closing]:
        """
        Return the ends of this realm and of those below it.
        """
        return (realm._closing for realm in self._realms())

    def _sessionsOf(self, avatarId: Hashable) -> Iterable[Session]:
        """
        Return the sessions of an avatar ID, oldest first, logins in progress included.
        """
        return self._roll.of(avatarId)

    def _placeOf(self, undo: Callable[[Session], object]) -> int:
        """
        Return where in the plan something is undone.
        """
        return next(place for place, hook in enumerate(self._plan) if hook.undo == undo)

    def _enter(self, session: Session[A]) -> None:
        if self._closing.begun:
            raise RealmClosed(avatarId=session.avatarId)
        self._roll.add(session)


def _severalBlocks(blocks: object) -> tuple[IBlock, ...]:
    """
    Return the blocks that a user gives.

    A block may itself be a collection, and an empty one at that: it would be dropped silently.
    """
    alone = isinstance(blocks, (str, bytes, Mapping, Stackable)) or IBlock.providedBy(blocks)
    if alone or not isinstance(blocks, Iterable):
        raise TypeError(f"blocks must be a list of blocks, not {blocks!r}: write blocks=[...]")
    return tuple(blocks)


def _checkBlocks(blocks: tuple[IBlock, ...]) -> None:
    for index, block in enumerate(blocks):
        if not IBlock.providedBy(block):
            raise TypeError(f"{block!r} is not a block: it does not provide IBlock")
        if any(block is other for other in blocks[:index]):
            raise TypeError(f"{block!r} is already in this realm: make another one")


def rename(session: Session, avatarId: Hashable) -> None:
    """
    Give another avatar ID to a session that only its realm has filed.
    """
    checkHashable("an avatar ID", avatarId)
    session._avatarId = avatarId
    cast("Realm", session.realm)._roll.refile(session)


def partsOf(realm: Realm) -> Iterator[IBlock | IAvatarSource]:
    """
    Return the blocks and sources of a realm, and of those below it.
    """
    for each in realm._realms():
        yield from each._parts()


def isClosing(realm: IRealm | None) -> bool:
    """
    Return whether the realm of a session will have no others.
    """
    return cast("Realm", realm).closing


def askThrough(
    connection: IConnection,
    realm: Realm,
    avatarId: Hashable,
    mind: object,
    interfaces: tuple[type[Interface], ...],
    since: float | None = None,
) -> LoginResult | Deferred[LoginResult]:
    """
    Log in over a connection, as L{Realm.requestAvatar} does: the session ends with it.

    @param since: when the login began, if not now: in the seconds of L{timeAt}.
    """
    return realm._request(avatarId, mind, interfaces, connection, since)


def timeAt(realm: Realm) -> float:
    """
    Return the time, as a realm measures it.
    """
    return realm._entrance.now()


def askPlainly(
    realm: Realm,
    avatarId: Hashable,
    mind: object,
    interfaces: tuple[type[Interface], ...],
    connection: IConnection | None = None,
) -> LoginResult | Deferred[LoginResult]:
    """
    Log in, as L{Realm.requestAvatar} does, and hide and log nothing of what is raised.
    """
    return realm._ask(avatarId, mind, interfaces, BackDoor(realm._entrance), connection)
