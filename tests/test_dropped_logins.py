"""
Clients of Perspective Broker without a mind that leave at every byte of their login, without a
WatchingFactory: Twisted loses the logout of a login that is done when its client has just gone.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import (
    Anonymous,
    IAnonymous,
    IUsernameHashedPassword,
    UsernamePassword,
)
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ClientLost,
    ConnectionLimit,
    MindRegistry,
    Realm,
    Session,
)
from pb import reactor

# Any in this module: what Perspective Broker is given.


class Dropping(pb.Broker):
    """
    A client's end of a connection that is cut after some bytes, of both directions together.

    @ivar left: how many it still bears.
    """

    left: int
    transport: Any

    def makeConnection(self, transport: Any) -> None:
        """
        Count what is written.
        """
        write = transport.write
        transport.write = lambda data: self.passed(data, write)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Count what arrives.
        """
        self.passed(data, super().dataReceived)

    def passed(self, data: bytes, on: Any) -> None:
        """
        Let through what may pass.
        """
        some, self.left = data[: self.left], self.left - len(data)
        if some:
            on(some)
        if self.left <= 0:
            self.left = 0
            self.transport.loseConnection()


@contextmanager
def unkind() -> Iterator[None]:
    """
    Keep all log events, and all that can be kept: nothing is collected as garbage.
    """
    events: list[Any] = []
    observer: Any = events.append
    gc.collect()
    gc.disable()
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
        gc.enable()


@implementer(ICredentialsChecker)
class Later:
    """
    A checker that says yes to everybody, at once or after some turns of the reactor.
    """

    credentialInterfaces = (IUsernameHashedPassword, IAnonymous)

    def __init__(self, waits: bool) -> None:
        self.waits = waits

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Say yes.
        """
        return deferLater(reactor, 0.001, lambda: b"alice") if self.waits else b"alice"


class Reasons(Block):
    """
    Takes note of why sessions have ended.
    """

    def __init__(self) -> None:
        self.seen: list[object] = []

    def release(self, session: Session) -> None:
        """
        Take note.
        """
        self.seen.append(session.reason)


class Root(pb.Root):
    """
    A root of somebody's own, which asks the portal by itself and loses the logout.
    """

    def __init__(self, portal: Any) -> None:
        self.portal = portal

    def remote_enter(self) -> Deferred[Any]:
        """
        Log in.
        """
        login: Deferred[Any] = self.portal.login(Anonymous(), None, pb.IPerspective)
        return login.addCallback(lambda result: result[1])


class OwnRootTests(TestCase):
    """
    A client of a root that asks the portal by itself.
    """

    async def test_lost(self) -> None:
        """
        Its session has a connection when the avatar is sent, and ends with it.
        """
        reasons = Reasons()
        realm: Realm[Any] = reasons(lambda avatarId: Avatar())
        server: Any = pb.PBServerFactory(Root(Portal(realm, [Later(False)])))
        listening = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        factory: Any = pb.PBClientFactory()
        reactor.connectTCP("127.0.0.1", listening.getHost().port, factory)
        avatar = await (await factory.getRootObject()).callRemote("enter")
        (session,) = realm.sessions
        assert session.connection is not None
        avatar.broker.transport.loseConnection()
        await session.whenClosed()
        assert list(map(type, reasons.seen)) == [ClientLost]


class DroppedTests(TestCase):
    """
    Nothing is left of them.
    """

    timeout = 60

    def serve(self, *, checkerWaits: bool, factoryWaits: bool) -> None:
        """
        Serve a realm that waits, or does not, and so does its checker.
        """

        async def factory(avatarId: object) -> Avatar:
            await deferLater(reactor, 0.001, bool)
            return Avatar()

        made: Any = factory if factoryWaits else lambda avatarId: Avatar()
        online: MindRegistry = MindRegistry()
        self.reasons = Reasons()
        self.realm: Any = self.reasons(online(ConnectionLimit(1000)(AvatarCache()(made))))
        self.addCleanup(self.realm.close)
        server: Any = pb.PBServerFactory(Portal(self.realm, [Later(checkerWaits)]))
        listening = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.port = listening.getHost().port

    def enter(self, left: int, credentials: Any) -> tuple[Deferred[Any], list[Dropping]]:
        """
        Log in over a connection that bears so many bytes.
        """
        factory: Any = pb.PBClientFactory()
        factory.noisy = False
        factory.protocol = Dropping
        build, built = factory.buildProtocol, list[Dropping]()

        def buildProtocol(address: Any) -> Any:
            broker = build(address)
            broker.left = left
            built.append(broker)
            return broker

        factory.buildProtocol = buildProtocol
        closed: Deferred[None] = Deferred()
        lost = factory.clientConnectionLost

        def clientConnectionLost(*args: Any, **kw: Any) -> None:
            lost(*args, **kw)
            closed.callback(None)

        factory.clientConnectionLost = clientConnectionLost
        reactor.connectTCP("127.0.0.1", self.port, factory)
        login = factory.login(credentials, None)
        login.addErrback(lambda failure: None)
        return DeferredList([login, closed]), built

    async def length(self, credentials: Any) -> int:
        """
        Return how many bytes a login takes.
        """
        most = 1_000_000
        done, built = self.enter(most, credentials)
        while not self.realm.sessions:
            await deferLater(reactor, 0.001, bool)
        await deferLater(reactor, 0.05, bool)
        (broker,) = built
        passed = most - broker.left
        broker.transport.loseConnection()
        await done
        return int(passed)

    async def test_dropped(self) -> None:
        """
        With realms and checkers that wait or do not, for anonymous logins and others, whatever is
        kept of them.
        """
        for credentials in (Anonymous(), UsernamePassword(b"alice", b"secret")):
            for checkerWaits in (False, True):
                for factoryWaits in (False, True):
                    self.serve(checkerWaits=checkerWaits, factoryWaits=factoryWaits)
                    length = await self.length(credentials)
                    assert 50 < length < 2000
                    with unkind():
                        for first in range(1, length + 1, 50):
                            lefts = range(first, min(first + 50, length + 1))
                            await DeferredList([self.enter(each, credentials)[0] for each in lefts])
                        for _ in range(500):
                            if not self.realm.sessions:
                                break
                            await deferLater(reactor, 0.01, bool)
                        assert self.realm.audit() == []
                        assert not self.realm.sessions
                        assert set(map(type, self.reasons.seen)) == {ClientLost}
        self.flushLoggedErrors()
