"""
The life of sessions as a small model: what a full stack promises, without the stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from avatarkit import (
    ClientLost,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    RealmClosed,
    SessionEnded,
    TooManyConnections,
    TooManyLogins,
)
from avatarkit.testing import FakeConnection
from moves import WAITS, Gate, Moody
from scripted import Boom

MAXIMUM, IDLE_TIMEOUT, MAXIMUM_IDLE, RETIRE_TIMEOUT = 2, 10, 1, 4

#: The hooks of the scripted block.
UPWARD, DOWNWARD = ("admit", "attached"), ("detached", "release")


class Banned(Exception):
    """
    What logins fail with whose avatar is evicted.
    """


@attrs.define(eq=False)
class Life:
    """
    The model of an avatar: loading, ready, retiring, or condemned, which means ended but still in
    use.

    @ivar number: how many avatars its ID has had, including this one.
    @ivar load: which call of the factory it comes from, as long as that waits.
    @ivar since: when it was to go, and was told so or waited for.
    @ivar timer: the number of the timer that began last, so that of those that are due at the same
        time the oldest comes first.
    @ivar discarded: whether its logout is not to be called.
    @ivar ending: whether its logout has been called, or left out.
    """

    name: str
    state: str = "loading"
    users: list[Login] = attrs.field(factory=list)
    waiting: list[Login] = attrs.field(factory=list)
    proven: bool = False
    idleSince: float | None = None
    number: int = 0
    load: int | None = None
    manner: str = "passes"
    since: float | None = None
    timer: int = 0
    discarded: bool = False
    ending: bool = False


@attrs.define(eq=False, repr=False)
class Login:
    """
    The model of a session: how far it has got, and what it waits for.

    @ivar depth: 1 when it has a slot, 2 when the scripted block has admitted it, 3 when it has its
        avatar, 4 when the scripted block is attached, 5 when it is counted and registered.
    @ivar acts: what the scripted block does in each of its hooks.
    @ivar stuck: whether it has ended while a hook waits that does not mind being cancelled.
    @ivar pending: whether it counts as a login in progress.
    @ivar watched: whether its mind is to say when its client leaves.
    @ivar left: how many callbacks it could not take back from its mind.
    @ivar why: the kind of the reason for which its session has ended; C{None} until it does.
    @ivar told: what its client was told, as the only item; empty until it was.
    @ivar outcome: how the login should end, as the only item; empty while it waits.
    @ivar life: the avatar that it uses, or used last.
    @ivar real: the real login.
    """

    name: str
    mind: Moody | None
    acts: dict[str, str]
    depth: int = 0
    waits: str | None = None
    stuck: bool = False
    pending: bool = False
    watched: bool = False
    left: int = 0
    closing: bool = False
    reason: type[BaseException] | None = None
    why: type[BaseException] | None = None
    told: list[str] = attrs.field(factory=list)
    outcome: list[Any] = attrs.field(factory=list)
    life: Life | None = None
    real: Real = attrs.field(factory=lambda: Real())

    def __repr__(self) -> str:
        return f"<{self.name}: {self.depth}, {self.waits}, {self.outcome}>"


@attrs.define(eq=False)
class Real:
    """
    The real login that a model stands for.

    @ivar connection: what it is made over, if its session is to end with that.
    """

    result: Deferred[Any] | None = None
    outcome: list[Any] = attrs.field(factory=list)
    logout: Any = None
    connection: FakeConnection | None = None
    gate: Gate | None = None


class Cut(NamedTuple):
    """
    A connection that is cut unless the client leaves before.

    @ivar watched: whether its mind will say when it does.
    """

    time: float
    mind: Moody
    watched: bool


@attrs.define(eq=False)
class Model:
    """
    The model of a full stack: what it promises.

    @ivar clock: the clock of the stack.
    @ivar ceiling: how many logins may be in progress.
    @ivar loads: what the factory's next call does: C{"passes"}, C{"raises"}, or one of L{WAITS}.
    @ivar saves: what an avatar's next logout does: C{"passes"}, C{"raises"} or C{"waits"}.
    @ivar calls: how often the factory was called.
    @ivar timers: how many timers of avatars have begun.
    @ivar lives: the avatars that exist, by name.
    @ivar overdue: the avatars that were given up, and are not gone.
    @ivar numbers: how many avatars each ID has had.
    @ivar unsaved: the avatars whose logout was left out, by name and number.
    @ivar logged: how many failures should have been logged.
    @ivar closings: when to stop waiting for each close of the realm, and whether that was done.
    @ivar timed: whether avatars that take too long to go are given up.
    @ivar cuts: whose connections are to be cut.
    @ivar linger: how many seconds somebody is there after the last session.
    @ivar lingering: until when those are there who have no session.
    """

    clock: Clock
    ceiling: int | None = None
    loads: str = "passes"
    saves: str = "passes"
    calls: int = 0
    timers: int = 0
    logins: list[Login] = attrs.field(factory=list)
    lives: dict[str, Life] = attrs.field(factory=dict)
    overdue: list[Life] = attrs.field(factory=list)
    numbers: dict[str, int] = attrs.field(factory=dict)
    unsaved: set[tuple[str, int]] = attrs.field(factory=set)
    closed: bool = False
    logged: int = 0
    closings: list[list[float | None]] = attrs.field(factory=list)
    timed: bool = True
    cuts: list[Cut] = attrs.field(factory=list)
    linger: float = 0
    lingering: dict[str, float] = attrs.field(factory=dict)

    @property
    def pending(self) -> int:
        """
        How many logins are in progress.
        """
        return sum(each.pending for each in self.logins)

    def login(self, login: Login) -> None:
        """
        Begin a login.
        """
        self.begin(login)
        if login.depth and login.outcome[:1] != ["in"]:
            login.pending = True
            if not login.closing:
                self.watch(login)

    def begin(self, login: Login) -> None:
        """
        Begin a login, and go as far as that goes without waiting.
        """
        slots = sum(1 for each in self.logins if each.depth and each.name == login.name)
        if isInMood(login, "disconnected"):
            login.outcome.append(Boom)
        elif self.ceiling is not None and self.pending >= self.ceiling:
            login.outcome.append(TooManyLogins)
        elif self.closed:
            login.outcome.append(RealmClosed)
        elif slots >= MAXIMUM:
            login.outcome.append(TooManyConnections)
        else:
            login.depth = 1
            self.up(login)

    def watch(self, login: Login) -> None:
        """
        A login that waits has its mind say when its client leaves.
        """
        if isInMood(login, "disconnected") or isInMood(login, "notifyOnDisconnect"):
            self.end(login, Boom)
        else:
            login.watched = login.mind is not None

    def unwatch(self, login: Login) -> None:
        """
        The mind need not say so any more.
        """
        if not login.watched:
            return
        assert login.mind is not None
        login.watched = False
        raises = isInMood(login, "disconnected")
        if not login.mind.client.disconnected:
            raises = raises or isInMood(login, "dontNotifyOnDisconnect")
            login.left += raises
        self.logged += raises

    def up(self, login: Login) -> None:
        """
        Go on with a login from where it is.
        """
        if login.depth == 1:
            if not self.act(login, "admit"):
                return
            login.depth = 2
        if login.depth == 2:
            self.acquire(login)
            return
        if login.depth == 3:
            if not self.act(login, "attached"):
                return
            login.depth = 4
        login.depth = 5
        self.lingering.pop(login.name, None)
        if login.watched and isInMood(login, "disconnected"):
            self.end(login, Boom)
            return
        login.outcome.append("in")
        login.pending = False
        self.unwatch(login)

    def act(self, login: Login, hook: str) -> bool:
        """
        Return whether the scripted block lets a login pass at once.
        """
        if login.acts[hook] in WAITS:
            login.waits = hook
        elif login.acts[hook] == "raises":
            self.end(login, Boom)
        return login.acts[hook] == "passes"

    def acquire(self, login: Login) -> None:
        """
        Get the login its avatar, or make it wait for one.
        """
        life = self.lives.get(login.name)
        if life is not None and life.state == "ready":
            life.idleSince = None
            life.users.append(login)
            login.life = life
            login.depth = 3
            self.up(login)
            return
        login.waits = "avatar"
        if life is None:
            self.load(login.name, [login])
        else:
            life.waiting.append(login)
            self.hurry(life)

    def timer(self) -> int:
        """
        Return the number of a timer that begins.
        """
        self.timers += 1
        return self.timers

    def hurry(self, life: Life) -> None:
        """
        Somebody waits for it to be gone, if it is to go.
        """
        if life.state in ("condemned", "retiring") and life.since is None:
            life.since, life.timer = self.clock.seconds(), self.timer()

    def load(self, name: str, waiting: list[Login]) -> None:
        """
        Call the factory.
        """
        life = self.lives[name] = Life(name, waiting=waiting, load=self.calls, manner=self.loads)
        self.calls += 1
        if self.loads not in WAITS:
            self.loaded(life, self.loads == "passes")

    def loaded(self, life: Life, succeeds: bool) -> None:
        """
        Finish a call of the factory.
        """
        life.load = None
        if succeeds:
            life.number = self.numbers[life.name] = self.numbers.get(life.name, 0) + 1
        if life.state != "loading":  # it was cancelled, and did not mind
            self.retire(life) if succeeds else self.gone(life)
            return
        waiting, life.waiting = life.waiting, []
        for login in waiting:
            login.waits = None
        if not succeeds:
            del self.lives[life.name]
            for login in waiting:
                self.end(login, Boom)
            return
        life.state = "ready"
        life.users = [*waiting]
        for login in waiting:
            login.depth, login.life = 3, life
        for login in waiting:
            self.up(login)

    def end(
        self,
        login: Login,
        reason: type[BaseException],
        why: type[BaseException] | None = None,
    ) -> None:
        """
        End a session, unless it has ended.

        @param reason: what its login fails with.
        @param why: the kind of reason for which it ends, if that is another one, and was said.
        """
        if login.closing or not login.depth:
            return
        login.closing, login.reason = True, reason
        unsaid = reason in (LoginAbandoned, CancelledError)
        login.why = why or (reasonOf(login) if unsaid else reason)
        self.unwatch(login)
        if login.waits == "avatar":
            self.giveUp(login)
        elif login.waits is not None:
            self.logged += login.acts[login.waits] == "is thorny"
            login.stuck = login.acts[login.waits] == "is stubborn"
        if not login.stuck:
            login.waits = None
            self.down(login)

    def giveUp(self, login: Login) -> None:
        """
        Stop waiting for an avatar.
        """
        life = self.lives[login.name]
        life.waiting.remove(login)
        if life.waiting or life.state != "loading":
            return
        if life.manner == "is stubborn":
            life.state = "retiring"
            self.hurry(life)
        else:
            self.logged += life.manner == "is thorny"
            del self.lives[login.name]

    def down(self, login: Login) -> None:
        """
        Undo a login from where it is.
        """
        if login.depth == 5:
            self.tell(login)
            self.stay(login)
        if login.depth >= 4:
            login.depth = 3
            if self.undo(login, "detached"):
                return
        if login.depth == 3:
            login.depth = 2
            self.leave(login)
        if login.depth == 2:
            login.depth = 1
            if self.undo(login, "release"):
                return
        login.depth, login.pending = 0, False
        if not login.outcome:
            login.outcome.append(login.reason)

    def stay(self, login: Login) -> None:
        """
        Somebody lingers whose last session ends.
        """
        if self.linger and not self.closed and login.name not in self.sessions():
            self.lingering[login.name] = self.clock.seconds() + self.linger

    def sessions(self) -> Counter[str]:
        """
        Return how many sessions each name has.
        """
        there = (each for each in self.logins if each.depth == 5 and not each.closing)
        return Counter(each.name for each in there)

    def present(self) -> dict[str, int]:
        """
        Return the same with those who linger.
        """
        if self.closed and not any(login.depth for login in self.logins):
            self.lingering.clear()
        late = [name for name, until in self.lingering.items() if until > self.clock.seconds()]
        return dict.fromkeys(late, 0) | self.sessions()

    def tell(self, login: Login) -> None:
        """
        Tell the client why its session ends, unless it went itself.
        """
        if login.why in (LoggedOut, ClientLost):
            return
        if isInMood(login, "disconnected"):
            self.logged += 1
        elif login.mind is not None and not login.mind.client.disconnected:
            assert login.why is not None
            told = login.why if issubclass(login.why, SessionEnded) else SessionEnded
            login.told.append(told.__name__)

    def undo(self, login: Login, hook: str) -> bool:
        """
        Return whether the scripted block makes the undoing wait.
        """
        self.logged += login.acts[hook] == "raises"
        if login.acts[hook] == "waits":
            login.waits = hook
        return login.waits is not None

    def leave(self, login: Login) -> None:
        """
        Take the login off its avatar.
        """
        life = login.life
        assert life is not None
        life.users.remove(login)
        life.proven = life.proven or login.outcome[:1] == ["in"]
        if life.users:
            return
        if life.state == "condemned":
            self.retire(life)
            return
        life.idleSince, life.timer = self.clock.seconds(), self.timer()
        if self.closed or not life.proven:
            self.retire(life)
            return
        self.lives[login.name] = self.lives.pop(login.name)
        idle = [life for life in self.lives.values() if life.idleSince is not None]
        for each in idle[: len(idle) - MAXIMUM_IDLE]:
            self.retire(each)

    def retire(self, life: Life) -> None:
        """
        Call an avatar's logout, unless it is discarded.
        """
        life.state, life.idleSince, life.ending = "retiring", None, True
        self.hurry(life)
        if life.discarded:
            self.unsaved.add((life.name, life.number))
            self.gone(life)
        elif self.saves != "waits":
            self.logged += self.saves == "raises"
            self.gone(life)

    def gone(self, life: Life) -> None:
        """
        Finish an avatar's logout.
        """
        if life in self.overdue:
            self.overdue.remove(life)
        else:
            self.replace(life)

    def replace(self, life: Life) -> None:
        """
        Another one takes its place, if anybody waits.
        """
        del self.lives[life.name]
        if life.waiting:
            waiting, life.waiting = life.waiting, []
            self.load(life.name, waiting)

    def condemn(self, life: Life, reason: type[BaseException]) -> None:
        """
        An avatar that is ready must go, and those who use it go first.
        """
        if not life.users:
            self.retire(life)
            return
        life.state = "condemned"
        for login in list(life.users):
            self.end(login, reason)

    def evict(self, life: Life, *, discard: bool) -> None:
        """
        An avatar must go, whatever it is at, and so must all that wait for it.
        """
        life.discarded = life.discarded or (discard and not life.ending)
        for login in list(life.waiting):
            self.end(login, Banned)
        if life.state == "ready":
            self.condemn(life, Banned)
        self.hurry(life)

    def kick(self, login: Login, timeout: float) -> None:
        """
        Cut a client off.
        """
        self.end(login, LoginAbandoned, Kicked)
        if login.mind is None:
            return
        if isInMood(login, "disconnected"):
            self.logged += 1
        elif not login.mind.client.disconnected:
            watched = not isInMood(login, "notifyOnDisconnect")
            self.logged += not watched
            self.cuts.append(Cut(self.clock.seconds() + timeout, login.mind, watched))

    def cut(self, seconds: float) -> list[Moody]:
        """
        Return the minds whose connections are cut when time goes by.
        """
        until = self.clock.seconds() + seconds
        due = [each for each in self.cuts if each.time <= until]
        self.cuts = [each for each in self.cuts if each.time > until]
        minds: list[Moody] = []
        for cut in due:
            there = not (cut.mind.client.disconnected or any(each is cut.mind for each in minds))
            if cut.watched:
                self.logged += there and cut.mind.mood == "dontNotifyOnDisconnect"
            elif cut.mind.mood == "disconnected":
                self.logged += 1
                there = False
            minds += [cut.mind] * there
        return minds

    def advance(self) -> None:
        """
        Time has gone by: what is due happens in order.
        """
        due = self.due()
        while due:
            min(due, key=lambda each: each[:2])[2]()
            due = self.due()

    def due(self) -> list[tuple[float, int, Callable[[], None]]]:
        """
        Return what is due, and when it was.
        """
        due: list[tuple[float, int, Callable[[], None]]] = []
        for life in self.lives.values():
            if life.idleSince is not None:
                due.append((life.idleSince + IDLE_TIMEOUT, life.timer, partial(self.retire, life)))
            if life.since is not None and self.timed:
                due.append((life.since + RETIRE_TIMEOUT, life.timer, partial(self.lose, life)))
        for closing in self.closings:
            if closing[0] is not None:
                due.append((closing[0], 0, partial(self.closeLate, closing)))
        return [each for each in due if each[0] <= self.clock.seconds()]

    def lose(self, life: Life) -> None:
        """
        An avatar is given up.
        """
        self.overdue.append(life)
        self.replace(life)

    def closeLate(self, closing: list[float | None]) -> None:
        """
        A close has taken too long.
        """
        closing[0] = None
        self.lingering.clear()
        for login in self.logins:
            if login.depth and not login.outcome:
                login.outcome.append(login.reason)
        if not self.isEmpty():
            self.timed = False

    def isEmpty(self) -> bool:
        """
        Return whether everybody has gone.
        """
        return not self.lives and not any(login.depth for login in self.logins)

    def close(self, timeout: float | None) -> None:
        """
        Close the realm.
        """
        self.closed = True
        for life in list(self.lives.values()):
            self.hurry(life)
            if life.idleSince is not None:
                self.retire(life)
        for login in self.logins:
            self.end(login, RealmClosed)
        self.closings.append([None if timeout is None else self.clock.seconds() + timeout])


def reasonOf(login: Login) -> type[BaseException]:
    """
    Return why a session ends if nobody has said so: its client is gone, as far as can be told.
    """
    connection = login.real.connection
    lost = connection is not None and connection.disconnected
    saysSo = login.left > 0  # the callback that could not be taken back
    canTell = saysSo or not isInMood(login, "disconnected")
    if login.mind is not None and canTell:
        lost = lost or login.mind.client.disconnected
    return ClientLost if lost else LoggedOut


def isInMood(login: Login, mood: str) -> bool:
    """
    Return whether the adapter of a login's mind raises in a method.
    """
    return login.mind is not None and login.mind.mood == mood
