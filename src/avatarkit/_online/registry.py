"""
Who is online.

Minds are kept by session or by identity and never compared: the minds of two Perspective Broker
connections cannot be (C{==} raises C{TypeError}), and the hash of a mind is no better than 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .._clients.minds import identityOf
from .._push.bounds import Bounds, skip
from .._push.delivery import Addressee
from .._push.groups import Filtered, MindGroup, disconnectAll, registries
from .._realm.audit import Audited
from .._realm.realm import Block
from .._realm.session import Session
from .._tools.adapting import adapted
from .._tools.awaiting import orUndo
from .._tools.checks import checkReactor
from .._tools.counting import countDown
from ..interfaces import IMindAware


@attrs.define(eq=False)
class MindRegistry(Audited, Block, Collection[Hashable]):
    """
    Knows who is online, and pushes to them; tells avatars that are L{IMindAware}.

    C{registry[avatarId]} is the L{MindGroup} of an avatar ID, a live view that is empty when nobody
    is there; iteration, C{in} and C{len} are over the avatar IDs that are online.  While an
    avatar's C{attached} runs its session is online already; while C{detached} runs, it no longer
    is.  A session whose mind is C{None} is online, but in no group, and its avatar is not told.

    A client that has stopped reading, or does not answer, can be kept from using up the server's
    memory: one that is behind is left out, and its result is a
    L{MindIsBehind<avatarkit.MindIsBehind>}.  That goes for every push to it through a L{MindGroup},
    and not for what calls the mind itself.

    @param maximumBacklog: how many bytes may wait to be sent to a client before it is behind;
        C{None}: any number.  Known for TCP and UNIX sockets, also below TLS.
    @param maximumPending: how many pushes may wait for its answer before it is; C{None}: any
        number.
    @param whenBehind: called with the L{Session} of a client when it falls behind:
        L{skip<avatarkit.skip>}, L{disconnect<avatarkit.disconnect>}, or something of yours.
    @param reactor: what measures the time, the global reactor if not given.
    @ivar _online: the sessions of each avatar ID.
    @ivar _reachable: the sessions that have a mind.
    @ivar _mindless: how many sessions of each avatar ID have none.
    @ivar _byMind: the session of each mind, or several.
    """

    needsMinds: ClassVar[bool] = True
    _maximumBacklog: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _maximumPending: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _whenBehind: Callable[[Session], object] = attrs.field(default=skip, kw_only=True, repr=False)
    reactor: IReactorTime | None = attrs.field(default=None, kw_only=True, repr=False)
    _bounds: Bounds | None = attrs.field(init=False, repr=False)
    _online: dict[Hashable, dict[Session, None]] = attrs.field(factory=dict, init=False, repr=False)
    _reachable: dict[Session, None] = attrs.field(factory=dict, init=False, repr=False)
    _mindless: Counter[Hashable] = attrs.field(factory=Counter, init=False, repr=False)
    _byMind: dict[Hashable, Session | tuple[Session, ...]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        checkReactor(self.reactor)
        bounds = Bounds(self._maximumBacklog, self._maximumPending, self._whenBehind)
        self._bounds = bounds if bounds.bounding else None
        registries[self] = None

    def __getitem__(self, avatarId: Hashable) -> MindGroup:
        minds = _Minds(
            partial(self._reachableAs, avatarId), partial(self._count, avatarId), self._bounds
        )
        return MindGroup(minds, reactor=self.reactor)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._online)

    def __len__(self) -> int:
        return len(self._online)

    def __contains__(self, avatarId: object) -> bool:
        return avatarId in self._online

    @property
    def everyone(self) -> MindGroup:
        """
        The minds of all sessions, a live view.
        """
        reachable = self._reachable
        minds = _Minds(lambda: reachable, lambda: len(reachable), self._bounds)
        return MindGroup(minds, reactor=self.reactor)

    def select(self, predicate: Callable[[Any], object]) -> MindGroup:
        """
        Answer the minds of the sessions that something is true of, a live view: C{predicate} is
        called with each session whenever one looks.
        """
        if not callable(predicate):
            raise TypeError(f"a predicate is called with a session, and {predicate!r} is not")
        selected = Filtered(self.everyone, lambda to: predicate(to[1]))
        return MindGroup(selected, reactor=self.reactor)

    def disconnect(
        self, avatarId: Hashable, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Log out every session of an avatar ID, those without a mind too, and close the connections
        of their clients, see L{Session.disconnect<avatarkit.Session.disconnect>}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        """
        return disconnectAll(self.sessions(avatarId), timeout, reactor)

    def sessions(self, avatarId: Hashable) -> tuple[Session, ...]:
        """
        Answer the sessions of an avatar ID at this moment, oldest first.
        """
        return tuple(self._online.get(avatarId, ()))

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Answer whom a push to a mind goes to, if it is online here: as that avatar, if it is that,
        otherwise as the one that it has logged in as last.
        """
        sessions = _several(self._byMind.get(identityOf(mind), ()))
        if not sessions:
            return None
        session = next((each for each in sessions if each.avatar is avatar), sessions[-1])
        return mind, session, self._bounds

    def attached(self, session: Session) -> object:
        """
        File the session, and tell the avatar.
        """
        aware = self._toTell(session)
        self._file(session)
        if aware is None:
            return None
        return orUndo(lambda: aware.attached(session.mind), self._unfile, session)

    def detached(self, session: Session) -> object:
        """
        Take the session off the file, and tell the avatar.
        """
        self._unfile(session)
        aware = self._toTell(session)
        return None if aware is None else aware.detached(session.mind)

    def audit(self) -> Iterator[str]:
        """
        Say which sessions are filed that should not be, and which are not that should.
        """
        there = {*self.passed(self.detached), *self.entering(self.detached)}
        filed = {each for sessions in self._online.values() for each in sessions}
        for session in there - filed:
            yield f"{session!r} is not on the file of {self!r}"
        for session in filed - there:
            yield f"{session!r} is on the file of {self!r} and should not be"
        if {each for each in filed if each.mind is not None} != set(self._reachable):
            yield f"everyone in {self!r} is not everyone"
        if Counter(each.avatarId for each in filed if each.mind is None) != self._mindless:
            yield f"{self!r} miscounts who has no mind"

    def _reachableAs(self, avatarId: Hashable) -> Iterator[Session]:
        return (each for each in self._online.get(avatarId, ()) if each.mind is not None)

    def _count(self, avatarId: Hashable) -> int:
        return len(self._online.get(avatarId, ())) - self._mindless[avatarId]

    def _toTell(self, session: Session) -> Any:
        return None if session.mind is None else adapted(IMindAware, session.avatar)

    def _file(self, session: Session) -> None:
        sessions = self._online.get(session.avatarId)
        if sessions is None:
            sessions = self._online[session.avatarId] = {}
        sessions[session] = None
        if session.mind is None:
            self._mindless[session.avatarId] += 1
            return
        self._reachable[session] = None
        key = identityOf(session.mind)
        others = self._byMind.get(key)
        self._byMind[key] = session if others is None else (*_several(others), session)

    def _unfile(self, session: Session) -> None:
        sessions = self._online[session.avatarId]
        del sessions[session]
        if not sessions:
            del self._online[session.avatarId]
        if session.mind is None:
            countDown(self._mindless, session.avatarId)
            return
        del self._reachable[session]
        key = identityOf(session.mind)
        known = self._byMind.pop(key)
        if known is not session:
            left = tuple(each for each in _several(known) if each is not session)
            self._byMind[key] = left if len(left) > 1 else left[0]
        if self._bounds is not None:
            self._bounds.forget(session.mind)


def _several(sessions: Session | tuple[Session, ...]) -> tuple[Session, ...]:
    """
    Answer the sessions of a mind, which nearly always is one.
    """
    return sessions if isinstance(sessions, tuple) else (sessions,)


@attrs.define(eq=False)
class _Minds:
    """
    The minds of the sessions that are there when one looks.
    """

    _sessions: Callable[[], Iterable[Session]]
    _count: Callable[[], int]
    _bounds: Bounds | None

    def __iter__(self) -> Iterator[Any]:
        return (session.mind for session in self._sessions())

    def __len__(self) -> int:
        return self._count()

    def addressees(self) -> Iterator[Addressee]:
        """
        Whom a push to those goes to.
        """
        return ((session.mind, session, self._bounds) for session in self._sessions())
