"""
Whatever happens to clients that come back, and in whatever order: they get what was pushed, without
a gap or a double and in order, their avatars live once, who comes and who goes is told in turn, and
nothing is left at the end.

    python tests/test_resume_machine.py --runs 20000
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    Farewell,
    LoginRefused,
    MindRegistry,
    PerConnection,
    Presence,
    Realm,
    Resume,
    Session,
    Unresponsive,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from avatarkit._push.journal import Journal, journalFor
from avatarkit.testing import FakeMind
from scripted import IThing, Thing

# Any in this module: what is pushed, and what a login returns.

USERS = (b"alice", b"bob")


class Hero(Thing, Avatar):
    """
    An avatar.
    """

    over = False

    def logout(self) -> None:
        """
        Be over, once.
        """
        assert not self.over
        self.over = True


@attrs.define(eq=False)
class Hesitant(Block[Any]):
    """
    A block whose hooks wait, now and then, until somebody lets them go on.
    """

    dice: Random
    waits: list[Deferred[None]] = attrs.field(factory=list)

    def wait(self, probability: float) -> Deferred[None] | None:
        """
        Wait, perhaps.
        """
        if self.dice.random() >= probability:
            return None
        self.waits.append(Deferred())
        return self.waits[-1]

    def admit(self, session: Session) -> Deferred[None] | None:
        """
        Wait, perhaps.
        """
        return self.wait(0.04)

    release = attached = detached = admit


@attrs.define(eq=False)
class Client:
    """
    A client that comes back.

    @ivar mind: what it is logged in with, or was last.
    @ivar read: how many of the calls of that it has seen.
    @ivar cut: whether it sees no more of them.
    """

    user: bytes
    token: bytes = b""
    received: int = 0
    mind: FakeMind | None = None
    read: int = 0
    cut: bool = True
    answer: Deferred[Any] | None = None

    def begin(self, *, later: bool) -> FakeMind:
        """
        Return a new mind to log in with.
        """
        self.answer = Deferred() if later else None
        claim = self.answer or (self.token, self.received)
        self.mind = FakeMind({"sessionClaim": claim, "sessionTicket": None, "ping": None})
        self.read, self.cut = 0, False
        return self.mind


@attrs.define(eq=False)
class World:
    """
    A server and its clients.

    @ivar expected: what was pushed to whom, by journal, from the number at which that began.
    @ivar there: who has been said to have come, and not to have gone.
    @ivar came: how often somebody was said to have come.
    @ivar wrong: what was said that should not have been.
    """

    dice: Random
    clock: Clock = attrs.field(factory=Clock)
    heroes: list[Hero] = attrs.field(factory=list)
    expected: dict[Journal, tuple[int, list[int]]] = attrs.field(factory=dict)
    pushed: int = 0
    back: int = 0
    there: set[object] = attrs.field(factory=set)
    came: int = 0
    wrong: list[str] = attrs.field(factory=list)
    clients: list[Client] = attrs.field(init=False)
    hesitant: Hesitant = attrs.field(init=False)
    online: MindRegistry[Any] = attrs.field(init=False)
    cache: AvatarCache[Any] = attrs.field(init=False)
    resume: Resume[Any] = attrs.field(init=False)
    realm: Realm[Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        clock, dice = self.clock, self.dice
        self.clients = [Client(user) for user in USERS * 2]
        self.hesitant = Hesitant(dice)
        policies: list[Any] = [
            *(refuse, displaceOldest(reactor=clock)),
            displaceUnresponsive(reactor=clock, timeout=1),
        ]
        self.online = MindRegistry[Any](reactor=clock)
        self.cache = AvatarCache[Any](reactor=clock, idleTimeout=dice.choice([None, 0]))
        self.resume = Resume[Any](
            60,
            hold=dice.random() < 0.6,
            reactor=clock,
            maximumLost=dice.choice([1, 100, 100]),
        )
        limit = ConnectionLimit[Any](
            dice.choice([1, 2]), whenFull=dice.choice(policies), reactor=clock
        )
        waiting = self.resume(PerConnection(self.build)(self.cache(lambda avatarId: Thing())))
        presence = Presence[Any](dice.choice([0, 5, 70]), reactor=clock)
        presence.observe(arrived=self.arrived, departed=self.departed)
        blocks: list[Block[Any]] = [self.online, limit, ConnectionCounter[Any]()]
        blocks += [presence, self.hesitant]
        dice.shuffle(blocks)
        self.realm = Realm(waiting, blocks=[Farewell(reactor=clock), *blocks])
        self.realm.reactor = clock

    def build(self, session: Session) -> Hero:
        """
        Make an avatar.
        """
        self.heroes.append(Hero())
        return self.heroes[-1]

    def arrived(self, user: object) -> Deferred[None] | None:
        """
        Somebody has come.
        """
        if user in self.there:
            self.wrong.append("come twice")
        self.there.add(user)
        self.came += 1
        return self.hesitant.wait(0.1)

    def departed(self, user: object) -> Deferred[None] | None:
        """
        Somebody has gone.
        """
        held = any(each.held for each in self.realm.sessions if each.avatarId == user)
        if user not in self.there or (held and not self.realm.closing):
            self.wrong.append("gone too early")
        self.there.discard(user)
        return self.hesitant.wait(0.1)

    def sessionOf(self, client: Client) -> Session | None:
        """
        Return the session of a client.
        """
        return next((each for each in self.realm.sessions if each.mind is client.mind), None)

    def read(self, client: Client, calls: int | None = None) -> None:
        """
        Have a client see what it was sent: all of it, or so many calls.
        """
        if client.mind is None or client.cut:
            return
        ahead = client.mind.calls[client.read :][:calls]
        client.read += len(ahead)
        session = self.sessionOf(client)
        for call in ahead:
            if call.name == "sessionTicket":
                client.token = call.args[0]
                self.back += call.args[1]
            elif call.name == "sessionPush":
                number, _, (news,), _ = call.args
                assert number == client.received + 1, "a gap, or a double"
                client.received = number
                journal = None if session is None else journalFor(session)
                if journal is not None:
                    first, everything = self.expected[journal]
                    assert everything[number - first] == news, "out of order"
            elif call.name == "sessionEnded":
                client.token = b""

    def login(self, client: Client) -> None:
        """
        Log in, if the client is not there.
        """
        if not client.cut:
            return
        mind = client.begin(later=self.dice.random() < 0.2)
        try:
            login: Any = self.realm.requestAvatar(client.user, mind, IThing)
        except LoginRefused:
            client.cut = True
            return
        if isinstance(login, Deferred):
            login.addErrback(lambda failure: failure.trap(LoginRefused, CancelledError))

    def answerLate(self, client: Client) -> None:
        """
        Answer the question whether the client comes back.
        """
        answer, client.answer = client.answer, None
        if answer is not None and not client.cut and not answer.called:
            answer.callback((client.token, client.received))

    def lose(self, client: Client) -> None:
        """
        Lose a connection in the middle of what is sent over it; the server may notice later.
        """
        if client.mind is None or client.cut:
            return
        self.read(client, self.dice.randrange(3))
        client.cut = True
        if self.dice.random() < 0.7:
            self.notice(client)

    def notice(self, client: Client) -> None:
        """
        The server notices that a connection is lost.
        """
        if client.mind is None or not client.cut or client.mind.disconnected:
            return
        session = self.sessionOf(client)
        if session is not None and self.dice.random() < 0.2:
            session.disconnect(Unresponsive(), timeout=0, reactor=self.clock)
            return
        client.mind.disconnect()
        if session is not None:
            session.logout()

    def push(self, client: Client) -> None:
        """
        Push to the client's user, or to everybody.
        """
        self.pushed += 1
        group = self.dice.choice([self.online[client.user], self.online.everyone])
        minds = {id(each) for each in group}
        journals = set()
        for session in self.realm.sessions:
            journal = journalFor(session)
            if journal is None or id(session.mind) not in minds:
                continue
            if not session.ended or not journal.over:
                journals.add(journal)
        for journal in journals:
            self.expected.setdefault(journal, (journal.last + 1, []))[1].append(self.pushed)
        group.callRemote("news", self.pushed, pbanswer=False)

    def kick(self, client: Client) -> None:
        """
        End the sessions of a user.
        """
        self.realm.disconnect(client.user, "spam", reactor=self.clock)

    def leave(self, client: Client) -> None:
        """
        Log out.
        """
        session = self.sessionOf(client)
        if session is not None and not client.cut:
            self.read(client)
            session.logout()
            client.cut = True

    def evict(self, client: Client) -> None:
        """
        Have an avatar below go.
        """
        self.cache.evict(client.user)

    def advance(self, client: Client) -> None:
        """
        Let time pass.
        """
        self.clock.advance(self.dice.choice([0, 0, 0.5, 3, 20, 61]))

    def goOn(self, client: Client) -> None:
        """
        Let a hook go on.
        """
        if self.hesitant.waits:
            wait = self.hesitant.waits.pop(self.dice.randrange(len(self.hesitant.waits)))
            if not wait.called:
                wait.callback(None)

    def move(self) -> None:
        """
        Do something.
        """
        moves: list[Callable[[Client], None]] = [
            *([self.login] * 6 + [self.push] * 6 + [self.lose] * 4 + [self.goOn] * 4),
            *([self.notice, self.answerLate, self.advance] * 2),
            *(self.kick, self.leave, self.evict),
        ]
        self.dice.choice(moves)(self.dice.choice(self.clients))
        for each in self.clients:
            if each.mind is not None and each.mind.closings and not each.cut:
                self.read(each)
                each.cut = True
            if self.dice.random() < 0.5:
                self.read(each)

    def end(self) -> None:
        """
        Close the realm, and check that nothing is left.
        """
        closed = self.realm.close(reactor=self.clock)
        self.hesitant.dice = Random(0)
        while self.hesitant.waits:
            self.goOn(self.clients[0])
        self.clock.pump([0.1] * 100)
        assert closed.called
        assert not self.realm.sessions
        assert self.resume.waiting == 0
        assert (self.there, self.wrong) == (set(), [])
        assert all(each.over for each in self.heroes)
        assert self.realm.audit() == []
        assert not self.clock.getDelayedCalls()


class MachineTests(SynchronousTestCase):
    """
    Many lives of such a server.
    """

    def test_lives(self) -> None:
        """
        All goes well in each of them, and many clients come back.
        """
        back, came = live(range(200))
        assert back > 100
        assert came > 500


def live(seeds: range) -> tuple[int, int]:
    """
    Run lives of 60 moves each; return how often clients came back, and how often somebody came.
    """
    back = came = 0
    for seed in seeds:
        world = World(Random(seed))
        for _ in range(60):
            world.move()
        world.end()
        back, came = back + world.back, came + world.came
    return back, came


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--first", type=int, default=0)
    asked = options.parse_args()
    print(*live(range(asked.first, asked.first + asked.runs)))  # noqa: T201  # it is a program
