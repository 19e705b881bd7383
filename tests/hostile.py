"""
A scene with hostile clients of Perspective Broker, made from bytes.

The bytes are read as moves: what hostile clients send, as raw bytes or as messages that are more or
less well-formed; when they leave; what an honest client and the server do meanwhile.  In the end
every hostile client is gone, and then these hold:

  - every push has fired;
  - the books are clean: the realm has the sessions of the honest client and no others;
  - the honest client has been served all the time, and is served still;
  - avatarkit has logged no failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread.banana import Banana, BananaError

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    displaceOldest,
    displaceUnresponsive,
    refuse,
)
from avatarkit.testing import MemoryPortal
from avatarkit.testing._portal import Transport
from players import Client, Player

# Any in this module: what a hostile client sends can be anything.

#: Words that mean something to Perspective Broker.
WORDS = (
    *(b"None", b"tuple", b"list", b"dictionary", b"set", b"remote", b"local", b"unicode", b"class"),
    *(b"module", b"function", b"reference", b"dereference", b"persistent", b"instance", b"method"),
    *(b"boolean", b"lcache", b"cache", b"copy", b"frozenset", b"datetime", b"decimal", b"root"),
    *(b"message", b"answer", b"error", b"decref", b"decache", b"uncache", b"cachemessage"),
    *(b"version", b"didNotUnderstand", b"login", b"respond", b"loginAnonymous", b"notify", b"name"),
    *(b"twisted.spread.pb.CopyableFailure", b"twisted.spread.pb.Avatar", b"builtins.eval"),
    *(
        b"value",
        b"type",
        b"traceback",
        b"parents",
        b"frames",
        b"stack",
        b"check",
        b"trap",
        b"count",
    ),
    *(b"count", b"tb", b"cleanFailure", b"callRemote", b"__class__", b"unpersistable", b"true"),
)

#: The attributes of a failure that a client sends.
FAILURE = (b"value", b"type", b"traceback", b"parents", b"frames", b"stack", b"check", b"count")

#: How many moves a scene has at most.
MOST_MOVES = 60


class Choices:
    """
    Choices that are read from bytes; when there are no more, each is the first one.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def __bool__(self) -> bool:
        return self._place < len(self._data)

    def take(self, number: int) -> bytes:
        """
        Return some bytes as they are.
        """
        taken = self._data[self._place : self._place + number]
        self._place += number
        return taken

    def below(self, number: int) -> int:
        """
        Return a number below another one.
        """
        taken = self.take(1)
        return taken[0] % number if taken else 0

    def expression(self, depth: int = 0) -> Any:
        """
        Return what Perspective Broker could send, or could not.
        """
        kind = self.below(8 if depth < 4 else 5)
        if kind < 2:
            return self.below(8)
        if kind == 2:
            return WORDS[self.below(len(WORDS))]
        if kind == 3:
            return self.take(self.below(12))
        if kind == 4:
            return (self.below(256) - 128) * 1000003 ** self.below(8)
        if kind == 5:
            state: list[Any] = [b"dictionary"]
            for _ in range(self.below(6)):
                state.append([FAILURE[self.below(len(FAILURE))], self.expression(depth + 1)])
            return [b"twisted.spread.pb.CopyableFailure", state]
        return [self.expression(depth + 1) for _ in range(self.below(6))]


class _Encoder(Banana):
    """
    Encodes expressions as a client does.
    """

    def __init__(self) -> None:
        super().__init__(isClient=True)
        self.setPrefixLimit(64)
        self._selectDialect(b"pb")

    def encoded(self, expression: Any) -> bytes:
        """
        Return the bytes of an expression; none if there are no such bytes.
        """
        written: list[bytes] = []
        try:
            self._encode(expression, written.append)
        except BananaError:  # it is too large
            return b""
        return b"".join(written)


