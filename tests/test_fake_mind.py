"""
Tests for L{FakeMind<avatarkit.testing.FakeMind>}: it behaves as badly as a real mind.
"""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.spread import banana, pb
from twisted.spread.jelly import globalSecurity
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import MindRegistry
from avatarkit.testing import FakeMind, MemoryPortal
from minds import fakeMind, realMind
from players import Client, Player
from scripted import Boom, Thing


class FakeMindTests(SynchronousTestCase):
    """
    L{FakeMind}, compared with real minds.
    """

    def test_alike(self) -> None:
        """
        Fake and real minds cannot be compared, hash to 1, return C{None} with C{pbanswer=False},
        and raise the same exceptions when their client is gone.
        """
        for make in (fakeMind, realMind):
            (one, leave), (other, _) = make(), make()
            self.assertRaises(TypeError, lambda one=one, other=other: one == other)
            assert hash(one) == hash(other) == 1
            assert [one].index(one) == 0
            assert one.callRemote("notify", pbanswer=False) is None
            leave()
            self.assertRaises(pb.DeadReferenceError, one.callRemote, "notify")
            self.assertRaises(AttributeError, one.notifyOnDisconnect, print)

    def test_answers(self) -> None:
        """
        A configured answer is a value, what a callable returns or raises, a Deferred's result or a
        failure; any other call waits.
        """
        later: Deferred[Any] = Deferred()
        mind = FakeMind(
            {
                "value": 3,
                "none": None,
                "call": lambda n, factor: n * factor,
                "later": later,
                "called": lambda: succeed("soon"),
                "raise": lambda: 1 / 0,
                "fail": Failure(Boom("x")),
            }
        )
        assert self.successResultOf(mind.callRemote("value")) == 3
        assert self.successResultOf(mind.callRemote(b"none")) is None
        assert self.successResultOf(mind.callRemote("call", 3, factor=4)) == 12
        assert self.successResultOf(mind.callRemote("called")) == "soon"
        waits = mind.callRemote("later")
        self.assertNoResult(waits)
        later.callback(7)
        assert self.successResultOf(waits) == 7
        assert self.failureResultOf(mind.callRemote("raise")).check(ZeroDivisionError)
        assert self.failureResultOf(mind.callRemote("fail")).check(Boom)
        waits = mind.callRemote("other")
        self.assertNoResult(waits)
        mind.calls[-1].answer.callback("told")
        assert self.successResultOf(waits) == "told"
        assert [call.name for call in mind.calls][:3] == ["value", "none", "call"]
        assert (mind.calls[2].args, mind.calls[2].kwargs) == ((3,), {"factor": 4})

    def test_failuresAreSent(self) -> None:
        """
        A failure arrives as from a real client: copied, without the client's exception.
        """
        fake = FakeMind({"fail": Boom("on purpose")})
        ours = self.failureResultOf(fake.callRemote("fail"))
        online = MindRegistry()
        portal = MemoryPortal(online(Player))
        client = portal.connect()
        kept = client.login(mind=Client())
        portal.pump()
        (real,) = online.everyone
        failing = real.callRemote("fail")
        portal.pump()
        theirs = self.failureResultOf(failing)
        self.flushLoggedErrors(Boom)
        assert self.successResultOf(kept) is not None
        for failure in (ours, theirs):
            assert isinstance(failure, pb.CopiedFailure)
            assert failure.check(Boom) is Boom
            assert not isinstance(failure.value, Boom)
        assert ours.value == theirs.value
        assert ours.type == theirs.type

    def test_unsendable(self) -> None:
        """
        What Perspective Broker cannot send fails as it does there, and what it would silently
        replace is refused.
        """
        mind = FakeMind()
        real, _ = realMind()
        unsendable: list[Any] = [Thing(), [Thing()], {"a": Thing()}, FakeMind()]
        for argument in (2**500, b"x" * (banana.SIZE_LIMIT + 1)):
            for each in (mind, real):
                self.assertRaises(banana.BananaError, each.callRemote, "a", argument)
        for each in unsendable:
            error = self.assertRaises(TypeError, mind.callRemote, "a", each)
            assert "cannot send instances of" in str(error)
            self.assertRaises(TypeError, mind.callRemote, "a", x=each)
        other, _ = realMind()
        for each in (mind, real):
            self.failureResultOf(each.callRemote("a", other), AssertionError)
        for code in (Thing, len, self.test_unsendable, gc, lambda: 1):
            error = self.assertRaises(TypeError, mind.callRemote, "a", code)
            assert "clients refuse code" in str(error) or "cannot send" in str(error)
        for keyword in ("self", "_name"):
            for one in (mind, real):
                call: Any = one.callRemote
                self.assertRaises(TypeError, partial(call, "a", **{keyword: 1}))
        assert mind.calls == []
        odd = FakeMind({"a": Thing(), "b": [1]})
        assert "cannot send instances of Thing" in str(
            self.failureResultOf(odd.callRemote("a")).value
        )
        assert self.successResultOf(odd.callRemote("b")) is not odd.answers["b"]
        self.patch(globalSecurity, "allowedClasses", {Thing: 1})
        mind.callRemote("a", Thing())
        assert len(mind.calls) == 1

    def test_sendable(self) -> None:
        """
        Arguments that can be sent are recorded as they were when the call was made.
        """
        mind, thing = FakeMind(), pb.Referenceable()
        said: list[Any] = [1, "two", b"three", None, {4: (5.0,)}, thing]
        mind.callRemote("a", said)
        said.append("more")
        (got,) = mind.calls[0].args
        assert got[:5] == [1, "two", b"three", None, {4: (5.0,)}]
        assert (len(got), got[5] is thing) == (6, True)

    def test_gone(self) -> None:
        """
        When the client leaves, waiting calls fail, and answers that come later are dropped.
        """
        mind = FakeMind()
        waits = mind.callRemote("a")
        mind.disconnect()
        assert self.failureResultOf(waits).check(pb.PBConnectionLost)
        mind.calls[0].answer.callback("late")
        mind.disconnect()
        leaving = FakeMind()
        leaving.answers = {"a": leaving.disconnect}
        assert self.failureResultOf(leaving.callRemote("a")).check(pb.PBConnectionLost)
        assert repr(mind) == "<FakeMind, disconnected, called 1 times>"

    def test_closing(self) -> None:
        """
        Closing the connection makes the client leave; a stalled one leaves only when it is aborted.
        """
        mind, stalled = FakeMind(), FakeMind()
        stalled.stalled = True
        for each in (mind, stalled):
            each.loseConnection()
        assert (mind.disconnected, stalled.disconnected) == (True, False)
        stalled.abortConnection()
        assert (stalled.disconnected, stalled.closings) == (True, ["lose", "abort"])
