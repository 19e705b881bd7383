"""
One login, from the moment the realm is asked until its logout is done: an undo stack.

A realm's I{plan} is the order of all its hooks, each a pair: something to do, and what undoes it.
A session is a cursor in that plan.  Opening moves the cursor up, one hook at a time, to the top;
closing moves it down to the bottom and undoes what it passes.  A login that fails half way turns
round where it is.  There is no second way in and no second way out, so these rules are kept here,
once, for every block:

  - I{Last in, first out}: there is one cursor, and it moves by one.
  - I{Once}: the cursor passes a hook upward only when the hook has returned, and passes it downward
    only once; a session that is going down never turns up again.
  - I{A synchronous stack returns synchronously}: the cursor moves on at once, unless a hook really
    waits; then the session goes on from where it was when that hook is done.
  - I{A failure stays where it happened}: what fails on the way down is logged, and the cursor
    moves on.
  - I{A client that leaves during the login leaves nothing behind}: Twisted's protocols do not say
    that it has left, so the session watches its mind while it waits on its way up, and turns round
    when the mind is dead; and it ends with its connection, if it has been given one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from functools import partial
from itertools import count
from typing import (
    Any,
    Generic,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeAlias,
    cast,
    runtime_checkable,
)

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread.pb import Broker, RemoteReference
from zope.interface import Interface

from .._clients.minds import closeConnection, isGone, mindOf
from .._clients.transports import connectionAt, connectionBehind
from .._perspectives.calls import CURRENT, Call, cancelCalls, current, undoing
from .._perspectives.standins import standInFor
from .._tools.adapting import adapted
from .._tools.checks import checkReactor, checkSeconds
from .._tools.failures import copyOf, twin
from .._tools.saying import interfaceName, nameOf, say
from .._tools.typevars import A
from .._waiting.awaiting import LATER, awaited, cancel, settle
from .._waiting.circles import Waiting, path
from .._waiting.shielding import Wait
from ..errors import (
    ClientLost,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    LoginRefused,
    LoginTimedOut,
    SessionEnded,
    Unresponsive,
    UnsupportedInterface,
)
from ..interfaces import IConnection, IMind
from .entrance import Entrance

#: What a realm returns from a login, as in L{twisted.cred}: the interface, the aspect, and the
#: logout.
LoginResult: TypeAlias = tuple[type[Interface], object, Callable[[], None]]


class Hook(NamedTuple):
    """
    What is done when a session passes on its way up, and what undoes it on its way down.

    @ivar decides: whether it decides on the login, so that C{False} can only be meant as a refusal.
    @ivar timed: whether undoing it is given up if it takes too long.
    """

    do: Callable[[Session], object]
    undo: Callable[[Session], object]
    decides: bool = False
    timed: bool = True


class Door(Protocol):
    """
    Where a login comes in from outside, as far as its session needs to know.
    """

    def begun(self) -> None:
        """
        The login waits.
        """

    def over(self) -> None:
        """
        It has succeeded, or is undone.
        """

    def told(self, failure: Failure, avatarId: Hashable) -> Failure:
        """
        Return what it fails with to the client.
        """


@runtime_checkable
class Timing(Protocol):
    """
    A block that limits how long a login may take.
    """

    def timeLogin(self, session: Session, login: Deferred[LoginResult]) -> None:
        """
        A login waits.

        @param login: the Deferred that it returns.
        """


class House(Protocol):
    """
    A realm, as far as its sessions need to know it.
    """

    @property
    def _entrance(self) -> Entrance:
        """
        Its entrance, and way out.
        """

    @property
    def _timing(self) -> tuple[Timing, ...]:
        """
        Its blocks that limit how long a login may take.
        """


#: What ends the sessions that stand on an inner one, before it ends.
Above = Callable[["BaseException | None", Callable[["Session"], object]], object]


class State(Enum):
    """
    Where a session is in its life; it only ever moves forward.
    """

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


OPENING, OPEN, CLOSING, CLOSED = State

# Besides its State a session has a hook that it waits for, or none (_waiting), and a Deferred that
# was returned from the login and has not fired, or none (_login).  Code outside this module sees a
# session in one of these rows, and sees it go from one to another only as the last column says;
# tests/test_session_states.py walks the table.
#
#   row        state    waits  login  what happens                          next
#   ---------  -------  -----  -----  ------------------------------------  ------------------------
#   starting   OPENING  no     no     the hooks run, inside requestAvatar   waiting open closing
#                                                                           closed
#   waiting    OPENING  yes    yes    a hook waits                          resumed open stuck
#                                                                           dropped failing closing
#   resumed    OPENING  no     yes    it is done, and the next hooks run    waiting open failing
#                                                                           closing
#   open       OPEN     no     no     logged in                             closing
#   stuck      CLOSING  yes    yes    ended while a hook waits: it is       failing dropped
#                                     being cancelled, and takes its time
#   dropped    CLOSING  yes    no     the same, and nobody waits for the    closing stuck
#                                     login (or it is not returned yet)
#   failing    CLOSING  no     yes    the hooks are undone; the login       stuck closing closed
#                                     fails when that is done
#   closing    CLOSING  no     no     the hooks are undone                  dropped failing closed
#   closed     CLOSED   no     no     the last undo is done
#
# A session that is held is closing, and the first of its hooks is being undone, which waits until
# the session is let go.
#
# A login whose time is over goes where one goes that is cancelled.  An undo that is given up is no
# row of its own: the next one is undone.
#
# From starting to closed: the realm does not let the session in.  From waiting to open: the last
# hook is done.  From waiting to closing: the login is cancelled, and the hook ends without a word.
# From failing to stuck, and from closing to dropped: a hook on the way up ends its own session and
# then waits all the same.  From dropped to stuck, and from closing to failing: requestAvatar, which
# has not returned yet, must return a Deferred after all.


class _Promise(Waiting[A]):
    """
    A Deferred of something that a session will have come to.
    """

    def __init__(self, session: Session, canceller: Callable[[Deferred[A]], None] | None) -> None:
        super().__init__(canceller)
        self.session = session

    def awaits(self) -> Deferred[object] | None:
        """
        Return what the session waits for.
        """
        return self.session._hindrance()


@attrs.define(eq=False)
class _Rarities:
    """
    What few sessions have, so that the others need no room for it.

    @ivar name: the session's C{id}.
    @ivar calls: the calls of its client that are suspended.
    @ivar whenFound: called with its connection, when that is known at last.
    @ivar leaving: fires when its client has been told that it has ended, if that takes time.
    @ivar held: when the session is held, fires when it is not any more.
    @ivar resumes: the session that it takes over.
    @ivar journal: what keeps the pushes to its client, if anything does.
    """

    name: str | None = None
    calls: dict[Call, None] = attrs.field(factory=dict)
    whenFound: list[Callable[[IConnection | None], object]] = attrs.field(factory=list)
    leaving: Deferred[None] | None = None
    held: Deferred[None] | None = None
    resumes: Session | None = None
    journal: object = None


#: How many bytes the text of a reason may have: much less than what Perspective Broker can send.
LONGEST_TEXT = 2**16

#: The numbers of the sessions whose C{id} was asked for.
_names = count(1)


def _noRefusal(hook: Callable[..., object]) -> TypeError:
    return TypeError(f"{nameOf(hook)} returned False: to refuse a login, raise LoginRefused")


@attrs.define(eq=False, repr=False)
class Session(Generic[A]):
    """
    One login.

    Sessions are made by a realm and compare by identity: two logins of one user, even over one
    connection, are two sessions.

    @ivar realm: the realm that was asked.
    @ivar interfaces: the interfaces that the login asked for.
    @ivar interface: the one that the avatar is seen through; C{None} until it is chosen.
    @ivar avatar: the avatar; C{None} until the session has it.
    @ivar aspect: the avatar, seen through C{interface}.
    @ivar loggedIn: whether the login has succeeded; stays true after the logout.
    @ivar reason: why the session has ended; C{None} until it does.  It is set before anything is
        undone, and stays what it is: a L{SessionEnded<avatarkit.SessionEnded>}, or what else ended
        it, as what a hook raised that refused the login.
    @ivar since: when the login began, in the seconds of the realm's reactor: through a
        L{WatchingFactory<avatarkit.transports.WatchingFactory>}, when its portal was asked, before
        the password was checked.
    @ivar _plan: the hooks, in order.
    @ivar _connection: what the login was made over, if a portal that knows it was asked.
    @ivar _above: for an inner session: is given why it ends, and calls its other argument with each
        session that stands on this one.  Those end first, and this one when they are gone.
    @ivar _depth: the cursor: how many hooks of the plan are done and not undone.
    @ivar _waiting: the hook's Deferred that is waited for on the way up.
    @ivar _undoing: the Deferred that is waited for on the way down.
    @ivar _door: where the login came in, while it waits.
    @ivar _login: the Deferred that the login returned, until it fires.
    @ivar _failure: what the login fails with, until it has.
    @ivar _watched: the mind that will say when the client is gone.
    @ivar _watchers: the Deferreds of L{whenClosed}.
    @ivar _rare: what few sessions have.
    """

    realm: IRealm
    _plan: tuple[Hook, ...] = attrs.field(alias="plan")
    _avatarId: Hashable = attrs.field(alias="avatarId")
    _mind: Any = attrs.field(alias="mind")  # Any: the client chooses it, or the protocol does
    interfaces: tuple[type[Interface], ...]
    interface: type[Interface] | None = None
    avatar: A = None  # type: ignore[assignment]  # until there is one
    aspect: Any = None  # Any: what an adapter makes of the avatar, as the interface says
    loggedIn: bool = False
    reason: BaseException | None = attrs.field(default=None, init=False)
    since: float = attrs.field(default=0, kw_only=True)
    _connection: IConnection | None = attrs.field(default=None, alias="connection")
    _above: Above | None = None
    _state: State = OPENING
    _depth: int = 0
    _waiting: Deferred[object] | None = None
    _undoing: Deferred[object] | None = None
    _door: Door | None = None
    _login: Deferred[LoginResult] | None = None
    _failure: Failure | None = None
    _watched: IMind | None = None
    _watchers: list[Deferred[None]] | None = None
    _rare: _Rarities | None = attrs.field(default=None, init=False)

    _log = Logger()

    def __repr__(self) -> str:
        seenAs = "" if self.interface is None else f" as {interfaceName(self.interface)}"
        return f"<Session of {self.avatarId!r}{seenAs}, {self._state.value}>"

    @property
    def avatarId(self) -> Hashable:
        """
        Who logs in, as the credentials checker said, or as a
        L{CanonicalId<avatarkit.CanonicalId>} has it.

        It cannot be set: blocks have filed the session under it.
        """
        return self._avatarId

    @avatarId.setter
    def avatarId(self, avatarId: Hashable) -> NoReturn:
        raise AttributeError(
            "the avatarId of a session cannot be set, since blocks have filed the session under "
            "it: stack a CanonicalId on top of the realm"
        )

    @property
    def mind(self) -> Any:
        """
        The client, or C{None}.  It cannot be set.
        """
        return self._mind

    @mind.setter
    def mind(self, mind: object) -> NoReturn:
        raise AttributeError("the mind of a session cannot be set: its client has sent it")

    @property
    def connection(self) -> IConnection | None:
        """
        What the session came through and ends with: every session has one if the server listens
        through a L{WatchingFactory<avatarkit.transports.WatchingFactory>}; without it, sessions of
        Perspective Broker have one, those without a mind as soon as the login is answered.

        An inner session, below an L{AvatarCache<avatarkit.AvatarCache>}, has none.
        """
        return self._connection or connectionBehind(self.mind)

    @property
    def lastActive(self) -> float | None:
        """
        When the user did something last, in the reactor's seconds: over Perspective Broker, a call,
        by any session of the connection; elsewhere, whatever arrived.  C{None} without a
        connection.
        """
        connection = self.connection
        return None if connection is None else connection.lastActive

    @property
    def id(self) -> str:
        """
        A short name for the session, which no other one has in this process: for logs and links.
        It is made when it is asked for first.
        """
        rare = self._rarities
        if rare.name is None:
            rare.name = f"{next(_names):x}"
        return rare.name

    @property
    def ended(self) -> bool:
        """
        Whether the session is closing, or closed.
        """
        return self._state is not OPEN and self._state is not OPENING

    @property
    def held(self) -> bool:
        """
        Whether the session has ended because its client was lost, and keeps what it has for a
        client that comes back, see L{Resume<avatarkit.Resume>}.
        """
        return self._rare is not None and self._rare.held is not None

    @property
    def resumes(self) -> Session[A] | None:
        """
        The lost session that this one takes over, see L{Resume<avatarkit.Resume>}; C{None} for
        nearly all.
        """
        return None if self._rare is None else self._rare.resumes

    def logout(self, reason: Exception | str | None = None) -> None:
        """
        End the session, if it has not ended yet; harmless whenever it is called.  The client's
        connection stays.

        A login that is still in progress fails with L{LoginAbandoned}, or with the reason if that
        is a L{LoginRefused}.  A session that is C{held} is held no longer, unless the reason is
        that its client is lost, as it is by default.

        @param reason: why: a L{SessionEnded<avatarkit.SessionEnded>}, or the text of a
            L{Kicked<avatarkit.Kicked>}; by default a L{LoggedOut<avatarkit.LoggedOut>}, or a
            L{ClientLost<avatarkit.ClientLost>} if the client is known to be gone.
        @raise TypeError: if the reason is something else.
        """
        self._end(None if reason is None else asReason(reason, Kicked))

    def disconnect(
        self,
        reason: Exception | str | None = None,
        *,
        timeout: float = 5,
        reactor: IReactorTime | None = None,
    ) -> Deferred[None]:
        """
        End the session and close the client's connection: politely at first, and by force if it is
        still there after C{timeout} seconds.

        A client whose connection cannot be closed is logged out all the same.  An inner session,
        below an L{AvatarCache<avatarkit.AvatarCache>} for example, ends when the sessions that
        stand on it have been disconnected.

        @param reason: why, as for L{logout}; a L{Kicked<avatarkit.Kicked>} by default.
        @param timeout: how many seconds the client has to receive what was already sent.
        @param reactor: measures the time; the global reactor by default.
        @return: a Deferred that fires with C{None} when the session is closed.
        @raise TypeError: if the reason is neither an exception nor a text.
        """
        checkSeconds("timeout", timeout)
        checkReactor(reactor)
        why, closed = asReason(reason, Kicked), self.whenClosed()
        if self._above is not None:
            self._above(why, lambda each: each.disconnect(why, timeout=timeout, reactor=reactor))
            return closed
        self._end(why)
        failed = partial(
            say,
            self._log.failure,
            "the connection of {avatarId!r} cannot be closed",
            avatarId=self.avatarId,
        )
        leaving = None if self._rare is None else self._rare.leaving
        closeConnection(self._connection, self.mind, timeout, reactor, after=leaving, failed=failed)
        return closed

    def whenClosed(self) -> Deferred[None]:
        """
        Return a new Deferred that fires with C{None} when the last undo is done.
        """
        if self._state is CLOSED:
            return succeed(None)
        if self._watchers is None:
            self._watchers = []
        watcher: Deferred[None] = _Promise(self, None)
        self._watchers.append(watcher)
        return watcher

    def _open(self, door: Door | None = None) -> LoginResult | Deferred[LoginResult]:
        """
        Log in; called once, by the realm.

        @param door: where the login comes in from outside; an inner session's does not.
        @return: C{(interface, aspect, logout)}, or a Deferred of it if something waits.
            Cancelling the Deferred ends the session.
        @raise Exception: whatever the hook that failed raised, once everything is undone.
        """
        result = self._ascend()
        if self._state is OPEN:
            assert result is not None
            return result
        if self._state is CLOSED:
            return self._fail(self._takeFailure(), door)
        self._door = door
        if door is not None:
            door.begun()
        login = self._login = _Promise(self, self._cancelled)
        for each in self._house._timing:
            each.timeLogin(self, login)
        if self._state is OPENING:
            try:
                self._watch()
            except BaseException:  # somebody's adapter
                self._turn(Failure())
                self._stopWaiting()
        return login

    @property
    def _house(self) -> House:
        return cast("House", self.realm)

    @property
    def _wayOut(self) -> Entrance | None:
        """
        What limits how long it takes to undo something, if anything does.
        """
        return self._house._entrance

    def _now(self) -> float:
        """
        Return the time, as the realm measures it.
        """
        return self._house._entrance.now()

    def _expire(self, reason: Exception) -> None:
        """
        End a login that takes too long.  If it came in from outside, it fails now, whatever the
        hook that is waited for makes of being cancelled, and however long it takes to undo others.
        """
        self._end(reason)
        if self._door is None or self._login is None:
            return
        login, self._login = self._login, None
        login.errback(self._door.told(self._takeFailure(), self.avatarId))

    def _end(self, reason: BaseException | None) -> None:
        """
        End the session as L{logout} does.
        """
        if self._above is not None:
            self._above(reason, lambda each: each._end(reason))
            return
        if reason is None and not self.ended:
            reason = self._unsaid()  # which asks the mind, and somebody's adapter may do anything
        if self._state is OPEN:
            self._state, self.reason = CLOSING, reason
            cancelCalls(self, () if self._rare is None else self._rare.calls)
            self._descend()
        elif self._state is OPENING:
            assert reason is not None
            self._abandon(reason)
        elif self.held and not isLoss(self._unsaid() if reason is None else reason):
            letGo(self)

    def _unsaid(self) -> BaseException:
        """
        Return why the session ends if nobody has said so.
        """
        try:
            gone = isGone(self._connection, self._mind)
        except BaseException:  # somebody's adapter
            gone = False
        return lossOf(self._connection) if gone else LoggedOut()

    def _chooseInterface(self) -> None:
        """
        Choose the first interface asked for that fits the avatar, like
        L{twisted.words.service.WordsRealm}; the plan does this when there is an avatar.

        If the source has already chosen one, that one stays.

        @raise UnsupportedInterface: if none fits.
        """
        if self.interface is not None:
            self.aspect = self.avatar
            return
        for interface in self.interfaces:
            aspect = adapted(interface, self.avatar)
            if aspect is not None:
                self.interface, self.aspect = interface, aspect
                return
        names = " or ".join(map(interfaceName, self.interfaces))
        raise UnsupportedInterface(
            f"the avatar of {self.avatarId!r}, a {type(self.avatar).__qualname__}, "
            f"does not provide {names}",
            avatarId=self.avatarId,
            interfaces=self.interfaces,
        )

    def _isRising(self) -> bool:
        """
        Return whether the session is in a hook on its way up.
        """
        return self._state is OPENING or self._waiting is not None

    def _hindrance(self) -> Deferred[object] | None:
        """
        Return what the session waits for.
        """
        return self._undoing if self._waiting is None else self._waiting

    def _currentHook(self) -> str:
        """
        Return the name of the hook that the session waits for.
        """
        hook = self._plan[self._depth]
        return nameOf(hook.undo if self._waiting is None else hook.do)

    def _ascend(self) -> LoginResult | None:
        """
        Do what is left to do; return what the login returns, if it is done.

        What is done for one session may have been caused by another one, and is not its doing.
        """
        if CURRENT.get() is None:
            return self._rise()
        token = CURRENT.set(None)
        try:
            return self._rise()
        finally:
            CURRENT.reset(token)

    def _rise(self) -> LoginResult | None:
        for do, _undo, _, _ in self._plan[self._depth :]:
            if self._state is not OPENING:
                break
            try:
                result = do(self)
                waiting = None if result is None else awaited(result)
            except BaseException:
                self._turn(Failure())
                break
            if waiting is not None:
                if not self._wait(waiting):
                    return None
            elif result is False:
                self._done(result)
            else:
                self._depth += 1
        self._lookAfterMind()
        loggedIn = self._result() if self._state is OPENING else None
        if loggedIn is None:
            self._descend()
        else:
            self._opened(loggedIn)
        return loggedIn

    def _wait(self, waiting: Deferred[object]) -> bool:
        """
        Wait for a hook on the way up; return whether it is done already.
        """
        self._waiting = waiting
        result = settle(waiting, self._resume)
        if result is not LATER:
            self._done(result)
            return True
        if self._state is not OPENING:  # the hook ended its own session, and waits all the same
            self._cancel(waiting)
        return False

    def _resume(self, result: object) -> None:
        self._done(result)
        self._ascend()

    def _done(self, result: object) -> None:
        self._waiting = None
        if isinstance(result, Failure):
            self._turn(result)
        elif result is False and self._plan[self._depth].decides:
            self._turn(Failure(_noRefusal(self._plan[self._depth].do)))
        else:
            self._depth += 1

    def _turn(self, failure: Failure, reason: BaseException | None = None) -> None:
        """
        Go no further up.  The login fails with the first failure.

        @param reason: why the session ends, if it is not the failure itself.
        """
        self._state = CLOSING
        if self._failure is None:
            self._failure = failure
        if self.reason is None:
            self.reason = copyOf(failure) if reason is None else reason
        self._unwatch()

    def _abandon(self, reason: BaseException) -> None:
        """
        Go no further up, and cancel the hook that is waited for.
        """
        self._turn(Failure(_refusal(reason, self._avatarId)), reason)
        self._stopWaiting()

    def _stopWaiting(self) -> None:
        if self._waiting is not None:
            self._cancel(self._waiting)

    def _cancel(self, waiting: Deferred[object]) -> None:
        hook = self._currentHook()
        self._notCancelled(cancel(waiting), hook)

    def _notCancelled(self, failure: Failure | None, hook: str) -> None:
        if failure is not None:
            say(
                self._log.failure,
                "{hook} of a session of {avatarId!r} could not be cancelled",
                failure=failure,
                hook=hook,
                avatarId=self.avatarId,
            )

    def _watch(self) -> None:
        """
        Watch for the client to go, as long as the login waits.
        """
        mind = mindOf(self.mind)
        if mind is None:
            return
        if mind.disconnected:
            self._end(ClientLost())
        else:
            mind.notifyOnDisconnect(self._mindGone)
            self._watched = mind

    def _unwatch(self) -> None:
        mind, self._watched = self._watched, None
        try:
            if mind is not None and not mind.disconnected:
                mind.dontNotifyOnDisconnect(self._mindGone)
        except BaseException:  # somebody's adapter
            say(
                self._log.failure,
                "the mind of {avatarId!r} is still watched",
                avatarId=self.avatarId,
            )

    def _lookAfterMind(self) -> None:
        """
        Go no further up if the client has died and its mind has not come to say so, or if nobody
        can tell.
        """
        try:
            if self._watched is not None and self._watched.disconnected:
                self._abandon(ClientLost())
        except BaseException:  # somebody's adapter
            self._turn(Failure())

    @property
    def _rarities(self) -> _Rarities:
        if self._rare is None:
            self._rare = _Rarities()
        return self._rare

    @property
    def _calls(self) -> dict[Call, None]:
        """
        The calls of the client that are suspended.
        """
        return self._rarities.calls

    @property
    def _isClosed(self) -> bool:
        """
        Whether the last undo is done.
        """
        return self._state is CLOSED

    @property
    def _isWatched(self) -> bool:
        """
        Whether the session ends by itself if its client leaves now.
        """
        mind = self._mind
        if isinstance(mind, RemoteReference):
            return not mind.broker.disconnected
        return self._connection is not None

    def _found(self, broker: Broker) -> None:
        """
        The avatar is sent over the connection of a broker.
        """
        if self._connection is None and not isinstance(self._mind, RemoteReference):
            self._connection = connectionAt(broker)
            self._connection.notifyOnDisconnect(self._connectionLost)
        self._tellFound()

    def _unsent(self, failure: Failure) -> Failure:
        """
        The avatar cannot be sent: end the session, and return what the client gets instead.
        """
        self._end(copyOf(failure))
        return self._house._entrance.told(failure, self._avatarId)

    def _tellFound(self) -> None:
        rare = self._rare
        if rare is None or not rare.whenFound:
            return
        waiting, rare.whenFound = rare.whenFound, []
        for tell in waiting:
            tell(self._connection)

    def _called(self, message: str) -> None:
        """
        The client calls: tell the blocks that want to know, until one of them ends the session.

        @raise TooManyCalls: if it does so too often.
        """
        for called in self._callHooks:
            try:
                called(self, message)
            except Exception as refusal:
                refusal.__traceback__ = None  # which would grow, if it is raised again
                raise
            if self.ended:
                return

    @property
    def _isLimited(self) -> bool:
        """
        Whether somebody wants to know of each call.
        """
        return bool(self._callHooks)

    @property
    def _callHooks(self) -> tuple[Callable[[Session, str], object], ...]:
        realm: Any = self.realm  # which is one of ours
        hooks: tuple[Callable[[Session, str], object], ...] = realm._callHooks
        return hooks

    def _mindGone(self, mind: object) -> None:
        self._end(ClientLost())

    def _connectionLost(self, connection: object) -> None:
        self._end(lossOf(self._connection))

    def _descend(self, failed: object = None) -> None:
        """
        Undo what is left to undo.

        @param failed: the L{Failure<twisted.python.failure.Failure>} of the undo that was waited
            for last, if it failed.
        """
        token = CURRENT.set(undoing(self))
        try:
            self._undo(failed)
        finally:
            CURRENT.reset(token)

    def _undo(self, failed: object) -> None:
        plan, self._undoing = self._plan, None
        while True:
            if isinstance(failed, Failure):
                self._undoFailed(failed, plan[self._depth].undo)
            if not self._depth:
                break
            self._depth -= 1
            try:
                result = plan[self._depth].undo(self)
                waiting = self._undoing = None if result is None else awaited(result)
                failed = None if waiting is None else self._settle(waiting)
            except BaseException:
                failed = Failure()
            if failed is LATER:
                return
        self._closed()

    def _settle(self, undoing: Deferred[object]) -> object:
        """
        Return what has come of an undo; if that is not there yet, go on when it is, or when it
        takes too long.
        """
        wait = Wait(undoing, self._descend)
        early = settle(undoing, wait.arrived)
        if early is LATER and self._plan[self._depth].timed:
            wayOut = self._wayOut
            wait.timer = None if wayOut is None else wayOut.limit(partial(self._giveUp, wait))
        return early

    def _giveUp(self, wait: Wait[object], seconds: float) -> None:
        """
        An undo takes too long: go on with the next one.
        """
        undo, overdue = self._plan[self._depth].undo, self._house._entrance.overdue
        hook = nameOf(undo)
        say(
            self._log.error,
            "{hook} of a session of {avatarId!r} is given up: it did not finish in {seconds:g} "
            "seconds",
            hook=hook,
            avatarId=self.avatarId,
            seconds=seconds,
        )

        def late(result: object) -> None:
            del overdue[wait]
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._undoFailed(result, undo)

        overdue[wait] = hook, self.avatarId
        self._notCancelled(wait.giveUp(late), hook)
        self._descend()

    def _undoFailed(self, failure: Failure, undo: Callable[[Session], object]) -> None:
        say(
            self._log.failure,
            "{hook} failed while a session of {avatarId!r} was closing",
            failure=failure,
            hook=nameOf(undo),
            avatarId=self.avatarId,
        )

    def _result(self) -> LoginResult | None:
        """
        Return what the login returns; C{None} if nothing can stand before the avatar, which is not
        what its interface says.
        """
        assert self.interface is not None
        try:
            return self.interface, standInFor(self, self.interface), self.logout
        except BaseException:
            self._turn(Failure())
            return None

    def _fail(self, reason: Failure, door: Door | None) -> Deferred[LoginResult]:
        """
        Raise the reason why the login failed, or return it in a Deferred if it came over the
        network and cannot be raised.
        """
        if not isinstance(reason.value, BaseException):
            return fail(reason if door is None else door.told(reason, self.avatarId))
        try:
            raise reason.value.with_traceback(reason.tb)
        finally:
            del reason  # which this frame and the traceback would keep alive together

    def _opened(self, result: LoginResult) -> None:
        self._state = OPEN
        self.loggedIn = True
        login, self._login = self._login, None
        self._leaveDoor()
        if login is not None:
            login.callback(result)
        self._unwatch()

    def _closed(self) -> None:
        self._state = CLOSED
        if self._connection is not None:
            self._connection.dontNotifyOnDisconnect(self._connectionLost)
        self._tellFound()
        login, self._login = self._login, None
        door = self._leaveDoor()
        if login is not None:
            reason = self._takeFailure()
            login.errback(reason if door is None else door.told(reason, self.avatarId))
            del reason  # which this frame and the traceback would keep alive together
        watchers, self._watchers = self._watchers or [], None
        for watcher in watchers:
            watcher.callback(None)

    def _leaveDoor(self) -> Door | None:
        """
        Say that the login is in progress no longer, where it came in.
        """
        door, self._door = self._door, None
        if door is not None:
            door.over()
        return door

    def _takeFailure(self) -> Failure:
        failure, self._failure = self._failure, None
        assert failure is not None
        return failure

    def _cancelled(self, login: Deferred[LoginResult]) -> None:
        reason = self._unsaid()
        self._login = None
        self._end(reason)
        self._failure = None


def currentSession() -> Session | None:
    """
    Return the session that what runs now belongs to: in a method that a client calls, and in what
    that awaits, the session of this client; in what undoes something when a session ends, and in an
    avatar's C{logout}, this session.

    It follows C{await} and C{inlineCallbacks}, and not callbacks that are added to a Deferred.
    With the reactor of asyncio it also follows timers and connections that are made in a call, as
    long as the session is there.
    Below an L{AvatarCache<avatarkit.AvatarCache>}, and in C{logout} of an avatar from one, it is
    the avatar's own session, which has no client.

    @return: the session; C{None} everywhere else.
    """
    return cast("Session | None", current())


def expire(session: Session, seconds: float) -> None:
    """
    End a login that has taken longer than so many seconds.
    """
    say(
        session._log.error,
        "a login of {avatarId!r} is given up: {hook} did not finish in {seconds:g} seconds",
        avatarId=session.avatarId,
        hook=session._currentHook(),
        seconds=seconds,
    )
    session._expire(LoginTimedOut(avatarId=session.avatarId))


def loginOver(connection: IConnection, waiting: Deferred[Any]) -> Session | None:
    """
    Return the session over a connection whose login something waits for, if it shows that.
    """
    for each in path(waiting):
        if isinstance(each, _Promise) and each is each.session._login:
            session: Session = each.session
            return session if session._connection is connection else None
    return None


def whenFound(session: Session, tell: Callable[[IConnection | None], object]) -> None:
    """
    Have C{tell} called with the connection of a session, when that is known, or with C{None} when
    the session is closed.
    """
    session._rarities.whenFound.append(tell)


def takeLeave(session: Session, leaving: Deferred[None]) -> None:
    """
    Have a session that ends stay within reach until its client has been told.

    Until C{leaving} fires, which must be with C{None}, the client still gets what was pushed to it
    before, and its connection is closed only by force.
    """
    session._rarities.leaving = leaving


def isLeaving(session: Session) -> bool:
    """
    Return whether the client of a session that has ended is still to be told.
    """
    rare = session._rare
    return rare is not None and rare.leaving is not None and not rare.leaving.called


def isLoss(reason: object) -> bool:
    """
    Return whether a session that has ended for a reason has lost its client, which may come back.
    """
    return isinstance(reason, (ClientLost, Unresponsive))


def hold(session: Session) -> Deferred[None]:
    """
    Keep what a session has that has lost its client, until it is let go, or ended for another
    reason; called when the first of its hooks is undone.

    @return: a Deferred that fires with C{None} then.
    """
    held = session._rarities.held = Deferred()
    return held


def letGo(session: Session) -> None:
    """
    Hold a session no longer; harmless if it is not held.
    """
    rare = session._rare
    if rare is not None and rare.held is not None:
        held, rare.held = rare.held, None
        held.callback(None)


def takeOver(session: Session, lost: Session | None) -> None:
    """
    Take note that a session takes over a lost one, or none after all.
    """
    session._rarities.resumes = lost


def keepJournal(session: Session, journal: object) -> None:
    """
    Have something keep the pushes to the client of a session.
    """
    session._rarities.journal = journal


def journalOf(session: Session) -> object:
    """
    Return what keeps the pushes to the client of a session; C{None} if nothing does.
    """
    return None if session._rare is None else session._rare.journal


def backlogOf(session: Session) -> int | None:
    """
    Return how many bytes wait to be sent to the client of a session; C{None} if that is not known.
    """
    backlog: int | None = getattr(mindOf(session.mind), "backlog", None)
    if backlog is None and session.connection is not None:
        backlog = session.connection.backlog
    return backlog


def asReason(reason: Exception | str | None, kind: type[SessionEnded]) -> Exception:
    """
    Return why a session is to end.

    @param reason: an exception; the text of one, or C{None}, for one of the given kind.
    @raise TypeError: if it is something else, or if it says nothing that a client can be told.
    """
    if reason is None or isinstance(reason, str):
        reason = kind(reason)
    elif not isinstance(reason, Exception):
        raise TypeError(f"reason must be a SessionEnded, or the text of one, not {reason!r}")
    try:
        size = len(str(reason).encode())
    except Exception as failed:
        name = type(reason).__name__
        raise TypeError(f"reason must have a text, and str() of a {name} fails") from failed
    if size > LONGEST_TEXT:
        raise TypeError(f"the text of a reason must be at most {LONGEST_TEXT} bytes, not {size}")
    if isinstance(reason, SessionEnded):
        checkSeconds("mayReturn", reason.mayReturn)
    return reason


def lossOf(connection: IConnection | None) -> Exception:
    """
    Return why a session ends whose connection is lost, or whose mind is dead.
    """
    reason: Exception | None = getattr(connection, "reason", None)
    return ClientLost() if reason is None else reason


def _refusal(reason: BaseException, avatarId: Hashable) -> BaseException:
    """
    Return what a login fails with that is ended for some reason.
    """
    if isinstance(reason, LoginRefused) or not isinstance(reason, SessionEnded):
        return twin(reason)
    isSilent = isinstance(reason, (LoggedOut, ClientLost))
    return LoginAbandoned(None if isSilent else str(reason), avatarId=avatarId)


def hasLeft(session: Session) -> bool:
    """
    Return whether the client of a session is known to be gone.
    """
    return isGone(session._connection, session._mind)
