"""
Tests of what a client does when the server has told it that its session has ended.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, Farewell, Kicked, SessionEndedReceiver
from avatarkit.testing import MemoryPortal
from scripted import Boom

# Any in this module: what a server sends, and what is no argument.


class Receiver(SessionEndedReceiver):
    """
    A client that notes what its hook is told.
    """

    act: Any = staticmethod(lambda: None)

    def sessionEnded(self, kind: str, text: str, mayReturn: float) -> None:
        """
        Take note.
        """
        self.heard = (kind, text, mayReturn)
        self.act()


class ReceiverTests(SynchronousTestCase):
    """
    L{SessionEndedReceiver}, without a network.
    """

    def setUp(self) -> None:
        """
        Have a client that comes back after one and a half times as many seconds.
        """
        self.clock = Clock()
        self.connected: list[float] = []
        self.spread: list[tuple[float, float]] = []
        self.receiver = Receiver(self.connect, reactor=self.clock, spread=self.choose)

    def connect(self) -> None:
        """
        Note when.
        """
        self.connected.append(self.clock.seconds())

    def choose(self, least: float, most: float) -> float:
        """
        Return what is in the middle.
        """
        self.spread.append((least, most))
        return (least + most) / 2

    def test_mayReturn(self) -> None:
        """
        A client that may return does so after some time, which is spread, and once.
        """
        self.receiver.remote_sessionEnded("RealmClosed", "the server is shutting down", 10)
        assert self.receiver.heard == ("RealmClosed", "the server is shutting down", 10)
        self.clock.advance(14)
        assert self.connected == []
        self.clock.advance(1)
        assert self.connected == [15]
        assert self.spread == [(1, 2)]
        assert self.clock.getDelayedCalls() == []

    def test_mustNot(self) -> None:
        """
        One that must not return does not.
        """
        for never in (0, 0.0, -0.0):
            self.receiver.remote_sessionEnded("Kicked", "spam", never)
            assert self.receiver.mayReturn == 0
        assert (self.clock.getDelayedCalls(), self.spread) == ([], [])

    def test_remembers(self) -> None:
        """
        It remembers what it was told last.
        """
        receiver = self.receiver
        assert (receiver.kind, receiver.text, receiver.mayReturn) == (None, None, 0)
        receiver.remote_sessionEnded("Kicked", "spam", 2)
        assert (receiver.kind, receiver.text, receiver.mayReturn) == ("Kicked", "spam", 2)
        receiver.remote_sessionEnded("Displaced", "elsewhere", 0)
        assert (receiver.kind, receiver.text, receiver.mayReturn) == ("Displaced", "elsewhere", 0)

    def test_again(self) -> None:
        """
        Of several messages the last one counts, however many there are.
        """
        for seconds in (1, 2, 3, 4):
            self.receiver.remote_sessionEnded("Kicked", "spam", seconds)
            self.clock.advance(0.5)
        assert len(self.clock.getDelayedCalls()) == 1
        self.receiver.remote_sessionEnded("Kicked", "spam", 0)
        assert self.clock.getDelayedCalls() == []

    def test_whenEnded(self) -> None:
        """
        Whoever waits for it is told, before it happens and afterwards.
        """
        early, given = self.receiver.whenEnded(), self.receiver.whenEnded()
        self.assertNoResult(early)
        given.cancel()
        self.failureResultOf(given, CancelledError)
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        ending = self.successResultOf(early)
        assert (ending.kind, ending.text, ending.mayReturn) == ("Kicked", "spam", 2)
        assert self.successResultOf(self.receiver.whenEnded()) == ending
        self.assertRaises(AttributeError, setattr, ending, "kind", "x")

    def test_stop(self) -> None:
        """
        One that is stopped does not return, whatever it is told.
        """
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        for _ in range(2):
            self.receiver.stop()
            assert self.clock.getDelayedCalls() == []
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        assert self.clock.getDelayedCalls() == []
        assert self.receiver.kind == "Kicked"

    def test_stopFromHook(self) -> None:
        """
        The hook may decide that it does not return.
        """
        self.receiver.act = self.receiver.stop
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        assert self.clock.getDelayedCalls() == []

    def test_hookFails(self) -> None:
        """
        A hook that fails is logged, and the client returns.
        """

        def fail() -> None:
            raise Boom

        self.receiver.act = fail
        waiting = self.receiver.whenEnded()
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        assert len(self.flushLoggedErrors(Boom)) == 1
        self.successResultOf(waiting)
        self.clock.advance(3)
        assert self.connected == [3]

    def test_plain(self) -> None:
        """
        The hook need not be overridden.
        """
        plain = SessionEndedReceiver(self.connect, reactor=self.clock)
        plain.remote_sessionEnded("Kicked", "spam", 2)
        self.clock.advance(4)
        assert len(self.connected) == 1

    def test_spread(self) -> None:
        """
        Without a choice of one's own, clients return at different times, none before it may.
        """
        seconds = set()
        for _ in range(100):
            receiver = SessionEndedReceiver(self.connect, reactor=self.clock)
            receiver.remote_sessionEnded("RealmClosed", "stopping", 10)
            (call,) = self.clock.getDelayedCalls()
            seconds.add(call.getTime())
            receiver.stop()
        assert len(seconds) == 100
        assert min(seconds) >= 10
        assert max(seconds) <= 20
        assert max(seconds) - min(seconds) > 5

    def test_bounds(self) -> None:
        """
        It waits for a second at least, and is told to wait for an hour at most.
        """
        for told, waits in (
            (1e-300, 1),
            (0.1, 1),
            (0.9, 1.35),
            (3600, 5400),
            (3601, 5400),
            (10**400, 5400),
            (float("inf"), 5400),
        ):
            self.receiver.remote_sessionEnded("Kicked", "spam", told)
            (call,) = self.clock.getDelayedCalls()
            assert call.getTime() == waits
            assert 0 < self.receiver.mayReturn <= 3600

    def test_hostile(self) -> None:
        """
        What no L{Farewell} sends is refused, and changes nothing.
        """
        self.receiver.remote_sessionEnded("Kicked", "spam", 2)
        (call,) = self.clock.getDelayedCalls()
        for args in (
            (),
            ("Kicked", "spam"),
            ("Kicked", "spam", 1, 1),
            (b"Kicked", "spam", 1),
            ("Kicked", b"spam", 1),
            (None, None, None),
            (["Kicked"], "spam", 1),
            ("Kicked", {"spam": 1}, 1),
            *(
                ("Kicked", "spam", wrong)
                for wrong in (-1, -1e-9, float("nan"), float("-inf"), True, None, "1", [1], 1j)
            ),
        ):
            error = self.assertRaises(pb.Error, self.receiver.remote_sessionEnded, *args)
            assert str(error) == "a farewell is a name, a text and a number of seconds"
        wrong: Any = {"kind": "Kicked", "text": "spam", "mayReturn": 1}
        self.assertRaises(pb.Error, self.receiver.remote_sessionEnded, **wrong)
        assert self.clock.getDelayedCalls() == [call]
        assert self.receiver.heard == ("Kicked", "spam", 2)

    def test_arguments(self) -> None:
        """
        What makes no sense is refused.
        """
        wrong: Any = "x"
        error = self.assertRaises(TypeError, SessionEndedReceiver, wrong)
        assert str(error) == "connect must be callable, not 'x'"
        error = self.assertRaises(TypeError, SessionEndedReceiver, self.connect, spread=wrong)
        assert str(error) == "spread must be callable, not 'x'"
        self.assertRaises(TypeError, SessionEndedReceiver, self.connect, reactor=wrong)


class ConnectedTests(SynchronousTestCase):
    """
    The same over Perspective Broker.
    """

    def setUp(self) -> None:
        """
        Have a client that logs in whenever it may.
        """
        self.clock = Clock()
        self.realm = Farewell(reactor=self.clock)(lambda avatarId: Avatar())
        self.portal = MemoryPortal(self.realm, reactor=self.clock)
        self.receiver = SessionEndedReceiver(self.connect, reactor=self.clock)
        self.kept: list[Any] = []
        self.connect()

    def connect(self) -> None:
        """
        Log in.
        """
        self.connection = self.portal.connect()
        self.connection.login(mind=self.receiver).addCallback(self.kept.append)
        self.portal.pump()

    def test_returns(self) -> None:
        """
        A client that is kicked, and may return, returns as often as it may.
        """
        for _ in range(3):
            (session,) = self.realm.sessions
            session.disconnect(Kicked("spam", mayReturn=5), reactor=self.clock)
            self.portal.pump()
            assert not self.realm.sessions
            assert self.connection.lost
            self.clock.advance(10)
        (session,) = self.realm.sessions
        session.disconnect("for good", reactor=self.clock)
        self.portal.pump()
        assert self.receiver.text == "for good"
        assert self.clock.getDelayedCalls() == []
        assert not self.realm.sessions

    def test_hostile(self) -> None:
        """
        A server that sends nonsense receives an error that says nothing of the client's inside, and
        the client logs nothing.
        """
        (session,) = self.realm.sessions
        answers: list[Deferred[Any]] = [
            session.mind.callRemote("sessionEnded", *args) for args in ((), ("x", "y", -1))
        ]
        session.mind.callRemote("sessionEnded", 1, 2, 3, pbanswer=False)
        self.portal.pump()
        for answer in answers:
            failure = self.failureResultOf(answer)
            assert failure.check(pb.Error)
            assert failure.getErrorMessage().startswith("a farewell is")
            assert "receiver.py" not in str(vars(failure))
        assert self.receiver.kind is None

    def test_otherName(self) -> None:
        """
        A client of a server that uses another name gives the method that name.
        """

        class Other(SessionEndedReceiver):
            remote_bye = SessionEndedReceiver.remote_sessionEnded

        self.receiver = Other(self.connect, reactor=self.clock)
        realm = Farewell("bye")(lambda avatarId: Avatar())
        self.portal = MemoryPortal(realm)
        self.connect()
        (session,) = realm.sessions
        session.logout("spam")
        self.portal.pump()
        assert self.receiver.text == "spam"
