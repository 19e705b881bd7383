"""
Clients of Perspective Broker without a mind that leave during their login, at every byte of it or
while it waits, without a WatchingFactory: Twisted loses the logout of a login that is done when its
client has just gone.
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
    LoggedOut,
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


@implementer(pb.IPerspective)
class Viewed(pb.Viewable):
    """
    An avatar that is sent as a view of it.
    """

    perspectiveMessageReceived = None

    def view_name(self, perspective: object) -> str:
        """
        Be called.
        """
        return "viewed"


@implementer(pb.IPerspective)
class Copied(pb.Copyable):
    """
    One of which a copy is sent.
    """

    perspectiveMessageReceived = None


@implementer(pb.IPerspective)
class Cached(pb.Cacheable):
    """
    One of which a copy is sent that is kept up to date.
    """

    perspectiveMessageReceived = None

    def getStateToCacheAndObserveFor(self, perspective: object, observer: object) -> object:
        """
        Be copied.
        """
        return {}


@implementer(pb.IPerspective)
class Own(pb.Jellyable):
    """
    One that says in its own way how it is sent, and cannot be called.
    """

    perspectiveMessageReceived = None

    def processUniqueID(self) -> int:
        """
        Return what stands for it.
        """
        return id(self)

    def jellyFor(self, jellier: Any) -> Any:
        """
        Be sent as a text.
        """
        return jellier.jelly("own")


class Unsent(Own):
    """
    One that cannot be sent.
    """

    def jellyFor(self, jellier: Any) -> Any:
        """
        Fail.
        """
        raise ValueError("on purpose")


class Referred(Own):
    """
    One that is sent as a reference.
    """

    def jellyFor(self, jellier: Any) -> Any:
        """
        Be sent as a reference.
        """
        return [b"remote", jellier.invoker.registerReference(self)]


class CopiedHere(pb.RemoteCopy):
    """
    What a client has of one.
    """


pb.setUnjellyableForClass(Copied, CopiedHere)
pb.setUnjellyableForClass(Cached, pb.RemoteCache)

KINDS: tuple[Any, ...] = (Avatar, Viewed, Copied, Cached, Own)


class WaitingTests(TestCase):
    """
    Clients that nobody watches while their login waits, and what their avatars are.
    """

    timeout = 60

    async def enter(self, kind: Any, mind: object = None) -> tuple[Deferred[Any], Any]:
        """
        Log in to a realm whose factory waits; return the login, and the client.
        """
        self.gate: Deferred[Any] = Deferred()
        self.realm: Any = Realm(lambda avatarId: self.gate.addCallback(lambda gone: kind()))
        self.addCleanup(self.realm.close)
        server: Any = pb.PBServerFactory(Portal(self.realm, [Later(False)]))
        listening = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        client: Any = pb.PBClientFactory()
        client.noisy = False
        reactor.connectTCP("127.0.0.1", listening.getHost().port, client)
        login = client.login(UsernamePassword(b"alice", b"secret"), mind)
        self.addCleanup(client.disconnect)
        while not self.realm.sessions:
            await deferLater(reactor, 0.001, bool)
        return login, client

    async def gone(self) -> None:
        """
        Wait until there is no session.
        """
        for _ in range(500):
            if not self.realm.sessions:
                return
            await deferLater(reactor, 0.01, bool)
        self.fail(f"left behind: {[*self.realm.sessions]}")

    async def test_dropped(self) -> None:
        """
        When the login is done and its client has gone, the session ends, whatever the avatar is,
        and whatever the client has sent for a mind.
        """
        for kind in KINDS:
            for mind in (None, "junk", {"mind": [1]}):
                login, client = await self.enter(kind, mind)
                (session,) = self.realm.sessions
                client.disconnect()
                await login.addErrback(lambda failure: None)
                await deferLater(reactor, 0.05, bool)
                self.gate.callback(None)
                await self.gone()
                assert type(session.reason) is ClientLost, kind
                self.flushLoggedErrors()

    async def test_watched(self) -> None:
        """
        If its client is still there, the avatar is sent as it says, and the session ends with the
        connection, which it knows.
        """
        for kind in KINDS:
            login, client = await self.enter(kind)
            self.gate.callback(None)
            held = await login
            (session,) = self.realm.sessions
            assert session.connection is not None
            if kind is Viewed:
                assert await held.callRemote("name") == "viewed"
            elif kind is not Avatar:
                assert type(held) is {Copied: CopiedHere, Cached: pb.RemoteCache, Own: str}[kind]
            client.disconnect()
            await self.gone()
            assert type(session.reason) is ClientLost, kind

    async def test_released(self) -> None:
        """
        A client that drops a reference is logged out, also if the avatar has made it.
        """
        for kind in (Avatar, Referred):
            login, _client = await self.enter(kind)
            self.gate.callback(None)
            held = await login
            (session,) = self.realm.sessions
            assert type(held) is pb.RemoteReference
            del held, login
            await self.gone()
            assert type(session.reason) is LoggedOut

    async def test_unsent(self) -> None:
        """
        The session of one that cannot be sent ends at once.
        """
        login, client = await self.enter(Unsent)
        self.gate.callback(None)
        failures: list[Any] = []
        await login.addErrback(failures.append)
        assert not self.realm.sessions
        assert [each.type for each in failures] == [b"avatarkit.errors.RealmFailed"]
        client.disconnect()
        assert len(self.flushLoggedErrors(ValueError)) == 1
