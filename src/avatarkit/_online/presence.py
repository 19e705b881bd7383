"""
Who is there, told to those who want to know: the first session of an ID is an arrival, and the end
of the last one a departure, unless another one begins soon.

Logins and logouts only change what is true of an ID; what observers are told of that is up to the
L{Observers<avatarkit._online.observers.Observers>}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .._realm.audit import Audited
from .._realm.block import Block
from .._realm.keys import Key, Keys, avatarIdOf, keysOf
from .._realm.realm import isClosing
from .._realm.session import Session
from .._realm.targets import refuseTarget
from .._tools.checks import checkReactor, checkSeconds, checkYesOrNo
from .._tools.kinds import Kinds
from .._tools.typevars import A
from .._waiting.slices import forEach
from .._waiting.timers import Timer, Timers
from .observers import Observer, Observers, Who, tellerOf

# Any in this module: an observer is called with IDs, whatever the credentials checkers make.


@attrs.define(eq=False)
class Someone(Who):
    """
    An ID of which there are sessions, were some not long ago, or whose departure is being told.

    @ivar sessions: how many there are.
    @ivar linger: when it will have gone, if there are none.
    @ivar realm: the realm of the session that ended last, if none has begun since.
    """

    sessions: int = 0
    linger: Timer | None = None
    realm: IRealm | None = None


@attrs.define(eq=False)
class Closer:
    """
    Somebody who waits until all who were in realms that are closed have departed, and observers
    know that.

    @ivar realms: the realms from which some have not.
    @ivar done: fires when there are none.
    """

    realms: set[IRealm]
    done: Deferred[None]


@attrs.define(eq=False)
class Presence(Audited, Block[A], Mapping[Hashable, int]):
    """
    Knows who is there, and tells those who L{observe}, and avatars that are L{IPresenceAware}, who
    comes and who goes: C{Presence(linger=10)}.

    An avatar ID arrives when its first session has its avatar, and departs when the last one has
    ended and no other has begun for C{linger} seconds.  For each ID arrivals and departures
    alternate, however sessions end.

    It is a read-only mapping from avatar ID to number of sessions, of those who are there.  For
    C{linger} seconds an ID may be there with no session at all.  While its arrival is told it is
    there; while its departure is told, it no longer is.  Anonymous sessions are counted together.

    With a C{key} it knows those of each key, and what is said here of avatar IDs goes for keys.

    A login or a logout never waits for observers.  If they take their time, they are told what is
    true when they are done: what came and went meanwhile is not told.  One that fails is logged, as
    is one that takes more than C{timeout} seconds, which is cancelled; the others are told all the
    same.

    When a realm is closed, nobody lingers there any longer, and C{close} waits until the departures
    are told.

    @ivar linger: how many seconds somebody is still there after their last session.
    @param timeout: how many seconds an observer may take for each call.
    @ivar key: a callable of the session that returns what it is counted under, something hashable:
        by default the avatar ID.
    @param reactor: measures the time; the global reactor by default.
    @ivar _there: those who are there.
    @ivar _leaving: those who are not, and whose departure is being told.
    @ivar _going: those of each realm who linger or leave.
    @ivar _closers: those who wait until there are none of some realms.
    """

    countsSessions: ClassVar[bool] = True

    linger: float = attrs.field(default=0)
    _timeout: float = attrs.field(default=30, alias="timeout", kw_only=True, repr=False)
    key: Key[A] = attrs.field(default=avatarIdOf, kw_only=True, repr=False)
    _reactor: IReactorTime | None = attrs.field(
        default=None, alias="reactor", kw_only=True, repr=False
    )
    _keys: Keys[A] | None = attrs.field(init=False, repr=False)
    _there: dict[Hashable, Someone] = attrs.field(factory=dict, init=False, repr=False)
    _leaving: dict[Hashable, Someone] = attrs.field(factory=dict, init=False, repr=False)
    _going: dict[IRealm, dict[Someone, None]] = attrs.field(factory=dict, init=False, repr=False)
    _closers: list[Closer] = attrs.field(factory=list, init=False, repr=False)
    _timers: Timers = attrs.field(init=False, repr=False)
    _observers: Observers = attrs.field(init=False, repr=False)
    _kinds: Kinds = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checkSeconds("timeout", self._timeout)
        checkReactor(self._reactor)
        self._keys = keysOf(self.key)
        self._timers = Timers(self._reactor)
        self._observers = Observers(self._timeout, self._reactor, self._settled)
        self._kinds = Kinds(self._there)

    @linger.validator
    def _checkLinger(self, attribute: object, linger: object) -> None:
        refuseTarget("Presence", "a number of seconds", linger)
        checkSeconds("linger", linger)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, avatarId: Hashable) -> int:
        if avatarId not in self._there:
            self._kinds.missed(avatarId)
        return self._there[avatarId].sessions

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._there)

    def __len__(self) -> int:
        return len(self._there)

    def observe(
        self,
        *,
        arrived: Callable[[Any], object] | None = None,
        departed: Callable[[Any], object] | None = None,
        already: bool = False,
    ) -> Callable[[], None]:
        """
        Have a callable called with each avatar ID that arrives, and another one with each that
        departs; either may be left out.

        For each ID, one call is made after the other: first to the avatar, and then to all
        observers in the order in which they were added; each is awaited.  Nobody is told of a
        departure whose arrival they were not told of.  An observer may log anybody in or out.

        @param arrived: called with an avatar ID, and awaited.
        @param departed: the same.
        @param already: whether C{arrived} is called for those who are there already, too, which
            takes the longer the more there are; by default the observer is told of them, and so of
            their departures, only after they have departed and come again.
        @return: a callable that stops this: no more calls are made then.  Calling it again is
            harmless.
        @raise TypeError: if there is nothing to call, or it cannot be called.
        """
        for name, given in (("arrived", arrived), ("departed", departed)):
            if given is not None and not callable(given):
                raise TypeError(f"{name} must be a callable of an avatar ID, not {given!r}")
        if arrived is None and departed is None:
            raise TypeError("observe takes arrived=, departed=, or both")
        checkYesOrNo("already", already)
        observer = Observer(arrived, departed, already)
        self._observers.add(observer)
        if already:
            forEach(self._there.values(), self._observers.look, self._reactor)
        return partial(self._observers.remove, observer)

    def attached(self, session: Session[A]) -> None:
        """
        Count the session; if it is the first one, somebody arrives.
        """
        key = session.avatarId if self._keys is None else self._keys.note(session)
        who = self._there.get(key)
        if who is None:
            who = self._arrive(key, session)
        elif who.linger is not None:
            self._stay(who)
        who.sessions += 1
        if who.told is None:
            self._observers.look(who)

    def detached(self, session: Session[A]) -> None:
        """
        Stop counting the session; if it was the last one, somebody departs, perhaps later.
        """
        who = self._there[session.avatarId if self._keys is None else self._keys.forget(session)]
        who.sessions -= 1
        if who.sessions:
            return
        who.realm, who.departing = session.realm, tellerOf(session.avatar, "departed")
        self._going.setdefault(session.realm, {})[who] = None
        if self.linger and not isClosing(session.realm):
            who.linger = self._timers.start(self.linger, partial(self._over, who))
        else:
            self._depart(who)

    def close(self) -> Deferred[None] | None:
        """
        Have those depart who linger in a realm that is closed.

        @return: a Deferred that fires with C{None} when all observers have been told of all
            departures so far.
        """
        closed = {realm for realm in self._going if isClosing(realm)}
        if not closed:
            return None
        closer = Closer(set(closed), Deferred(lambda done: self._hurry(closer)))
        self._closers.append(closer)
        for realm in closed:
            forEach(self._going.get(realm, ()), self._hasten, self._reactor)
        return closer.done

    def audit(self) -> Iterator[str]:
        """
        Say whose sessions are counted wrong.
        """
        sessions = [*self._sessionsPast(self.detached), *self._sessionsAt(self.detached)]
        actual = Counter(map(avatarIdOf if self._keys is None else self._keys.of, sessions))
        for avatarId in {**self._there, **actual}:
            counted = self.get(avatarId, 0)
            if counted != actual[avatarId]:
                yield (
                    f"{self!r} counts {counted} sessions of {avatarId!r}, "
                    f"and there are {actual[avatarId]}"
                )
        going = {who for those in self._going.values() for who in those}
        for avatarId, who in self._there.items():
            if bool(who.sessions) is (who.linger is not None and who in going):
                yield f"{avatarId!r} wrongly lingers in {self!r}, or does not linger"

    def _arrive(self, key: Hashable, session: Session[A]) -> Someone:
        if type(key) is not self._kinds.only:
            self._kinds.loggedIn(key)
        who = self._leaving.pop(key, None)
        if who is None:
            who = Someone(key)
        else:
            self._notGoing(who)
        self._there[key] = who
        who.isThere, who.hurried = True, False
        if who.told is None:
            who.arriving = tellerOf(session.avatar, "arrived")
        return who

    def _stay(self, who: Someone) -> None:
        """
        Somebody has come back in time.
        """
        assert who.linger is not None
        who.linger.cancel()
        who.linger = who.departing = None
        self._notGoing(who)

    def _over(self, who: Someone) -> None:
        """
        Somebody has lingered long enough.
        """
        who.linger = None
        self._depart(who)

    def _depart(self, who: Someone) -> None:
        who.isThere = False
        self._leaving[who.key] = self._there.pop(who.key)
        self._observers.look(who)

    def _hasten(self, who: Someone) -> None:
        """
        Somebody lingered, or left, when their realm was closed, and may still do.
        """
        if who.linger is not None and isClosing(who.realm):
            who.linger.cancel()
            self._over(who)

    def _hurry(self, closer: Closer) -> None:
        """
        Nobody waits any longer.
        """
        self._closers.remove(closer)
        for realm in closer.realms:
            forEach(self._going.get(realm, ()), self._hurryOne, self._reactor)

    def _hurryOne(self, who: Someone) -> None:
        if who.realm is not None and isClosing(who.realm):
            self._observers.hurry(who)

    def _settled(self, who: Who) -> None:
        """
        The observers know whether somebody is there.
        """
        if not who.isThere:
            self._notGoing(self._leaving.pop(who.key))

    def _notGoing(self, who: Someone) -> None:
        """
        Somebody has left, and everybody knows; or they are back.
        """
        realm, who.realm = who.realm, None
        assert realm is not None
        going = self._going[realm]
        del going[who]
        if going:
            return
        del self._going[realm]
        for closer in tuple(self._closers):
            closer.realms.discard(realm)
            if not closer.realms:
                self._closers.remove(closer)
                closer.done.callback(None)
