"""
Who is online.

Minds are kept by session or by identity and never compared: the minds of two Perspective Broker
connections cannot be (C{==} raises C{TypeError}), and the hash of a mind is no better than 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ._adapting import adapted
from ._audit import Audited
from ._awaiting import orUndo
from ._bounds import Bounds, skip
from ._checks import checkReactor
from ._groups import Filtered, MindGroup, disconnectAll, registries
from ._mind import identityOf
from ._push import Addressee
from ._realm import Block
from ._session import Session
from .interfaces import IMindAware

__all__ = ["MindRegistry"]


@attrs.define(eq=False)
class _Present:
    """
    The sessions of an avatar ID, or of everyone, in the order of their logins; as a collection,
    the minds of those that have one.
    """

    bounds: Bounds | None
    sessions: dict[Session, None] = attrs.field(factory=dict)
    _minds: int = 0

    def __iter__(self) -> Iterator[Any]:
        return (session.mind for session in self.sessions if session.mind is not None)

    def addressees(self) -> Iterator[Addressee]:
        """
        Whom a push to those goes to.
        """
        for session in self.sessions:
            if session.mind is not None:
                yield session.mind, session, self.bounds

    def __len__(self) -> int:
        return self._minds

    def add(self, session: Session) -> None:
        """
        Put a session in.
        """
        self.sessions[session] = None
        self._minds += session.mind is not None

    def remove(self, session: Session) -> None:
        """
        Take a session out.
        """
        del self.sessions[session]
        self._minds -= session.mind is not None


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
    """

    needsMinds: ClassVar[bool] = True
    _maximumBacklog: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _maximumPending: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _whenBehind: Callable[[Session], object] = attrs.field(default=skip, kw_only=True, repr=False)
    reactor: IReactorTime | None = attrs.field(default=None, kw_only=True, repr=False)
    _bounds: Bounds | None = attrs.field(init=False, repr=False)
    _online: dict[Hashable, _Present] = attrs.field(factory=dict, init=False, repr=False)
    _all: _Present = attrs.field(init=False, repr=False)
    _byMind: dict[Hashable, tuple[Session, ...]] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checkReactor(self.reactor)
        bounds = Bounds(self._maximumBacklog, self._maximumPending, self._whenBehind)
        self._bounds = bounds if bounds.bounding else None
        self._all = _Present(self._bounds)
        registries[self] = None

    def __getitem__(self, avatarId: Hashable) -> MindGroup:
        return MindGroup(_Addressed(self._online, avatarId), reactor=self.reactor)

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
        return MindGroup(self._all, reactor=self.reactor)

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
        return tuple(self._online[avatarId].sessions) if avatarId in self._online else ()

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Answer whom a push to a mind goes to, if it is online here: as that avatar, if it is that,
        otherwise as the one that it has logged in as last.
        """
        sessions = self._byMind.get(identityOf(mind))
        if sessions is None:
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
        filed = {each for present in self._online.values() for each in present.sessions}
        for session in there - filed:
            yield f"{session!r} is not on the file of {self!r}"
        for session in filed - there:
            yield f"{session!r} is on the file of {self!r} and should not be"
        for present in (self._all, *self._online.values()):
            if len(present) != len(list(present)):
                yield f"{self!r} counts {len(present)} minds, and there are {len(list(present))}"
        if filed != set(self._all.sessions):
            yield f"everyone in {self!r} is not everyone"

    def _forgetMind(self, session: Session) -> None:
        key = identityOf(session.mind)
        sessions = self._byMind.pop(key)
        if self._bounds is not None:
            self._bounds.forget(session.mind)
        if len(sessions) > 1:
            self._byMind[key] = tuple(each for each in sessions if each is not session)

    def _toTell(self, session: Session) -> Any:
        return None if session.mind is None else adapted(IMindAware, session.avatar)

    def _file(self, session: Session) -> None:
        if session.avatarId not in self._online:
            self._online[session.avatarId] = _Present(self._bounds)
        self._online[session.avatarId].add(session)
        self._all.add(session)
        if session.mind is not None:
            key = identityOf(session.mind)
            self._byMind[key] = (*self._byMind.get(key, ()), session)

    def _unfile(self, session: Session) -> None:
        self._all.remove(session)
        if session.mind is not None:
            self._forgetMind(session)
        present = self._online[session.avatarId]
        present.remove(session)
        if not present.sessions:
            del self._online[session.avatarId]


@attrs.define(eq=False)
class _Addressed:
    """
    The minds of whoever is online as an avatar ID when one looks.
    """

    _online: dict[Hashable, _Present]
    _avatarId: Hashable

    def __iter__(self) -> Iterator[Any]:
        return iter(self._online.get(self._avatarId, ()))

    def __len__(self) -> int:
        return len(self._online.get(self._avatarId, ()))

    def addressees(self) -> Iterable[Addressee]:
        """
        Whom a push to those goes to.
        """
        present = self._online.get(self._avatarId)
        return () if present is None else present.addressees()
