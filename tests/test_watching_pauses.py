"""
Tests for L{WatchingFactory} and what arrives while a login goes on.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail

from avatarkit import LoginAbandoned
from logs import logged
from scripted import IThing
from watched import SECRET, Server, WatchingCase
from wires import Wire

# Any in this module: protocols and factories, which have whatever attributes they have.


class PauseTests(WatchingCase):
    """
    A protocol that pauses its transport while it logs in.
    """

    class Pausing(Server):
        """
        A protocol that does this before or after its login has begun, as the line says.
        """

        def lineReceived(self, line: bytes) -> None:
            """
            Log in.
            """
            if line == b"before":
                self.pauseProducing()
            super().lineReceived(line)
            if line == b"after":
                self.pauseProducing()

    def test_reading(self) -> None:
        """
        Reading goes on as long as the login does, and is paused as soon as it is over.
        """
        for line in (b"before", b"after"):
            waiting: Deferred[Any] = Deferred()
            self.serve(waiting, protocol=self.Pausing)
            wire, server = self.connect()
            wire.deliver(line + b"\r\n")
            assert wire.reading, line
            wire.deliver(b"more\r\n")
            assert server.logins == []
            waiting.callback(b"alice")
            assert not wire.reading, line
            server.resumeProducing()
            assert wire.reading, line
            assert len(server.logins) == 2

    def test_lost(self) -> None:
        """
        So a loss is noticed.
        """
        for line in (b"before", b"after"):
            self.serve(Deferred(), protocol=self.Pausing)
            wire, server = self.connect()
            wire.deliver(line + b"\r\n")
            assert wire.reading
            wire.leave()
            assert server.logins[0].check(LoginAbandoned)
            self.nothingIsLeft()

    def test_resumed(self) -> None:
        """
        A protocol that goes on before its login is done is not paused afterwards.
        """
        waiting: Deferred[Any] = Deferred()
        self.serve(waiting, protocol=self.Pausing)
        wire, server = self.connect()
        wire.deliver(b"before\r\n")
        server.resumeProducing()
        waiting.callback(b"alice")
        assert wire.reading

    def test_two(self) -> None:
        """
        Reading goes on until the last login is over.
        """
        first, second = Deferred[Any](), Deferred[Any]()
        self.serve(first, second, protocol=self.Pausing)
        wire, server = self.connect()
        server.portal.login(SECRET, None, IThing)
        wire.deliver(b"after\r\n")
        first.callback(b"alice")
        assert wire.reading
        second.callback(b"alice")
        assert not wire.reading

    def test_idle(self) -> None:
        """
        A protocol that pauses while nobody logs in is paused.
        """
        self.serve()
        wire, server = self.connect()
        server.pauseProducing()
        assert not wire.reading
        server.resumeProducing()
        assert wire.reading


class TooMuchTests(WatchingCase):
    """
    A client that sends more than it has any reason to.
    """

    def flood(self, wire: Wire) -> list[str]:
        """
        Send a little more than 64 KiB, and return what is said.
        """
        with logged() as said:
            for _ in range(17):
                wire.deliver(b"x" * 4000 + b"\r\n")
        return said

    def test_before(self) -> None:
        """
        It is cut off before it has logged in, whether a login goes on or not, and nothing is left.
        """
        for line in (b"", b"alice\r\n"):
            self.serve(*(Deferred() for _ in range(20)))
            wire, server = self.connect()
            wire.deliver(line)
            server.lineReceived = self.ignore
            (warning,) = self.flood(wire)
            assert warning == (
                f"warn: {wire.getPeer()} has sent more than 65536 bytes before it has logged in "
                "(maximumBeforeLogin): it is cut off"
            )
            assert wire.lost
            assert all(each.check(LoginAbandoned) for each in server.logins)
            self.nothingIsLeft()

    @staticmethod
    def ignore(line: bytes) -> None:
        """
        Do nothing, instead of a protocol that logs in.
        """

    def test_exact(self) -> None:
        """
        What it sends is counted over all its logins until one succeeds, to the byte.
        """
        for more in (0, 1):
            self.serve(fail(UnauthorizedLogin()), maximumBeforeLogin=20 - more)
            wire, _server = self.connect()
            wire.deliver(b"wrong password\r\n")
            assert not wire.lost
            wire.deliver(b"bo\r\n")
            assert wire.lost is bool(more)

    def test_withTheLogin(self) -> None:
        """
        What arrives together with the login may be more.
        """
        self.serve(maximumBeforeLogin=7)
        wire, server = self.connect()
        wire.deliver(b"alice\r\n")
        wire.deliver(b"bob\r\n")
        assert len(server.logins) == 2
        assert not wire.lost

    def test_unbounded(self) -> None:
        """
        Without a bound for all, what it sends is counted for each login anew.
        """
        waiting = [Deferred[Any](), Deferred[Any]()]
        self.serve(*waiting, maximumBeforeLogin=None)
        wire, server = self.connect()
        server.setRawMode()
        server.rawDataReceived = self.ignore
        wire.deliver(b"x" * 200000)
        for login in waiting:
            server.lineReceived(b"alice")
            wire.deliver(b"x" * 60000)
            login.errback(UnauthorizedLogin())
            wire.deliver(b"x" * 60000)
        assert not wire.lost

    def test_unboundedMeanwhile(self) -> None:
        """
        It is bounded then while a login goes on, since it waits in the protocol.
        """
        self.serve(Deferred(), maximumBeforeLogin=None)
        wire, server = self.connect()
        server.lineReceived(b"alice")
        server.lineReceived = self.ignore
        (warning,) = self.flood(wire)
        assert warning == (
            f"warn: {wire.getPeer()} has sent more than 65536 bytes while its login goes on: it is "
            "cut off"
        )
        assert wire.lost
        self.nothingIsLeft()

    def test_later(self) -> None:
        """
        Who has logged in is no longer bounded by that; over a protocol that has paused, what they
        send is counted for each later login anew.
        """
        logins = [Deferred[Any]() for _ in range(3)]
        self.serve(*logins, maximumBeforeLogin=100000)
        wire, server = self.connect()
        server.setRawMode()
        server.rawDataReceived = self.ignore
        server.pauseProducing()
        for login in logins:
            server.lineReceived(b"alice")
            wire.deliver(b"x" * 60000)
            assert not wire.lost
            login.callback(b"alice")
            wire.deliver(b"x" * 60000)
        assert not wire.lost

    def test_firstOfTwo(self) -> None:
        """
        What was sent before the first login succeeded does not count for one that still goes on.
        """
        first, second = Deferred[Any](), Deferred[Any]()
        self.serve(first, second, maximumBeforeLogin=100000)
        wire, server = self.connect()
        server.setRawMode()
        server.rawDataReceived = self.ignore
        server.pauseProducing()
        server.lineReceived(b"alice")
        server.lineReceived(b"bob")
        wire.deliver(b"x" * 90000)
        first.callback(b"alice")
        wire.deliver(b"x" * 60000)
        assert not wire.lost
        wire.deliver(b"x" * 10000)
        assert wire.lost

    def test_severalLogins(self) -> None:
        """
        It is counted as long as any login goes on.
        """
        first, second = Deferred[Any](), Deferred[Any]()
        self.serve(first, second)
        wire, server = self.connect()
        wire.deliver(b"a\r\nb\r\n")
        server.setRawMode()
        server.rawDataReceived = lambda data: None
        wire.deliver(b"x" * 40000)
        first.errback(UnauthorizedLogin())
        assert not wire.lost
        wire.deliver(b"x" * 40000)
        assert wire.lost
        self.nothingIsLeft()

    def test_loggedIn(self) -> None:
        """
        Who has logged in may send what they like during another login, unless the protocol has
        paused.
        """
        self.serve(b"alice", Deferred(), Deferred())
        wire, server = self.connect()
        wire.deliver(b"alice\r\nbob\r\n")
        server.setRawMode()
        server.rawDataReceived = lambda data: None
        assert self.flood(wire) == []
        server.pauseProducing()
        assert len(self.flood(wire)) == 1
        assert wire.lost
        self.nothingIsLeft()
