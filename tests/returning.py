"""
Clients that come back: minds that answer like one, real ones that say what happens to them, and a
realm for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    PerConnection,
    Realm,
    Resume,
    ResumingClient,
    Session,
)
from avatarkit.testing import FakeMind
from logs import logged
from scripted import IThing, Thing

# Any in this module: what is pushed, and what a login returns.


class Hero(Thing):
    """
    An avatar.

    @ivar over: whether it was logged out.
    """

    over = False

    def logout(self) -> None:
        """
        Be over.
        """
        assert not self.over
        self.over = True


def comer(token: bytes = b"", received: int = 0) -> FakeMind:
    """
    Return a mind whose client can come back.

    @param token: what it was given.
    @param received: how many pushes it has got.
    """
    return FakeMind({"sessionClaim": (token, received), "sessionTicket": None})


def ticketOf(mind: FakeMind) -> bytes:
    """
    Return the token that a client was given.
    """
    (call,) = (each for each in mind.calls if each.name == "sessionTicket")
    token: bytes = call.args[0]
    return token


def wasBack(mind: FakeMind) -> bool:
    """
    Return whether a client was told that it is back.
    """
    (call,) = (each for each in mind.calls if each.name == "sessionTicket")
    resumed: bool = call.args[1]
    return resumed


def pushesTo(mind: FakeMind) -> list[tuple[Any, ...]]:
    """
    Return the pushes that a client was sent: the number, the name and the arguments of each.
    """
    return [(*each.args[:2], *each.args[2]) for each in mind.calls if each.name == "sessionPush"]


class Returner(ResumingClient):
    """
    A client that takes note of what happens to it.

    @ivar heard: what happened, in order.
    """

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.heard: list[Any] = []
        self._wanted: list[tuple[Callable[[], object], Deferred[None]]] = []

    def hear(self, *what: Any) -> None:
        """
        Something happens.
        """
        self.heard.append(what if len(what) > 1 else what[0])
        for wanted in tuple(self._wanted):
            if wanted[0]():
                self._wanted.remove(wanted)
                wanted[1].callback(None)

    def until(self, wanted: Callable[[], object]) -> Deferred[None]:
        """
        Return a Deferred that fires when something is the case.
        """
        waiting: Deferred[None] = Deferred()
        self._wanted.append((wanted, waiting))
        if wanted():
            self._wanted.pop()
            waiting.callback(None)
        return waiting

    def untilHeard(self, *what: Any) -> Deferred[None]:
        """
        Return a Deferred that fires when it has heard something.
        """
        entry = what if len(what) > 1 else what[0]
        return self.until(lambda: entry in self.heard)

    def connected(self, perspective: Any, resumed: bool) -> None:
        """
        It is logged in.
        """
        self.hear("back" if resumed else "in")

    def lost(self, reason: Failure) -> None:
        """
        Its connection is lost.
        """
        self.hear("lost")

    def missed(self, count: int) -> None:
        """
        It has missed something.
        """
        self.hear("missed", count)

    def refused(self, reason: Failure) -> None:
        """
        It may not log in.
        """
        kind: Any = reason.type
        self.hear("refused", kind.decode().rpartition(".")[2])

    def sessionEnded(self, kind: str, text: str, mayReturn: float) -> None:
        """
        The server has ended its session.
        """
        self.hear("ended", kind, mayReturn)

    def remote_news(self, number: int, *more: object) -> int:
        """
        Be told something.
        """
        self.hear(number)
        return number


class ResumeTestCase(SynchronousTestCase):
    """
    A realm with a limit, a counter, and avatars that wait for their clients.

    @cvar hold: whether everything that a lost session has is kept.
    """

    hold = True

    def setUp(self) -> None:
        """
        Stack it.
        """
        self.clock = Clock()
        self.heroes: list[Hero] = []
        self.resume = Resume[Hero](60, hold=self.hold, reactor=self.clock)
        self.cache = AvatarCache[Any]()
        self.limit = ConnectionLimit(1)
        self.counter = ConnectionCounter[Any]()
        self.stack(self.limit)

    def stack(self, *blocks: Any) -> None:
        """
        Stack blocks on the rest.
        """
        self.resume = Resume[Hero](60, hold=self.hold, reactor=self.clock)
        self.cache = AvatarCache()
        waiting = self.resume(PerConnection(self.build)(self.cache(lambda avatarId: Thing())))
        self.realm = Realm(waiting, blocks=[*blocks, self.counter])
        self.realm.reactor = self.clock

    def build(self, session: Session) -> Hero:
        """
        Make an avatar.
        """
        self.heroes.append(Hero())
        return self.heroes[-1]

    def login(
        self, mind: object, avatarId: object = b"alice", *interfaces: Any
    ) -> Callable[[], object]:
        """
        Log in, and return the logout.
        """
        wanted: Any = interfaces or (IThing,)
        result: Any = self.realm.requestAvatar(avatarId, mind, *wanted)
        if isinstance(result, Deferred):
            result = self.successResultOf(result)
        logout: Callable[[], object] = result[2]
        return logout

    def session(self, mind: object) -> Session:
        """
        Return the session of a mind.
        """
        return next(each for each in self.realm.sessions if each.mind is mind)

    def lose(self, mind: FakeMind) -> Session:
        """
        Lose a client; return its session.
        """
        session = self.session(mind)
        mind.disconnect()
        session.logout()
        return session

    def lost(self) -> bytes:
        """
        Log in, and lose the client; return the token that it was given.
        """
        mind = comer()
        self.login(mind)
        self.lose(mind)
        return ticketOf(mind)

    def refused(self, token: bytes, why: str, **kw: Any) -> FakeMind:
        """
        Check that a token is refused: the login is a new one.
        """
        mind = comer(token, **kw)
        heroes = len(self.heroes)
        with logged() as said:
            self.login(mind)
        assert [each for each in said if each.startswith("warn")] == [
            f"warn: a login of b'alice' takes over nothing: {why}"
        ]
        assert repr(token) not in "".join(said)
        assert not wasBack(mind)
        assert len(self.heroes) == heroes + 1
        assert ticketOf(mind) not in (token, b"")
        return mind

    def clean(self) -> None:
        """
        Check that nothing is left.
        """
        assert self.resume.waiting == 0
        assert not self.realm.sessions
        assert all(each.over for each in self.heroes)
        assert len(self.limit.sessions(b"alice")) == len(self.counter) == 0
        assert self.realm.audit() == []
        assert self.clock.getDelayedCalls() == []
        comebacks: Any = self.resume._comebacks
        assert not any((comebacks._stays, comebacks._taking, comebacks._tickets._stays))
