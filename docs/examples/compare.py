"""
The how-to's limiting realm, by hand and in avatarkit, put through the same accidents.

    python docs/examples/compare.py

Each accident happens to both, over real connections on loopback, except the logout that is called
twice, which no Perspective Broker client can cause.  The program prints a table of the results,
which is the one in docs/why.md, and exits.
"""

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner
from twisted.spread import pb
from zope.interface import implementer

import avatarkit

reactor: Any = globalReactor


class Player(avatarkit.Avatar):
    """An avatar that counts its connections."""


@implementer(IRealm)
class HandWritten:
    """The realm of the how-to "Managing Clients of Perspectives", with a factory that may wait."""

    def __init__(self, factory: Callable[[Any], Deferred[Player]], maximum: int = 1) -> None:
        self.factory, self.maximum = factory, maximum
        self.avatars: dict[Any, Player] = {}

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        if avatarId in self.avatars:
            return self.connect(self.avatars[avatarId])
        return self.factory(avatarId).addCallback(self.made, avatarId)

    def made(self, avatar: Player, avatarId: Any) -> Any:
        self.avatars[avatarId] = avatar
        return self.connect(avatar)

    def connect(self, avatar: Player) -> Any:
        if avatar.connections >= self.maximum:
            raise ValueError("too many connections")
        avatar.connect()
        return pb.IPerspective, avatar, avatar.disconnect


def stacked(factory: Callable[[Any], Deferred[Player]]) -> avatarkit.Realm:
    """The same realm in avatarkit."""
    return avatarkit.ConnectionLimit()(
        avatarkit.ConnectionCounter()(avatarkit.AvatarCache()(factory))
    )


class Server:
    """A server whose avatars finish loading when a scenario says so."""

    def __init__(self, makeRealm: Callable[..., Any]) -> None:
        self.loads: list[Deferred[Player]] = []
        self.players: list[Player] = []
        self.clients: list[Any] = []
        self.brokers: list[Any] = []
        self.realm = makeRealm(self.factory)
        checkers: Any = [
            InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret"),
            AllowAnonymousAccess(),
        ]
        portal: Any = Portal(self.realm, checkers)
        self.portal = portal
        self.requests = 0
        login = self.portal.login

        def counted(*args: Any) -> Any:
            self.requests += 1
            return login(*args)

        self.portal.login = counted
        factory: Any = pb.PBServerFactory(self.portal)
        build = factory.buildProtocol

        def remember(address: Any) -> Any:
            self.brokers.append(build(address))
            return self.brokers[-1]

        factory.buildProtocol = remember
        self.listening = reactor.listenTCP(0, factory, interface="127.0.0.1")

    def factory(self, avatarId: Any) -> Deferred[Player]:
        load: Deferred[Player] = Deferred()
        self.loads.append(load)
        return load

    def client(self) -> Any:
        client: Any = pb.PBClientFactory()
        reactor.connectTCP("127.0.0.1", self.listening.getHost().port, client)
        self.clients.append(client)
        return client

    def login(self, client: Any, credentials: Any = None) -> Deferred[Any]:
        """Log in; the result is the avatar, or None if the login is refused."""
        credentials = credentials or UsernamePassword(b"alice", b"secret")
        login: Deferred[Any] = client.login(credentials, pb.Referenceable())
        return login.addErrback(lambda failure: None)

    async def load(self, *, after: int) -> None:
        """Once that many logins have arrived, load all avatars that were requested."""
        await until(lambda: self.requests >= after)
        loads, self.loads = self.loads, []
        for load in loads:
            self.players.append(Player())
            if not load.called:
                load.callback(self.players[-1])

    async def leave(self, client: Any) -> None:
        """Disconnect a client, and wait until the server has noticed."""
        left = sum(broker.disconnects is None for broker in self.brokers)
        client.disconnect()
        await until(lambda: sum(each.disconnects is None for each in self.brokers) > left)

    async def loginWorks(self) -> bool:
        """Return whether somebody can log in now."""
        requests = self.requests
        login = self.login(self.client())
        await self.load(after=requests + 1)
        return (await login) is not None

    async def stop(self) -> None:
        for client in self.clients:
            client.disconnect()
        await self.listening.stopListening()
        await until(lambda: all(broker.disconnected for broker in self.brokers))


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await deferLater(reactor, 0.001)
    raise AssertionError("it did not happen within a second")


