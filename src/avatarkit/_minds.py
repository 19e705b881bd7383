"""
Who is online, and pushing to them.

Minds are kept by session or by identity and never compared: the minds of two Perspective Broker
connections cannot be (C{==} raises C{TypeError}), and the hash of a mind is no better than 1.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from typing import Any, ClassVar, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from ._audit import Audited
from ._awaiting import orUndo
from ._realm import Block
from ._session import Session
from .interfaces import IMindAware

__all__ = ["MindBag", "MindGroup", "MindRegistry"]


class _Minds(Protocol):
    """
    What a group can be a view of.
    """

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@attrs.define(eq=False, repr=False)
class MindGroup(Collection[Any]):
    """
    Minds that are told things together: a view of a collection of minds, as it is whenever one
    looks.

    A mind that is in the collection twice, for two sessions over one connection say, is told twice.
    """

    _minds: _Minds

    def __repr__(self) -> str:
        return f"<MindGroup of {len(self)}>"

    def __iter__(self) -> Iterator[Any]:
        return iter(self._minds)

    def __len__(self) -> int:
        return len(self._minds)

    def __contains__(self, mind: object) -> bool:
        return any(each is mind for each in self)

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Deferred[list[tuple[bool, Any]]]:
        """
        Call a C{remote_} method of every client that is in the group now.

        @return: a Deferred of a list with one C{(success, result)} for each mind, in the order of
            the group, as a L{DeferredList} has it.  A client that fails, or is gone, is a
            C{(False, Failure)} in the list; the Deferred itself does not fail.
        """

        def call(mind: Any) -> Any:
            return mind.callRemote(name, *args, **kw)

        calls = [maybeDeferred(call, mind) for mind in tuple(self)]
        return DeferredList(calls, consumeErrors=True)

    def disconnect(
        self, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Log out every session that is in the group now, and close the connections of their clients,
        see L{Session.disconnect<avatarkit.Session.disconnect>}; for a group of a
        L{MindRegistry}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        @raise TypeError: if the group is of minds whose sessions it does not know.
        """
        sessions = getattr(self._minds, "sessions", None)
        if sessions is None:
            raise TypeError(f"{self!r} knows no sessions: ask a MindRegistry for a group")
        closing = [each.disconnect(timeout=timeout, reactor=reactor) for each in tuple(sessions)]
        return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)


@attrs.define(eq=False)
class MindBag:
    """
    The minds that an avatar was told of, by identity, in the order in which they came.
    """

    _entries: dict[int, tuple[Any, ...]] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[Any]:
        for minds in self._entries.values():
            yield from minds

    def __len__(self) -> int:
        return self._size

    def add(self, mind: Any) -> None:
        """
        Put a mind in, once more if it is there.
        """
        self._entries[id(mind)] = (*self._entries.get(id(mind), ()), mind)
        self._size += 1

    def remove(self, mind: Any) -> None:
        """
        Take a mind out, once if it is there more often.

        @raise KeyError: if it is not there.
        """
        if id(mind) not in self._entries:
            raise KeyError(f"{mind!r} was never attached, or has been detached")
        left = self._entries[id(mind)][1:]
        if left:
            self._entries[id(mind)] = left
        else:
            del self._entries[id(mind)]
        self._size -= 1


@attrs.define(eq=False)
class _Present:
    """
    The sessions of an avatar ID, or of everyone, in the order of their logins; as a collection,
    the minds of those that have one.
    """

    sessions: dict[Session, None] = attrs.field(factory=dict)
    _minds: int = 0

    def __iter__(self) -> Iterator[Any]:
        return (session.mind for session in self.sessions if session.mind is not None)

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
    """

    needsMinds: ClassVar[bool] = True
    _online: dict[Hashable, _Present] = attrs.field(factory=dict, init=False, repr=False)
    _all: _Present = attrs.field(factory=_Present, init=False, repr=False)

    def __getitem__(self, avatarId: Hashable) -> MindGroup:
        return MindGroup(_Addressed(self._online, avatarId))

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
        return MindGroup(self._all)

    def disconnect(
        self, avatarId: Hashable, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Log out every session of an avatar ID, those without a mind too, and close the connections
        of their clients, see L{Session.disconnect<avatarkit.Session.disconnect>}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        """
        return self[avatarId].disconnect(timeout=timeout, reactor=reactor)

    def sessions(self, avatarId: Hashable) -> tuple[Session, ...]:
        """
        Answer the sessions of an avatar ID at this moment, oldest first.
        """
        return tuple(self._online[avatarId].sessions) if avatarId in self._online else ()

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

    def _toTell(self, session: Session) -> Any:
        return None if session.mind is None else IMindAware(session.avatar, None)

    def _file(self, session: Session) -> None:
        self._online.setdefault(session.avatarId, _Present()).add(session)
        self._all.add(session)

    def _unfile(self, session: Session) -> None:
        self._all.remove(session)
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

    @property
    def sessions(self) -> Collection[Session]:
        """
        The sessions of those.
        """
        return getattr(self._now(), "sessions", ())

    def _now(self) -> _Minds:
        return self._online.get(self._avatarId, ())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())
