"""
Tests for what clients are sent: what C{callRemote} would send them, encoded once.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.spread import banana, jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import MindGroup
from avatarkit._push.wire import Message
from minds import Ours, connect, sentTo
from scripted import Boom

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
    Return containers, some of which contain one object twice.
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


class Strict(jelly.SecurityOptions):
    """
    Security options that allow nothing.
    """

    def isTypeAllowed(self, typeName: bytes) -> bool:
        """
        Return False.
        """
        return False


class OtherBroker(pb.Broker):
    """
    A broker of another class.
    """


def firstLine(failure: Any) -> str:
    """
    Return the type and the message of a failure.
    """
    return f"{failure.type.__name__}: {failure.getErrorMessage()}"


class WireTests(SynchronousTestCase):
    """
    A push sends its clients what C{callRemote} would send them.
    """

    def setUp(self) -> None:
        """
        Record calls of C{callRemote}.
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
        Check that a push sends its minds what C{callRemote} sends to a twin.
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
    def test_plain(self, name: str, args: list[Any], kw: dict[str, Any], asks: bool) -> None:
        """
        Plain data is sent byte for byte as C{callRemote} sends it, but without C{callRemote}.
        """
        kw = {"x" + key: value for key, value in kw.items()}
        self.compare(name, *args, **kw, **({} if asks else {"pbanswer": False}))
        assert self.pushed == 0

    def test_cycle(self) -> None:
        """
        Containers that contain themselves are sent as C{callRemote} sends them.
        """
        cycle: list[Any] = [1]
        cycle.append({"again": cycle})
        self.compare("notify", cycle, (cycle, cycle))
        assert self.pushed == 0

    def test_numbers(self) -> None:
        """
        Minds and requests of any number are sent as C{callRemote} sends them.
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
        The name of a method may be bytes, or one that Perspective Broker has a number for.
        """
        for name in (b"notify", "message", b"list", "\N{SNOWMAN}"):
            self.compare(name, 1)
            assert self.pushed == 0

    def test_ownCall(self) -> None:
        """
        What may differ from client to client goes through each mind's own C{callRemote}.
        """

        class Sub(pb.RemoteReference):
            pass

        for argument in (Ours(), [Ours()], {"a": ({1: Ours()},)}, int):
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
        A push to one mind is not encoded for many.
        """
        self.compare("notify", {"a": 1}, minds=[connect()])
        assert self.pushed == 1

    def test_referenceable(self) -> None:
        """
        A Referenceable is a different reference for each client.
        """
        minds, twin, thing = [connect(), connect()], connect(), pb.Referenceable()
        minds[0].broker.currentLocalID = 7
        MindGroup(minds, reactor=Clock()).callRemote("take", thing)
        twin.callRemote("take", thing)
        assert sentTo(minds[1]) == sentTo(twin) != sentTo(minds[0])
        assert minds[0].broker.localObjects[8].object is thing

    def test_dialects(self) -> None:
        """
        A broker with another dialect or symbols of its own is sent what it understands.
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
        Each broker's own security options and integer limit apply.
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

    def test_manySecurities(self) -> None:
        """
        A message does not keep what it is encoded to for each of very many connections with rules
        of their own, and is sent to all of them.
        """
        minds = [connect() for _ in range(150)]
        for mind in minds:
            mind.broker.security = jelly.SecurityOptions()
        message = Message("notify", (), {}, answering=False, toMany=True)
        for mind in minds:
            message.send(mind)
        assert len(message._encoded) <= 100
        assert all(map(sentTo, minds))

    def test_unsendable(self) -> None:
        """
        What cannot be sent fails for each client as with C{callRemote}, and leaves nothing behind.
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
        Answers and errors of clients arrive as with C{callRemote}.
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