class Hostile:
    """
    A hostile client.
    """

    def __init__(self, portal: MemoryPortal) -> None:
        self.encoder, self.gone = _Encoder(), False
        self.protocol = portal.listening.buildProtocol(None)
        here, there = (IPv4Address("TCP", host, 1) for host in ("127.0.0.1", "192.0.2.66"))
        self.transport = Transport(self.protocol, peer=there, host=here)
        self.protocol.makeConnection(self.transport)
        self.send(b"\x02\x82pb")  # the dialect

    def send(self, data: bytes) -> None:
        """
        Send bytes; a server that fails, or closes the connection, loses it.
        """
        if self.gone:
            return
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self.leave()
        self.transport.take(None)
        if self.transport.disconnecting:
            self.leave()

    def say(self, *expression: Any) -> None:
        """
        Send a message.
        """
        self.send(self.encoder.encoded(list(expression)))

    def login(self, name: bytes, mind: Any) -> None:
        """
        Log in with a mind; the number of the challenger is 1 in a new connection.
        """
        self.say(b"message", 1, b"root", b"login", 1, [b"tuple", name], [b"dictionary"])
        self.say(b"message", 2, 1, b"respond", 1, [b"tuple", b"", mind], [b"dictionary"])

    def leave(self) -> None:
        """
        Lose the connection.
        """
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(ConnectionLost()))


