"""
Telling several minds something together.

A group is a view of a collection of minds, of whatever kind; what their sessions are, and how far
they may be behind, is known to the registries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import repeat
from typing import Any, Literal, Protocol, overload
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from .._clients.minds import areSame
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .._tools.counting import countDown
from .delivery import Addressee, Push, lanesOf
from .wire import Message


class _Minds(Protocol):
    """
    What a group can be a view of.
    """

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class _Registry(Protocol):
    """
    What knows the sessions of minds.
    """

    reactor: IReactorTime | None

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Answer whom a push to a mind goes to, if it is known here.
        """


#: All registries, the oldest first.
registries: WeakKeyDictionary[_Registry, None] = WeakKeyDictionary()


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
        others = Filtered(self, lambda to: not areSame(to[0], mind))
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
        push = Push(message, addressees, message.answering)
        done = push.whenDone(pbtimeout, clock) if pbanswer else None
        lanesOf(clock).push(push, clock)
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
        return disconnectAll(sessions, timeout, reactor)

    def _addressees(self) -> Iterable[Addressee]:
        known = getattr(self._minds, "addressees", None)
        return _find(self._minds) if known is None else known()


def disconnectAll(
    sessions: Iterable[Any], timeout: float, reactor: IReactorTime | None
) -> Deferred[None]:
    closing = [each.disconnect(timeout=timeout, reactor=reactor) for each in tuple(sessions)]
    return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)


@attrs.define(eq=False)
class Filtered:
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

    @ivar avatar: a weak reference to the avatar.
    @ivar _again: how many times more those are there that are there more than once.
    """

    avatar: Callable[[], object] = lambda: None
    _minds: dict[int, Any] = attrs.field(factory=dict, init=False)
    _again: dict[int, int] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[Any]:
        for key, mind in self._minds.items():
            yield from repeat(mind, 1 + self._again.get(key, 0))

    def __len__(self) -> int:
        return self._size

    def addressees(self) -> Iterator[Addressee]:
        """
        Whom a push to them goes to.
        """
        return _find(self, self.avatar())

    def add(self, mind: Any) -> None:
        """
        Put a mind in, once more if it is there.
        """
        key = id(mind)
        if key in self._minds:
            self._again[key] = self._again.get(key, 0) + 1
        else:
            self._minds[key] = mind
        self._size += 1

    def remove(self, mind: Any) -> None:
        """
        Take a mind out, once if it is there more often.

        @raise KeyError: if it is not there.
        """
        key = id(mind)
        if key not in self._minds:
            raise KeyError(f"{mind!r} was never attached, or has been detached")
        if key in self._again:
            countDown(self._again, key)
        else:
            del self._minds[key]
        self._size -= 1


def _find(minds: Iterable[Any], avatar: object = None) -> Iterator[Addressee]:
    """
    Answer whom a push to minds goes to that may or may not be online in some registry; of several
    the oldest one counts that has bounds.
    """
    known = tuple(registries)
    for mind in minds:
        found = [to for to in (each.addresseeOf(mind, avatar) for each in known) if to is not None]
        bounded = [to for to in found if to[2] is not None]
        yield (*bounded, *found, (mind, None, None))[0]


def _reactorOf(addressees: tuple[Addressee, ...]) -> IReactorTime | None:
    """
    Answer the reactor of the registry that knows the minds of a group that has none itself.
    """
    known = next((mind for mind, session, _ in addressees if session is not None), None)
    knowing = (each for each in registries if each.addresseeOf(known) is not None)
    return next((each.reactor for each in knowing), None)
