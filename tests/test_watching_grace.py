"""
Tests for L{WatchingFactory} and the time that a client has to log in.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail

from avatarkit import LoginAbandoned
from avatarkit.transports import WatchingFactory
from logs import logged
from scripted import Boom
from watched import Server, WatchingCase
from wires import Wire, connect

# Any in this module: protocols and factories, which have whatever attributes they have.


class GraceTests(WatchingCase):
    """
    How long clients may stay that have not logged in.
    """

    def setUp(self) -> None:
        """
        Make a server that gives them ten seconds.
        """
        self.servePatiently()

    def servePatiently(self, *results: Any, protocol: Any = Server) -> None:
        """
        Make a server that gives them ten seconds.
        """
        self.serve(*results, protocol=protocol, loginGraceTime=10)
        self.clock = self.factory.clock()

    def timers(self) -> list[float]:
        """
        Return the times that are waited for.
        """
        return [each.getTime() for each in self.clock.getDelayedCalls()]

    def wires(self, count: int, every: float = 1) -> list[Wire]:
        """
        Connect so many clients, one after another.
        """
        wires = []
        for _ in range(count):
            wires.append(self.connect()[0])
            self.clock.advance(every)
        return wires

    def test_each(self) -> None:
        """
        Each has its ten seconds, and the log says of each that they are over.
        """
        wires = self.wires(3)
        for second in (10, 11, 12):
            with logged() as said:
                assert not wires[0].lost
                self.clock.advance(second - self.clock.seconds())
            first = wires.pop(0)
            assert first.lost
            assert said == [
                f"info: {first.getPeer()} has not logged in for 10 seconds (loginGraceTime): it is "
                "cut off"
            ]
        assert self.timers() == []
        (later,) = self.wires(1, every=10)
        assert later.lost
        self.nothingIsLeft()

    def test_oneTimer(self) -> None:
        """
        One timer waits for all of them, and is not set again when one leaves.
        """
        wires = self.wires(3)
        assert self.timers() == [10]
        wires[0].leave()
        assert self.timers() == [10]
        self.clock.advance(10 - self.clock.seconds())
        assert self.timers() == [11]
        assert not wires[1].lost

    def test_noTimer(self) -> None:
        """
        No timer is left when nobody is, nor when everybody has logged in.
        """
        for wire in self.wires(3):
            assert self.timers() != []
            wire.leave()
        assert self.timers() == []
        for wire in self.wires(3):
            assert self.timers() != []
            wire.deliver(b"alice\r\n")
        assert self.timers() == []
        (later,) = self.wires(1, every=0)
        self.clock.advance(10)
        assert later.lost
        assert len(self.realm.sessions) == 3

    def test_atOnce(self) -> None:
        """
        A protocol that logs in by itself when it is connected is not waited for, and so is one that
        closes its connection then.
        """

        class Eager(Server):
            def connectionMade(self) -> None:
                self.lineReceived(b"alice")

        class Closing(Server):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.abortConnection()

        for protocol in (Eager, Closing):
            self.servePatiently(protocol=protocol)
            self.connect()
            assert self.timers() == [], protocol

    def test_failures(self) -> None:
        """
        A login that fails is none.
        """
        self.servePatiently(fail(UnauthorizedLogin()))
        wire, server = self.connect()
        wire.deliver(b"alice\r\n")
        assert server.logins[0].check(UnauthorizedLogin)
        self.clock.advance(10)
        assert wire.lost
        self.nothingIsLeft()

    def test_inProgress(self) -> None:
        """
        A client whose login goes on when its time is up has as long again, as often as that
        happens.
        """
        loading: Deferred[Any] = Deferred()
        self.servePatiently(loading)
        wire, _server = self.connect()
        self.clock.advance(5)
        wire.deliver(b"alice\r\n")
        for second in (10, 20, 30):
            assert self.timers() == [second]
            self.clock.advance(second - self.clock.seconds())
        loading.errback(UnauthorizedLogin())
        self.clock.advance(9)
        assert not wire.lost
        self.clock.advance(1)
        assert wire.lost
        self.nothingIsLeft()

    def test_behind(self) -> None:
        """
        Those who come after a client whose login goes on are not kept longer for that.
        """
        self.servePatiently(Deferred())
        slow, second, third = self.wires(3)
        slow.deliver(b"alice\r\n")
        self.clock.advance(7)
        assert self.timers() == [11]
        self.clock.advance(1)
        assert (slow.lost, second.lost, third.lost) == (False, True, False)
        assert self.timers() == [12]
        self.clock.advance(1)
        assert third.lost
        assert self.timers() == [20]

    def test_many(self) -> None:
        """
        If the time of very many is up, the reactor has its turn after each hundred.
        """
        wires = self.wires(250, every=0)
        counts: list[int] = []

        def turn() -> None:
            counts.append(sum(wire.lost for wire in wires))
            if counts[-1] < len(wires):
                self.clock.callLater(0, turn)

        self.clock.callLater(10, turn)
        self.clock.advance(10)
        assert counts == [100, 200, 250]
        self.nothingIsLeft()

    def test_meanwhile(self) -> None:
        """
        Clients that come and go while others are cut off change nothing of that.
        """
        came: list[Any] = []

        class Busy(Server):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                if not came:
                    came.append(connect(factory))
                    wires[1].leave()

        self.servePatiently(protocol=Busy)
        factory = self.factory
        wires = self.wires(2, every=0)
        self.clock.advance(4)
        wires += self.wires(1, every=0)
        self.clock.advance(6)
        assert [each.lost for each in wires] == [True, True, False]
        assert self.timers() == [14]
        self.clock.advance(4)
        assert wires[2].lost
        assert self.timers() == [20]
        came[0].leave()
        assert self.timers() == []

    def test_last(self) -> None:
        """
        If everybody else leaves while one is cut off, no timer is left.
        """

        class Last(Server):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                for wire in wires:
                    wire.leave()

        self.servePatiently(protocol=Last)
        wires = self.wires(3, every=0)
        self.clock.advance(10)
        assert self.timers() == []
        self.nothingIsLeft()

    def test_raises(self) -> None:
        """
        A protocol that fails when it is cut off does not keep the others connected.
        """

        class Loud(Server):
            def connectionLost(self, reason: Any = None) -> None:
                raise Boom("on purpose")

        self.servePatiently(protocol=Loud)
        wires = self.wires(2, every=0)
        for wire in wires:
            self.assertRaises(Boom, self.clock.advance, 10)
            assert wire.lost
        assert self.timers() == []
        self.nothingIsLeft()

    def test_hidden(self) -> None:
        """
        A connection that is closed because its portal is not found is not waited for.
        """
        factory = self.factory.wrappedFactory
        factory.protocol = lambda: Server()
        Server.said = []
        self.addCleanup(lambda: delattr(Server, "said"))
        with logged():
            wire = connect(self.factory)
        assert wire.lost
        assert self.timers() == []

    def test_abandoned(self) -> None:
        """
        A login that goes on when its client leaves is not waited for either.
        """
        self.servePatiently(Deferred())
        wire, server = self.connect()
        wire.deliver(b"alice\r\n")
        wire.leave()
        assert server.logins[0].check(LoginAbandoned)
        assert self.timers() == []

    def test_never(self) -> None:
        """
        With C{None} no timer is ever set.
        """
        self.factory = WatchingFactory(
            self.factory.wrappedFactory, self.portal, loginGraceTime=None, reactor=self.clock
        )
        wire = connect(self.factory)
        assert self.timers() == []
        wire.deliver(b"alice\r\n")
        wire.leave()
        self.nothingIsLeft()
