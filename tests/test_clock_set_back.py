"""
Tests of what happens when the clock of the machine is set back by an hour.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    CallLimit,
    TooManyCalls,
    TooManyConnections,
    displaceOldest,
    displaceUnresponsive,
)
from avatarkit._tools.clock import steadySeconds
from avatarkit.testing import login
from avatarkit.transports import ThrottledChecker
from limited import LimitTestCase
from players import Player
from scripted import Gate
from test_limit_asking import Pinged
from test_throttle import Checker
from watched import WatchingCase
from websites import CookieCase, Page

# Any in this module: protocols and factories, and what a fixed clock is.


def setBack(clock: Clock, seconds: float = 3600) -> None:
    """
    Set a clock back; what it has planned is late by as much.
    """
    clock.rightNow -= seconds


class SteadySecondsTests(SynchronousTestCase):
    """
    L{steadySeconds}.
    """

    def test_goesOn(self) -> None:
        """
        It is the reactor's time, and goes on from where it was when that goes back, each time.
        """
        clock = Clock()
        clock.advance(10_000)
        assert steadySeconds(clock) == 10_000
        clock.advance(5)
        assert steadySeconds(clock) == 10_005
        for expected in (10_005, 10_007):
            setBack(clock)
            assert steadySeconds(clock) == expected
            clock.advance(2)
            assert steadySeconds(clock) == expected + 2
        assert steadySeconds(Clock()) == 0

    def test_noAttributes(self) -> None:
        """
        A reactor that takes no attributes has its own time.
        """

        class Fixed:
            __slots__ = ()

            def seconds(self) -> float:
                return 3

        fixed: Any = Fixed()
        assert [steadySeconds(fixed), steadySeconds(fixed)] == [3, 3]


class CallsTests(SynchronousTestCase):
    """
    L{CallLimit}.
    """

    def test_nobodyIsKicked(self) -> None:
        """
        A client that calls when the clock is set back is not refused, and has what it had.
        """
        clock = Clock()
        clock.advance(10_000)
        limit: CallLimit = CallLimit(rate=1, burst=3, reactor=clock)
        realm = limit(AvatarCache()(Player))
        login(realm, b"alice")
        (session,) = realm.sessions
        limit.called(session, "name")
        setBack(clock)
        for _ in range(2):
            limit.called(session, "name")
        self.assertRaises(TooManyCalls, limit.called, session, "name")
        clock.advance(1)
        limit.called(session, "name")
        assert not session.ended


class LimitsTests(LimitTestCase):
    """
    Limits that are full.
    """

    def setUp(self) -> None:
        """
        Have an hour that can be taken back.
        """
        super().setUp()
        self.clock.advance(10_000)

    def test_flapping(self) -> None:
        """
        Nobody is locked out: logins may displace others again after as long as ever.
        """
        self.limited(1, whenFull=displaceOldest(flapping=1, per=10, reactor=self.clock))
        self.login()
        self.login()
        self.assertRaises(TooManyConnections, self.login)
        setBack(self.clock)
        self.clock.advance(9)
        self.assertRaises(TooManyConnections, self.login)
        self.clock.advance(10)
        self.login()

    def test_answers(self) -> None:
        """
        An answer of a client holds no longer than ever.
        """
        self.limited(1, whenFull=displaceUnresponsive(reactor=self.clock, answerFresh=5))
        mind = Pinged()
        self.login(mind=mind)
        self.assertRaises(TooManyConnections, self.login)
        setBack(self.clock)
        self.assertRaises(TooManyConnections, self.login)
        self.clock.advance(6)
        self.assertRaises(TooManyConnections, self.login)
        assert mind.pings == 2

    def test_deadline(self) -> None:
        """
        A session that was displaced and does not close loses its slot five seconds later.
        """
        self.limited(1, whenFull=displaceOldest(flapping=5, reactor=self.clock))
        gate = Gate()
        self.script.acts["release 1"] = gate.deferred
        self.login()
        gone = self.challenge()
        gone.cancel()
        self.failureResultOf(gone)
        setBack(self.clock)
        waiting = self.challenge()
        self.clock.advance(4)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        self.successResultOf(waiting)
        gate.wait.callback(None)


class ThrottleTests(SynchronousTestCase):
    """
    L{ThrottledChecker}.
    """

    def test_delay(self) -> None:
        """
        An attempt waits no longer than ever.
        """
        clock = Clock()
        clock.advance(10_000)
        checker = ThrottledChecker(Checker(), reactor=clock)
        wrong, right = UsernamePassword(b"alice", b"wrong"), UsernamePassword(b"alice", b"right")
        for _ in range(3):
            self.failureResultOf(checker.requestAvatarId(wrong), UnauthorizedLogin)
        setBack(clock)
        attempt: Deferred[Any] = checker.requestAvatarId(right)
        self.assertNoResult(attempt)
        clock.advance(1)
        assert self.successResultOf(attempt) == b"alice"


class GraceTests(WatchingCase):
    """
    The time that clients have to log in.
    """

    def test_cutOff(self) -> None:
        """
        One that connects afterwards is cut off in time, and so are those from before.
        """
        self.serve(loginGraceTime=10)
        clock: Any = self.factory.clock()
        clock.advance(10_000)
        before, _ = self.connect()
        setBack(clock)
        after, _ = self.connect()
        clock.advance(9)
        assert (before.lost, after.lost) == (False, False)
        clock.advance(2)
        assert (before.lost, after.lost) == (True, True)
        assert clock.getDelayedCalls() == []


class CookieTests(CookieCase):
    """
    The sessions of browsers.
    """

    async def test_expires(self) -> None:
        """
        One expires in time after another one has requested something, and so does that one.
        """
        self.clock.advance(10_000)
        realm = AvatarCache()(Page)
        self.cookies(realm, timeout=60)
        await self.logIn()
        session = await self.session()
        setBack(self.clock)
        await self.logIn(b"bob")
        self.clock.advance(59)
        assert len(realm.sessions) == 2
        assert not session.ended
        self.clock.advance(2)
        assert list(realm.sessions) == []
