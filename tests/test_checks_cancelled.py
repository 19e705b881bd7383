"""
Clients that leave while their password is being checked, over loopback TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel
from twisted.spread import pb
from zope.interface import implementer

import rawclients
from logs import logged
from scripted import Boom


@implementer(ICredentialsChecker)
class Waiting:
    """
    A checker that waits.

    @ivar checks: the Deferreds that it waits for.
    @ivar cancelled: how many of them were cancelled.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def __init__(self) -> None:
        self.checks: list[Deferred[Any]] = []
        self.cancelled = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Wait.
        """
        self.checks.append(Deferred(self.cancel))
        return self.checks[-1]

    def cancel(self, check: Deferred[Any]) -> None:
        """
        Count what is cancelled.
        """
        self.cancelled += 1


class Coroutine(Waiting):
    """
    The same as a coroutine.

    @ivar raised: what was raised where it waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raised: list[BaseException] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Wait.
        """
        return self.check(super().requestAvatarId(credentials))

    async def check(self, check: Deferred[Any]) -> Any:
        """
        Wait.
        """
        try:
            return await check
        except CancelledError as error:
            self.raised.append(error)
            raise


class Stubborn(Coroutine):
    """
    One that goes on when it is cancelled.
    """

    async def check(self, check: Deferred[Any]) -> Any:
        """
        Wait twice.
        """
        try:
            return await super().check(check)
        except CancelledError:
            self.checks.append(Deferred())
            return await self.checks[-1]


class Failing(Waiting):
    """
    One that bears no cancelling.
    """

    def cancel(self, check: Deferred[Any]) -> None:
        """
        Fail.
        """
        super().cancel(check)
        raise Boom("cannot be cancelled")


class FailingCoroutine(Coroutine, Failing):
    """
    The same as a coroutine.
    """


class LeavingCase(rawclients.RawCase):
    """
    A client that leaves while its password is being checked.
    """

    makeFactory: Any  # a function that would otherwise become a method

    async def logIn(self) -> Callable[[], object]:
        """
        Send a login; return what makes the client leave.
        """
        client = await self.connect()
        client.send(*self.lines)
        return client.leave

    lines: tuple[bytes, ...]

    async def leave(self, checker: Waiting) -> None:
        """
        Have a client leave while its password is being checked.
        """
        await self.serve(self.makeFactory, checker)
        leave = await self.logIn()
        await self.until(lambda: checker.checks, "no check")
        assert not self.realm.sessions
        leave()
        await self.until(lambda: not self.watching.protocols, "the connection is left")
        assert checker.cancelled == 1

    @contextmanager
    def logsTheChecker(self) -> Iterator[None]:
        """
        Check that the log says that a checker could not be cancelled, and why.
        """
        with logged(LogLevel.critical) as said:
            yield
        assert len(said) == 1
        assert "a login from IPv4Address(" in said[0]
        assert "could not be cancelled when its connection was lost" in said[0]
        assert len(self.flushLoggedErrors(Boom)) == 1


class Leaves(LeavingCase):
    """
    What happens with each kind of checker.
    """

    async def test_deferred(self) -> None:
        """
        The Deferred of a checker is cancelled.
        """
        await self.leave(Waiting())

    async def test_coroutine(self) -> None:
        """
        C{CancelledError} is raised in a checker that is a coroutine.
        """
        checker = Coroutine()
        await self.leave(checker)
        assert [type(each) for each in checker.raised] == [CancelledError]

    async def test_stubborn(self) -> None:
        """
        A checker that goes on all the same, and says later that the password is right, lets nobody
        in.
        """
        checker = Stubborn()
        await self.leave(checker)
        checker.checks[1].callback(b"alice")
        assert not self.realm.sessions

    async def test_failing(self) -> None:
        """
        A checker that bears no cancelling is logged, and nothing is left of the login.
        """
        with self.logsTheChecker():
            await self.leave(Failing())

    async def test_failingCoroutine(self) -> None:
        """
        So is one that is a coroutine.
        """
        with self.logsTheChecker():
            await self.leave(FailingCoroutine())


class POP3Tests(Leaves):
    """
    Over POP3.
    """

    makeFactory = staticmethod(rawclients.pop3Factory)
    lines = (b"USER alice", b"PASS secret")


class IMAP4Tests(Leaves):
    """
    Over IMAP4.
    """

    makeFactory = staticmethod(rawclients.imap4Factory)
    lines = (b"1 LOGIN alice secret",)


class PBTests(Leaves):
    """
    Over Perspective Broker, without a mind.
    """

    makeFactory = staticmethod(rawclients.pbFactory)

    async def logIn(self) -> Callable[[], object]:
        """
        Send a login; return what makes the client leave.
        """
        factory: Any = pb.PBClientFactory()
        rawclients.reactor.connectTCP("127.0.0.1", self.address.port, factory)
        login = factory.login(UsernamePassword(b"alice", b"secret"))
        login.addErrback(lambda failure: failure.trap(pb.PBConnectionLost))
        return factory.disconnect  # type: ignore[no-any-return]  # it is a method


del Leaves  # it has no protocol, and is not a test by itself
