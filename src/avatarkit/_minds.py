"""
Who is online, and pushing to them.

Minds are kept by session or by identity and never compared: the minds of two Perspective Broker
connections cannot be (C{==} raises C{TypeError}), and the hash of a mind is no better than 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, ClassVar, Literal, Protocol, overload
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from ._adapting import adapted
from ._audit import Audited
from ._awaiting import orUndo
from ._bounds import Bounds, skip
from ._checks import checkReactor, checkSeconds
from ._clock import clockOr
from ._fanout import Message
from ._mind import areSame, identityOf
from ._push import Addressee, Push, lanesOf
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
    _reactor: IReactorTime | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        checkReactor(self._reactor)

    def __repr__(self) -> str:
        return f"<MindGroup of {len(self)}>"

    def __iter__(self) -> Iterator[Any]:
        return iter(self._minds)

    def __len__(self) -> int:
        return len(self._minds)

    def __contains__(self, mind: object) -> bool:
        return any(areSame(each, mind) for each in self)

    def excluding(self, mind: object) -> MindGroup:
        """
        Answer a live view of those who are not C{mind}, C{None} being nobody: all but the sender.

        A mind that a client has sent along is the same as the one that it logged in with.
        """
        others = _Filtered(self, lambda to: not areSame(to[0], mind))
        return MindGroup(others, reactor=self._reactor)

    @overload
    def callRemote(
        self, name: str | bytes, /, *args: Any, pbanswer: Literal[False], **kw: Any
    ) -> None: ...

    @overload
    def callRemote(
        self, name: str | bytes, /, *args: Any, pbtimeout: float | None = None, **kw: Any
    ) -> Deferred[list[tuple[bool, Any]]]: ...

    def callRemote(
        self,
        name: str | bytes,
        /,
        *args: Any,
        pbanswer: bool = True,
        pbtimeout: float | None = None,
        **kw: Any,
    ) -> Deferred[list[tuple[bool, Any]]] | None:
        """
        Call a C{remote_} method of every client that is in the group now.

        Each client gets what it is sent in the order in which it was pushed.  A call of many
        clients does not keep the reactor: after some milliseconds it goes on in its next turn.
        Those who have left by then do not get it, nor do those who have come.

        @param name: the method's name, without C{remote_}.
        @param pbanswer: whether answers are wanted, as in Perspective Broker.
        @param pbtimeout: how many seconds to wait for the answers; C{None}: for ever.  Those whose
            turn has not come by then are left out.
        @return: C{None} if no answers are wanted; otherwise a Deferred of a list with one
            C{(success, result)} for each mind, in the order of the group, as a
            L{DeferredList<twisted.internet.defer.DeferredList>} has it.  The Deferred itself does
            not fail.  The result of a client that fails is a
            L{Failure<twisted.python.failure.Failure>}: of what it raised;
            L{twisted.spread.pb.DeadReferenceError} if it is gone, which ends its session, or has
            logged out meanwhile; L{twisted.spread.pb.PBConnectionLost} if it went before it
            answered; L{twisted.internet.defer.TimeoutError};
            L{MindIsBehind<avatarkit.MindIsBehind>}.  Cancelling the Deferred leaves the push out
            for those that it has not been sent to, and waits for nobody.
        """
        if not isinstance(name, (str, bytes)):
            raise TypeError(f"the name of a method is a str, not {name!r}")
        checkSeconds("pbtimeout", pbtimeout, orNone=True)
        if pbtimeout is not None and not pbanswer:
            raise TypeError("with pbanswer=False nothing is waited for: leave pbtimeout out")
        addressees = tuple(self._addressees())
        clock = clockOr(self._reactor or _reactorOf(addressees))
        message = Message(name, args, kw, answering=bool(pbanswer), toMany=len(addressees) > 1)
        push = Push(message, message.answering, [None] * len(addressees) if pbanswer else [])
        done = push.whenDone(pbtimeout, clock) if pbanswer else None
        lanesOf(clock).push(push, addressees, clock)
        return done

    def disconnect(
        self, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Log out the sessions of the minds that are in the group now, and close the connections of
        their clients, see L{Session.disconnect<avatarkit.Session.disconnect>}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        @raise TypeError: if there is a mind that no L{MindRegistry} knows the session of.
        """
        sessions = [session for mind, session, bounds in self._addressees()]
        if None in sessions:
            raise TypeError(f"{self!r} has a mind that no MindRegistry knows the session of")
        return _disconnect(sessions, timeout, reactor)

    def _addressees(self) -> Iterable[Addressee]:
        known = getattr(self._minds, "addressees", None)
        return _find(self._minds) if known is None else known()