async def shareOneAvatar(server: Server) -> bool:
    """Two logins while the avatar is loading share it"""
    logins = [server.login(server.client()) for _ in range(2)]
    await server.load(after=2)
    await gatherResults(logins)
    return len(server.players) == 1


async def limitHolds(server: Server) -> bool:
    """Of ten simultaneous logins under a limit of one, one gets in"""
    logins = [server.login(server.client()) for _ in range(10)]
    await server.load(after=10)
    return sum(player is not None for player in await gatherResults(logins)) == 1


async def leaves(server: Server) -> bool:
    """A client that leaves during its login does not lock out the next one"""
    client = server.client()
    server.login(client)
    await until(lambda: server.requests == 1)
    await server.leave(client)
    await server.load(after=1)
    return await server.loginWorks()


async def leavesEarly(server: Server) -> bool:
    """Nor does one that leaves while its password is being checked"""
    checked: Deferred[bytes] = Deferred()
    asked: list[Any] = []

    def slowly(credentials: Any) -> Deferred[bytes]:
        asked.append(credentials)
        return checked

    for checker in server.portal.checkers.values():
        checker.requestAvatarId = slowly
    client = server.client()
    server.login(client)
    await until(lambda: bool(asked))
    await server.leave(client)
    checked.callback(b"alice")
    for checker in server.portal.checkers.values():
        checker.requestAvatarId = lambda credentials: b"alice"
    await server.load(after=1)
    return await server.loginWorks()


async def logsOutTwice(server: Server) -> bool:
    """A logout that is called twice counts once"""
    checker: Any = server.portal.login(UsernamePassword(b"alice", b"secret"), None, pb.IPerspective)
    await server.load(after=1)
    _interface, player, logout = await checker
    logout()
    logout()
    return bool(player.connections == 0)


async def quietRefusal(server: Server) -> bool:
    """A refused login is not logged as an error"""
    first = server.login(server.client())
    await server.load(after=1)
    kept = await first
    before = len(errors)
    await server.login(server.client())
    return kept is not None and len(errors) == before


async def anonymous(server: Server) -> bool:
    """Two anonymous guests do not share an avatar"""
    for number in (1, 2):
        guest = server.client()
        login = server.login(guest, Anonymous())
        await server.load(after=number)
        await login
        await server.leave(guest)
    return len(server.players) == 2


async def failingLoad(server: Server) -> bool:
    """After a load fails, the next login tries again"""
    login = server.login(server.client())
    await until(lambda: server.requests == 1)
    server.loads.pop().errback(OSError("the database is down"))
    await login
    return await server.loginWorks()


async def freedSlot(server: Server) -> bool:
    """After the first client leaves, the next one gets in"""
    client = server.client()
    login = server.login(client)
    await server.load(after=1)
    kept = await login
    await server.leave(client)
    return kept is not None and await server.loginWorks()


SCENARIOS = (
    freedSlot,
    failingLoad,
    shareOneAvatar,
    limitHolds,
    leaves,
    leavesEarly,
    logsOutTwice,
    quietRefusal,
    anonymous,
)
errors: list[Any] = []


async def main(reactor: Any) -> None:
    print("| what happens | by hand | avatarkit |")
    print("|---|---|---|")
    for scenario in SCENARIOS:
        results = []
        for makeRealm in (HandWritten, stacked):
            server = Server(makeRealm)
            results.append("yes" if await scenario(server) else "**no**")
            await server.stop()
        print(f"| {scenario.__doc__} | {' | '.join(results)} |")


def observe(event: Any) -> None:
    if event.get("isError") or "log_failure" in event:
        errors.append(event)


if __name__ == "__main__":
    observer: Any = observe
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
