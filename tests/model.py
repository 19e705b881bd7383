"""
The life of sessions as a small model: what a full stack promises, without the stack.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from avatarkit import RealmClosed, TooManyConnections
from avatarkit.testing import FakeMind
from scripted import Boom

MAXIMUM, IDLE_TIMEOUT, MAXIMUM_IDLE, RETIRE_TIMEOUT = 2, 10, 1, 4


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
    @ivar since: when it was to go, and was told so or waited for.
    @ivar discarded: whether its logout is not to be called.
    """

    name: str
    state: str
    users: list[Login] = attrs.field(factory=list)
    waiting: list[Login] = attrs.field(factory=list)
    proven: bool = False
    idleSince: float | None = None
    number: int = 0
    since: float | None = None
    discarded: bool = False


@attrs.define(eq=False)
class Login:
    """
    The model of a session: how far it has got, and what it waits for.

    @ivar depth: 1 when it has a slot, 2 when the scripted block has admitted it, 3 when it has its
        avatar, 4 when the scripted block is attached, 5 when it is counted and registered.
    @ivar acts: what the scripted block does in each of its hooks.
    @ivar outcome: how the login should end, as the only item; empty while it waits.
    @ivar life: the avatar that it uses, or used last.
    @ivar real: the real login.
    """

    name: str
    mind: FakeMind | None
    acts: dict[str, str]
    depth: int = 0
    waits: str | None = None
    closing: bool = False
    reason: type[BaseException] | None = None
    outcome: list[Any] = attrs.field(factory=list)
    life: Life | None = None
    real: Real = attrs.field(factory=lambda: Real())


@attrs.define(eq=False)
class Real:
    """
    The real login that a model stands for.
    """

    result: Deferred[Any] | None = None
    outcome: list[Any] = attrs.field(factory=list)
    logout: Any = None
    gate: Deferred[Any] | None = None


@attrs.define(eq=False)
class Model:
    """
    The model of a full stack: what it promises.

    @ivar clock: the clock of the stack.
    @ivar loading: the factory's calls that wait in the stack, by name; a call is cancelled when
        nobody waits for it any more.
    @ivar loads: what the factory's next call does: C{"pass"}, C{"wait"} or C{"raise"}.
    @ivar saves: what an avatar's next logout does, likewise.
    @ivar lives: the avatars that exist, by name.
    @ivar overdue: the avatars that were given up, and are not gone.
    @ivar numbers: how many avatars each ID has had.
    @ivar logged: how many failures should have been logged.
    """

    clock: Clock
    loading: dict[str, Deferred[Any]]
    loads: str = "pass"
    saves: str = "pass"
    logins: list[Login] = attrs.field(factory=list)
    lives: dict[str, Life] = attrs.field(factory=dict)
    overdue: list[Life] = attrs.field(factory=list)
    numbers: dict[str, int] = attrs.field(factory=dict)
    closed: bool = False
    logged: int = 0

    def login(self, login: Login) -> None:
        """
        Begin a login.
        """
        slots = sum(1 for each in self.logins if each.depth and each.name == login.name)
        if self.closed:
            login.outcome.append(RealmClosed)
        elif slots >= MAXIMUM:
            login.outcome.append(TooManyConnections)
        else:
            login.depth = 1
            self.up(login)

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
        login.outcome.append("in")

    def act(self, login: Login, hook: str) -> bool:
        """
        Return whether the scripted block lets a login pass at once.
        """
        if login.acts[hook] == "wait":
            login.waits = hook
        elif login.acts[hook] == "raise":
            self.end(login, Boom)
        return login.acts[hook] == "pass"

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
            self.lives[login.name] = Life(login.name, "loading", waiting=[login])
            self.load(login.name)
        else:
            life.waiting.append(login)
            self.hurry(life)

    def hurry(self, life: Life) -> None:
        """
        Somebody waits for it to be gone, if it is to go.
        """
        if life.state in ("condemned", "retiring") and life.since is None:
            life.since = self.clock.seconds()

    def load(self, name: str) -> None:
        """
        Call the factory.
        """
        if self.loads != "wait":
            self.loaded(name, self.loads == "pass")

    def loaded(self, name: str, succeeds: bool) -> None:
        """
        Finish a call of the factory.
        """
        life = self.lives[name]
        waiting, life.waiting = life.waiting, []
        for login in waiting:
            login.waits = None
        if not succeeds:
            del self.lives[name]
            for login in waiting:
                self.end(login, Boom)
            return
        life.state = "ready"
        life.number = self.numbers[name] = self.numbers.get(name, 0) + 1
        life.users = [*waiting]
        for login in waiting:
            login.depth, login.life = 3, life
        for login in waiting:
            self.up(login)

    def end(self, login: Login, reason: type[BaseException]) -> None:
        """
        End a session, unless it has ended.
        """
        if login.closing or not login.depth:
            return
        login.closing, login.reason = True, reason
        if login.waits == "avatar":
            self.giveUp(login)
        login.waits = None
        self.down(login)

    def giveUp(self, login: Login) -> None:
        """
        Stop waiting for an avatar.
        """
        life = self.lives[login.name]
        life.waiting.remove(login)
        if not life.waiting and life.state == "loading":
            del self.lives[login.name]
            self.loading.pop(login.name, None)

    def down(self, login: Login) -> None:
        """
        Undo a login from where it is.
        """
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
        login.depth = 0
        if not login.outcome:
            login.outcome.append(login.reason)

    def undo(self, login: Login, hook: str) -> bool:
        """
        Return whether the scripted block makes the undoing wait.
        """
        self.logged += login.acts[hook] == "raise"
        if login.acts[hook] == "wait":
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
        life.idleSince = self.clock.seconds()
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
        life.state, life.idleSince = "retiring", None
        self.hurry(life)
        if life.discarded:
            self.gone(life)
        elif self.saves != "wait":
            self.logged += self.saves == "raise"
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
            self.lives[life.name] = Life(life.name, "loading", waiting=life.waiting)
            life.waiting = []
            self.load(life.name)

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
        life.discarded = life.discarded or (discard and life.state in ("ready", "condemned"))
        for login in list(life.waiting):
            self.end(login, Banned)
        if life.state == "ready":
            self.condemn(life, Banned)
        self.hurry(life)

    def advance(self) -> None:
        """
        Time has gone by.
        """
        now = self.clock.seconds()
        for life in list(self.lives.values()):
            if life.idleSince is not None and life.idleSince + IDLE_TIMEOUT <= now:
                self.retire(life)
        for life in list(self.lives.values()):
            if life.since is not None and life.since + RETIRE_TIMEOUT <= now:
                self.overdue.append(life)
                self.replace(life)

    def close(self) -> None:
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
