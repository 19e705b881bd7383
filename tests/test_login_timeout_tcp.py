"""
Tests for L{avatarkit.LoginTimeout} over loopback TCP: Perspective Broker, mail and the web.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from zope.interface import implementer

import rawclients
from avatarkit import (
    Block,
    ConnectionLimit,
    LoginTimedOut,
    LoginTimeout,
    Realm,
    Session,
)
from avatarkit.transports import (
    CookieAuthSessionWrapper,
    HTTPAuthSessionWrapper,
    IMAP4RefusalMixin,
    WatchingFactory,
)
from logs import logged
from pb import Client, PBTestCase, refusal
from stages import turns
from test_checks_cancelled import Stubborn, Waiting
from websites import Page, WebCase

# Any in this module: factories, protocols, and what realms and checkers are given.


class Gate(Block):
    """
    A block that keeps logins waiting.

    @ivar waiting: what they wait for.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def admit(self, session: Session) -> Deferred[Any]:
        """
        Wait.
        """
        self.waiting.append(Deferred())
        return self.waiting[-1]


class Leaves(rawclients.RawCase):
    """
    Clients that wait for an answer for half a minute.
    """

    makeFactory: Any  # a function that would otherwise become a method
    told: str

    async def answer(self, *blocks: Any, checker: Any, begun: Callable[[], object]) -> list[str]:
        """
        Log in, let the time pass, and return what the log says when the client has been told.

        @param begun: whether the login waits.
        """
        clock = Clock()
        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=clock)
        await self.serve(self.makeFactory, checker, timeout, *blocks)
        answer = await self.logIn()
        await self.until(begun, "the login does not wait")
        clock.advance(29.9)
        assert not answer()
        with logged() as said:
            clock.advance(0.1)
            await self.until(answer, "the client is not told")
        assert self.told in answer()
        assert not clock.getDelayedCalls()
        return said

    async def logIn(self) -> Callable[[], str]:
        """
        Send a login; return what returns the answer.
        """
        client = await self.connect()
        *first, last = self.lines
        client.send(*first)
        await self.until(lambda: client.received.count(b"\n") == len(self.lines), "no answer")
        client.received = b""
        client.send(last)
        return lambda: client.received.decode()

    lines: tuple[bytes, ...]

    async def test_checker(self) -> None:
        """
        A checker that never ends is cancelled, and logged by name.
        """
        checker = Waiting()
        (line,) = await self.answer(checker=checker, begun=lambda: checker.checks)
        assert checker.cancelled == 1
        assert f"is given up: {checker!r} did not finish in 30 seconds" in line
        assert not self.realm.sessions

    async def test_late(self) -> None:
        """
        One that goes on, and says later that the password is right, lets nobody in.
        """
        checker = Stubborn()
        await self.answer(checker=checker, begun=lambda: checker.checks)
        checker.checks[1].callback(b"alice")
        assert not self.realm.sessions

    async def test_factory(self) -> None:
        """
        A client whose avatar is never made is told so; what makes it is cancelled.
        """
        loading: list[Deferred[Any]] = []

        def load(avatarId: Any) -> Deferred[Any]:
            loading.append(Deferred())
            return loading[-1]

        checker = Waiting()
        self.patch(rawclients, "Account", load)
        answering = Deferred.fromCoroutine(
            self.answer(checker=checker, begun=lambda: checker.checks and loading)
        )
        await self.until(lambda: checker.checks, "no check")
        checker.checks[0].callback(b"alice")
        (line,) = await answering
        assert line.endswith("FactorySource.acquire did not finish in 30 seconds")
        assert loading[0].called
        assert not self.realm.sessions

    async def test_limit(self) -> None:
        """
        A client that waits for a slot, whoever decides about it, is told so.
        """
        deciding: Deferred[Any] = Deferred()
        limit = ConnectionLimit(1, whenFull=lambda session, holders: deciding)
        holder = limit(lambda avatarId: rawclients.Account(avatarId))
        holder.requestAvatar(b"alice", None, pb.IPerspective)
        checker = rawclients.Asked()
        checker.requestAvatarId = lambda credentials: b"alice"  # type: ignore[method-assign]
        said = await self.answer(limit, checker=checker, begun=lambda: self.realm.sessions)
        assert said[0].endswith("ConnectionLimit.admit did not finish in 30 seconds")
        assert deciding.called
        assert len(limit.sessions(b"alice")) == 1
        await holder.close()


