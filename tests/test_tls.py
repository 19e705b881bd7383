"""
Tests of pushes over TLS.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import ssl
from twisted.internet.task import deferLater

from avatarkit import Avatar, MindIsBehind, MindRegistry
from avatarkit._clients.minds import PBMind
from certificates import selfSigned
from pb import Client, PBTestCase, reactor, transportOf


class TLSTests(PBTestCase):
    """
    A server that can be reached over TLS only.
    """

    timeout = 20

    def setUp(self) -> None:
        """
        Make a certificate.
        """
        super().setUp()
        self.certificate = selfSigned()

    def listen(self, factory: Any) -> Any:
        """
        Listen with the certificate.
        """
        options = self.certificate.options()
        return reactor.listenSSL(0, factory, options, interface="127.0.0.1")

    def connect(self, factory: Any) -> None:
        """
        Connect, and trust only the certificate.
        """
        options = ssl.optionsForClientTLS("localhost", trustRoot=self.certificate)
        reactor.connectSSL("127.0.0.1", self.port, factory, options)

    async def stack(self, **bounds: Any) -> list[Client]:
        """
        Serve a registry with three clients.
        """
        self.online = MindRegistry(**bounds)
        self.realm = self.online(lambda avatarId: Avatar())
        self.serve(self.realm)
        clients = [self.client() for _ in range(3)]
        for client in clients:
            await client.login()
        return clients

    async def test_push(self) -> None:
        """
        Pushes reach all clients in order, and their answers arrive.
        """
        clients = await self.stack()
        self.online.everyone.callRemote("first", b"x" * 2**19, pbanswer=False)
        results = await self.online.everyone.callRemote("second", {"a": [1, 2]})
        assert results == [(True, "second done")] * 3
        for client in clients:
            assert await client.told.get() == ("first", (b"x" * 2**19,))

    async def test_gone(self) -> None:
        """
        A client whose connection is lost is logged out.
        """
        clients = await self.stack()
        clients[0].factory._broker.transport.abortConnection()
        await clients[0].closed
        while len(self.online.everyone) > 2:
            await deferLater(reactor, 0.01)
        assert self.realm.audit() == []

    async def test_slow(self) -> None:
        """
        What waits for a client that has stopped reading is bounded, the others get everything, and
        its connection can be closed.
        """
        clients = await self.stack(maximumBacklog=2**20)
        slow, others = clients[0], clients[1:]
        mind, *_ = self.online.everyone
        transportOf(slow).pauseProducing()
        backlogs = []
        for _ in range(400):
            pushed = self.online.everyone.callRemote("tick", b"x" * 2**16, pbtimeout=60)
            for client in others:
                assert (await client.told.get())[0] == "tick"
            backlogs.append(PBMind(mind).backlog or 0)
        first, *rest = await pushed
        assert first[1].check(MindIsBehind)
        assert rest == [(True, "tick done")] * 2
        assert 2**20 < max(backlogs) < 2**20 + 3 * 2**16
        (session,) = self.online.sessions(b"alice")[:1]
        await session.disconnect(timeout=0.1)
        assert mind not in self.online.everyone
        transportOf(slow).resumeProducing()
        await slow.closed
