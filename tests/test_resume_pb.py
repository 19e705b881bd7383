"""
Clients that come back over real Perspective Broker, whose wires are cut, or go silent.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS

import test_farewell_pb
from avatarkit import (
    Avatar,
    ConnectionCounter,
    ConnectionLimit,
    Farewell,
    Kicked,
    MindRegistry,
    PerConnection,
    Resume,
    Session,
    Unresponsive,
)
from avatarkit.transports import WatchingFactory
from certificates import selfSigned
from cutting import Wires
from pb import PBTestCase, reactor
from returning import Returner

if TYPE_CHECKING:
    from test_farewell_pb import Program

# Any in this module: reactors, factories, and what is pushed.


class Hero(Avatar):
    """
    An avatar that counts what its client does.
    """

    steps = 0

    def perspective_step(self) -> int:
        """
        Count.
        """
        self.steps += 1
        return self.steps


class ResumeTests(PBTestCase):
    """
    Over TCP.
    """

    timeout = 60
    words: tuple[str, ...] = ()
    often = 1000

    def stack(self, **kw: Any) -> None:
        """
        Serve heroes who wait for their clients.
        """
        self.heroes: list[Hero] = []
        self.online = MindRegistry()
        self.counter = ConnectionCounter()
        self.resume = Resume(60, **kw)
        waiting = self.resume(PerConnection(self.build))
        limited = self.counter(ConnectionLimit(1)(waiting))
        self.realm = Farewell()(self.online(limited))
        self.serve(self.realm)
        self.wires = Wires(self.port)
        self.ending: list[Callable[[], Deferred[None]]] = []

    def build(self, session: Session) -> Hero:
        """
        Make a hero.
        """
        self.heroes.append(Hero())
        return self.heroes[-1]

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    def endpoint(self, port: int) -> Any:
        """
        Return where the server is.
        """
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port)

    def returner(self, name: str = "alice", *, password: bytes = b"secret", **kw: Any) -> Returner:
        """
        Start a client.
        """
        kw = {"retryPolicy": lambda attempt: 0, **kw}
        credentials = UsernamePassword(name.encode(), password)
        client = Returner(self.endpoint(self.wires.port), credentials, **kw)
        client.startService()
        self.ending.append(client.stopService)
        return client

    async def _close(self) -> None:
        """
        Stop the clients and the server.
        """
        for end in self.ending:
            await end()
        await self.realm.close()
        await self.wires.close()
        await super()._close()

    async def program(self) -> Program:
        """
        Start a client in a process of its own, which logs in.
        """
        program = test_farewell_pb.Program(
            "returner.py", str(self.wires.port), "alice", *self.words
        )
        self.ending.append(program.end)
        assert await program.lines.get() == "in"
        return program

    def push(self, *numbers: int) -> None:
        """
        Push numbers to everyone.
        """
        for number in numbers:
            self.online.everyone.callRemote("news", number, pbanswer=False)

    def pause(self, seconds: float = 0.01) -> Deferred[None]:
        """
        Let the reactor have some turns.
        """
        waiting: Deferred[None] = Deferred()
        reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def gone(self) -> None:
        """
        Wait until no session is left, and nothing else.
        """
        while self.realm.sessions:
            await self.pause()
        assert self.resume.waiting == len(self.counter) == 0
        assert self.realm.audit() == []

    async def test_back(self) -> None:
        """
        A client whose wire is cut has its avatar again, and gets what was pushed meanwhile.
        """
        self.stack()
        client = self.returner(retryPolicy=lambda attempt: 0.2)
        await client.untilHeard("in")
        assert await client.perspective.callRemote("step") == 1
        ((_, answer),) = await self.online.everyone.callRemote("news", 1)
        assert answer == 1
        self.wires.cut()
        while not self.resume.waiting:
            await self.pause()
        assert self.counter[b"alice"] == 1
        self.push(2, 3)
        await client.untilHeard("back")
        self.push(4)
        await client.untilHeard(4)
        assert client.heard == ["in", 1, "lost", "back", 2, 3, 4]
        assert await client.perspective.callRemote("step") == 2
        assert len(self.heroes) == 1
        assert self.realm.audit() == []
        await client.stopService()
        await self.gone()

    async def test_withoutHold(self) -> None:
        """
        Without a hold it has its avatar again, and its user was away.
        """
        self.stack(hold=False)
        client = self.returner(retryPolicy=lambda attempt: 0.2)
        await client.untilHeard("in")
        self.wires.cut()
        while self.realm.sessions:
            await self.pause(0)
        assert self.resume.waiting == 1
        assert len(self.counter) == 0
        self.push(1)
        await client.untilHeard("back")
        self.push(2)
        await client.untilHeard(2)
        assert client.heard == ["in", "lost", "back", 2]
        assert len(self.heroes) == 1

    async def test_storm(self) -> None:
        """
        However often the wire is cut during a storm of pushes, and at whatever byte, the client
        gets each of them once, and in order.
        """
        self.stack(backlog=10_000)
        client = self.returner()
        await client.untilHeard("in")
        dice = random.Random(17)
        for first in range(0, 3000, 50):
            backs = client.heard.count("back")
            self.wires.cutAfter(dice.randrange(1, 3000))
            for number in range(first, first + 50):
                wishes: Any = {} if number % 3 else {"pbanswer": False}
                self.online.everyone.callRemote("news", number, "x" * dice.randrange(40), **wishes)
                if not number % 7:
                    await self.pause(0)
            while client.heard.count("back") == backs:
                if first + 49 in client.heard:  # it was not cut yet
                    self.wires.cut()
                await self.pause(0)
        await client.untilHeard(2999)
        got = [each for each in client.heard if isinstance(each, int)]
        assert got == [*range(3000)]
        assert client.heard.count("back") >= 60
        assert not [each for each in client.heard if isinstance(each, tuple)]
        assert len(self.heroes) == 1

    async def test_overflow(self) -> None:
        """
        If more is pushed meanwhile than is kept, the client gets the newest, and learns how many it
        has missed before it gets them.
        """
        self.stack(backlog=10)
        client = self.returner(retryPolicy=lambda attempt: 0.2)
        await client.untilHeard("in")
        self.push(*range(5))
        await client.untilHeard(4)
        self.wires.cut()
        while not self.resume.waiting:
            await self.pause(0)
        self.push(*range(5, 105))
        await client.untilHeard(104)
        told = client.heard[client.heard.index("back") :]
        assert told == ["back", ("missed", 90), *range(95, 105)]

    async def test_silent(self) -> None:
        """
        A client whose wire goes silent, in one direction or both, finds out, and comes back before
        the server has noticed.
        """
        self.stack()
        for directions in ({}, {"toServer": False}, {"toClient": False}):
            await self.silent(directions)

    async def silent(self, directions: Any) -> None:
        """
        Come back after a silence.
        """
        self.heroes.clear()
        client = self.returner(interval=0.1, timeout=0.3)
        await client.untilHeard("in")
        await self.pause(0.5)
        assert client.heard == ["in"]
        self.push(1)
        await client.untilHeard(1)
        self.wires.silence(**directions)
        self.push(2)
        began = reactor.seconds()
        await client.untilHeard("back")
        assert 0.2 < reactor.seconds() - began < 3
        self.push(3)
        await client.untilHeard(3)
        assert [each for each in client.heard if isinstance(each, int)] == [1, 2, 3]
        assert len(self.heroes) == 1
        await client.stopService()
        await self.gone()

    async def test_often(self) -> None:
        """
        A client comes back very often in a short time, and nothing is left of that.
        """
        self.stack()
        client = self.returner()
        await client.untilHeard("in")
        began = reactor.seconds()
        for number in range(self.often):
            self.push(number)
            self.wires.cut()
            await client.until(partial(self.isBack, client, number))
        await client.untilHeard(self.often - 1)
        assert reactor.seconds() - began < 45
        got = [each for each in client.heard if isinstance(each, int)]
        assert got == [*range(self.often)]
        assert len(self.heroes) == 1
        assert len(self.realm.sessions) == 1
        assert self.resume.waiting == 0
        assert self.realm.audit() == []

    def isBack(self, client: Returner, often: int) -> bool:
        """
        Return whether a client has come back more often than that.
        """
        return client.heard.count("back") > often

    async def test_twoClaims(self) -> None:
        """
        Of two clients with one token one takes over the session; the other one is a new one, which
        the limit refuses.
        """
        self.stack()
        client = self.returner(retryPolicy=lambda attempt: 0.01)
        await client.untilHeard("in")
        other = Returner(
            self.endpoint(self.wires.port),
            UsernamePassword(b"alice", b"secret"),
            retryPolicy=lambda attempt: 60,
        )
        self.ending.append(other.stopService)
        other._token = client._token
        self.wires.cut()
        other.startService()
        await client.until(lambda: len(client.heard) > 2)
        await other.until(lambda: other.heard)
        both = [client.heard[2], other.heard[0]]
        assert sorted(both, key=str) == [("refused", "TooManyConnections"), "back"]
        assert len(self.heroes) == 1

    async def test_closed(self) -> None:
        """
        A realm that closes while its clients are away leaves nothing behind; they try again.
        """
        self.stack()
        client = self.returner(retryPolicy=lambda attempt: 0.2)
        await client.untilHeard("in")
        self.wires.cut()
        while not self.resume.waiting:
            await self.pause(0)
        await self.realm.close()
        await self.gone()
        await client.untilHeard("refused", "RealmClosed")

    async def test_closedDuring(self) -> None:
        """
        So does one that closes while they come back.
        """
        self.stack()
        client = self.returner()
        await client.untilHeard("in")
        self.wires.cut()
        while not any(each.resumes for each in self.realm.sessions) and self.resume.waiting != 0:
            await self.pause(0)
        await self.realm.close()
        await self.gone()

    async def test_left(self) -> None:
        """
        A client that stops is logged out, and nobody waits for it.
        """
        self.stack()
        client = self.returner()
        await client.untilHeard("in")
        (session,) = self.realm.sessions
        await client.stopService()
        await self.gone()
        assert type(session.reason).__name__ == "LoggedOut"
        assert client.heard == ["in"]

    async def test_kicked(self) -> None:
        """
        A client that is kicked does not come back; one that may return does, as a new one.
        """
        self.stack()
        client = self.returner(spread=lambda least, most: least)
        await client.untilHeard("in")
        self.online.everyone.disconnect(Kicked("for a moment", mayReturn=0.1))
        await client.until(lambda: client.heard.count("in") == 2)
        self.online.everyone.disconnect("for ever")
        await self.gone()
        await self.pause(0.1)
        assert client.heard == ["in", ("ended", "Kicked", 0.1), "in", ("ended", "Kicked", 0)]
        assert client.perspective is None

    async def test_wrongPassword(self) -> None:
        """
        A client with a wrong password gives up.
        """
        self.stack()
        client = self.returner(password=b"wrong")
        await client.until(lambda: client.heard)
        await self.pause(0.1)
        assert client.heard == [("refused", "UnauthorizedLogin")]
        self.flushLoggedErrors(UnauthorizedLogin)

    async def test_tooMany(self) -> None:
        """
        One that is refused for a while tries again.
        """
        self.stack()
        first = self.returner()
        await first.untilHeard("in")
        client = self.returner(retryPolicy=lambda attempt: 0.05)
        await client.until(lambda: len(client.heard) > 2)
        assert set(client.heard) == {("refused", "TooManyConnections")}
        await first.stopService()
        await client.untilHeard("in")

    async def test_stoppedWhileLost(self) -> None:
        """
        A client that is stopped while its connection is lost can come back when it is started
        again.
        """
        self.stack()
        client = self.returner(retryPolicy=lambda attempt: 60)
        await client.untilHeard("in")
        client._broker.transport.abortConnection()
        await client.untilHeard("lost")
        await client.stopService()
        while not self.resume.waiting:
            await self.pause()
        client.startService()
        await client.untilHeard("back")
        assert len(self.heroes) == 1

    async def test_killed(self) -> None:
        """
        A client in a process of its own that is killed is waited for.
        """
        self.stack()
        program = await self.program()
        program.signal("KILL")
        while not self.resume.waiting:
            await self.pause()
        await self.realm.disconnect(b"alice")
        await self.gone()

    async def test_stopped(self) -> None:
        """
        One that is stopped for a while comes back when it goes on, and gets what it has missed.
        """
        self.stack()
        program = await self.program()
        self.push(1)
        assert await program.lines.get() == "1"
        program.signal("STOP")
        (session,) = self.realm.sessions
        self.push(2)
        session.disconnect(Unresponsive(), timeout=0)
        self.push(3)
        os.kill(program.process.pid, signal.SIGCONT)
        heard = [await program.lines.get() for _ in range(4)]
        assert [each for each in heard if each.isdigit()] == ["2", "3"]
        assert heard[:2] in (["2", "lost"], ["lost", "back"])
        assert len(self.heroes) == 1


class ResumeTLSTests(ResumeTests):
    """
    The same over TLS.
    """

    words = ("tls",)
    often = 100

    def listen(self, factory: Any) -> Any:
        """
        Listen with a certificate.
        """
        options = selfSigned().options()
        watching: Any = WatchingFactory(factory, self.portal)
        return reactor.listenSSL(0, watching, options, interface="127.0.0.1")

    def endpoint(self, port: int) -> Any:
        """
        Return where the server is.
        """
        return wrapClientTLS(ssl.CertificateOptions(), super().endpoint(port))
