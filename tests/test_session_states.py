"""
The table of what a session can look like from outside, in L{avatarkit._realm.session}, is true.

Sessions live through everything that can happen to them, three unusual things in one life at most,
and are looked at whenever code outside them runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import IMind, LoginAbandoned, Realm, Session
from avatarkit._realm import session as module
from avatarkit._realm.entrance import BackDoor
from avatarkit._realm.session import Hook, expire
from scripted import Boom, IThing, Thing

#: How many unusual things happen in one life.
UNUSUAL = 3

#: What a hook does, and what it can do besides when the login has returned a Deferred.
WAYS = ("return", "raise", "wait", "logout, return", "logout, raise", "logout, wait")
CANCELLING = ("cancel, return", "cancel, raise", "cancel, wait")

#: What a hook waits for: a Deferred without a canceller; one that has fired; a coroutine, which may
#: go on waiting when it is cancelled; or a Deferred with a canceller, and what that does.
WAITS = (
    *("bare", "done", "failed", "coroutine", "stubborn coroutine"),
    *("nothing", "succeed", "fail", "raise", "logout", "cancel"),
)


class Sight(NamedTuple):
    """
    What a session looks like: its state, whether it waits for a hook, and whether its login has yet
    to fire.
    """

    state: str
    waits: bool
    login: bool


@attrs.frozen
class Row:
    """
    A row of the table.

    @ivar following: the names of the rows that can come next.
    """

    name: str
    sight: Sight
    following: tuple[str, ...]


Change: TypeAlias = tuple[Sight, Sight]


def tableIn(source: str) -> list[Row]:
    """
    Return the table that stands as a comment in the source of a module.
    """
    lines = source.splitlines()
    rule = next(n for n, line in enumerate(lines) if re.fullmatch(r"#( +-{3,}){6}", line))
    starts = [each.start() for each in re.finditer("-+", lines[rule])]
    rows: list[list[str]] = []
    for line in lines[rule + 1 : lines.index("#", rule)]:
        cells = [line[start:end].strip() for start, end in pairwise((*starts, None))]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {more}" for above, more in zip(rows[-1], cells, strict=True)]
    return [rowOf(*cells) for cells in rows]


def rowOf(name: str, state: str, waits: str, login: str, what: str, following: str) -> Row:
    """
    Return a row of the table.
    """
    yes = {"yes": True, "no": False}
    sight = Sight(state.strip(), yes[waits.strip()], yes[login.strip()])
    return Row(name.strip(), sight, tuple(following.split()))


def disagreements(table: list[Row], seen: Mapping[Change, str]) -> list[str]:
    """
    Say where a table is wrong.

    @param seen: how sessions looked before and after, and in which life.
    """
    names = {row.sight: row.name for row in table}
    claimed = {(row.name, each) for row in table for each in row.following}
    found = {
        (names.get(before, str(before)), names.get(after, str(after))): life
        for (before, after), life in seen.items()
    }
    arrows = {(before, after) for before, after in found if before != after}
    rows = {name for change in found for name in change}
    return [
        *(f"no row: {name}" for name in rows - {*names.values()}),
        *(f"never: {name}" for name in {*names.values()} - rows),
        *(f"no arrow: {arrow} in {found[arrow]!r}" for arrow in arrows - claimed),
        *(f"never: {arrow}" for arrow in claimed - arrows),
    ]


@attrs.define(eq=False)
class Choices:
    """
    Takes the first of several options, which is the usual one, unless told otherwise.

    @ivar told: which option to take instead, by the number of the question.
    @ivar asked: how many options each question had.
    @ivar story: what was unusual.
    """

    told: Mapping[int, int]
    asked: list[int] = attrs.field(factory=list, init=False)
    story: list[str] = attrs.field(factory=list, init=False)

    def choose(self, question: str, *options: str) -> str:
        """
        Return an option.
        """
        number = len(self.asked)
        self.asked.append(len(options))
        option = options[self.told.get(number, 0)]
        if number in self.told:
            self.story.append(f"{question}: {option}")
        return option


def everyChoice() -> Iterator[Choices]:
    """
    Return each way to choose; it must be used before the next one is asked for.
    """
    ways: list[dict[int, int]] = [{}]
    while ways:
        told = ways.pop()
        choices = Choices(told)
        yield choices
        if len(told) < UNUSUAL:
            for number in range(max(told, default=-1) + 1, len(choices.asked)):
                ways += [{**told, number: option} for option in range(1, choices.asked[number])]


@attrs.define(eq=False)
class Life:
    """
    The life of a session, whose surroundings choose what they do.

    @ivar realm: its realm.
    @ivar clock: the realm's reactor.
    @ivar choices: what its surroundings do.
    @ivar seen: what it looked like, one after the other.
    @ivar mind: the client, if there is one.
    @ivar session: the session.
    @ivar login: what the login returned, if it is a Deferred.
    @ivar wait: what a hook waits for.
    """

    realm: Realm
    clock: Clock
    choices: Choices
    seen: list[Sight] = attrs.field(factory=list, init=False)
    mind: Mind | None = attrs.field(default=None, init=False)
    session: Session = attrs.field(init=False)
    login: Deferred[Any] | None = attrs.field(default=None, init=False)
    wait: Deferred[Any] | None = attrs.field(default=None, init=False)

    def live(self) -> None:
        """
        Log in, and have things happen until the session is closed.
        """
        client = self.choices.choose("client", "there", "none", "gone")
        self.mind = None if client == "none" else Mind(self, client == "gone")
        hooks = (
            Hook(partial(self.hook, f"do {n}"), partial(self.hook, f"undo {n}")) for n in "123"
        )
        plan = (Hook(self.enter, self.passed), *hooks)
        self.session = Session(
            self.realm, plan, b"alice", self.mind, (IThing,), interface=IThing, aspect=Thing()
        )
        closed = self.session.whenClosed().addCallback(self.passed)
        self.open()
        self.look()
        for _ in range(20):
            if not closed.called:
                self.happen()
                self.look()
        assert closed.called, self.choices.story
        assert self.login is None or self.login.called, self.choices.story

    def open(self) -> None:
        """
        Log in.
        """
        inside = self.choices.choose("door", "outside", "inside") == "inside"
        try:
            login = self.session._open(None if inside else BackDoor(self.realm._entrance))
        except (Boom, LoginAbandoned):
            return
        if isinstance(login, Deferred):
            self.login = login.addBoth(self.answered)

    def happen(self) -> None:
        """
        Do something to the session from outside.
        """
        if self.session._state is module.OPEN:
            self.act(self.choices.choose("open", "logout", "die", "cancel"))
        else:
            acts = ("succeed", "fail", "logout", "die", "cancel", "expire", "give up")
            self.act(self.choices.choose("waits", *acts))

    def look(self) -> None:
        """
        See what the session looks like.
        """
        session = self.session
        waits, login = session._waiting is not None, session._login is not None
        self.seen.append(Sight(session._state.name, waits, login))

    def act(self, what: str) -> None:
        """
        Do something to the session, or raise, and look at the session before and after that.
        """
        self.look()
        wait = self.wait
        if what == "raise":
            raise Boom
        if what == "logout":
            self.session.logout()
        elif what == "cancel" and self.login is not None:
            self.login.cancel()
        elif what == "die" and self.mind is not None:
            self.mind.die()
        elif what == "expire" and self.session._login is not None:
            expire(self.session, 30)
        elif what == "give up":
            self.clock.advance(60)
        elif what in ("succeed", "fail") and wait is not None and not wait.called:
            wait.callback(Thing()) if what == "succeed" else wait.errback(Boom())
        self.look()

    def enter(self, session: Session) -> None:
        """
        Be the realm, which lets the session in.
        """
        self.act(self.choices.choose("enter", "nothing", "raise"))

    def passed(self, ignored: object) -> None:
        """
        Be the realm when the session leaves, or somebody who waits for that.
        """
        self.look()

    def answered(self, result: object) -> None:
        """
        Be who asked for the login.
        """
        self.act(self.choices.choose("login", "nothing", "logout", "cancel"))

    def hook(self, name: str, session: Session) -> object:
        """
        Be a hook.
        """
        self.look()
        ways = WAYS if self.login is None else WAYS + CANCELLING
        *acts, end = self.choices.choose(name, *ways).split(", ")
        for each in acts:
            self.act(each)
        if end != "wait":
            self.act(end)
            return None
        return self.waiting(self.choices.choose("wait", *WAITS))

    def waiting(self, kind: str) -> object:
        """
        Return something to wait for.
        """
        if kind == "done":
            return succeed(Thing())
        if kind == "failed":
            return fail(Boom())
        if kind.endswith("coroutine"):
            return self.coroutine(stubborn=kind.startswith("stubborn"))
        self.wait = Deferred(None if kind == "bare" else partial(self.canceller, kind))
        return self.wait

    def canceller(self, what: str, wait: Deferred[Any]) -> None:
        """
        Be a canceller.
        """
        self.act(what)

    async def coroutine(self, *, stubborn: bool) -> object:
        """
        Be a coroutine that waits, and may end the session when it is done.
        """
        self.look()
        self.wait = Deferred()
        try:
            await self.wait
        except CancelledError:
            self.look()
            if not stubborn:
                raise
            self.wait = Deferred()
            await self.wait
        self.act(self.choices.choose("coroutine", "nothing", "raise", "logout", "cancel"))
        return Thing()


@implementer(IMind)
class Mind:
    """
    The client of a session.
    """

    backlog = None

    def __init__(self, life: Life, gone: bool) -> None:
        self.life, self.gone = life, gone
        self.callbacks: list[Callable[[object], object]] = []

    @property
    def disconnected(self) -> bool:
        """
        Whether it is gone.
        """
        self.life.look()
        return self.gone

    def callRemote(self, name: str, /, *args: object, **kw: object) -> None:
        """
        Nobody calls it.
        """
        raise NotImplementedError

    def notifyOnDisconnect(self, callback: Callable[[object], object]) -> None:
        """
        Take the callback.
        """
        self.callbacks.append(callback)
        acts = ("nothing", "raise", "logout", "die", "succeed", "fail")
        self.life.act(self.life.choices.choose("notify", *acts))

    def dontNotifyOnDisconnect(self, callback: Callable[[object], object]) -> None:
        """
        Give it back.
        """
        self.callbacks.remove(callback)
        acts = ("nothing", "raise", "logout", "die", "succeed", "fail", "cancel")
        self.life.act(self.life.choices.choose("don't notify", *acts))

    def die(self) -> None:
        """
        Be gone, and say so.
        """
        self.gone = True
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback(self)


class TableTests(SynchronousTestCase):
    """
    The table, beside what happens.
    """

    table = tableIn(inspect.getsource(module))
    seen: dict[Change, str] = {}

    def setUp(self) -> None:
        """
        Let sessions live, once for all tests.
        """
        realm, clock = Realm(lambda avatarId: Thing()), Clock()
        realm.reactor = clock
        for choices in () if self.seen else everyChoice():
            life = Life(realm, clock, choices)
            life.live()
            self.flushLoggedErrors(Boom)
            for change in pairwise(life.seen):
                self.seen.setdefault(change, "; ".join(choices.story))
        assert not clock.getDelayedCalls()

    def test_true(self) -> None:
        """
        A session always looks like a row of the table, and goes from one to another only as the
        table says; and every row, and every arrow between two of them, happens.
        """
        assert disagreements(self.table, self.seen) == []

    def test_exact(self) -> None:
        """
        The table is wrong if a row or an arrow is missing, if there is one more, or if a row says
        something else.
        """
        for row in self.table:
            others = [each for each in self.table if each is not row]
            state, waits, login = row.sight
            wrong = [
                *(attrs.evolve(row, sight=Sight(each.name, waits, login)) for each in module.State),
                attrs.evolve(row, sight=Sight(state, not waits, login)),
                attrs.evolve(row, sight=Sight(state, waits, not login)),
                *(
                    attrs.evolve(row, following=tuple({*row.following} ^ {each.name}))
                    for each in others
                ),
            ]
            assert disagreements(others, self.seen)
            for told in wrong:
                assert (told == row) is not bool(disagreements([*others, told], self.seen)), told
