"""
Tests for pushing: what goes over the wire, in which order, and what comes of it.
"""

from __future__ import annotations

import datetime
import gc
from decimal import Decimal
from typing import Any
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread import banana, jelly, pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import avatarkit
from avatarkit import (
    Avatar,
    IMind,
    MindGroup,
    MindIsBehind,
    MindRegistry,
    Session,
    disconnect,
)
from avatarkit._clients.minds import bufferedIn
from avatarkit._push.delivery import SLICE, lanesOf
from avatarkit.testing import FakeMind, MemoryPortal
from scripted import Boom, IThing, Thing, opened, sessionOf

atoms: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=9),
    st.binary(max_size=9),
    st.sampled_from([b"message", b"None", "list"]),  # what has a number of its own on the wire
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False),
)
hashables = st.recursive(
    atoms,
    lambda some: st.one_of(st.frozensets(some, max_size=3), st.tuples(some, some)),
    max_leaves=3,
)


def nested(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """
    Answer containers, in some of which the same one is twice.
    """
    lists = st.lists(some, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(lambda one: [one, one, (one,)]),
        st.dictionaries(hashables, some, max_size=3),
        st.sets(hashables, max_size=3),
    )


data = st.recursive(st.one_of(hashables, nested(hashables)), nested, max_leaves=5)


class Ours(pb.Copyable):
    """
    Something that is sent as a copy.
    """


class Strict(jelly.SecurityOptions):
    """
    What allows nothing.
    """

    def isTypeAllowed(self, typeName: bytes) -> bool:
        """
        No.
        """
        return False


class OtherBroker(pb.Broker):
    """
    A broker of another kind.
    """


def connect(broker: Any = None, *, luid: Any = 1) -> Any:
    """
    Answer the mind of a broker whose bytes can be looked at.
    """
    broker = pb.Broker(isClient=False) if broker is None else broker
    broker.makeConnection(StringTransport())
    broker.currentDialect = b"pb"
    broker.transport.clear()
    return pb.RemoteReference(None, broker, luid, False)


def sentTo(mind: Any) -> bytes:
    """
    Answer what a mind was sent since one last asked.
    """
    sent: bytes = mind.broker.transport.value()
    mind.broker.transport.clear()
    return sent


def firstLine(failure: Any) -> str:
    """
    Answer what a failure is of.
    """
    return f"{failure.type.__name__}: {failure.getErrorMessage()}"


class WireTests(SynchronousTestCase):
    """
    What clients are sent is what C{callRemote} sends them.
    """

    def setUp(self) -> None:
        """
        Count what goes through C{callRemote}.
        """
        self.own: list[Any] = []
        callRemote = pb.RemoteReference.callRemote

        def counted(mind: Any, *args: Any, **kw: Any) -> Any:
            self.own.append(mind)
            return callRemote(mind, *args, **kw)

        self.patch(pb.RemoteReference, "callRemote", counted)

    def compare(
        self, name: Any, *args: Any, minds: Any = None, twin: Any = None, **kw: Any
    ) -> None:
        """
        Push to minds, and call another one that is alike: all are sent the same.
        """
        self.own = []
        minds = [connect(), connect()] if minds is None else minds
        twin = connect() if twin is None else twin
        for each in (*minds, twin):
            each.broker.currentRequestID = 300
        MindGroup(minds, reactor=Clock()).callRemote(name, *args, **kw)
        self.pushed, self.own = len(self.own), []
        twin.callRemote(name, *args, **kw)
        expected = sentTo(twin)
        assert expected
        for mind in minds:
            assert sentTo(mind) == expected
            assert mind.broker.currentRequestID == twin.broker.currentRequestID
            assert set(mind.broker.waitingForAnswers) == set(twin.broker.waitingForAnswers)

    @given(
        st.text(max_size=9),
        st.lists(data, max_size=2),
        st.dictionaries(st.text(max_size=5), data, max_size=2),
        st.booleans(),
    )
    def test_plain(self, name: str, args: list[Any], kw: dict[str, Any], answer: bool) -> None:
        """
        Plain data goes over the wire byte by byte as C{callRemote} has it, and does not go through
        it.
        """
        kw = {"x" + key: value for key, value in kw.items()}
        self.compare(name, *args, **kw, **({} if answer else {"pbanswer": False}))
        assert self.pushed == 0

    def test_cycle(self) -> None:
        """
        What contains itself is sent as C{callRemote} does it.
        """
        cycle: list[Any] = [1]
        cycle.append({"again": cycle})
        self.compare("notify", cycle, (cycle, cycle))
        assert self.pushed == 0

    def test_numbers(self) -> None:
        """
        So are messages to minds, and in requests, of any number.
        """
        for luid in (0, 1, 127, 128, 70000, 2**31 - 1):
            for requestID in (0, 126, 127, 16383, 2**31 - 2, 2**31 - 1, 2**31, 2**40):
                minds, twin = [connect(luid=luid), connect(luid=luid)], connect(luid=luid)
                for each in (*minds, twin):
                    each.broker.currentRequestID = requestID
                MindGroup(minds, reactor=Clock()).callRemote("notify")
                assert self.own == []
                twin.callRemote("notify")
                expected = sentTo(twin)
                assert [sentTo(each) for each in minds] == [expected, expected]
                self.own = []

    def test_names(self) -> None:
        """
        A name may be bytes, or one that Perspective Broker has a number for.
        """
        for name in (b"notify", "message", b"list", "\N{SNOWMAN}"):
            self.compare(name, 1)
            assert self.pushed == 0

    def test_ownCall(self) -> None:
        """
        What may not come out the same for everybody goes through each mind's own C{callRemote}.
        """

        class Sub(pb.RemoteReference):
            pass

        for argument in (Ours(), [Ours()], {"a": ({1: Ours()},)}, type("S", (str,), {})("x"), int):
            self.compare("notify", argument)
            assert self.pushed == 2
        self.compare("notify", pbcallback=None)
        assert self.pushed == 2
        self.flushWarnings()
        for minds, twin in (
            ([connect(OtherBroker(False)), connect(OtherBroker(False))], connect()),
            ([connect(luid=b"root"), connect(luid=b"root")], connect(luid=b"root")),
            ([connect(luid=-1), connect(luid=-1)], connect(luid=-1)),
            ([connect(luid=2**31), connect(luid=2**31)], connect(luid=2**31)),
            ([connect(luid=True), connect(luid=True)], connect(luid=True)),
        ):
            self.compare("notify", {"a": 1}, minds=minds, twin=twin)
            assert self.pushed == 2
        broker = connect().broker
        subs = [Sub(None, connect().broker, 1, False), Sub(None, connect().broker, 1, False)]
        self.compare("notify", minds=subs, twin=pb.RemoteReference(None, broker, 1, False))
        assert self.pushed == 2

    def test_one(self) -> None:
        """
        To one mind nothing has to be encoded for many.
        """
        self.compare("notify", {"a": 1}, minds=[connect()])
        assert self.pushed == 1

    def test_referenceable(self) -> None:
        """
        A Referenceable is another one for each client.
        """
        minds, twin, thing = [connect(), connect()], connect(), pb.Referenceable()
        minds[0].broker.currentLocalID = 7
        MindGroup(minds, reactor=Clock()).callRemote("take", thing)
        twin.callRemote("take", thing)
        assert sentTo(minds[1]) == sentTo(twin) != sentTo(minds[0])
        assert minds[0].broker.localObjects[8].object is thing

    def test_dialects(self) -> None:
        """
        A broker of another dialect, or with symbols of its own, is sent what it understands.
        """

        def none() -> Any:
            mind = connect()
            mind.broker.currentDialect = b"none"
            return mind

        def symbols() -> Any:
            mind = connect()
            mind.broker.outgoingSymbols[b"notify"] = 40
            return mind

        for make in (none, symbols):
            self.compare("notify", [1], minds=[make(), make()], twin=make())
            assert self.pushed == 2

    def test_security(self) -> None:
        """
        Each broker's own rules of what may be sent apply, and its own limit of integers.
        """
        strict, small = connect(), connect()
        strict.broker.security = Strict()
        small.broker.setPrefixLimit(2)
        group = MindGroup([connect(), strict, small, connect()], reactor=Clock())
        pushed = group.callRemote("notify", {"n": 2**40})
        assert [bool(sentTo(mind)) for mind in group] == [True, False, False, True]
        for mind in group:
            mind.broker.connectionLost("gone")
        results = self.successResultOf(pushed)
        types = [failure.type for success, failure in results]
        lost = pb.PBConnectionLost
        assert types == [lost, jelly.InsecureJelly, banana.BananaError, lost]
        assert self.own == []

    def test_unsendable(self) -> None:
        """
        What cannot be sent fails for each as it does with C{callRemote}, and leaves nothing behind.
        """
        aware = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        for argument in (aware, 2**500, b"x" * (banana.SIZE_LIMIT + 1), Decimal("nan")):
            minds, twin = [connect(), connect()], connect()
            results = self.successResultOf(
                MindGroup(minds, reactor=Clock()).callRemote("notify", argument)
            )
            own = defer.maybeDeferred(twin.callRemote, "notify", argument)
            expected = firstLine(self.failureResultOf(own))
            assert [firstLine(failure) for _, failure in results] == [expected, expected]
            assert results[0][1] is not results[1][1]
            assert [mind.broker.waitingForAnswers for mind in minds] == [{}, {}]
            assert [sentTo(mind) for mind in minds] == [b"", b""]

    def test_answers(self) -> None:
        """
        Answers and errors of clients come back as they do for C{callRemote}.
        """
        for argument in (1, Ours()):
            minds = [connect(), connect(), connect()]
            pushed = MindGroup(minds, reactor=Clock()).callRemote("notify", argument)
            minds[2].broker.proto_answer(1, [b"unicode", b"done"])
            broken = pb.failure2Copyable(Failure(Boom("broken")), 0)
            minds[1].broker.proto_error(1, connect().broker.serialize(broken))
            self.assertNoResult(pushed)
            minds[0].broker.connectionLost("gone")
            first, second, third = self.successResultOf(pushed)
            assert first[1].check(pb.PBConnectionLost)
            assert (second[0], second[1].check(Boom)) == (False, Boom)
            assert third == (True, "done")
            assert [mind.broker.waitingForAnswers for mind in minds[1:]] == [{}, {}]

    def test_sharedBytes(self) -> None:
        """
        All clients are sent the same bytes object, which is in memory once.
        """

        class Kept(StringTransport):
            def writeSequence(self, data: Any) -> None:
                self.kept = tuple(data)

        minds = [connect(), connect()]
        for mind in minds:
            mind.broker.transport = Kept()
        MindGroup(minds, reactor=Clock()).callRemote("notify", ["x" * 9999])
        one, other = (mind.broker.transport.kept[-1] for mind in minds)
        assert one is other
        assert len(one) > 9999


class ResultTests(SynchronousTestCase):
    """
    What a push answers.
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
        With C{pbanswer=False} nothing is awaited, and the call answers None.
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
        With C{pbanswer=False} what could not be sent is logged, but not that somebody is gone.
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
        An answer of a mind that answers though nobody asked is nobody's.
        """

        @implementer(IMind)
        class Talkative(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
                return super().callRemote(name, *args, **kw)

        mind = Talkative()
        MindGroup([mind], reactor=self.clock).callRemote("notify", pbanswer=False)
        mind.calls[0].answer.callback("oh")

    def test_timeout(self) -> None:
        """
        Those who have not answered in time fail with TimeoutError, and what they answer later is
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
        When all have answered nothing of the timeout is left, and it reaches no client.
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
        Cancelling a push waits for nobody, and leaves it out for those who have not got it yet.
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
        What makes no sense is refused at once.
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
        The session of a mind that a push finds dead is ended, whatever group it goes to.
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
        One that dies before it answers is ended too.
        """
        pushed = self.online.everyone.callRemote("notify")
        self.minds[1].disconnect()
        assert list(self.online) == [0, 2]
        for n in (0, 2):
            self.minds[n].calls[0].answer.callback(n)
        assert [success for success, _ in self.successResultOf(pushed)] == [True, False, True]

    def test_aliveThoughDead(self) -> None:
        """
        A client whose method fails with what a dead reference raises is not dead.
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
        A push that is over keeps neither its arguments nor its results, though an answer of it
        never comes.
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
        Those whose turn has not come at the timeout are left out.
        """
        slow, last = Slow(self.clock), FakeMind()
        pushed = MindGroup([slow, last], reactor=self.clock).callRemote("notify", pbtimeout=SLICE)
        self.clock.advance(0)
        assert len(self.successResultOf(pushed)) == 2
        self.clock.advance(0)
        assert (len(slow.calls), last.calls) == (1, [])

    def test_deep(self) -> None:
        """
        What is nested too deep to be sent fails for each, and harms no other push.
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
        What C{callRemote} has no room for fails for one mind as for many.
        """
        for minds in ([connect()], [connect(), connect()]):
            for keyword in ({"_name": 1}, {"self": 1}):
                push: Any = MindGroup(minds, reactor=self.clock).callRemote
                results = self.successResultOf(push("notify", **keyword))
                assert {failure.type for _, failure in results} == {TypeError}

    def test_ownTraceback(self) -> None:
        """
        An error of encoding does not grow with each mind that it is told of.
        """
        minds = [connect() for _ in range(50)]
        pushed = MindGroup(minds, reactor=self.clock).callRemote("notify", 2**500)
        for _, failure in self.successResultOf(pushed):
            assert len(failure.frames) < 20

    def test_adapted(self) -> None:
        """
        A mind without a C{callRemote} is called through its adapter to IMind.
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


def login(realm: Any, mind: Any, avatarId: Any = b"alice") -> Any:
    """
    Log in, and answer the logout.
    """
    return opened(realm.requestAvatar(avatarId, mind, IThing))[2]


@implementer(IMind)
class Slow(FakeMind):
    """
    A mind for which it takes some time to be called.
    """

    def __init__(self, clock: Clock, args: Any = list) -> None:
        super().__init__()
        self.clock, self.args = clock, args

    def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
        """
        Take as long as a slice.
        """
        self.clock.rightNow += SLICE
        return super().callRemote(name, *(args if self.args is list else ()), **kw)


class OrderTests(SynchronousTestCase):
    """
    Slices, and what arrives after what.
    """

    def setUp(self) -> None:
        """
        Start with nobody.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock)
        self.realm = self.online(lambda avatarId: Thing())

    def join(self, mind: Any, avatarId: Any = b"alice") -> Any:
        """
        Log a mind in.
        """
        login(self.realm, mind, avatarId)
        return mind

    def turn(self) -> None:
        """
        Let the reactor have one turn.
        """
        calls: Any = self.clock.getDelayedCalls()
        for call in calls:
            function, args, kw = call.func, call.args, call.kw
            call.cancel()
            function(*args, **kw)

    def test_slices(self) -> None:
        """
        A push that takes long goes on in the reactor's later turns, each of them about as long as a
        slice.
        """
        minds = [self.join(Slow(self.clock)) for _ in range(3)]
        pushed = self.online.everyone.callRemote("a")
        for turn in (1, 2, 3):
            assert [len(mind.calls) for mind in minds] == [1] * turn + [0] * (3 - turn)
            self.turn()
        for mind in minds:
            mind.calls[0].answer.callback(1)
        assert self.successResultOf(pushed) == [(True, 1)] * 3
        assert self.clock.getDelayedCalls() == []

    def test_cancelledOnTheWay(self) -> None:
        """
        A push that is cancelled because of what it does, or before it is sent, harms no other.
        """

        class Cancelling(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                pushed[-1].cancel()
                clock.rightNow += SLICE
                return super().callRemote(name, *args, **kw)

        clock, other, pushed = self.clock, FakeMind(), list[Any]()
        cancelling = Cancelling()
        group = MindGroup([cancelling, other], reactor=clock)

        def nest() -> None:
            group.callRemote("never").cancel()
            pushed.append(group.callRemote("a"))

        MindGroup([FakeMind({"go": nest})], reactor=clock).callRemote("go")
        (results,) = map(self.successResultOf, pushed)
        assert {failure.type for _, failure in results} == {CancelledError}
        self.clock.advance(0)
        assert [[call.name for call in mind.calls] for mind in (cancelling, other)] == [["a"], []]
        MindGroup([other], reactor=clock).callRemote("b")
        assert [call.name for call in other.calls] == ["b"]

    def test_atLeastOne(self) -> None:
        """
        However late it is, the first one is told at once.
        """

        class Hurried(Clock):
            def seconds(self) -> float:
                self.rightNow += 2 * SLICE
                return super().seconds()

        minds = [FakeMind(), FakeMind()]
        MindGroup(minds, reactor=Hurried()).callRemote("a", pbanswer=False)
        assert [len(mind.calls) for mind in minds] == [1, 0]

    def test_halfSlices(self) -> None:
        """
        There are as many in a slice as there is time for.
        """
        minds = []
        for _ in range(3):
            minds += [self.join(FakeMind()), self.join(FakeMind()), self.join(Slow(self.clock))]
        self.online.everyone.callRemote("a")
        for told in (3, 6, 9):
            assert [len(mind.calls) for mind in minds] == [1] * told + [0] * (9 - told)
            self.turn()

    def test_order(self) -> None:
        """
        What is pushed while an earlier push waits arrives after that, whatever group, way or kind
        of push; and a small push does not wait for what goes to others.
        """
        slow = [self.join(Slow(self.clock), n) for n in range(2)]
        late, other = self.join(FakeMind(), "late"), self.join(connect(), "real")
        free = self.join(FakeMind(), "free")
        others = self.online.select(lambda session: session.avatarId != "free")
        others.callRemote("a", [1])
        self.online["real"].callRemote("b", Ours(), pbanswer=False)
        self.online["late"].callRemote("b")
        self.online["free"].callRemote("b")
        MindGroup([late], reactor=self.clock).callRemote("c")
        assert [call.name for call in free.calls] == ["b"]
        assert [call.name for call in late.calls] == ["a", "b", "c"]
        assert methods(other) == [b"a", b"b"]
        assert [len(mind.calls) for mind in slow] == [1, 0]
        self.clock.advance(0)
        assert [len(mind.calls) for mind in slow] == [1, 1]
        self.clock.advance(0)
        assert [len(late.calls), methods(other)] == [3, []]

    def test_lanesAreKept(self) -> None:
        """
        Several pushes that wait for their turn arrive in order, to two minds of one connection as
        well.
        """
        self.join(Slow(self.clock))
        real = self.join(connect())
        twin = self.join(pb.RemoteReference(None, real.broker, 2, False))
        mind = self.join(FakeMind())
        everyone = self.online.everyone
        everyone.callRemote("a", pbanswer=False)
        everyone.callRemote("b", Ours(), pbanswer=False)
        everyone.callRemote("c", pbanswer=False)
        assert len(self.clock.getDelayedCalls()) == 1
        for _ in range(5):
            self.clock.advance(0)
        assert methods(real) == [b"a", b"a", b"b", b"b", b"c", b"c"]
        assert [call.name for call in mind.calls] == ["a", "b", "c"]
        assert twin in everyone

    def test_nested(self) -> None:
        """
        A push from inside a push arrives behind it everywhere, in the same turn if there is time.
        """

        @implementer(IMind)
        class Echo(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                if name == "a":
                    online.everyone.callRemote("echo", args, pbanswer=False)
                return super().callRemote(name, *args, **kw)

        online = self.online
        minds = [self.join(each) for each in (FakeMind(), Echo(), FakeMind())]
        self.online.everyone.callRemote("a", 1)
        for mind in minds:
            assert [call.name for call in mind.calls] == ["a", "echo"]
        assert self.clock.getDelayedCalls() == []

    def test_nestedLater(self) -> None:
        """
        So does one that comes when there is no time left.
        """

        @implementer(IMind)
        class Echo(Slow):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                if name == "a":
                    online.everyone.callRemote("echo", args, pbanswer=False)
                    args[0].append("changed")
                return super().callRemote(name, *args, **kw)

        online, said = self.online, list[Any]([1])
        minds = [self.join(each) for each in (Echo(self.clock), FakeMind(), FakeMind())]
        self.online.everyone.callRemote("a", said)
        assert [len(mind.calls) for mind in minds] == [1, 0, 0]
        for _ in range(3):
            self.clock.advance(0)
        for mind in minds:
            assert [call.name for call in mind.calls] == ["a", "echo"]
            assert mind.calls[1].args == (([1],),)

    def test_snapshot(self) -> None:
        """
        Everybody gets the arguments as they were when the push was called; what is no plain data is
        the same object.
        """
        inner, thing = list[Any]([2]), Ours()
        said: list[Any] = [1, inner]
        minds = [self.join(Slow(self.clock)) for _ in range(2)]
        real = [self.join(connect()), self.join(connect())]
        self.online.everyone.callRemote("a", said, {"b": said}, thing=[thing])
        self.online.everyone.callRemote("b", said, pbanswer=False)
        said.append("changed")
        inner.append("changed")
        for _ in range(4):
            self.clock.advance(0)
        (call, _) = minds[1].calls
        assert call.args == ([1, [2]], {"b": [1, [2]]})
        assert call.args[0] is call.args[1]["b"]
        assert call.kwargs["thing"][0] is thing
        for each in real:
            assert b"changed" not in sentTo(each)

    def test_leaving(self) -> None:
        """
        Those who leave before their turn are left out, and those who come after the call are too.
        """
        slow, here = self.join(Slow(self.clock)), self.join(FakeMind())
        leaver = FakeMind()
        logout = login(self.realm, leaver)
        real = connect()
        logoutReal = login(self.realm, real)
        pushed = self.online.everyone.callRemote("a")
        logout()
        logoutReal()
        joiner = self.join(FakeMind())
        self.clock.advance(0)
        assert [len(mind.calls) for mind in (slow, here, leaver, joiner)] == [1, 1, 0, 0]
        assert sentTo(real) == b""
        for mind in (slow, here):
            mind.calls[0].answer.callback(1)
        results = self.successResultOf(pushed)
        assert results[:2] == [(True, 1)] * 2
        assert {failure.type for _, failure in results[2:]} == {pb.DeadReferenceError}

    def test_logoutsPush(self) -> None:
        """
        What a logout pushes that a push has brought about arrives behind that push.
        """

        class Leaver(Avatar):
            def detached(self, mind: Any) -> object:
                online.everyone.callRemote("left", pbanswer=False)
                return super().detached(mind)

        online = self.online
        realm = online(lambda avatarId: Leaver())
        minds: list[Any] = [FakeMind(), connect(), FakeMind()]
        for mind in minds:
            opened(realm.requestAvatar(b"alice", mind, pb.IPerspective))
        minds[1].broker.disconnected = 1
        online.everyone.callRemote("a")
        for mind in (minds[0], minds[2]):
            assert [call.name for call in mind.calls] == ["a", "left"]

    def test_nothingIsKept(self) -> None:
        """
        When everything is sent nothing of it is left, and a clock that is gone takes its lanes
        along.
        """
        self.join(Slow(self.clock))
        self.join(FakeMind())
        self.online.everyone.callRemote("a", pbanswer=False)
        lanes = lanesOf(self.clock)
        assert len(lanes._lanes) == 1
        self.clock.advance(0)
        assert (dict(lanes._lanes), list(lanes._pushes)) == ({}, [])
        assert lanesOf(self.clock) is lanes
        clock = Clock()
        assert lanesOf(clock) is not lanes
        gone = ref(clock)
        del clock
        gc.collect()
        assert gone() is None

    def test_longLane(self) -> None:
        """
        The reactor has its turn also when what takes long all goes to one client.
        """
        mind = self.join(Slow(self.clock))
        for _ in range(4):
            self.online.everyone.callRemote("a", pbanswer=False)
            self.online.everyone.callRemote("b", pbanswer=False)
        nested = FakeMind({"go": lambda: [self.online.everyone.callRemote(n) for n in "cdef"]})
        MindGroup([nested], reactor=self.clock).callRemote("go")
        told = len(mind.calls)
        while told < 12:
            self.turn()
            assert len(mind.calls) == told + 1
            told = len(mind.calls)
        assert "".join(call.name for call in mind.calls) == "ababababcdef"
        assert self.clock.getDelayedCalls() == []

    def test_behindLane(self) -> None:
        """
        A push that meets a lane which it has no time to empty waits in it.
        """
        blocker, mind = self.join(Slow(self.clock), "x"), self.join(Slow(self.clock), "y")
        MindGroup([blocker, mind], reactor=self.clock).callRemote("a")
        MindGroup([blocker, mind], reactor=self.clock).callRemote("b")
        assert [[call.name for call in each.calls] for each in (blocker, mind)] == [["a", "b"], []]
        MindGroup([mind], reactor=self.clock).callRemote("c")
        assert [call.name for call in mind.calls] == ["a"]
        self.turn()
        self.turn()
        assert [call.name for call in mind.calls] == ["a", "b", "c"]

    def test_copiedOnce(self) -> None:
        """
        Arguments are copied once for all who get them later.
        """

        class Taking:
            def callRemote(self, name: Any, *args: Any) -> None:
                (self.got,) = args

        late = [Taking(), Taking()]
        said = [1]
        group = MindGroup([Slow(self.clock), *late], reactor=self.clock)
        group.callRemote("a", said)
        self.clock.advance(0)
        assert late[0].got is late[1].got
        assert late[0].got is not said

    def test_anyException(self) -> None:
        """
        What is no Exception is the result of its client as well, as it is of a Deferred.
        """

        class Interrupted(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                raise KeyboardInterrupt

        mind = FakeMind({"a": 1})
        pushed = MindGroup([Interrupted(), mind], reactor=self.clock).callRemote("a")
        first, second = self.successResultOf(pushed)
        assert (first[1].type, second) == (KeyboardInterrupt, (True, 1))

    def test_fairLanes(self) -> None:
        """
        A client that is pushed to as fast as it is told does not keep the others waiting.
        """
        slow, waits = self.join(Slow(self.clock), "slow"), self.join(FakeMind(), "waits")
        first = self.join(Slow(self.clock), "first")
        for _ in range(2):
            MindGroup([first, slow, waits], reactor=self.clock).callRemote("a", pbanswer=False)
        for _ in range(6):
            MindGroup([first, slow], reactor=self.clock).callRemote("b", pbanswer=False)
            self.turn()
        assert [call.name for call in waits.calls] == ["a", "a"]
        self.clock.advance(0)
        assert [call.name for call in slow.calls] == ["a"] * 2 + ["b"] * 6
        assert len(lanesOf(self.clock)._lanes) == 0

    def test_twoOverOneConnection(self) -> None:
        """
        What an avatar pushes goes to its own session, though another is logged in over the same
        connection, with the same mind, since.
        """
        avatars = {"a": Avatar(), "b": Avatar()}
        realm = self.online(avatars.__getitem__)
        mind = connect()
        logouts = {
            name: opened(realm.requestAvatar(name, mind, pb.IPerspective))[2] for name in "ab"
        }
        blocker = MindGroup([Slow(self.clock)], reactor=self.clock)
        for name in "ab":
            group = MindGroup([*blocker, *avatars[name].minds], reactor=self.clock)
            assert len(group) == 2
            sessions = [session for _, session, _ in avatars[name].minds._addressees()]
            assert [each.avatarId for each in sessions] == [name]
        logouts["b"]()
        avatars["a"].minds.callRemote("hello", pbanswer=False)
        assert methods(mind) == [b"hello"]

    def test_letsGoOfMessage(self) -> None:
        """
        When a push is sent its arguments are let go of, though answers are still waited for.
        """
        thing = Ours()
        kept = ref(thing)
        pushed = MindGroup([connect(), connect()], reactor=self.clock).callRemote("a", [thing])
        del thing
        gc.collect()
        assert kept() is None
        self.assertNoResult(pushed)

    def test_avatarsReactor(self) -> None:
        """
        What an avatar pushes to its minds stands in line with what their registry pushes.
        """
        avatar = Avatar()
        realm = self.online({"a": avatar}.__getitem__)
        for mind in (Slow(self.clock), late := FakeMind()):
            opened(realm.requestAvatar("a", mind, pb.IPerspective))
        self.online.everyone.callRemote("first")
        avatar.minds.callRemote("second", pbanswer=False)
        MindGroup([FakeMind(), late]).callRemote("third", pbanswer=False)
        self.clock.advance(0)
        assert [call.name for call in late.calls] == ["first", "second", "third"]
        assert self.successResultOf(MindGroup([]).callRemote("nobody")) == []


def methods(mind: Any) -> list[bytes]:
    """
    Answer the names of the methods that a mind was told to call since one last asked.
    """
    decoder, found = banana.Banana(isClient=False), list[Any]()
    decoder.makeConnection(StringTransport())
    decoder.currentDialect = b"pb"
    decoder.expressionReceived = found.append  # type: ignore[method-assign]
    decoder.dataReceived(sentTo(mind))
    return [each[3] for each in found]


class AddressingTests(SynchronousTestCase):
    """
    Whom a push goes to.
    """

    def setUp(self) -> None:
        """
        Three users, the first of whom is there twice.
        """
        self.online = MindRegistry(reactor=Clock())
        self.realm = self.online(lambda avatarId: Thing())
        self.minds = [FakeMind() for _ in range(4)]
        self.logouts = [
            login(self.realm, mind, name)
            for mind, name in zip(self.minds, ["alice", "alice", "bob", "carol"], strict=True)
        ]

    def told(self) -> list[int]:
        """
        Answer how often each was told.
        """
        return [len(mind.calls) for mind in self.minds]

    def test_select(self) -> None:
        """
        C{select} is a live view of the sessions that something is true of.
        """
        rooms = {"alice": "lobby", "bob": "lobby", "carol": "bar"}
        lobby = self.online.select(lambda session: rooms.get(session.avatarId) == "lobby")
        assert (len(lobby), len(list(lobby))) == (3, 3)
        lobby.callRemote("hello")
        assert self.told() == [1, 1, 1, 0]
        rooms["bob"], rooms["carol"] = "bar", "lobby"
        self.logouts[0]()
        assert [self.minds[n] in lobby for n in range(4)] == [False, True, False, True]
        lobby.callRemote("hello")
        assert self.told() == [1, 2, 1, 1]

    def test_selectNone(self) -> None:
        """
        Sessions without a mind are not asked about.
        """
        self.realm.requestAvatar("nobody", None, IThing)
        assert len(self.online.select(lambda session: session.mind is None)) == 0

    def test_excluding(self) -> None:
        """
        C{excluding} is a live view of all but one mind.
        """
        others = self.online.everyone.excluding(self.minds[1])
        assert len(others) == 3
        others.callRemote("hello")
        assert self.told() == [1, 0, 1, 1]
        self.logouts[3]()
        others.excluding(self.minds[2]).callRemote("hello")
        assert self.told() == [2, 0, 1, 1]
        assert len(self.online.everyone.excluding(None)) == 3
        others.callRemote("hello", pbanswer=False)
        assert self.told() == [3, 0, 2, 1]

    def test_sameMind(self) -> None:
        """
        A mind that a client has sent along is the one that it logged in with, though it is another
        object; that of another connection is not.
        """
        one, other = connect(), connect()
        group = MindGroup([one, other])
        again = pb.RemoteReference(None, one.broker, 1, False)
        assert again in group
        assert list(group.excluding(again)) == [other]
        for stranger in (pb.RemoteReference(None, one.broker, 2, False), connect(), None, 3):
            assert stranger not in group
            assert len(group.excluding(stranger)) == 2

    def test_disconnect(self) -> None:
        """
        What is selected can be disconnected.
        """
        self.online.select(lambda session: session.avatarId == "alice").disconnect()
        assert list(self.online) == ["bob", "carol"]
        self.online.everyone.excluding(self.minds[2]).disconnect()
        assert list(self.online) == ["bob"]

    def test_groupOfTwoRegistries(self) -> None:
        """
        A group of minds of several registries, and of none, finds the session of each.
        """
        elsewhere, stranger = FakeMind(), FakeMind()
        other = MindRegistry()
        login(other(lambda avatarId: Thing()), elsewhere)
        group = MindGroup([self.minds[2], elsewhere])
        self.assertRaises(TypeError, MindGroup([self.minds[2], stranger]).disconnect)
        assert "bob" in self.online
        self.successResultOf(group.disconnect())
        assert "bob" not in self.online
        assert len(other) == 0
        self.assertRaises(TypeError, group.disconnect)

    def test_onceFiled(self) -> None:
        """
        A mind that is there for two sessions is found as long as one is left.
        """
        for newest in (False, True):
            mind = FakeMind()
            logins = [self.realm.requestAvatar("bob", mind, IThing) for _ in range(2)]
            sessions = [sessionOf(self.realm, each) for each in logins]
            sessions.pop(newest).logout()
            (left,) = sessions
            assert self.online.addresseeOf(mind) == (mind, left, None)
            left.logout()
            assert self.online.addresseeOf(mind) is None

    def test_sentAlong(self) -> None:
        """
        A group of minds that clients have sent along finds their sessions as well.
        """
        mind = connect()
        login(self.realm, mind, "dave")
        again = pb.RemoteReference(None, mind.broker, 1, False)
        mind.broker.disconnected = 1
        MindGroup([again]).callRemote("hello", pbanswer=False)
        assert "dave" not in self.online
        login(self.realm, connect(luid=[]), "odd")
        assert "odd" in self.online


class BoundsTests(SynchronousTestCase):
    """
    Clients that are behind.
    """

    def stack(self, **bounds: Any) -> None:
        """
        A registry with bounds, and two clients.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock, **bounds)
        self.avatars = [Avatar(), Avatar()]
        realm = self.online(self.avatars.__getitem__)
        self.minds = [FakeMind(), FakeMind()]
        for n, mind in enumerate(self.minds):
            opened(realm.requestAvatar(n, mind, pb.IPerspective))

    def push(self, **kw: Any) -> list[int]:
        """
        Push, and answer how many each has got.
        """
        self.pushed = self.online.everyone.callRemote("tick", **kw)
        return [len(mind.calls) for mind in self.minds]

    def test_pending(self) -> None:
        """
        A client that does not answer is left out when too many pushes wait for it, until it does.
        """
        self.stack(maximumPending=2)
        assert [self.push(), self.push()] == [[1, 1], [2, 2]]
        for call in self.minds[1].calls:
            call.answer.callback(1)
        assert self.push() == [2, 3]
        self.minds[1].calls[2].answer.callback(1)
        first, second = self.successResultOf(self.pushed)
        assert second == (True, 1)
        behind = first[1].value
        assert isinstance(behind, MindIsBehind)
        assert (behind.avatarId, behind.pending, behind.backlog) == (0, 2, 0)
        assert str(behind) == "0 bytes and 2 answers are waited for"
        self.minds[0].calls[0].answer.callback(1)
        assert self.push() == [3, 4]
        assert self.push() == [3, 5]
        assert list(self.online) == [0, 1]

    def test_pendingAfterTimeout(self) -> None:
        """
        An answer that is given up is still waited for by the client's connection, and counts.
        """
        self.stack(maximumPending=1)
        self.push(pbtimeout=1)
        self.clock.advance(1)
        assert self.push() == [1, 1]
        self.minds[0].calls[0].answer.errback(Boom())
        assert self.push() == [2, 1]

    def test_leftOut(self) -> None:
        """
        One that a push is left out for, since its time is up, is not asked whether it is behind.
        """
        told: list[Any] = []
        self.stack(maximumBacklog=5, whenBehind=told.append)
        self.minds[0].backlog = 6
        group = MindGroup([Slow(self.clock), self.minds[0]], reactor=self.clock)
        pushed = group.callRemote("tick", pbtimeout=SLICE)
        self.clock.pump([0, 0])
        assert len(self.successResultOf(pushed)) == 2
        assert told == []

    def test_noAnswersNoPending(self) -> None:
        """
        What is not answered is not waited for.
        """
        self.stack(maximumPending=1)
        for n in (1, 2, 3):
            assert self.push(pbanswer=False) == [n, n]

    def test_backlog(self) -> None:
        """
        A client that has stopped reading is left out when too many bytes wait for it, until it
        reads again.
        """
        self.stack(maximumBacklog=1000)
        self.minds[0].backlog = 1000
        assert self.push() == [1, 1]
        self.minds[0].backlog = 1001
        assert self.push() == [1, 2]
        self.minds[1].calls[1].answer.callback(1)
        behind = self.successResultOf(self.pushed)[0][1].value
        assert (behind.backlog, behind.pending) == (1001, 1)
        self.minds[0].backlog = 0
        assert self.push() == [2, 3]

    def test_everyWay(self) -> None:
        """
        The bounds hold for every group that the client is in.
        """
        self.stack(maximumBacklog=1000)
        self.minds[0].backlog = 1001
        mind = self.minds[0]
        selected = self.online.select(lambda session: session.mind is mind)
        for group in (self.online[0], self.avatars[0].minds, MindGroup([mind]), selected):
            ((_, failure),) = self.successResultOf(group.callRemote("tick"))
            assert failure.check(MindIsBehind)
            group.callRemote("tick", pbanswer=False)
        assert mind.calls == []

    def test_twoRegistries(self) -> None:
        """
        In a group of one's own those bounds hold that there are.
        """
        free = MindRegistry()
        self.stack(maximumBacklog=5)
        mind = FakeMind()
        login(free(self.online(lambda avatarId: Thing())), mind)
        mind.backlog = 6
        MindGroup([mind], reactor=self.clock).callRemote("tick")
        assert mind.calls == []

    def test_relogin(self) -> None:
        """
        Logging in again does not make up for answers that are owed, and a session that has ended
        is not kept for them.
        """
        self.stack(maximumPending=1)
        mind, gone = connect(), list[Any]()
        for name in "abc":
            avatar = Avatar()
            realm = self.online({name: avatar}.__getitem__)
            logout = opened(realm.requestAvatar(name, mind, pb.IPerspective))[2]
            self.online[name].callRemote("tick", pbtimeout=1)
            self.clock.advance(1)
            logout()
            gone.append(ref(avatar))
            del avatar, realm, logout
        gc.collect()
        assert len(mind.broker.waitingForAnswers) == 1
        assert [each() for each in gone] == [None] * 3

    def test_pushingWhenBehind(self) -> None:
        """
        C{whenBehind} may push to everyone.
        """
        told: list[Session] = []

        def tell(session: Session) -> None:
            told.append(session)
            self.online.everyone.callRemote("isBehind", session.avatarId, pbanswer=False)

        self.stack(maximumBacklog=5, whenBehind=tell)
        self.minds[0].backlog = 6
        self.push()
        assert [call.name for call in self.minds[1].calls] == ["tick", "isBehind"]
        assert len(told) == 1

    def test_endedWhileTold(self) -> None:
        """
        A client that logs out while it is told still owes an answer, until it gives it.
        """
        self.stack(maximumPending=5)

        def leave() -> Deferred[None]:
            self.online.sessions(0)[0].logout()
            return Deferred()

        self.minds[0].answers = {"tick": leave}
        self.push()
        assert self.online._bounds is not None
        assert len(self.online._bounds._pending) == 2
        self.minds[0].disconnect()
        self.minds[1].calls[0].answer.callback(1)
        assert self.online._bounds._pending == {}

    def test_unknownBacklog(self) -> None:
        """
        A mind whose backlog is not known is not behind.
        """
        self.stack(maximumBacklog=1)

        class Plain:
            calls = 0

            def callRemote(self, name: str, *args: Any, **kw: Any) -> Any:
                self.calls += 1

        plain, real = Plain(), connect()
        realm = self.online(lambda avatarId: Thing())
        login(realm, plain, "plain")
        login(realm, real, "real")
        self.push()
        self.push()
        assert plain.calls == 2
        assert methods(real) == [b"tick", b"tick"]

    def test_disconnect(self) -> None:
        """
        With C{whenBehind=disconnect} the session of one that is behind ends, and its connection.
        """
        self.stack(maximumPending=1, whenBehind=disconnect)
        self.push()
        self.minds[1].calls[0].answer.callback(1)
        assert self.push() == [1, 2]
        assert list(self.online) == [1]
        assert [len(avatar.minds) for avatar in self.avatars] == [0, 1]
        self.minds[1].calls[1].answer.callback(2)
        first, second = self.successResultOf(self.pushed)
        assert (first[1].type, second) == (MindIsBehind, (True, 2))

    def test_whenBehind(self) -> None:
        """
        C{whenBehind} may be anything, is told once until the client has caught up, and hurts nobody
        if it fails.
        """
        told: list[Any] = []

        def failing(session: Session) -> None:
            told.append(session.avatarId)
            raise Boom

        self.stack(maximumBacklog=5, whenBehind=failing)
        self.minds[0].backlog = 6
        assert self.push() == [0, 1]
        assert self.push(pbanswer=False) == [0, 2]
        assert told == [0]
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert self.online._bounds is not None
        (session,) = self.online.sessions(0)
        assert self.online._bounds._behind == {id(self.minds[0]): self.minds[0]}
        self.minds[0].backlog = 5
        assert self.push() == [1, 3]
        assert self.online._bounds._behind == {}
        avatarkit.skip(session)
        assert not session.ended

    def test_log(self) -> None:
        """
        The log says when a client falls behind, and not for every push.
        """
        events: list[Any] = []
        observe: Any = events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.stack(maximumBacklog=5)
        for backlog in (6, 7, 0, 8):
            self.minds[0].backlog = backlog
            self.push()
        behind = [each for each in events if "backlog" in each]
        assert [each["backlog"] for each in behind] == [6, 8]
        assert {each["avatarId"] for each in behind} == {0}

    def test_forgotten(self) -> None:
        """
        Nothing is kept of those who have left, also if their answers come later.
        """
        self.stack(maximumPending=1)
        self.push()
        first = self.pushed
        self.push()
        bounds = self.online._bounds
        assert bounds is not None
        assert len(bounds._pending) == len(bounds._behind) == 2
        for n in (0, 1):
            self.online.disconnect(n)
        assert (bounds._pending, bounds._behind) == ({}, {})
        for mind in self.minds:
            mind.calls[0].answer.callback(1)
        assert bounds._pending == {}
        assert len(self.successResultOf(first)) == 2

    def test_buffered(self) -> None:
        """
        What waits in a transport is known for Twisted's own, also below others, and for no others.
        """

        class Tcp:
            dataBuffer, offset, _tempDataLen = b"12345", 2, 4

        class Tls:
            transport = Tcp()

        assert [bufferedIn(each) for each in (Tcp(), Tls())] == [7, 7]
        assert [bufferedIn(each) for each in (StringTransport(), None)] == [None, None]
