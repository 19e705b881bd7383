"""
Tests for what a client may answer to a push: anything, and every push fires.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, IMind, MindGroup, MindRegistry
from avatarkit._clients.answers import readable
from avatarkit._clients.connections import Partings
from avatarkit.testing import MemoryPortal
from minds import connect
from pb import PBTestCase


class Client(pb.Referenceable):
    """
    A client that is there.
    """

    def remote_note(self, number: int) -> str:
        """
        Note it.
        """
        return "noted"


def failureOf(*state: tuple[bytes, Any]) -> list[Any]:
    """
    Return what a client sends for a failure with these attributes, as jelly has it.
    """
    return [
        b"twisted.spread.pb.CopyableFailure",
        [b"dictionary", *([[b"unicode", name], value] for name, value in state)],
    ]


TEXTS = [(name, [b"unicode", b"boo"]) for name in (b"type", b"value", b"traceback")]
PARENTS = (b"parents", [b"list", [b"unicode", b"builtins.ValueError"]])

#: Failures that cannot be read.
UNREADABLE = {
    "nothing": failureOf(PARENTS),
    "number": failureOf(PARENTS, *TEXTS[:2], (b"traceback", 5)),
    "notUnicode": failureOf(PARENTS, (b"type", b"\xff"), *TEXTS[1:]),
    "parent": failureOf((b"parents", [b"list", 5]), *TEXTS),
    "parents": failureOf((b"parents", 5), *TEXTS),
    "check": failureOf(PARENTS, *TEXTS, (b"check", 5)),
    "clean": failureOf(PARENTS, *TEXTS, (b"cleanFailure", 5)),
    "names": [*failureOf(PARENTS)[:1], [b"dictionary", *failureOf(PARENTS)[1][1:], [5, 5]]],
    "bytes": b"boo",
    "list": [b"list", 1],
}

#: Answers and errors that cannot be unjellied, or that no Deferred takes.
UNDECIPHERABLE = {
    "reference": (b"answer", [b"dereference"]),
    "class": (b"answer", [b"no.such.Class", {}]),
    "none": (b"error", [b"None"]),
    "orphan": (b"error", failureOf()),
}


def reply(way: bytes, sent: Any, broker: Any, requestID: int) -> None:
    """
    Send an answer, or an error.
    """
    broker.sendCall(way, requestID, sent)


def replyToTheSecond(way: bytes, sent: Any, broker: Any, requestID: int) -> None:
    """
    Send one for the first request when the second one has come.
    """
    if requestID == 2:
        reply(way, sent, broker, 1)


class AnswerTests(SynchronousTestCase):
    """
    One client that answers as it should, and one that does not.
    """

    def stack(self, answer: Callable[[Any, int], object], **bounds: Any) -> None:
        """
        Log both in; C{answer} is called with the broker of the bad one and the number of each
        request.
        """
        self.online = MindRegistry(reactor=Clock(), **bounds)
        self.realm = self.online(lambda avatarId: Avatar())
        self.portal = MemoryPortal(self.realm)
        self.avatars: list[Any] = []
        self.clients = [self.portal.connect() for _ in range(2)]
        for name, client in zip(("good", "bad"), self.clients, strict=True):
            client.login(name, mind=Client()).addCallback(self.avatars.append)
            self.portal.pump()
        bad: Any = self.clients[1].client._broker
        bad.proto_message = lambda requestID, *rest: answer(bad, requestID)

    def push(self, **kw: Any) -> list[Any]:
        """
        Push to everyone, and return the Deferred's results once they are there.
        """
        results: list[Any] = []
        self.online.everyone.callRemote("note", 1, **kw).addCallback(results.extend)
        self.portal.pump()
        return results

    def test_unreadable(self) -> None:
        """
        A failure that lacks what every failure has, or has it otherwise, is a ProtocolError of
        that client, whether it is sent as an error or as an answer; the client stays logged in.
        """
        for way in (b"error", b"answer"):
            for name, sent in UNREADABLE.items():
                if way == b"answer" and name in ("bytes", "list"):
                    continue
                self.stack(partial(reply, way, sent))
                for _ in range(2):
                    good, (success, failure) = self.push()
                    assert (good[0], success) == (True, False), name
                    assert failure.type is pb.ProtocolError, name
                    assert failure.check(pb.ProtocolError), name
                assert list(self.online) == [b"good", b"bad"]
                assert self.realm.audit() == []

    def test_readable(self) -> None:
        """
        A failure that is as Perspective Broker sends it is the client's own.
        """
        sent = failureOf(PARENTS, *TEXTS)
        self.stack(lambda broker, requestID: broker.sendCall(b"error", requestID, sent))
        _, (success, failure) = self.push()
        assert (success, failure.value) == (False, "boo")
        assert failure.check("builtins.ValueError")
        assert isinstance(failure, pb.CopiedFailure)

    def test_local(self) -> None:
        """
        A failure of an exception is left as it is.
        """
        failure = Failure(ValueError("no"))
        assert readable(failure) is failure

    def test_undecipherable(self) -> None:
        """
        An answer that cannot be read ends the connection, and the push has a PBConnectionLost of
        that client, of every push that waited.
        """
        for name, (way, sent) in UNDECIPHERABLE.items():
            self.stack(partial(replyToTheSecond, way, sent), maximumPending=10)
            waiting = self.push()
            assert waiting == []
            second = self.push()
            if name == "orphan" and not second:  # older releases of Twisted can read it
                assert waiting[1][1].check(pb.ProtocolError)
                continue
            for good, (success, failure) in (waiting, second):
                assert (good[0], success) == (True, False), name
                assert failure.check(pb.PBConnectionLost), name
            assert waiting[1][1] is not second[1][1]
            assert list(self.online) == [b"good"]
            assert self.push() == [(True, "noted")]
            self.flushLoggedErrors()

    def test_twice(self) -> None:
        """
        Who answers a push twice has answered it, and is cut off.
        """

        def answer(broker: Any, requestID: int) -> None:
            broker.sendCall(b"answer", requestID, 5)
            broker.sendCall(b"answer", requestID, 6)

        self.stack(answer)
        assert self.push() == [(True, "noted"), (True, 5)]
        assert list(self.online) == [b"good"]
        assert len(self.flushLoggedErrors(KeyError)) == 1

    def test_forgotten(self) -> None:
        """
        When a connection is lost that still owes answers which Perspective Broker has forgotten,
        every push fires, and nothing is kept of its broker: with a registry, with bounds, with
        neither.
        """
        unbounded, bounded = MindRegistry(), MindRegistry(maximumPending=10)
        for online in (unbounded, bounded, None):
            mind, results = connect(), list[Any]()
            if online is not None:
                realm = online(lambda avatarId: Avatar())
                realm.requestAvatar(b"alice", mind, pb.IPerspective)
            for _ in range(3):
                MindGroup([mind]).callRemote("note").addCallback(results.extend)
            mind.broker.waitingForAnswers.clear()  # as answers that cannot be read do
            mind.broker.connectionLost(Failure(pb.PBConnectionLost("gone")))
            assert [failure.type for _, failure in results] == [pb.PBConnectionLost] * 3
            if online is not None:
                assert not realm.sessions
            broker = ref(mind.broker)
            del mind
            gc.collect()
            assert broker() is None

    def test_afterTimeout(self) -> None:
        """
        An answer that nobody waits for any longer is no trouble, whatever it is.
        """
        requests: list[int] = []
        self.stack(lambda broker, requestID: requests.append(requestID), maximumPending=1)
        assert self.push(pbtimeout=0) == []
        clock: Any = self.online._reactor
        clock.advance(0)
        bad: Any = self.clients[1].client._broker
        bad.sendCall(b"error", requests[0], UNREADABLE["nothing"])
        self.portal.pump()
        self.push(pbtimeout=1)
        assert len(requests) == 2

    def test_oneNotifier(self) -> None:
        """
        However much a connection owes, its broker has one callback of ours.
        """
        self.stack(lambda broker, requestID: None)
        (mind,) = self.online[b"bad"]
        before = len(mind.broker.disconnects)
        for _ in range(3):
            self.push()
        assert len(mind.broker.disconnects) == before + 1

    def test_tooLarge(self) -> None:
        """
        What was too large to be sent is not waited for: neither the broker nor the log has it when
        the connection is lost.
        """
        mind = connect()
        group = MindGroup([mind], reactor=Clock())
        kept = group.callRemote("note", 1)
        for arguments in ((2**500,), ("x" * 700_000,), ([pb.Referenceable(), 2**500],)):
            ((success, _),) = self.successResultOf(group.callRemote("note", *arguments))
            assert not success
        assert len(mind.broker.waitingForAnswers) == 1
        mind.broker.connectionLost(Failure(pb.PBConnectionLost("gone")))
        assert len(self.successResultOf(kept)) == 1
        for _ in range(2):
            assert not self.successResultOf(group.callRemote("note"))[0][0]


class PartingsTests(SynchronousTestCase):
    """
    What is called when a connection is lost.
    """

    def test_order(self) -> None:
        """
        Everything is called once, in order, whatever raises; what is taken back is not.
        """
        partings, told = Partings(), list[object]()
        things = [str(n) for n in range(4)]

        def boom(what: object) -> None:
            partings.discard(told.append, things[3])
            raise ValueError("no")

        for what in things[:2]:
            partings.add(told.append, what)
        partings.add(boom, None)
        for what in things[2:]:
            partings.add(told.append, what)
        partings.discard(told.append, things[0])
        partings.discard(told.append, things[0])
        partings.lost()
        partings.lost()
        assert told == ["1", "2"]
        assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_newestFirst(self) -> None:
        """
        They can be called in the opposite order.
        """
        partings, told = Partings(), list[object]()
        for what in ("0", "1"):
            partings.add(told.append, what)
        partings.lost(newestFirst=True)
        assert told == ["1", "0"]

    def test_lost(self) -> None:
        """
        A broker whose connection is lost takes no more, as Perspective Broker has it.
        """
        mind = connect()
        group = MindGroup([mind], reactor=Clock())
        group.callRemote("note")
        mind.broker.connectionLost(Failure(pb.PBConnectionLost("gone")))
        with self.assertRaises(AttributeError):
            IMind(mind).notifyOnDisconnect(print)


class OverTCPTests(PBTestCase):
    """
    The same over a real connection.
    """

    async def test_everyone(self) -> None:
        """
        Whatever one client answers, a push to everyone fires, and the others are served.
        """
        online = MindRegistry()
        self.serve(online(lambda avatarId: Avatar()))
        good = self.client()
        await good.login()
        for way, sent in [(b"error", UNREADABLE["nothing"]), *UNDECIPHERABLE.values()]:
            bad = self.client()
            await bad.login("bob")
            broker: Any = bad.factory._broker
            broker.proto_message = lambda n, *rest, broker=broker, way=way, sent=sent: (
                broker.sendCall(way, n, sent)
            )
            results = await online.everyone.callRemote("note")
            assert results[0] == (True, "note done")
            assert [success for success, _ in results] == [True, False]
            bad.disconnect()
            await bad.closed
        self.flushLoggedErrors()
