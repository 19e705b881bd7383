"""
Tests of pushes over real Perspective Broker and loopback TCP.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.spread import pb

from avatarkit import Avatar, MindIsBehind, MindRegistry
from pb import Client, PBTestCase, reactor, transportOf


class Watch(pb.Referenceable):
    """
    An object that clients receive a reference to.
    """

    def remote_read(self) -> int:
        """
        Return a number.
        """
        return 42


class PushTests(PBTestCase):
    """
    Many clients of all kinds.
    """

    timeout = 20

    async def stack(self, clients: int, **options: Any) -> list[Client]:
        """
        Serve a registry with a number of clients.
        """
        self.online = MindRegistry(**options)
        self.realm = self.online(lambda avatarId: Avatar())
        self.serve(self.realm)
        joined: list[Client] = []
        while len(joined) < clients:  # not all at once, since the listening port has a queue
            some = [self.client() for _ in range(min(40, clients - len(joined)))]
            await gatherResults([client.login() for client in some])
            joined += some
        return joined

    async def names(self, client: Client, count: int) -> list[str]:
        """
        Return the names of a client's next calls.
        """
        return [(await client.told.get())[0] for _ in range(count)]

    async def test_many(self) -> None:
        """
        Each of 200 clients gets every push in order, even one that stops reading for a while; some
        are killed meanwhile, and the answers of all others arrive.
        """
        clients = await self.stack(200, reactor=Clock())  # it stands still: all is sent in one turn
        minds = list(self.online.everyone)
        stopped, killed, steady = clients[7], clients[50:60], [*clients[:7], *clients[60:]]
        transportOf(stopped).pauseProducing()
        everyone = self.online.everyone
        pushes = [
            everyone.callRemote("plain", {"price": 42}, pbtimeout=5),
            everyone.callRemote("watch", Watch(), pbtimeout=5),
            everyone.callRemote("nothing", 1, pbanswer=False),
            everyone.callRemote("plainAgain", [1, 2], pbtimeout=5),
        ]
        for client in killed:
            transportOf(client).abortConnection()
        told = [self.names(client, 4) for client in steady]
        for each in told:
            assert await each == ["plain", "watch", "nothing", "plainAgain"]
        del everyone
        await gatherResults([client.closed for client in killed])
        transportOf(stopped).resumeProducing()
        assert await self.names(stopped, 4) == ["plain", "watch", "nothing", "plainAgain"]
        order = {id(mind): n for n, mind in enumerate(minds)}
        for pushed, name in zip(
            [each for each in pushes if each is not None],
            ("plain", "watch", "plainAgain"),
            strict=True,
        ):
            results = await pushed
            assert len(results) == len(order) == 200
            failures = [result for success, result in results if not success]
            assert [failure.type for failure in failures] == [pb.PBConnectionLost] * 10
            answers = [result for success, result in results if success]
            assert answers == [f"{name} done"] * 190
        assert len(self.online.everyone) == 190
        assert self.realm.audit() == []

    async def test_killedInTheMiddle(self) -> None:
        """
        If connections are lost in the middle of a push that takes many turns, the other clients get
        it, and the results are complete and in the order of the logins.
        """
        clients = await self.stack(40)
        minds = list(self.online.everyone)
        pushed = self.online.everyone.callRemote("take", [Watch() for _ in range(100)])
        assert any(mind.broker.currentRequestID == 0 for mind in minds), "it is all sent already"
        for mind in minds[::4]:
            mind.broker.transport.abortConnection()
        results = await pushed
        assert [success for success, _ in results] == [bool(n % 4) for n in range(40)]
        failures = [result for success, result in results if not success]
        gone = {failure.type for failure in failures}
        assert gone <= {pb.PBConnectionLost, pb.DeadReferenceError}
        assert list(self.online.everyone) == [mind for n, mind in enumerate(minds) if n % 4]
        del clients

    async def slow(self, **bounds: Any) -> tuple[Client, list[int], Any]:
        """
        Push 64 KiB 400 times to three clients, one of which has stopped reading.

        @return: the client that has stopped, its backlog after each push, and the Deferred of the
            last push.
        """
        clients = await self.stack(3, **bounds)
        slow, others = clients[0], clients[1:]
        broker = next(iter(self.online.everyone)).broker
        transportOf(slow).pauseProducing()
        backlogs: list[int] = []
        for _ in range(400):
            pushed = self.online.everyone.callRemote("tick", b"x" * 2**16, pbtimeout=60)
            for client in others:
                assert (await client.told.get())[0] == "tick"
            transport = broker.transport
            waits = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
            backlogs.append(0 if broker.disconnected else waits)
            if len(self.online.everyone) == 2:
                break
        return slow, backlogs, pushed

    async def test_skip(self) -> None:
        """
        What waits for a client that has stopped reading is bounded, and the others get everything;
        when it reads again, it gets later pushes.
        """
        slow, backlogs, pushed = await self.slow(maximumBacklog=2**20)
        assert 2**20 < max(backlogs) < 2**20 + 2 * 2**16
        assert len(backlogs) == 400
        first, *rest = await pushed
        assert first[1].check(MindIsBehind)
        assert rest == [(True, "tick done")] * 2
        transportOf(slow).resumeProducing()
        broker = next(iter(self.online.everyone)).broker
        while broker.transport.dataBuffer or broker.transport._tempDataLen:
            await deferLater(reactor, 0, lambda: None)
        self.online.everyone.callRemote("last", pbanswer=False)
        while (await slow.told.get())[0] != "last":
            pass

    async def test_pending(self) -> None:
        """
        The number of answers that a client owes is bounded.
        """
        slow, backlogs, pushed = await self.slow(maximumPending=20)
        broker = next(iter(self.online.everyone)).broker
        assert len(broker.waitingForAnswers) == 20
        assert max(backlogs) < 21 * 2**16
        assert (await pushed)[0][1].check(MindIsBehind)
        transportOf(slow).resumeProducing()

    async def test_disconnect(self) -> None:
        """
        A client that is behind can be disconnected: its session ends at once, and its connection
        after it has had time to read.
        """

        def soon(session: Any) -> None:
            session.disconnect(timeout=0.1)

        slow, backlogs, _ = await self.slow(maximumBacklog=2**20, whenBehind=soon)
        assert len(backlogs) < 400
        assert len(self.online.everyone) == 2
        transportOf(slow).resumeProducing()
        await slow.closed
        assert self.realm.audit() == []
