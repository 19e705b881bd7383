"""
What a login of the L{protocols} meets on the server: a checker, a realm, and a way of leaving.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as globalReactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from avatarkit import AvatarCache, ConnectionCounter, ConnectionLimit, MindRegistry, PerConnection
from callers import Caller, certificate
from protocols import Row

# Any in this module: avatars, credentials, and a reactor.
reactor: Any = globalReactor

T = TypeVar("T")


class Way(Enum):
    """
    When a client leaves.
    """

    LOGGED_IN = "after a plain login"
    ANSWERED = "while a factory works, which then answers"
    NEVER = "while a factory works, which never answers"
    CHECKING = "while a checker works"


@implementer(ICredentialsChecker)
class Stage:
    """
    A checker, and what makes avatars: each waits if the way says so.

    @ivar asked: how many logins there were.
    @ivar waiting: what each login waits for.
    @ivar cancelled: how many of these were cancelled.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)
    realm: Any

    def __init__(self, row: Row, way: Way) -> None:
        self.row, self.way = row, way
        self.waiting: list[Deferred[Any]] = []
        self.asked = self.cancelled = 0
        self._begun: list[Deferred[None]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Let alice in.
        """
        self.asked += 1
        reactor.callLater(0, self._begin)
        password = b"secret" if isinstance(credentials.username, bytes) else "secret"
        if not credentials.checkPassword(password):
            raise UnauthorizedLogin
        return self._wait() if self.way is Way.CHECKING else b"alice"

    def make(self, avatarId: object) -> Any:
        """
        Make an avatar.
        """
        if self.way in (Way.ANSWERED, Way.NEVER):
            return self._wait()
        return self.row.makeAvatar()

    def _wait(self) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred(self._cancel if self.way is not Way.ANSWERED else None)
        self.waiting.append(waiting)
        reactor.callLater(0, self._begin)
        return waiting

    def _cancel(self, waiting: Deferred[Any]) -> None:
        self.cancelled += 1

    def _begin(self) -> None:
        begun, self._begun = self._begun, []
        for each in begun:
            each.callback(None)

    async def until(self, holds: Callable[[], object]) -> None:
        """
        Wait until something holds, after a login has begun, or begun to wait.
        """
        while not holds():
            self._begun.append(Deferred())
            await within(self._begun[-1])

    def answer(self) -> None:
        """
        The factory answers at last, if that is the way.
        """
        if self.way is Way.ANSWERED:
            for each in self.waiting:
                each.callback(self.row.makeAvatar())

    def left(self) -> list[str]:
        """
        Return what is left of all logins.
        """
        if self.way in (Way.CHECKING, Way.NEVER) and self.cancelled != len(self.waiting):
            return [f"{self.cancelled} of {len(self.waiting)} cancelled"]
        return []


class Stacked(Stage):
    """
    A realm with the four blocks.
    """

    def __init__(self, row: Row, way: Way) -> None:
        super().__init__(row, way)
        self.online, self.limit = MindRegistry(), ConnectionLimit(5)
        self.counter, self.cache = ConnectionCounter(), AvatarCache(maximumIdle=0)
        self.realm = self.online(self.limit(self.counter(self.source())))

    def source(self) -> Any:
        """
        Return what is below the other blocks.
        """
        return self.cache(self.make)

    def left(self) -> list[str]:
        """
        Return what is left: sessions, slots, counts, avatars, and all that an audit finds.
        """
        limit = self.limit.sessions(b"alice")
        left = [*self.realm.sessions, *limit, *self.counter, *self.cache, *self.online]
        return [*map(repr, left), *self.realm.audit(), *super().left()]


class Own(Stacked):
    """
    The same, with an avatar of its own for each session.
    """

    def source(self) -> Any:
        """
        Return what is below the other blocks.
        """
        return PerConnection(self.make)(self.cache(lambda avatarId: object()))


@implementer(IRealm)
class ByHand(Stage):
    """
    A realm that is not avatarkit's.
    """

    def __init__(self, row: Row, way: Way) -> None:
        super().__init__(row, way)
        self.realm = self
        self.logins = self.logouts = 0

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Log in, now or later.
        """
        assert self.row.interface in interfaces
        made = self.make(avatarId)
        return made.addCallback(self._enter) if isinstance(made, Deferred) else self._enter(made)

    def _enter(self, avatar: Any) -> Any:
        self.logins += 1
        return self.row.interface, avatar, self._leave

    def _leave(self) -> None:
        self.logouts += 1

    def left(self) -> list[str]:
        """
        Return whether there were more logins than logouts.
        """
        left = [f"{self.logins} logins, {self.logouts} logouts"] * (self.logins != self.logouts)
        return [*left, *super().left()]


def within(waiting: Deferred[T], seconds: float = 5) -> Deferred[T]:
    """
    Give up waiting for something after some seconds.
    """
    return waiting.addTimeout(seconds, reactor)


async def turns(number: int = 2) -> None:
    """
    Let the reactor take its course.
    """
    for _ in range(number):
        await deferLater(reactor, 0)


class Scene:
    """
    A server on a port of its own, and the client that it waits for.

    @ivar watching: the factory that it listens with.
    @ivar gone: fires when the server has noticed that the connection is lost.
    """

    def __init__(self, stage: Stage, *, watched: bool = True) -> None:
        self.stage = stage
        self.portal: Any = Portal(stage.realm, [stage])
        factory = stage.row.serve(self.portal)
        self.watching = stage.row.watch(factory, self.portal) if watched else factory
        self.gone: Deferred[None] = Deferred()
        self.caller: Caller | None = None
        self._build, self.watching.buildProtocol = self.watching.buildProtocol, self._noting

    def _noting(self, address: Any) -> Any:
        built = self._build(address)
        plain = built.connectionLost

        def connectionLost(*args: Any) -> None:
            try:
                plain(*args)
            finally:
                reactor.callLater(0, self.gone.callback, None)

        built.connectionLost = connectionLost
        self.built = built
        return built

    async def __aenter__(self) -> Scene:
        return self

    async def __aexit__(self, *reason: object) -> None:
        if self.caller is not None:
            if not self.caller.closed.called:
                self.caller.transport.abortConnection()
            await within(self.caller.closed)
            await within(self.gone)
        await self.listening.stopListening()

    async def call(self, over: str) -> Caller:
        """
        Connect the client, and wait until its login is as far as it gets.

        @param over: C{"TCP"}, C{"TLS"} or C{"STARTTLS"}.
        """
        starttls, where = over == "STARTTLS", {"interface": "127.0.0.1"}
        caller = self.stage.row.encrypted() if starttls else self.stage.row.call()  # type: ignore[misc]
        self.caller = caller
        if over == "TLS":
            self.listening = reactor.listenSSL(0, self.watching, certificate().options(), **where)
            options = ssl.optionsForClientTLS("localhost", trustRoot=certificate())
            reactor.connectSSL("127.0.0.1", self.listening.getHost().port, caller, options)
        else:
            self.listening = reactor.listenTCP(0, self.watching, **where)
            reactor.connectTCP("127.0.0.1", self.listening.getHost().port, caller)
        if self.stage.way is Way.LOGGED_IN:
            await within(caller.ready)
        else:
            await self.stage.until(lambda: self.stage.waiting)
        return caller

    async def leave(self) -> list[str]:
        """
        Make the client leave, let the factory answer, and return what is left.
        """
        assert self.caller is not None
        if not self.caller.closed.called:
            self.caller.transport.abortConnection()
        await within(self.gone)
        self.stage.answer()
        await turns()
        connections = map(repr, getattr(self.watching, "protocols", ()))
        return [*self.stage.left(), *connections]


STAGES: dict[str, Callable[[Row, Way], Stage]] = {
    "four blocks": Stacked,
    "PerConnection": Own,
    "a realm by hand": ByHand,
}
