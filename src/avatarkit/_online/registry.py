"""
Who is online.

Everything is kept by session: minds cannot be compared, see L{avatarkit._online.directory}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from functools import partial
from reprlib import repr as short
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .._clients.minds import callRemoteOf
from .._push.addressees import Addressee
from .._push.bounds import Bounds, skip
from .._push.groups import MindGroup
from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.closing import disconnectAll
from .._realm.keys import Key, Keys, avatarIdOf, keysOf
from .._realm.session import Session
from .._tools.adapting import adapted
from .._tools.checks import checkReactor
from .._tools.counting import countDown
from .._tools.kinds import Kinds
from .._tools.typevars import A
from .._waiting.awaiting import undoOnFailure
from ..interfaces import IMindAware
from .bases import MindAware, attaching, detaching
from .directory import MindDirectory
from .distinct import DistinctMinds, firsts
from .telling import NOT_MIND_AWARE, UNTOLD, sayIfMeant


@attrs.define(eq=False)
class MindRegistry(Audited, Block[A], Collection[Hashable]):
    """
    Knows who is online, and pushes to them; tells avatars that are L{IMindAware}.

    C{registry[avatarId]} is the L{MindGroup} of an avatar ID, a live view that is empty when nobody
    is there; iteration, C{in} and C{len} are over the avatar IDs that are online.  While an
    avatar's C{attached} runs its session is already online; while C{detached} runs, it no longer
    is.  A session whose mind is C{None} is online, but in no group, and its avatar is not told; so
    is one whose mind has no C{callRemote} and no adapter to L{IMind<avatarkit.IMind>}, which is
    logged.

    A client that has stopped reading, or does not answer, can be kept from using up the server's
    memory: if it is too far behind it is left out of a push, and its result is a
    L{MindIsBehind<avatarkit.MindIsBehind>}.  That goes for every push to it through a L{MindGroup},
    and not for direct calls of the mind.

    With a C{key} sessions are filed under keys, and whatever is said here of avatar IDs goes for
    those.

    @param maximumBacklog: how many bytes may wait to be sent to a client before it is behind;
        C{None}: any number.  Known for TCP and UNIX sockets, also below TLS.
    @param maximumPending: how many pushes may wait for its answer before it is behind; C{None}: any
        number.
    @param whenBehind: called with the L{Session} of a client when it falls behind:
        L{skip<avatarkit.skip>}, L{disconnect<avatarkit.disconnect>}, or your own.
    @param oncePerMind: whether a client that logs in several times with one mind is in each group
        only once, and gets each push only once, also through C{minds} of its avatar; by default, it
        is there once for each of its sessions.  The avatar is told of each session in any case.
    @param reactor: measures the time; the global reactor by default.
    @ivar key: a callable of the session that returns what it is filed under, something hashable:
        by default the avatar ID.
    @ivar _admitted: the sessions of each key, logins in progress too, if it is not the avatar ID.
    @ivar _online: the sessions of each avatar ID.
    @ivar _reachable: the sessions that have a mind that can be called.
    @ivar _mindless: how many sessions of each avatar ID have none.
    @ivar _directory: the sessions of each mind.
    @ivar _distinct: how many minds they are, if each is in a group once.
    @ivar _hushed: the class of the last avatar that was not told since its session has no mind.
    """

    needsMinds: ClassVar[bool] = True
    _maximumBacklog: int | None = attrs.field(
        default=None, alias="maximumBacklog", kw_only=True, repr=False
    )
    _maximumPending: int | None = attrs.field(
        default=None, alias="maximumPending", kw_only=True, repr=False
    )
    _whenBehind: Callable[[Session[A]], object] = attrs.field(
        default=skip, alias="whenBehind", kw_only=True, repr=False
    )
    _oncePerMind: bool = attrs.field(default=False, alias="oncePerMind", kw_only=True, repr=False)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    key: Key[A] = attrs.field(default=avatarIdOf, kw_only=True, repr=False)
    _keys: Keys[A] | None = attrs.field(init=False, repr=False)
    _admitted: dict[Hashable, dict[Session[A], None]] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _bounds: Bounds | None = attrs.field(init=False, repr=False)
    _directory: MindDirectory = attrs.field(init=False, repr=False)
    _online: dict[Hashable, dict[Session[A], None]] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _reachable: dict[Session[A], None] = attrs.field(factory=dict, init=False, repr=False)
    _mindless: Counter[Hashable] = attrs.field(factory=Counter, init=False, repr=False)
    _kinds: Kinds = attrs.field(init=False, repr=False)
    _distinct: DistinctMinds | None = attrs.field(init=False, repr=False)
    _hushed: type | None = attrs.field(default=None, init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        checkReactor(self._reactor)
        bounds = Bounds(self._maximumBacklog, self._maximumPending, self._whenBehind)
        self._bounds = bounds if bounds.bounding else None
        self._directory = MindDirectory(self._reactor, self._bounds, self._oncePerMind)
        self._keys = keysOf(self.key)
        self._distinct = DistinctMinds(self._keyOf) if self._oncePerMind else None
        self._kinds = Kinds(self._online)

    def __getitem__(self, avatarId: Hashable) -> MindGroup:
        self._lookUp(avatarId)
        return self._group(partial(self._reachableAs, avatarId), partial(self._count, avatarId))

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._online)

    def __len__(self) -> int:
        return len(self._online)

    def __contains__(self, avatarId: object) -> bool:
        return bool(self._lookUp(avatarId))

    @property
    def everyone(self) -> MindGroup:
        """
        The minds of all sessions, a live view.
        """
        reachable, distinct = self._reachable, self._distinct
        count = reachable.__len__ if distinct is None else lambda: distinct.total
        return self._group(lambda: reachable, count)

    def select(self, predicate: Callable[[Session[A]], object]) -> MindGroup:
        """
        Return the minds of the sessions that satisfy a predicate, a live view: C{predicate} is
        called with each session whenever the view is used.
        """
        if not callable(predicate):
            raise TypeError(f"predicate must be a callable of a session, not {predicate!r}")

        def selected() -> Iterator[Session[A]]:
            return (each for each in self._reachable if predicate(each))

        return self._group(selected, lambda: sum(1 for each in self._inGroup(selected())))

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
        Log out every session of an avatar ID, those without a mind and logins in progress too, and
        close the connections of their clients, see
        L{Session.disconnect<avatarkit.Session.disconnect>}.

        A login in progress is one that this registry's realm knows of; with a C{key}, one that has
        come as far as this registry.

        @param reason: why, see L{Session.disconnect<avatarkit.Session.disconnect>}.
        @param excluding: a session that stays, see L{Realm.disconnect<avatarkit.Realm.disconnect>}.
        @return: a Deferred that fires with C{None} when all of them are closed.
        """
        if self._keys is not None:
            sessions = dict(self._admitted.get(avatarId, {}))  # those that are online, too
        else:
            sessions = dict.fromkeys((*self.sessions(avatarId), *self._underWay(avatarId)))
        return disconnectAll(sessions, reason, timeout, reactor, excluding)

    def sessions(self, avatarId: Hashable) -> tuple[Session[A], ...]:
        """
        Return the current sessions of an avatar ID, oldest first.
        """
        return tuple(self._lookUp(avatarId))

    def hasHook(self, hook: str) -> bool:
        """
        Return whether a hook does anything: C{admit} takes note of a login in progress, which its
        realm finds by avatar ID, but not by key.
        """
        return self._keys is not None or hook != "admit"

    def admit(self, session: Session[A]) -> None:
        """
        Take note of a login in progress.
        """
        assert self._keys is not None
        self._admitted.setdefault(self._keys.note(session), {})[session] = None

    def release(self, session: Session[A]) -> None:
        """
        Forget the session.
        """
        assert self._keys is not None
        key = self._keys.forget(session)
        del self._admitted[key][session]
        if not self._admitted[key]:
            del self._admitted[key]

    def attached(self, session: Session[A]) -> object:
        """
        File the session, and tell the avatar.
        """
        aware = None if session.mind is None else adapted(IMindAware, session.avatar)
        if not self._file(session):
            if type(session.avatar) is not self._hushed:  # it is not told, but would be
                self._hushed = type(session.avatar)
                UNTOLD.hush(session.avatar)
            return None
        if aware is None:
            sayIfMeant(NOT_MIND_AWARE, session.avatar, "attached")
            return None
        plain = getattr(type(aware), "attached", None) is MindAware.attached
        tell = partial(aware.attached, session.mind) if plain else attaching(aware, session.mind)
        return undoOnFailure(tell, self._unfile, session)

    def detached(self, session: Session[A]) -> object:
        """
        Remove the session from the registry, and tell the avatar.
        """
        aware = adapted(IMindAware, session.avatar) if self._unfile(session) else None
        if aware is None:
            return None
        if getattr(type(aware), "detached", None) is MindAware.detached:
            return aware.detached(session.mind)
        return detaching(aware, session.mind, partial(self._hasBoth, session))()

    def audit(self) -> Iterator[str]:
        """
        Report sessions that are missing from the registry, and those that should not be in it.
        """
        there = {*self._sessionsPast(self.detached), *self._sessionsAt(self.detached)}
        filed = {each for sessions in self._online.values() for each in sessions}
        for session in there - filed:
            yield f"{session!r} is not on the file of {self!r}"
        for session in filed - there:
            yield f"{session!r} is on the file of {self!r} and should not be"
        withMind = {each for each in filed if callRemoteOf(each.mind) is not None}
        if withMind != set(self._reachable):
            yield f"the minds of {self!r} are not those of its sessions"
        if Counter(map(self._keyOf, filed - withMind)) != self._mindless:
            yield f"{self!r} miscounts the sessions without a mind"

    def _group(
        self, sessions: Callable[[], Iterable[Session[A]]], count: Callable[[], int]
    ) -> MindGroup:
        minds = MindsOf(lambda: self._inGroup(sessions()), count, self._bounds)
        return MindGroup(minds, reactor=self._reactor)

    def _inGroup(self, sessions: Iterable[Session[A]]) -> Iterable[Session[A]]:
        return firsts(sessions) if self._oncePerMind else sessions

    def _reachableAs(self, avatarId: Hashable) -> Iterator[Session[A]]:
        return (each for each in self._lookUp(avatarId) if each in self._reachable)

    def _count(self, avatarId: Hashable) -> int:
        if self._distinct is not None:
            return self._distinct[avatarId] if self._lookUp(avatarId) else 0
        return len(self._lookUp(avatarId)) - self._mindless[avatarId]

    def _lookUp(self, avatarId: object) -> Collection[Session[A]]:
        sessions = self._online.get(avatarId)
        if sessions is None:
            self._kinds.missed(avatarId)
            return ()
        return sessions

    def _keyOf(self, session: Session[A]) -> Hashable:
        return session.avatarId if self._keys is None else self._keys.of(session)

    def _hasBoth(self, ended: Session[A]) -> bool:
        """
        Return whether there is a session of the same mind and avatar.
        """
        to = self._directory.addresseeOf(ended.mind, ended.avatar)
        return to is not None and to.session is not None and to.session.avatar is ended.avatar

    def _canBeCalled(self, session: Session[A]) -> bool:
        """
        Return whether a session's mind can be called, and log it if it cannot.
        """
        if callRemoteOf(session.mind) is not None:
            return True
        self._log.info(
            "{avatarId!r} logs in with a mind that cannot be called, {mind}: as without a mind, it "
            "gets no pushes, and its avatar is not told",
            avatarId=session.avatarId,
            mind=short(session.mind),
        )
        return False

    def _file(self, session: Session[A]) -> bool:
        """
        Take note of a session; return whether its client can be called.
        """
        key = self._keyOf(session)
        sessions = self._online.get(key)
        if sessions is None:
            if type(key) is not self._kinds.only:
                self._kinds.loggedIn(key)
            sessions = self._online[key] = {}
        sessions[session] = None
        mind = session.mind
        if mind is None or not (
            callable(getattr(mind, "callRemote", None)) or self._canBeCalled(session)
        ):
            self._mindless[key] += 1
            return False
        self._reachable[session] = None
        self._directory.file(session)
        if self._distinct is not None:
            self._distinct.add(session)
        return True

    def _unfile(self, session: Session[A]) -> bool:
        """
        Forget a session; return whether its client could be called.
        """
        key = self._keyOf(session)
        sessions = self._online[key]
        del sessions[session]
        if not sessions:
            del self._online[key]
        if session not in self._reachable:
            countDown(self._mindless, key)
            return False
        del self._reachable[session]
        self._directory.unfile(session)
        if self._distinct is not None:
            self._distinct.remove(session)
        return True


@attrs.define(eq=False)
class MindsOf:
    """
    The minds of the sessions that are there at the moment of asking.
    """

    _sessions: Callable[[], Iterable[Session]]
    _count: Callable[[], int]
    _bounds: Bounds | None

    def __iter__(self) -> Iterator[Any]:  # Any: a mind is whatever the client chose to send
        return (session.mind for session in self._sessions())

    def __len__(self) -> int:
        return self._count()

    def addressees(self) -> Iterator[Addressee]:
        """
        Return whom a push to them goes to.
        """
        bounds = self._bounds
        return (Addressee(session.mind, session, bounds) for session in self._sessions())