class Scene:
    """
    A server, an honest client, and hostile ones.

    @ivar pushes: what the server has pushed to everybody.
    @ivar logins: how many hostile sessions there have been at a time.
    """

    def __init__(self, data: bytes, watched: bool | None = None) -> None:
        """
        @param data: what happens.
        @param watched: whether the server listens through a C{WatchingFactory}; C{None}: as the
            data says.
        """
        self.choices, self.clock = Choices(data), Clock()
        policies = (refuse, displaceOldest, displaceUnresponsive(timeout=5, reactor=self.clock))
        policy = policies[self.choices.below(len(policies))]
        byData = self.choices.below(4) != 0
        self.online: MindRegistry[Any] = MindRegistry(
            maximumPending=self.choices.below(4) or None, reactor=self.clock
        )
        self.limit: ConnectionLimit[Any] = ConnectionLimit(3, whenFull=policy, reactor=self.clock)
        self.cache: AvatarCache[Any] = AvatarCache(reactor=self.clock)
        self.counter: ConnectionCounter[Any] = ConnectionCounter()
        self.realm = self.build()
        self.watched = byData if watched is None else watched
        self.portal = MemoryPortal(self.realm, watched=self.watched, reactor=self.clock)
        self.hostile = [Hostile(self.portal) for _ in range(2)]
        self.pushes: list[Deferred[Any]] = []
        self.logins = 0
        self.honest: Any = None
        self.honestLogin()

    def build(self) -> Any:
        """
        Return the realm.
        """
        return self.online(self.limit(self.counter(self.cache(Player))))

    def play(self) -> None:
        """
        Make the moves, and check what is promised.

        @raise AssertionError: if a promise is broken.
        """
        failures: list[Any] = []

        def observe(event: Any) -> None:
            if "log_failure" in event and event["log_namespace"].startswith("avatarkit"):
                failures.append(event)

        observer = cast("ILogObserver", observe)
        globalLogPublisher.addObserver(observer)
        try:
            for _ in range(MOST_MOVES):
                if not self.choices:
                    break
                MOVES[self.choices.below(len(MOVES))](self)
                self.portal.pump()
                self.logins = max(self.logins, len(self.realm.sessions) - 1)
            self.end()
        finally:
            globalLogPublisher.removeObserver(observer)
        said = [(each["log_format"], each["log_failure"].getTraceback()) for each in failures]
        assert not said, f"avatarkit failed: {said}"

    def someone(self) -> Hostile:
        """
        Return one of the hostile clients.
        """
        return self.hostile[self.choices.below(len(self.hostile))]

    def honestLogin(self) -> None:
        """
        The honest client logs in.
        """
        self.mind, connection = Client(), self.portal.connect()
        login = connection.login("honest", mind=self.mind)
        self.portal.pump()
        assert login.called, "an honest client cannot log in"
        self.honest = login.result
        assert not isinstance(self.honest, Failure), self.honest

    def checkHonest(self) -> None:
        """
        The honest client calls the server, and is pushed to.
        """
        results: list[Any] = []
        self.honest.callRemote("name").addBoth(results.append)
        self.portal.pump()
        assert results == [b"honest"], f"an honest client is not served: {results}"
        told = len(self.mind.told)
        push = self.online[b"honest"].callRemote("notify", "hello")
        self.portal.pump()
        self.clock.advance(0)
        self.portal.pump()
        assert push.called, "a push to an honest client does not fire"
        assert len(self.mind.told) == told + 1, "an honest client is not pushed to"

    def end(self) -> None:
        """
        Everybody but the honest client leaves, and nothing is left of them.
        """
        self.checkHonest()
        for each in self.hostile:
            each.leave()
        for _ in range(20):
            self.clock.advance(10)
            self.portal.pump()
        waiting = [each for each in self.pushes if not each.called]
        assert not waiting, f"{len(waiting)} pushes do not fire"
        left = [each for each in self.realm.sessions if each.avatarId != b"honest"]
        unwatched = [each for each in left if not self.watched and each.connection is None]
        for session in unwatched:  # such a client can leave a session behind without a watcher
            session.logout()
        assert left == unwatched, f"sessions are left: {left}"
        assert self.realm.audit() == [], self.realm.audit()
        assert list(self.online) == list(self.counter) == [b"honest"]
        assert self.limit.sessions(b"mallory") == ()
        self.checkHonest()

    def raw(self) -> None:
        """
        Raw bytes.
        """
        self.someone().send(self.choices.take(self.choices.below(64)))

    def message(self) -> None:
        """
        An expression as a message.
        """
        word = WORDS[24 + self.choices.below(10)]
        parts = [self.choices.expression() for _ in range(self.choices.below(7))]
        self.someone().say(word, *parts)

    def hostileLogin(self) -> None:
        """
        A login with a mind that is one, or something else.
        """
        mind = (
            [b"remote", 1 + self.choices.below(4)]
            if self.choices.below(3)
            else self.choices.expression()
        )
        name = (b"mallory", b"mallet", b"\xff", b"")[self.choices.below(4)]
        self.someone().login(name, mind)

    def reply(self) -> None:
        """
        An answer, or an error, to one of the server's calls.
        """
        word = (b"answer", b"error")[self.choices.below(2)]
        self.someone().say(word, 1 + self.choices.below(3), self.choices.expression())

    def push(self) -> None:
        """
        The server pushes to everybody.
        """
        self.pushes.append(self.online.everyone.callRemote("notify", self.choices.below(3)))

    def wait(self) -> None:
        """
        Time passes.
        """
        self.clock.advance((0, 0.01, 1, 5, 6, 60, 61)[self.choices.below(7)])

    def leave(self) -> None:
        """
        A hostile client leaves, and another one comes.
        """
        place = self.choices.below(len(self.hostile))
        self.hostile[place].leave()
        self.hostile[place] = Hostile(self.portal)

    def kick(self) -> None:
        """
        The server kicks the hostile users.
        """
        for name in (b"mallory", b"mallet"):
            self.online.disconnect(name, timeout=5, reactor=self.clock)

    def evict(self) -> None:
        """
        The server evicts a hostile user's avatar.
        """
        self.cache.evict(b"mallory")

    def honestAgain(self) -> None:
        """
        The honest client is looked after.
        """
        self.checkHonest()


MOVES: tuple[Callable[[Scene], None], ...] = (
    *(
        Scene.raw,
        Scene.message,
        Scene.hostileLogin,
        Scene.reply,
        Scene.reply,
        Scene.push,
        Scene.push,
    ),
    *(Scene.wait, Scene.leave, Scene.kick, Scene.evict, Scene.honestAgain, Scene.hostileLogin),
)
