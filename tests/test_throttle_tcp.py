"""
Tests for L{avatarkit.transports.ThrottledChecker} over loopback TCP.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import DeferredList
from twisted.spread import pb

import rawclients
import test_throttle
from avatarkit import TooManyAttempts
from avatarkit.transports import ThrottledChecker

#: How many passwords are tried.
MANY = 300


class ManyCase(rawclients.RawCase):
    """
    Somebody tries many passwords.
    """

    def setUp(self) -> None:
        """
        Have a checker.
        """
        self.checker = rawclients.Asked()

    def guesses(self, first: int = 0, number: int = MANY) -> list[bytes]:
        """
        Return the lines that try passwords over POP3.
        """
        lines = [b"USER alice"] * (2 * number)
        lines[1::2] = [b"PASS wrong%d" % each for each in range(first, first + number)]
        return lines


class POP3Tests(ManyCase):
    """
    Over POP3.
    """

    async def test_unthrottled(self) -> None:
        """
        Three hundred wrong passwords over one connection are all checked at once.
        """
        await self.serve(rawclients.pop3Factory, self.checker)
        client = await self.connect()
        client.send(*self.guesses())
        await self.until(lambda: client.received.count(b"-ERR") == MANY, "no answers")
        assert len(self.checker.asked) == MANY

    async def test_throttled(self) -> None:
        """
        With a throttled checker three of them are checked, a hundred wait, and the others are
        refused; nothing is left when the client has gone.
        """
        throttle = ThrottledChecker(self.checker, delay=60)
        await self.serve(rawclients.pop3Factory, throttle)
        client = await self.connect()
        client.send(*self.guesses())
        await self.until(lambda: client.received.count(b"-ERR") == MANY - 100, "no answers")
        assert len(self.checker.asked) == 3
        tallies: Any = throttle._tallies
        assert tallies.waiting == 100
        client.leave()
        await self.until(lambda: not tallies.waiting, "attempts wait for nobody")
        assert len(self.checker.asked) == 3

    async def test_manyConnections(self) -> None:
        """
        Many connections gain nothing.
        """
        throttle = ThrottledChecker(self.checker, delay=60)
        await self.serve(rawclients.pop3Factory, throttle)
        for number in range(30):
            client = await self.connect()
            client.send(*self.guesses(10 * number, 10))
        tallies: Any = throttle._tallies
        answers = MANY - 100
        await self.until(
            lambda: sum(each.received.count(b"-ERR") for each in self.clients) == answers,
            "no answers",
        )
        assert len(self.checker.asked) == 3
        assert tallies.waiting == 100

    async def test_user(self) -> None:
        """
        The user, who comes from elsewhere, gets in at once while somebody guesses.
        """
        throttle = ThrottledChecker(self.checker, delay=0.1, maximumDelay=0.1)
        await self.serve(rawclients.pop3Factory, throttle)
        attacker = await self.connect()
        attacker.send(*self.guesses())
        await self.until(lambda: len(self.checker.asked) >= 6, "nobody guesses")
        user = await self.connect("127.0.0.2")
        user.send(b"USER alice", b"PASS right")
        asked = len(self.checker.asked)
        await self.until(lambda: user.received.count(b"+OK") == 3, "the user is locked out")
        assert len(self.checker.asked) <= asked + 6
        assert len(self.realm.sessions) == 1

    async def test_hanging(self) -> None:
        """
        A client whose password is checked for too long is answered, and told nothing of the inside.
        """
        hanging = test_throttle.Checker()
        hanging.results = []
        await self.serve(rawclients.pop3Factory, ThrottledChecker(hanging, checkTimeout=0.1))
        client = await self.connect()
        client.send(b"USER alice", b"PASS right")
        await self.until(lambda: b"-ERR" in client.received, "no answer")
        answer = b"-ERR Server error: the check took longer than 0.1 seconds"
        assert client.received.splitlines()[-1] == answer
        assert hanging.cancelled == 1
        assert len(self.flushLoggedErrors(defer.TimeoutError)) == 1  # POP3 logs it


class PBTests(ManyCase):
    """
    Over Perspective Broker.
    """

    async def guess(self) -> list[Any]:
        """
        Try passwords over one connection, until it is known what comes of all but a hundred.
        """
        factory: Any = pb.PBClientFactory()
        rawclients.reactor.connectTCP("127.0.0.1", self.address.port, factory)
        await factory.getRootObject()
        results: list[Any] = []
        attempts = [
            factory.login(UsernamePassword(b"alice", b"wrong%d" % each)).addBoth(results.append)
            for each in range(MANY)
        ]
        await self.until(lambda: len(results) >= MANY - 100, "no answers")
        early = list(results)
        factory.disconnect()
        await DeferredList(attempts)
        return early

    async def test_unthrottled(self) -> None:
        """
        Three hundred wrong passwords over one connection are all checked at once.
        """
        await self.serve(rawclients.pbFactory, self.checker)
        await self.guess()
        assert len(self.checker.asked) == MANY
        self.flushLoggedErrors(UnauthorizedLogin)  # Perspective Broker logs them

    async def test_throttled(self) -> None:
        """
        With a throttled checker three of them are checked, a hundred wait, and the others are
        refused by name.
        """
        throttle = ThrottledChecker(self.checker, delay=60)
        await self.serve(rawclients.pbFactory, throttle)
        results = await self.guess()
        assert len(self.checker.asked) == 3
        refused = [each for each in results if each.check(TooManyAttempts)]
        assert len(refused) == MANY - 103
        assert len(results) == MANY - 100
        assert len(self.flushLoggedErrors(UnauthorizedLogin)) == 3
        tallies: Any = throttle._tallies
        await self.until(lambda: not tallies.waiting, "attempts wait for nobody")