class POP3Tests(Leaves):
    """
    Over POP3.
    """

    makeFactory = staticmethod(rawclients.pop3Factory)
    lines = (b"USER alice", b"PASS secret")
    told = "-ERR Access denied"


class IMAP4Tests(Leaves):
    """
    Over IMAP4, where a client is told that it may work later.
    """

    @staticmethod
    def makeFactory(portal: Any) -> Any:
        """
        Serve IMAP4.
        """
        from twisted.mail.imap4 import IMAP4Server

        class Server(IMAP4RefusalMixin, IMAP4Server):
            pass

        return rawclients.serving(Server, portal)

    lines = (b"1 LOGIN alice secret",)
    told = "1 NO [UNAVAILABLE] the login took too long"


class PBTests(Leaves):
    """
    Over Perspective Broker, without a mind.
    """

    makeFactory = staticmethod(rawclients.pbFactory)
    told = "b'avatarkit.errors.LoginTimedOut': the login took too long"

    async def logIn(self) -> Callable[[], str]:
        """
        Send a login; return what returns the answer.
        """
        client = Client(lambda factory: rawclients.reactor.connectTCP(*self.server, factory))
        self.addCleanup(client.disconnect)
        told: list[str] = []
        login = client.login(mind=False)
        login.addErrback(lambda failure: told.append(f"{failure.type}: {failure.value}"))
        return lambda: "".join(told)

    @property
    def server(self) -> tuple[str, int]:
        """
        Where it listens.
        """
        return "127.0.0.1", self.address.port


del Leaves  # it has no protocol, and is not a test by itself


class HungTests(rawclients.RawCase):
    """
    Clients whose logins never end, and which go on waiting.
    """

    async def stays(self, checker: Any, *blocks: Any, realm: Any = None) -> rawclients.RawClient:
        """
        Return a client whose login goes on, over POP3, on a server that gives it twenty seconds.

        @param realm: returns the realm, of the one that there is.
        """

        def watch(factory: Any, portal: Any) -> Any:
            if realm is not None:
                self.realm = portal.realm = realm(portal.realm)
            return WatchingFactory(factory, portal, loginGraceTime=20, reactor=self.clock)

        await self.serve(rawclients.pop3Factory, checker, *blocks, watch=watch)
        client = await self.connect()
        client.send(b"USER alice")
        await self.until(lambda: client.received.count(b"\n") == 2, "no answer")
        client.send(b"PASS right")
        await self.until(lambda: self.isLoggingIn, "no login")
        return client

    def setUp(self) -> None:
        """
        The time stands still.
        """
        self.clock = Clock()
        self.timeLimit: LoginTimeout[Any] = LoginTimeout(30, reactor=self.clock)

    @property
    def isLoggingIn(self) -> bool:
        """
        Whether a login goes on.
        """
        return any(each.isLoggingIn for each in self.watching.protocols)

    async def endsAfter(self, seconds: int, client: rawclients.RawClient) -> None:
        """
        Check that a client is cut off after some time.
        """
        for _ in range(seconds - 1):
            self.clock.advance(1)
        await turns(20)
        assert not client.gone
        self.clock.advance(1)
        await self.until(lambda: client.gone, "it is still connected")
        await self.until(lambda: not self.watching.protocols, "the connection is left")
        assert not self.realm.sessions
        assert not self.clock.getDelayedCalls()

    async def test_checker(self) -> None:
        """
        A checker that never ends does not keep its connection, even if it ignores being cancelled:
        the login is given up, and the client is cut off when it is looked at next.
        """
        for checker in (Waiting(), Stubborn()):
            client = await self.stays(checker, self.timeLimit)
            await self.endsAfter(40, client)

    async def test_realm(self) -> None:
        """
        Nor does a realm of somebody else's that never answers.
        """

        @implementer(IRealm)
        class Hung:
            def requestAvatar(self, *args: Any) -> Any:
                return Deferred()

        client = await self.stays(rawclients.Asked(), realm=lambda realm: self.timeLimit(Hung()))
        await self.endsAfter(40, client)

    async def test_without(self) -> None:
        """
        Without a time limit the connection stays as long as the checker does.
        """
        checker = Waiting()
        client = await self.stays(checker)
        for _ in range(10):
            self.clock.advance(20)
        await turns(20)
        assert not client.gone
        checker.checks[0].errback(UnauthorizedLogin())
        await self.until(lambda: not self.isLoggingIn, "the login goes on")
        await self.endsAfter(20, client)


