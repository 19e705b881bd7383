"""
Tests for what a push returns, and how it ends.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet import defer
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.spread import banana, pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import Avatar, IMind, MindGroup, MindRegistry
from avatarkit._push.lanes import SLICE
from avatarkit.testing import FakeMind, MemoryPortal
from minds import Ours, Slow, connect, login
from scripted import Boom, Thing, opened


class ResultTests(SynchronousTestCase):
    """
    What a push returns.
    """

    def setUp(self) -> None:
        """
        Start with three clients.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock)
        self.realm = self.online(lambda avatarId: Thing())
        self.minds = [FakeMind() for _ in range(3)]
        self.logouts = [login(self.realm, mind, n) for n, mind in enumerate(self.minds)]

    def test_noAnswer(self) -> None:
        """
        With C{pbanswer=False}, nothing waits for answers, and the call returns None.
        """
        real = connect()
        login(self.realm, real, "real")
        assert self.online.everyone.callRemote("notify", 1, pbanswer=False) is None
        assert [mind.calls[0].args for mind in self.minds] == [(1,)] * 3
        assert real.broker.waitingForAnswers == {}
        assert self.online["real"].callRemote("notify", 1, pbanswer=False) is None
        assert real.broker.waitingForAnswers == {}
        assert self.online["nobody"].callRemote("notify", pbanswer=False) is None
        assert self.clock.getDelayedCalls() == []

    def test_noAnswerFails(self) -> None:
        """
        With C{pbanswer=False}, it is logged if something cannot be sent, but not if a client is
        gone.
        """
        bad = connect()
        login(self.realm, bad, "bad")
        self.minds[0].disconnect()
        self.online.everyone.callRemote("notify", 2**500, pbanswer=False)
        logged = self.flushLoggedErrors(banana.BananaError)
        assert ["int is too large" in each.getErrorMessage() for each in logged] == [True] * 3

        class Bad(pb.Copyable):
            def getStateToCopyFor(self, perspective: Any) -> Any:
                raise Boom

        self.online["bad"].callRemote("notify", Bad(), pbanswer=False)
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_ignoresPbanswer(self) -> None:
        """
        An answer from a mind that was not asked for one is ignored.
        """

        @implementer(IMind)
        class Talkative(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
                self.said: Any = super().callRemote(name, *args, **kw)
                return self.said

        mind = Talkative()
        online = MindRegistry(maximumPending=1, reactor=self.clock)
        login(online(lambda avatarId: Thing()), mind)
        for name in ("notify", "again"):
            assert online.everyone.callRemote(name, pbanswer=False) is None
        assert [call.name for call in mind.calls] == ["notify", "again"]
        mind.calls[1].answer.callback("oh")
        assert self.successResultOf(mind.said) == "oh"

    def test_timeout(self) -> None:
        """
        Clients that have not answered in time fail with TimeoutError, and their late answers are
        dropped; the others are not affected.
        """
        pushed = self.online.everyone.callRemote("notify", pbtimeout=5)
        self.minds[1].calls[0].answer.callback("in time")
        self.clock.advance(4.9)
        self.assertNoResult(pushed)
        self.clock.advance(0.1)
        results = self.successResultOf(pushed)
        first, second, third = results
        assert second == (True, "in time")
        assert [first[1].type, third[1].type] == [defer.TimeoutError] * 2
        self.minds[0].calls[0].answer.callback("late")
        self.minds[2].calls[0].answer.errback(Boom())
        assert results == [first, second, third]

    def test_inTime(self) -> None:
        """
        When all have answered, no delayed call is left; the timeout is not sent to the clients.
        """
        pushed = self.online.everyone.callRemote("notify", timeout=7, pbtimeout=5)
        for mind in self.minds:
            assert mind.calls[0].kwargs == {"timeout": 7}
            mind.calls[0].answer.callback(1)
        assert self.successResultOf(pushed) == [(True, 1)] * 3
        assert self.clock.getDelayedCalls() == []
        assert self.successResultOf(self.online["nobody"].callRemote("a", pbtimeout=5)) == []
        assert self.clock.getDelayedCalls() == []

    def test_cancel(self) -> None:
        """
        A cancelled push waits for no client, and is not sent to those whose turn has not come.
        """
        slow = Slow(self.clock)
        login(self.realm, slow, "slow")
        last = FakeMind()
        login(self.realm, last, "last")
        pushed = self.online.everyone.callRemote("notify")
        self.minds[0].calls[0].answer.callback(1)
        pushed.cancel()
        results = self.successResultOf(pushed)
        assert results[0] == (True, 1)
        assert {failure.type for _, failure in results[1:]} == {CancelledError}
        self.clock.advance(0)
        assert (len(slow.calls), last.calls) == (1, [])
        slow.calls[0].answer.callback("late")

    def test_misuse(self) -> None:
        """
        Arguments that make no sense are refused at once.
        """
        everyone = self.online.everyone
        for wrong in (
            lambda: everyone.callRemote(3),  # type: ignore[call-overload]
            lambda: everyone.callRemote("a", pbtimeout="5"),  # type: ignore[call-overload]
            lambda: everyone.callRemote("a", pbtimeout=5, pbanswer=False),
            lambda: MindGroup([], reactor="x"),  # type: ignore[arg-type]
            lambda: MindRegistry(reactor=3),  # type: ignore[arg-type]
            lambda: MindRegistry(maximumBacklog="1"),  # type: ignore[arg-type]
            lambda: MindRegistry(maximumPending=True),
            lambda: MindRegistry(whenBehind="skip"),  # type: ignore[arg-type]
            lambda: self.online.select("all"),  # type: ignore[arg-type]
        ):
            self.assertRaises(TypeError, wrong)
        for worse in (
            lambda: everyone.callRemote("a", pbtimeout=-1),
            lambda: MindRegistry(maximumBacklog=0),
            lambda: MindRegistry(maximumPending=-1),
        ):
            self.assertRaises(ValueError, worse)
        assert [mind.calls for mind in self.minds] == [[]] * 3

    def test_dead(self) -> None:
        """
        If a push finds a mind dead, its session is ended, whichever group the push goes to.
        """
        gone: list[Any] = []
        for kind in ("registry", "avatar", "own group"):
            avatar = Avatar()
            realm = self.online({kind: avatar}.__getitem__)
            dead, alive = connect(), connect()
            for mind in (dead, alive):
                opened(realm.requestAvatar(kind, mind, pb.IPerspective))
            dead.broker.disconnected = 1
            groups = {
                "registry": self.online[kind],
                "avatar": avatar.minds,
                "own group": MindGroup((dead, alive), reactor=self.clock),
            }
            pushed = groups[kind].callRemote("notify")
            alive.broker.proto_answer(1, [b"unicode", b"here"])
            first, second = self.successResultOf(pushed)
            assert first[1].check(pb.DeadReferenceError)
            assert second == (True, "here")
            assert list(self.online[kind]) == [alive]
            gone.append(len(avatar.minds))
        assert gone == [1, 1, 1]

    def test_dying(self) -> None:
        """
        If a client dies before it answers, its session is ended.
        """
        pushed = self.online.everyone.callRemote("notify")
        self.minds[1].disconnect()
        assert list(self.online) == [0, 2]
        for n in (0, 2):
            self.minds[n].calls[0].answer.callback(n)
        assert [success for success, _ in self.successResultOf(pushed)] == [True, False, True]

    def test_aliveThoughDead(self) -> None:
        """
        A client whose own method fails with DeadReferenceError is not dead.
        """

        class Client(pb.Referenceable):
            def remote_notify(self) -> None:
                raise pb.DeadReferenceError("another one")

        online = MindRegistry(reactor=self.clock)
        portal = MemoryPortal(online(lambda avatarId: Avatar()))
        connection = portal.connect()
        login = connection.login(mind=Client())
        portal.pump()
        pushed = online.everyone.callRemote("notify")
        portal.pump()
        ((success, failure),) = self.successResultOf(pushed)
        assert failure.check(pb.DeadReferenceError)
        assert (success, list(online)) == (False, [b"alice"])
        assert len(self.flushLoggedErrors(pb.DeadReferenceError)) == 1
        assert self.successResultOf(login) is not None

    def test_letsGo(self) -> None:
        """
        A push that is over keeps neither its arguments nor its results, even if an answer never
        comes.
        """

        class Big(list[int]):
            pass

        class Answering:
            def __init__(self, said: Any) -> None:
                self.said = said

            def callRemote(self, name: Any, *args: Any, **kw: Any) -> Any:
                return defer.succeed(self.said)

        for end in ("timeout", "cancel"):
            silent, said = connect(), Big()
            here = Answering(said)
            pushed = MindGroup([here, silent], reactor=self.clock).callRemote(
                "notify", [thing := Ours()], pbtimeout=5
            )
            kept: list[Any] = [ref(said), ref(thing)]
            if end == "cancel":
                pushed.cancel()
            self.clock.advance(5)
            assert [success for success, _ in self.successResultOf(pushed)] == [True, False]
            del said, thing, pushed, here.said
            gc.collect()
            assert [each() for each in kept] == [None, None]
            assert len(silent.broker.waitingForAnswers) == 1

    def test_timeoutLeavesOut(self) -> None:
        """
        Clients whose turn has not come at the timeout are left out.
        """
        slow, last = Slow(self.clock), FakeMind()
        pushed = MindGroup([slow, last], reactor=self.clock).callRemote("notify", pbtimeout=SLICE)
        self.clock.advance(0)
        assert len(self.successResultOf(pushed)) == 2
        self.clock.advance(0)
        assert (len(slow.calls), last.calls) == (1, [])

    def test_deep(self) -> None:
        """
        Data that is nested too deeply to be sent fails for each client, and affects no other push.
        """
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        minds: list[Any] = [Slow(self.clock, any), Slow(self.clock, any), FakeMind()]
        group = MindGroup(minds, reactor=self.clock)
        pushed = group.callRemote("notify", deep)
        group.callRemote("after", pbanswer=False)
        self.clock.pump([0] * 9)
        assert [call.name for call in minds[2].calls] == ["after"]
        for mind in minds[:2]:
            mind.calls[0].answer.callback(1)
        assert [success for success, _ in self.successResultOf(pushed)] == [True, True, False]

    def test_reserved(self) -> None:
        """
        Keyword arguments that C{callRemote} cannot take fail for one mind as for many.
        """
        for minds in ([connect()], [connect(), connect()]):
            for keyword in ({"_name": 1}, {"self": 1}):
                push: Any = MindGroup(minds, reactor=self.clock).callRemote
                results = self.successResultOf(push("notify", **keyword))
                assert {failure.type for _, failure in results} == {TypeError}

    def test_ownTraceback(self) -> None:
        """
        The traceback of an encoding error does not grow with the number of minds.
        """
        minds = [connect() for _ in range(50)]
        pushed = MindGroup(minds, reactor=self.clock).callRemote("notify", 2**500)
        for _, failure in self.successResultOf(pushed):
            assert len(failure.frames) < 20

    def test_adapted(self) -> None:
        """
        A mind without C{callRemote} is called through its adapter to L{IMind}.
        """

        @implementer(IMind)
        class Line(FakeMind):
            def __init__(self, socket: Any) -> None:
                super().__init__()
                socket.line = self

        class Socket:
            line: Any

        registerAdapter(Line, Socket, IMind)
        socket = Socket()
        pushed = MindGroup([socket], reactor=self.clock).callRemote("notify", 1)
        socket.line.calls[0].answer.callback("done")
        assert self.successResultOf(pushed) == [(True, "done")]
