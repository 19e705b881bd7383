"""
Tests for when pushes arrive: in slices, and in which order.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import Avatar, IMind, MindGroup, MindRegistry
from avatarkit._push.lanes import SLICE, lanesOf
from avatarkit.testing import FakeMind
from minds import Ours, Slow, connect, login, methods, sentTo
from scripted import Thing, opened


class OrderTests(SynchronousTestCase):
    """
    Slices of time, and the order of pushes.
    """

    def setUp(self) -> None:
        """
        Start with an empty registry.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock)
        self.realm = self.online(lambda avatarId: Thing())

    def join(self, mind: Any, avatarId: Any = b"alice") -> Any:
        """
        Log a mind in, and return it.
        """
        login(self.realm, mind, avatarId)
        return mind

    def turn(self) -> None:
        """
        Run the reactor for one turn.
        """
        calls: Any = self.clock.getDelayedCalls()
        for call in calls:
            function, args, kw = call.func, call.args, call.kw
            call.cancel()
            function(*args, **kw)

    def test_slices(self) -> None:
        """
        A push that takes long goes on in later turns of the reactor, a slice in each.
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
        A push that is cancelled from inside itself, or before it is sent, affects no other push.
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
        The first mind is called at once, however little time there is.
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
        Each turn calls as many minds as fit into a slice.
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
        A push that is made while an earlier one waits arrives after it, whatever its group or kind,
        but does not wait for clients that are not in its own group.
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
        Several waiting pushes arrive in order, also at two minds of one connection.
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
        A push from inside a push arrives after it everywhere, and in the same turn if there is
        time.
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
        A push from inside a push arrives after it everywhere, even if no time is left in the turn.
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
        All clients get plain data as it was when the push was made, and everything else as the same
        object.
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
        Clients that leave before their turn are left out, and so are those that come after the
        call.
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
        If a push causes a logout, what that logout pushes arrives after the push.
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
        Once everything is sent, nothing is kept, and a clock's lanes are garbage when the clock is.
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
        The reactor gets its turns even if all that takes long goes to one client.
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
        Arguments are copied once for all clients that get them later.
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
        An exception that is not an C{Exception} is the result of its client, too, as with a
        Deferred.
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
        A client that receives pushes as fast as it can take them does not keep others waiting.
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
        An avatar's push goes through its own session, even if another has since logged in over the
        same connection with the same mind.
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
            assert None not in sessions
            assert [each.avatarId for each in sessions if each is not None] == [name]
        logouts["b"]()
        avatars["a"].minds.callRemote("hello", pbanswer=False)
        assert methods(mind) == [b"hello"]

    def test_letsGoOfMessage(self) -> None:
        """
        Once a push is sent, its arguments are released, even if it still waits for answers.
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
        What an avatar pushes to its minds keeps its order with what their registry pushes.
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
