"""
Tests for L{avatarkit.testing.MemoryPortal}: Perspective Broker without a network.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.spread import banana, pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    TooManyConnections,
)
from avatarkit._clients.minds import PBMind
from avatarkit.testing import MemoryPortal
from players import Client, Player


class MemoryPortalTests(SynchronousTestCase):
    """
    L{MemoryPortal} and its connections.
    """

    def setUp(self) -> None:
        """
        Make a realm with a registry, a limit, a counter and a cache.
        """
        self.limit, self.online = ConnectionLimit(2), MindRegistry()
        self.realm = self.online(self.limit(ConnectionCounter()(AvatarCache()(self.make))))
        self.portal = MemoryPortal(self.realm)
        self.loading: Deferred[Any] | None = None

    def make(self, name: Any) -> Any:
        """
        Return an avatar, or a Deferred if a test has set one.
        """
        return Player(name) if self.loading is None else self.loading

    def test_login(self) -> None:
        """
        Real clients log in, call their avatar, and receive pushes.
        """
        client, connection = Client(), self.portal.connect()
        login = connection.login("bob", mind=client)
        self.assertNoResult(login)
        self.portal.pump()
        avatar = self.successResultOf(login)
        name = avatar.callRemote("name")
        pushed = self.online.everyone.callRemote("notify", 1)
        self.portal.pump()
        assert self.successResultOf(name) == b"bob"
        assert self.successResultOf(pushed) == [(True, "done")]
        assert client.told == [(1,)]
        error = avatar.callRemote("raise")
        self.portal.pump()
        assert self.failureResultOf(error).check(pb.Error)
        connection.drop()
        assert (list(self.online), self.realm.audit(), connection.lost) == ([], [], True)
        self.portal.pump()

    def test_anonymous(self) -> None:
        """
        A login without a name is anonymous, and a name may be bytes.
        """
        logins = [self.portal.connect().login(name) for name in (None, b"carol")]
        self.portal.pump()
        assert list(self.online) == [(), b"carol"]
        assert len([self.successResultOf(each) for each in logins]) == 2

    def test_refused(self) -> None:
        """
        A refusal reaches the client by name, as in production.
        """
        logins = [self.portal.connect().login() for _ in range(3)]
        self.portal.pump()
        kept = [self.successResultOf(each) for each in logins[:2]]
        assert self.failureResultOf(logins[2]).check(TooManyConnections)
        assert len(kept) == 2

    def test_everyByte(self) -> None:
        """
        A connection can be lost before the first byte of a login and after each one, and leaves
        nothing behind.
        """
        connection = self.portal.connect()
        connection.drop()
        assert (connection.lost, connection.delivered) == (True, 0)
        connection = self.portal.connect()
        kept = connection.login(mind=Client())
        self.portal.pump()
        assert self.successResultOf(kept) is not None
        connection.drop()
        total = connection.delivered
        assert total > 100
        for after in range(1, total):
            connection = self.portal.connect()
            lost = connection.login(mind=Client())
            connection.drop(after=after)
            self.portal.pump()
            assert (connection.delivered, connection.lost) == (after, True)
            self.failureResultOf(lost)
            assert (list(self.online), self.realm.audit()) == ([], [])
            assert not self.limit._slots.holders

    def test_leavesWhileWaiting(self) -> None:
        """
        A client that leaves while its login waits leaves nothing behind.
        """
        self.loading = Deferred()
        connection = self.portal.connect()
        login = connection.login(mind=Client())
        self.portal.pump()
        self.assertNoResult(login)
        assert len(self.limit._slots.holders) == 1
        connection.drop()
        assert not self.limit._slots.holders
        self.failureResultOf(login, pb.PBConnectionLost)
        assert self.flushLoggedErrors() == []

    def test_stall(self) -> None:
        """
        What is sent to a client that does not read waits on the server, in its backlog, until it
        reads again; other clients are not affected.
        """
        clients = [Client(), Client()]
        connections = [self.portal.connect() for _ in clients]
        kept = [
            connection.login(mind=client)
            for connection, client in zip(connections, clients, strict=True)
        ]
        self.portal.pump()
        connections[0].stall()
        for n in range(3):
            self.online.everyone.callRemote("notify", n, pbanswer=False)
        self.portal.pump()
        assert [len(client.told) for client in clients] == [0, 3]
        stalled, reading = (PBMind(mind).backlog for mind in self.online.everyone)
        assert reading == 0
        assert stalled is not None
        assert stalled > 0
        connections[0].resume()
        self.portal.pump()
        assert [len(client.told) for client in clients] == [3, 3]
        assert len([self.successResultOf(each) for each in kept]) == 2

    def test_closing(self) -> None:
        """
        The server can close a connection, which a stalled client does not notice, or abort it.
        """
        connections = [self.portal.connect() for _ in range(2)]
        kept = [connection.login(mind=Client()) for connection in connections]
        self.portal.pump()
        minds = [PBMind(mind) for mind in self.online.everyone]
        connections[0].stall()
        for mind in minds:
            mind.callRemote("notify", pbanswer=False)
            mind.loseConnection()
        self.portal.pump()
        assert [connection.lost for connection in connections] == [False, True]
        minds[0].abortConnection()
        self.portal.pump()
        assert connections[0].lost
        assert len([self.successResultOf(each) for each in kept]) == 2

    def test_clientCloses(self) -> None:
        """
        The client can close its connection.
        """
        connection = self.portal.connect()
        kept = connection.login(mind=Client())
        self.portal.pump()
        connection.client.disconnect()
        self.portal.pump()
        assert connection.lost
        assert list(self.online) == []
        assert self.successResultOf(kept) is not None

    def test_afterClosing(self) -> None:
        """
        An end that has closed its connection reads nothing more, and aborting it loses what is on
        its way.
        """
        for end in ("loseConnection", "abortConnection"):
            connection = self.portal.connect()
            login = connection.login(mind=Client())
            self.portal.pump()
            avatar = self.successResultOf(login)
            (mind,) = self.online.everyone
            connection.stall()
            before = connection.delivered
            name = avatar.callRemote("name")
            mind.callRemote("notify", pbanswer=False)
            getattr(mind.broker.transport, end)()
            self.portal.pump()
            assert connection.lost is (end == "abortConnection")
            assert (connection.delivered > before) is (end == "loseConnection")
            connection.resume()
            self.portal.pump()
            assert connection.lost
            why = self.failureResultOf(name, pb.PBConnectionLost).value.args[0]
            assert why.type is (ConnectionAborted if end == "abortConnection" else ConnectionDone)

    def test_fromInside(self) -> None:
        """
        A remote method may call C{pump}, or drop its own connection.
        """

        class Asking(Avatar):
            def perspective_ask(self) -> str:
                self.minds.callRemote("notify")
                portal.pump()
                return "asked"

            def perspective_drop(self) -> str:
                connection.drop()
                return "dropped"

        portal = MemoryPortal(MindRegistry()(lambda name: Asking()))
        connection = portal.connect()
        login = connection.login(mind=Client())
        portal.pump()
        avatar = self.successResultOf(login)
        asked = [avatar.callRemote("ask") for _ in range(3)]
        portal.pump()
        assert [self.successResultOf(each) for each in asked] == ["asked"] * 3
        lost = [avatar.callRemote("drop"), avatar.callRemote("ask")]
        portal.pump()
        for each in lost:
            self.failureResultOf(each, pb.PBConnectionLost)
        assert connection.lost

    def test_garbage(self) -> None:
        """
        A protocol that fails loses its connection, and the failure is logged.
        """
        connection = self.portal.connect()
        connection._client.write(b"x" * 100)
        self.portal.pump()
        assert connection.lost
        assert len(self.flushLoggedErrors(banana.BananaError)) == 1

    def test_misuse(self) -> None:
        """
        Something that is not a realm, and a negative number of bytes, are refused.
        """
        self.assertRaises(TypeError, MemoryPortal, Player)
        self.assertRaises(ValueError, self.portal.connect().drop, after=-1)

    def test_checkers(self) -> None:
        """
        The checkers, if any are given, decide who may log in.
        """
        users: Any = {"alice": b"secret"}
        checker: Any = InMemoryUsernamePasswordDatabaseDontUse(**users)
        portal = MemoryPortal(self.realm, checkers=[checker])
        logins = [portal.connect().login(password=password) for password in ("secret", "guess")]
        portal.pump()
        assert self.successResultOf(logins[0]) is not None
        assert self.failureResultOf(logins[1]).check(UnauthorizedLogin)
        assert len(self.flushLoggedErrors(UnauthorizedLogin)) == 1