class UnwatchedTests(PBTestCase):
    """
    Over Perspective Broker, without a L{WatchingFactory<avatarkit.transports.WatchingFactory>}.
    """

    async def test_stubborn(self) -> None:
        """
        A client is told that its login took too long, even if the factory ignores being cancelled;
        what that makes later is logged out.
        """
        clock, going = Clock(), Deferred[Any]()
        begun: Deferred[None] = Deferred()
        loggedOut: list[object] = []

        class Player(rawclients.Account):
            def logout(self) -> None:
                loggedOut.append(self)

        async def load(avatarId: bytes) -> Player:
            rawclients.reactor.callLater(0, begun.callback, None)
            try:
                await Deferred()
            except CancelledError:
                await going
            return Player(avatarId)

        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=clock)
        realm: Any = timeout(load)
        self.serve(realm)
        login = self.client().login()
        await begun
        clock.advance(30)
        failure = await refusal(login)
        assert failure.check(LoginTimedOut)
        assert len(realm.sessions) == 1
        going.callback(None)
        assert not realm.sessions
        assert len(loggedOut) == 1


class WebTests(WebCase):
    """
    Over the web.
    """

    async def answer(
        self, wrapper: Any, *blocks: Any, begun: Callable[[], object], waiting: bool
    ) -> None:
        """
        Ask for a page, and check what is answered when the time is over.
        """
        clock = Clock()
        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=clock)
        realm: Any = Realm(Page, blocks=[timeout, *blocks])
        options = {"secure": False} if wrapper is CookieAuthSessionWrapper else {}
        self.guard(wrapper, realm, **options)
        self.checker.waiting = waiting
        tab = await self.open()
        asked = tab.ask()
        await self.until(begun, "the login does not wait")
        clock.advance(29.9)
        assert not asked.called
        clock.advance(0.1)
        response = await asked
        assert (response.code, response.body) == (503, b"the login took too long")
        assert response.all(b"retry-after") == [b"10"]
        assert not realm.sessions
        assert not clock.getDelayedCalls()
        assert self.flushLoggedErrors() == []

    async def test_check(self) -> None:
        """
        A browser whose password is checked for too long is told to come again later.
        """
        for wrapper in (HTTPAuthSessionWrapper, CookieAuthSessionWrapper):
            await self.answer(wrapper, begun=lambda: self.checker.asked, waiting=True)
            assert self.checker.cancelled == 1

    async def test_session(self) -> None:
        """
        So is one whose login waits for something else.
        """
        for wrapper in (HTTPAuthSessionWrapper, CookieAuthSessionWrapper):
            gate = Gate()
            begun = partial(getattr, gate, "waiting")
            await self.answer(wrapper, gate, begun=begun, waiting=False)
            assert gate.waiting[0].called

    async def test_oneTime(self) -> None:
        """
        It is one time, from the beginning of the request.
        """
        for wrapper in (HTTPAuthSessionWrapper, CookieAuthSessionWrapper):
            gate = Gate()

            def begun(gate: Gate = gate) -> object:
                for each in self.checker.asked:
                    if not each.called:
                        each.callback(b"alice")
                return gate.waiting

            await self.answer(wrapper, gate, begun=begun, waiting=True)
