"""
Calling several minds together.

A group is a view of a collection of minds, of whatever kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Literal, overload

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .._clients.minds import areSame
from .._realm.closing import disconnectAll
from .._tools.checks import checkReactor, checkSeconds
from .._tools.clock import clockOr
from .addressees import Addressee, Minds
from .delivery import Push
from .lanes import lanesOf
from .lines import find, reactorOf
from .wire import Message


# Any: a mind is whatever the client, or the protocol, chose to send; the arguments and the answer
# are up to the caller and the client.
@attrs.define(eq=False, repr=False)
class MindGroup(Collection[Any]):
    """
    Minds that are called together: a live view of a collection of minds.

    A mind that is in the collection twice, for two sessions over one connection for example, is
    called twice.

    @param minds: the minds, which can be iterated over any number of times, and counted.
    @param reactor: measures the time; by default the reactor of the
        L{MindRegistry<avatarkit.MindRegistry>} that knows the minds, or the global one.
    """

    _minds: Minds = attrs.field(alias="minds")
    _reactor: IReactorTime | None = attrs.field(default=None, alias="reactor", kw_only=True)

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
        Return a live view of the group without C{mind}: everyone but the sender.  C{None} excludes
        nobody.

        A mind that a client has sent along is the same as the one that it logged in with.
        """
        others = Filtered(self._addressees, lambda to: not areSame(to.mind, mind))
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

        Each client gets what it is sent in the order in which it was pushed.  A call to many
        clients does not hold up the reactor: after some milliseconds it goes on in the reactor's
        next turn.  Clients that have left by then do not get it, nor do those that have come.

        @param name: the method's name, without C{remote_}.
        @param pbanswer: whether answers are wanted, as in Perspective Broker.
        @param pbtimeout: how many seconds to wait for the answers; C{None}: for ever.  Clients
            whose turn has not come by then are left out.
        @return: C{None} if no answers are wanted; otherwise a Deferred of a list with one
            C{(success, result)} for each mind, in the order of the group, like a
            L{DeferredList<twisted.internet.defer.DeferredList>}.  The Deferred itself does not
            fail.  The result of a client that fails is a
            L{Failure<twisted.python.failure.Failure>}: of what it raised;
            L{twisted.spread.pb.DeadReferenceError} if it is gone, which ends its session, or has
            logged out meanwhile; L{twisted.spread.pb.PBConnectionLost} if it went before it
            answered; L{twisted.spread.pb.ProtocolError} if it answered with a failure that cannot
            be read; L{twisted.internet.defer.TimeoutError};
            L{MindIsBehind<avatarkit.MindIsBehind>}.  Cancelling the Deferred leaves out those that
            the push has not been sent to, and waits for nobody.
        @raise TypeError: if Perspective Broker cannot send one of the arguments to one of the
            clients; nothing is sent to anybody then.  What is inside an object that can be sent is
            only known when it is encoded: that failure is then the result of each client.
        """
        if not isinstance(name, (str, bytes)):
            raise TypeError(f"the name of a method must be a str, not {name!r}")
        checkSeconds("pbtimeout", pbtimeout, orNone=True)
        if pbtimeout is not None and not pbanswer:
            raise TypeError("with pbanswer=False there is nothing to wait for: omit pbtimeout")
        addressees = tuple(self._addressees())
        clock = clockOr(self._reactor or reactorOf(addressees))
        message = Message(name, args, kw, answering=bool(pbanswer), toMany=len(addressees) > 1)
        message.check(to.mind for to in addressees)
        push = Push(message, addressees, message.answering)
        done = push.whenDone(pbtimeout, clock) if pbanswer else None
        lanesOf(clock).push(push, clock)
        return done

    def disconnect(
        self,
        reason: Exception | str | None = None,
        *,
        timeout: float = 5,
        reactor: IReactorTime | None = None,
    ) -> Deferred[None]:
        """
        Log out the sessions of the minds that are in the group now, and close the connections of
        their clients, see L{Session.disconnect<avatarkit.Session.disconnect>}.

        @return: a Deferred that fires with C{None} when all of them are closed.
        @raise TypeError: if there is a mind whose session no
            L{MindRegistry<avatarkit.MindRegistry>} knows.
        """
        sessions = []
        for to in self._addressees():
            if to.session is None:
                raise TypeError(f"no MindRegistry knows the session of {to.mind!r}")
            sessions.append(to.session)
        return disconnectAll(sessions, reason, timeout, reactor)

    def _addressees(self) -> Iterable[Addressee]:
        known: Callable[[], Iterable[Addressee]] | None = getattr(self._minds, "addressees", None)
        return find(self._minds) if known is None else known()


@attrs.define(eq=False)
class Filtered:
    """
    The minds of some addressees that satisfy a predicate.
    """

    _all: Callable[[], Iterable[Addressee]]
    _holds: Callable[[Addressee], object]

    def __iter__(self) -> Iterator[Any]:
        return (to.mind for to in self.addressees())

    def __len__(self) -> int:
        return sum(1 for to in self.addressees())

    def addressees(self) -> Iterator[Addressee]:
        """
        Return whom a push to them goes to.
        """
        return filter(self._holds, self._all())
