"""
Servers of Perspective Broker with a root of their own, over loopback TCP: its logins are watched,
and it is served whole, or nobody can log in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.spread import pb
from zope.interface import implementer

import rawclients
from avatarkit.transports import IPortalHolder, WatchingFactory
from logs import logged
from scripted import Boom

# Any in this module: portals, factories, roots, and what clients of Perspective Broker are told.


def serving(root: Callable[[Any], Any], portal: Any) -> Any:
    """
    Return a factory that has nothing but the root.
    """
    return pb.PBServerFactory(root(portal))


def leading(portal: Any) -> Any:
    """
    Return a root that has an object that has the portal.
    """
    return Leading(Auth(portal))


def logInBy(portal: Any, name: bytes, password: bytes) -> Any:
    """
    Log in without a challenge.
    """
    login = portal.login(UsernamePassword(name, password), None, pb.IPerspective)
    return login.addCallback(lambda result: "welcome")


class Own(pb.Root):
    """
    A root that has the portal, and other methods.
    """

    def __init__(self, portal: Any) -> None:
        self.portal = portal

    def remote_version(self) -> str:
        """
        Say which version it is.
        """
        return "1.0"

    def remote_logIn(self, name: bytes, password: bytes) -> Any:
        """
        Log in.
        """
        return logInBy(self.portal, name, password)


class Renamed(pb.Root):
    """
    A root that has the portal under another name.
    """

    def __init__(self, portal: Any) -> None:
        self._door = portal

    def remote_logIn(self, name: bytes, password: bytes) -> Any:
        """
        Log in.
        """
        return logInBy(self._door, name, password)


class Making(Renamed):
    """
    A root that makes another object for each connection.
    """

    def rootObject(self, broker: Any) -> Any:
        """
        Make one.
        """
        return Renamed(self._door)


class Auth:
    """
    An object that has the portal.
    """

    def __init__(self, portal: Any) -> None:
        self.portal = portal


class Leading(pb.Root):
    """
    A root that has an object that has the portal.
    """

    def __init__(self, auth: Any) -> None:
        self.auth = auth

    def remote_logIn(self, name: bytes, password: bytes) -> Any:
        """
        Log in.
        """
        return logInBy(self.auth.portal, name, password)


class Deep(pb.Root):
    """
    A root that does not lead to the portal by attributes.
    """

    def __init__(self, portal: Any) -> None:
        self.portals = {"portal": portal}

    def remote_logIn(self, name: bytes, password: bytes) -> Any:
        """
        Log in.
        """
        return logInBy(self.portals["portal"], name, password)


class Having(pb.PBServerFactory):
    """
    A factory that has the portal as well.
    """

    def __init__(self, root: Callable[[Any], Any], portal: Any) -> None:
        self.portal = portal
        super().__init__(root(portal))


class Picky(pb._PortalRoot):
    """
    Twisted's root, with a login of its own.
    """

    def rootObject(self, broker: Any) -> Any:
        """
        Make what decides who may log in.
        """
        return PickyWrapper(self.portal, broker)


class PickyWrapper(pb._PortalWrapper):
    """
    What a client finds there.
    """

    def remote_login(self, username: bytes) -> Any:
        """
        Begin a login, but not everybody's.
        """
        if username == b"mallory":
            raise pb.Error("not welcome")
        return super().remote_login(username)


class RootCase(rawclients.RawCase):
    """
    A server with some root.
    """

    timeout = 10

    async def listen(self, makeFactory: Callable[[Any], Any], watch: Any = None) -> None:
        """
        Serve.
        """
        watching = partial(WatchingFactory, reactor=Clock())
        await self.serve(makeFactory, rawclients.Asked(), watch=watch or watching)

    def call(self) -> Any:
        """
        Connect a client.
        """
        client: Any = pb.PBClientFactory()
        client.noisy = False
        rawclients.reactor.connectTCP("127.0.0.1", self.address.port, client)
        self.addCleanup(self.left)
        self.addCleanup(client.disconnect)
        return client

    def left(self) -> Deferred[None]:
        """
        Wait until all clients have left.
        """
        empty = self.until(lambda: not self.watching.protocols, "a connection is left")
        return Deferred.fromCoroutine(empty)

    async def isWatched(self, makeFactory: Callable[[Any], Any], *, name: str = "root") -> None:
        """
        Check that a login by the root knows its connection, and ends with it, of two clients each
        its own.
        """
        await self.listen(makeFactory)
        clients = [self.call() for _ in range(2)]
        for client in clients:
            root = await client.getRootObject()
            if name != "root":
                root = client._broker.remoteForName(name)
            assert await root.callRemote("logIn", b"alice", b"right") == "welcome"
        connections = {session.connection for session in self.realm.sessions}
        assert connections == {each.connection for each in self.watching.protocols}
        for left in (1, 0):
            clients.pop().disconnect()
            await self.until(partial(self.count, left), "not left")

    def count(self, number: int) -> bool:
        """
        Return whether there are so many sessions.
        """
        return len(self.realm.sessions) == number

    async def isRefused(self, makeFactory: Callable[[Any], Any]) -> None:
        """
        Check that a client is cut off before it can log in, and that the log says what to do.
        """
        await self.listen(makeFactory)
        with logged() as said:
            client = self.call()
            failures: list[Any] = []
            login = client.login(UsernamePassword(b"alice", b"right"))
            await login.addErrback(failures.append)
            await self.left()
        assert failures[0].check(ConnectionLost)
        assert not self.realm.sessions
        (line,) = said
        assert line.startswith("critical: ")
        assert "IPortalHolder" in line
        assert "root of Perspective Broker" in line


class RootTests(RootCase):
    """
    Roots that lead to the portal.
    """

    async def test_methods(self) -> None:
        """
        A root that has the portal keeps its other methods.
        """
        await self.isWatched(partial(serving, Own))
        client = self.call()
        root = await client.getRootObject()
        assert await root.callRemote("version") == "1.0"

    async def test_login(self) -> None:
        """
        A login of its own decides as it does without being watched.
        """
        await self.listen(partial(serving, Picky))
        client = self.call()
        failures: list[Any] = []
        await client.login(UsernamePassword(b"mallory", b"right")).addErrback(failures.append)
        assert str(failures[0].value) == "not welcome"
        avatar = await client.login(UsernamePassword(b"alice", b"right"))
        assert await avatar.callRemote("echo", "hello") == "hello"
        (session,) = self.realm.sessions
        (watched,) = self.watching.protocols
        assert session.connection is watched.connection
        self.flushLoggedErrors(pb.Error)

    async def test_names(self) -> None:
        """
        The portal may have any name, in the root, or in what the root makes for each connection, or
        in an object of the root, also if the factory has the portal too.
        """
        for root in (Renamed, Making, leading):
            for make in (partial(serving, root), partial(Having, root)):
                await self.isWatched(make)

    async def test_factory(self) -> None:
        """
        The object of the root may be the factory.
        """

        def make(portal: Any) -> Any:
            factory: Any = Having(Own, portal)
            factory.root = Leading(factory)
            return factory

        await self.isWatched(make)

    async def test_otherName(self) -> None:
        """
        What is served by another name than C{"root"} is watched as well.
        """

        class Two(pb.PBServerFactory):
            def buildProtocol(self, addr: Any) -> Any:
                broker: Any = super().buildProtocol(addr)
                broker.setNameForLocal("staff", Own(portals[-1]))
                return broker

        portals: list[Any] = []

        def make(portal: Any) -> Any:
            portals.append(portal)
            return Two(portal)

        await self.isWatched(make, name="staff")

    async def test_later(self) -> None:
        """
        What is served from the beginning of the connection on has the portal of the factory.
        """

        class Late(Having):
            def buildProtocol(self, addr: Any) -> Any:
                broker: Any = super().buildProtocol(addr)
                broker.localObjects.clear()
                return broker

            def clientConnectionMade(self, broker: Any) -> None:
                broker.setNameForLocal("root", Own(self.portal))

        await self.isWatched(partial(Late, Own))

    async def test_nested(self) -> None:
        """
        Two L{WatchingFactory}s, for the same portal or for two, each find theirs.
        """

        def same(factory: Any, portal: Any) -> Any:
            return WatchingFactory(inner(factory, portal), portal, reactor=Clock())

        inner = partial(WatchingFactory, reactor=Clock())
        for root in (Own, Renamed, leading):
            await self.listen(partial(serving, root), same)
            client = self.call()
            found = await client.getRootObject()
            assert await found.callRemote("logIn", b"alice", b"right") == "welcome"
            assert [each.connection is not None for each in self.realm.sessions] == [True]
            client.disconnect()
            await self.until(lambda: not self.realm.sessions, "the session is left")


class TwoPortalTests(RootCase):
    """
    A root with two portals.
    """

    async def test_both(self) -> None:
        """
        Each is found by its own L{WatchingFactory}.
        """

        class Both(pb.Root):
            def __init__(self, users: Any, staff: Any) -> None:
                self.users, self.staff = users, staff

            def remote_logIn(self, portal: str, name: bytes, password: bytes) -> Any:
                return logInBy(getattr(self, portal), name, password)

        def watch(factory: Any, portal: Any) -> Any:
            other = type(portal)(portal.realm, [rawclients.Asked()])
            factory.root = Both(portal, other)
            inner = WatchingFactory(factory, other, reactor=Clock(), loginGraceTime=None)
            return WatchingFactory(inner, portal, reactor=Clock(), loginGraceTime=None)

        await self.listen(pb.PBServerFactory, watch)
        client = self.call()
        root = await client.getRootObject()
        for portal in ("users", "staff"):
            assert await root.callRemote("logIn", portal, b"alice", b"right") == "welcome"
        assert None not in [session.connection for session in self.realm.sessions]
        client.disconnect()
        await self.until(lambda: not self.realm.sessions, "a session is left")


class RefusedTests(RootCase):
    """
    Roots that do not lead to the portal.
    """

    async def test_deep(self) -> None:
        """
        Nobody can log in by a root that does not lead to the portal, also if the factory has it.
        """
        await self.isRefused(partial(serving, Deep))
        await self.isRefused(partial(Having, Deep))

    async def test_holder(self) -> None:
        """
        A broker that knows where it is can say so.
        """

        @implementer(IPortalHolder)
        class Holding(pb.Broker):
            def givePortal(self, old: Any, new: Any) -> bool:
                self.setNameForLocal("root", Deep(new))
                return True

        def make(portal: Any) -> Any:
            factory: Any = Having(Deep, portal)
            factory.protocol = Holding
            return factory

        await self.isWatched(make)

    async def test_raises(self) -> None:
        """
        A root that raises an exception when it is looked at is not served.
        """

        class Broken(Own):
            portal: Any = property(lambda root: root.fail())

            def __init__(self, portal: Any) -> None:
                self._portal = portal

            def fail(self) -> Any:
                raise Boom("on purpose")

        await self.listen(partial(serving, Broken))
        client = self.call()
        failures: list[Any] = []
        await client.getRootObject().addErrback(failures.append)
        assert failures[0].check(ConnectionLost)
        assert len(self.flushLoggedErrors(Boom)) == 1