def _disconnect(
    sessions: Iterable[Any], timeout: float, reactor: IReactorTime | None
) -> Deferred[None]:
    closing = [each.disconnect(timeout=timeout, reactor=reactor) for each in tuple(sessions)]
    return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)


@attrs.define(eq=False)
class _Filtered:
    """
    Those of a group of whom something is true.
    """

    _group: MindGroup
    _holds: Callable[[Addressee], object]

    def __iter__(self) -> Iterator[Any]:
        return (mind for mind, session, bounds in self.addressees())

    def __len__(self) -> int:
        return sum(1 for to in self.addressees())

    def addressees(self) -> Iterator[Addressee]:
        """
        Whom a push to those goes to.
        """
        return filter(self._holds, self._group._addressees())


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
        C{None}: any number.  Known for what is connected by TCP, also with TLS.
    @param maximumPending: how many pushes may wait for its answer before it is; C{None}: any
        number.
    @param whenBehind: called with the L{Session} of a client for each push that is left out for it:
        L{skip<avatarkit.skip>}, L{disconnect<avatarkit.disconnect>}, or something of yours.
    @param reactor: what measures the time, the global reactor if not given.
    """

    needsMinds: ClassVar[bool] = True
    _maximumBacklog: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _maximumPending: int | None = attrs.field(default=None, kw_only=True, repr=False)
    _whenBehind: Callable[[Session], object] = attrs.field(default=skip, kw_only=True, repr=False)
    _reactor: IReactorTime | None = attrs.field(default=None, kw_only=True, repr=False)
    _bounds: Bounds | None = attrs.field(init=False, repr=False)
    _online: dict[Hashable, _Present] = attrs.field(factory=dict, init=False, repr=False)
    _all: _Present = attrs.field(init=False, repr=False)
    _byMind: dict[Hashable, tuple[Session, ...]] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checkReactor(self._reactor)
        bounds = Bounds(self._maximumBacklog, self._maximumPending, self._whenBehind)
        self._bounds = bounds if bounds.bounding else None
        self._all = _Present(self._bounds)
        _registries[self] = None

    def __getitem__(self, avatarId: Hashable) -> MindGroup:
        return MindGroup(_Addressed(self._online, avatarId), reactor=self._reactor)

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
        return MindGroup(self._all, reactor=self._reactor)

    def select(self, predicate: Callable[[Any], object]) -> MindGroup:
        """
        Answer the minds of the sessions that something is true of, a live view: C{predicate} is
        called with each session whenever one looks.
        """
        if not callable(predicate):
            raise TypeError(f"a predicate is called with a session, and {predicate!r} is not")
        selected = _Filtered(self.everyone, lambda to: predicate(to[1]))
        return MindGroup(selected, reactor=self._reactor)

    def disconnect(
        self, avatarId: Hashable, *, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Log out every session of an avatar ID, those without a mind too, and close the connections
        of their clients, see L{Session.disconnect<avatarkit.Session.disconnect>}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        """
        return _disconnect(self.sessions(avatarId), timeout, reactor)

    def sessions(self, avatarId: Hashable) -> tuple[Session, ...]:
        """
        Answer the sessions of an avatar ID at this moment, oldest first.
        """
        return tuple(self._online[avatarId].sessions) if avatarId in self._online else ()

    def addresseeOf(self, mind: object) -> Addressee | None:
        """
        Answer whom a push to a mind goes to, if it is online here.
        """
        sessions = self._byMind.get(identityOf(mind))
        return None if sessions is None else (mind, sessions[-1], self._bounds)

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
        if self._bounds is not None:
            self._bounds.forget(session)
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


_registries: WeakKeyDictionary[MindRegistry, None] = WeakKeyDictionary()


def _find(minds: Iterable[Any]) -> Iterator[Addressee]:
    """
    Answer whom a push to minds goes to that may or may not be online in some registry; of several
    the oldest one counts that has bounds.
    """
    registries = tuple(_registries)
    for mind in minds:
        found = [to for to in (each.addresseeOf(mind) for each in registries) if to is not None]
        bounded = [to for to in found if to[2] is not None]
        yield (*bounded, *found, (mind, None, None))[0]


def _reactorOf(addressees: tuple[Addressee, ...]) -> IReactorTime | None:
    """
    Answer the reactor of the registry that knows the minds of a group that has none itself.
    """
    for mind, session, _ in addressees[:1]:
        for registry in _registries:
            if session is not None and registry.addresseeOf(mind) is not None:
                return registry._reactor
    return None
