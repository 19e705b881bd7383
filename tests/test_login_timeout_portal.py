"""
Tests for L{avatarkit.LoginTimeout} where the portal knows the connection: checking the password
counts.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from avatarkit import (
    AvatarCache,
    ConnectionLimit,
    LoggedOut,
    LoginAbandoned,
    LoginTimedOut,
    LoginTimeout,
    PerConnection,
    Realm,
    Session,
)
from avatarkit.transports import ThrottledChecker
from logs import logged
from scripted import Boom, IThing, Thing
from ticking import NoTimers
from watched import Anybody, WatchingCase, serving

# Any in this module: portals, and what checkers return.


class PortalCase(WatchingCase):
    """
    A server whose logins may take half a minute.
    """

    def setUp(self) -> None:
        """
        Have a clock.
        """
        self.clock = Clock()
        self.sessions: list[Session] = []

    def serve(  # type: ignore[override]  # the stack is this test's own
        self,
        *results: Any,
        make: Any = None,
        portal: Any = Portal,
        below: Any = None,
        throttle: Any = lambda checker: checker,
    ) -> None:
        """
        Make the server.

        @param results: what the checker returns.
        @param below: makes the realm, if the time limit is not to be on top of it.
        """
        super().serve(make=make)
        if below is None:
            below = LoginTimeout(30, reactor=self.clock)
        self.realm = below(self.realm)
        self.realm.reactor = self.clock
        self.checker = Anybody(*results)
        self.portal = portal(self.realm, [throttle(self.checker)])
        self.factory = serving(self.factory.wrappedFactory.protocol, self.portal)
        self.factory.wrappedFactory.protocol = self.build(self.factory.wrappedFactory.protocol)

    def build(self, protocol: Any) -> Any:
        """
        Have the protocols of a factory have the portal of this test.
        """

        def build() -> Any:
            built = protocol()
            built.portal = self.portal
            return built

        return build

    def logIn(self) -> tuple[Any, list[Any]]:
        """
        Connect a client that logs in; return its wire, and what its logins have come to.
        """
        wire, server = self.connect()
        wire.deliver(b"alice\r\n")
        return wire, server.logins

    def late(self, logins: list[Any], what: str) -> None:
        """
        Check that a login is given up, and what was in the way.
        """
        self.clock.advance(29.9)
        assert logins == []
        with logged() as said:
            self.clock.advance(0.1)
        (failure,) = logins
        assert failure.type is LoginTimedOut
        assert [each for each in said if "is given up" in each] == [
            f"error: a login {what} did not finish in 30 seconds"
        ]
        assert not self.clock.getDelayedCalls()

    @property
    def check(self) -> str:
        """
        What the log says of the check.
        """
        peer = "IPv4Address(type='TCP', host='192.0.2.7', port=50000)"
        return f"from {peer} is given up: {self.checker!r}"

    def nothingIsLeft(self) -> None:
        """
        Check that there is nothing of a session.
        """
        assert not self.realm.sessions
        assert self.limit.sessions(b"alice") == ()
        assert self.realm.audit() == []


class CheckTests(PortalCase):
    """
    The check of a password that takes too long.
    """

    def test_neverEnds(self) -> None:
        """
        It is cancelled, and logged by name; the login fails, and another one may follow.
        """
        check: Deferred[Any] = Deferred()
        self.serve(check)
        wire, logins = self.logIn()
        self.late(logins, self.check)
        assert check.called
        self.nothingIsLeft()
        wire.deliver(b"alice\r\n")
        assert logins[1][1].__class__ is Thing

    def test_goesOn(self) -> None:
        """
        One that ignores being cancelled does not keep the client waiting, and lets nobody in when
        it ends.
        """
        for answer in (b"alice", Failure(UnauthorizedLogin()), Failure(Boom())):
            going: Deferred[Any] = Deferred()

            async def check(going: Deferred[Any] = going) -> Any:
                try:
                    return await Deferred()
                except CancelledError:
                    return await going

            self.serve(check())
            _, logins = self.logIn()
            self.late(logins, self.check)
            with logged(LogLevel.critical) as said:
                going.callback(answer)
            self.nothingIsLeft()
            assert len(logins) == 1
            fails = isinstance(answer, Failure) and answer.check(Boom)
            late = f"critical: {self.checker!r} failed after its check was given up"
            assert said == [late] * bool(fails)
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_answersWhenCancelled(self) -> None:
        """
        What it says when it is cancelled counts for nothing.
        """

        def say(answer: Any, check: Deferred[Any]) -> None:
            check.callback(answer)

        for answer in (b"alice", Failure(UnauthorizedLogin())):
            self.serve(Deferred(partial(say, answer)))
            _, logins = self.logIn()
            self.late(logins, self.check)
            self.nothingIsLeft()

    def test_failsWhenCancelled(self) -> None:
        """
        If it fails, or its canceller raises, that is logged as well.
        """

        def fail(check: Deferred[Any]) -> None:
            check.errback(Boom())

        def canceller(check: Deferred[Any]) -> None:
            raise Boom

        for cancel in (fail, canceller):
            self.serve(Deferred(cancel))
            _, logins = self.logIn()
            self.late(logins, self.check)
            assert len(self.flushLoggedErrors(Boom)) == 1
            self.nothingIsLeft()

    def test_inTime(self) -> None:
        """
        When a check ends in time, however it ends, no timer is left.
        """
        checks: list[Deferred[Any]] = [Deferred() for _ in range(3)]
        self.serve(*checks)
        clients = [self.logIn() for _ in checks]
        assert len(self.clock.getDelayedCalls()) == 3
        checks[0].callback(b"alice")
        checks[1].errback(UnauthorizedLogin())
        clients[2][0].leave()
        assert not self.clock.getDelayedCalls()
        assert checks[2].called
        assert clients[0][1][0][1].__class__ is Thing
        assert clients[1][1][0].type is UnauthorizedLogin
        assert clients[2][1][0].type is LoginAbandoned

    def test_atOnce(self) -> None:
        """
        For a login that does not wait there is no timer.
        """

        async def check() -> bytes:
            return b"alice"

        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=NoTimers())
        self.serve(succeed(b"alice"), check(), b"alice", below=timeout)
        for _ in range(3):
            _, logins = self.logIn()
            assert logins[0][1].__class__ is Thing

    def test_raises(self) -> None:
        """
        A checker that raises is one that fails.
        """

        def check(credentials: Any) -> Any:
            raise UnauthorizedLogin

        self.serve()
        self.checker.requestAvatarId = check  # type: ignore[method-assign]
        _, logins = self.logIn()
        assert logins[0].type is UnauthorizedLogin

    def test_several(self) -> None:
        """
        Logins over one connection have a time each.
        """
        checks: list[Deferred[Any]] = [Deferred(), Deferred()]
        self.serve(*checks)
        wire, logins = self.logIn()
        self.clock.advance(10)
        wire.deliver(b"alice\r\n")
        self.clock.advance(20)
        assert [each.type for each in logins] == [LoginTimedOut]
        checks[1].callback(b"alice")
        assert logins[1][1].__class__ is Thing
        (session,) = self.realm.sessions
        assert session.since == 10

    def test_throttled(self) -> None:
        """
        An attempt that waits behind others is not given up, and the one that was being checked
        counts as one whose client has left.
        """
        self.serve(
            Deferred(),
            Deferred(),
            throttle=lambda checker: ThrottledChecker(checker, freeForName=1, reactor=self.clock),
        )
        _, first = self.logIn()
        _, second = self.logIn()
        self.clock.advance(30)
        assert [each.type for each in first] == [LoginTimedOut]
        assert second == []
        (throttle,) = self.portal.checkers.values()
        assert {each.total for each in throttle._tallies.kept.values()} == {1}

    def test_leavesAsWell(self) -> None:
        """
        A client that leaves at the moment when its time is over is told nothing, and no error is
        logged.
        """
        self.serve(Deferred(lambda check: wire.leave()))
        wire, logins = self.logIn()
        self.clock.advance(30)
        assert [each.type for each in logins] == [LoginTimedOut]
        assert self.factory.protocols == {}
        self.nothingIsLeft()


class SessionTests(PortalCase):
    """
    A session that begins when some of the time is over.
    """

    def test_oneTime(self) -> None:
        """
        It has only what is left, and began when the portal was asked.
        """
        check: Deferred[Any] = Deferred()
        loading: Deferred[Any] = Deferred()
        self.serve(check, make=lambda avatarId: loading)
        self.clock.advance(7)
        _, logins = self.logIn()
        self.clock.advance(20)
        check.callback(b"alice")
        (session,) = self.realm.sessions
        assert session.since == 7
        self.clock.advance(9.9)
        assert logins == []
        with logged() as said:
            self.clock.advance(0.1)
        assert logins[0].type is LoginTimedOut
        assert said == [
            "error: a login of b'alice' is given up: FactorySource.acquire did not finish in 30 "
            "seconds"
        ]
        assert type(session.reason) is LoginTimedOut
        assert loading.called
        self.nothingIsLeft()
        assert not self.clock.getDelayedCalls()

    def test_noCheck(self) -> None:
        """
        If the password is checked at once, all of it is left.
        """
        self.serve(make=lambda avatarId: Deferred())
        _, logins = self.logIn()
        self.late(logins, "of b'alice' is given up: FactorySource.acquire")
        self.nothingIsLeft()

    def test_goesOn(self) -> None:
        """
        A factory that ignores being cancelled does not keep the client waiting.
        """
        going: Deferred[Any] = Deferred()

        async def make(avatarId: Any) -> Any:
            try:
                return await Deferred()
            except CancelledError:
                return await going

        check: Deferred[Any] = Deferred()
        self.serve(check, make=make)
        _, logins = self.logIn()
        check.callback(b"alice")
        self.late(logins, "of b'alice' is given up: FactorySource.acquire")
        assert len(self.realm.sessions) == 1
        going.callback(Thing())
        self.nothingIsLeft()

    def test_limit(self) -> None:
        """
        A login that waits for the slot of another one is given up.
        """
        check: Deferred[Any] = Deferred()
        deciding: Deferred[Any] = Deferred()
        limit = ConnectionLimit(1, whenFull=lambda session, holders: deciding)
        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=self.clock)
        self.serve(b"alice", check, below=lambda realm: timeout(limit(realm)))
        _, first = self.logIn()
        assert first[0][1].__class__ is Thing
        _, logins = self.logIn()
        check.callback(b"alice")
        self.late(logins, "of b'alice' is given up: ConnectionLimit.admit")
        assert deciding.called
        assert len(self.realm.sessions) == 1

    def test_unlimited(self) -> None:
        """
        Without a time limit a login has none, and began when the portal was asked all the same.
        """
        check: Deferred[Any] = Deferred()
        self.serve(check, below=lambda realm: realm)
        self.clock.advance(3)
        _, logins = self.logIn()
        assert not self.clock.getDelayedCalls()
        self.clock.advance(1000)
        check.callback(b"alice")
        assert logins[0][1].__class__ is Thing
        (session,) = self.realm.sessions
        assert session.since == 3


class PlaceTests(PortalCase):
    """
    Where the time limit may stand.
    """

    def test_below(self) -> None:
        """
        It is found below other realms too, where it counts for the whole login.
        """
        timeout: LoginTimeout[Any] = LoginTimeout(30, reactor=self.clock)
        cache: Any = AvatarCache(reactor=self.clock)
        per = PerConnection(lambda session: Thing())
        for below in (
            lambda realm: per(timeout(realm)),
            lambda realm: cache(per(timeout(realm))),
            lambda realm: per(AvatarCache(reactor=self.clock)(timeout(realm))),
        ):
            self.serve(Deferred(), below=below)
            _, logins = self.logIn()
            self.late(logins, self.check)

    def test_onTop(self) -> None:
        """
        If there are several, the one on top counts for the check.
        """
        upper: LoginTimeout[Any] = LoginTimeout(30, reactor=self.clock)
        lower: LoginTimeout[Any] = LoginTimeout(10, reactor=self.clock)
        per = PerConnection(lambda session: Thing())
        self.serve(Deferred(), below=lambda realm: upper(per(lower(realm))))
        _, logins = self.logIn()
        self.late(logins, self.check)

    def test_anotherRealm(self) -> None:
        """
        If the portal is given another realm, that one's time limit counts from then on.
        """
        self.serve(Deferred(), Deferred(), below=lambda realm: realm)
        self.logIn()
        assert not self.clock.getDelayedCalls()
        self.portal.realm = LoginTimeout(30, reactor=self.clock)(lambda avatarId: Thing())
        _, logins = self.logIn()
        self.late(logins, self.check)
        self.portal.realm = Realm(lambda avatarId: Thing())
        self.checker.results = [Deferred()]
        self.logIn()
        assert not self.clock.getDelayedCalls()

    def test_foreign(self) -> None:
        """
        A realm of somebody else's has none.
        """

        class Foreign:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return interfaces[0], Thing(), lambda: None

        self.serve(Deferred())
        self.portal.realm = Foreign()
        self.logIn()
        assert not self.clock.getDelayedCalls()


class OwnPortalTests(PortalCase):
    """
    Portals that do more than Twisted's.
    """

    def test_waitsFirst(self) -> None:
        """
        What a portal of somebody else's waits for is given up too, whoever logs in meanwhile.
        """

        class Slow(Portal):
            gates: list[Deferred[Any]] = []

            @inlineCallbacks
            def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
                self.gates.append(Deferred())
                yield self.gates[-1]
                result = yield super().login(credentials, mind, *interfaces)
                return result

        loading: Deferred[Any] = Deferred()
        self.serve(make=lambda avatarId: loading, portal=Slow)
        wire, logins = self.logIn()
        self.clock.advance(10)
        wire.deliver(b"alice\r\n")
        Slow.gates[1].callback(None)
        (session,) = self.realm.sessions
        assert session.since == 10
        self.clock.advance(20)
        assert [each.type for each in logins] == [LoginTimedOut]
        assert not session.ended
        with logged() as said:
            self.clock.advance(10)
        assert [each.type for each in logins] == [LoginTimedOut] * 2
        assert said == [
            "error: a login of b'alice' is given up: FactorySource.acquire did not finish in 30 "
            "seconds"
        ]
        assert type(session.reason) is LoginTimedOut

    def test_otherLogins(self) -> None:
        """
        A login of the server's own, which a portal waits for, is cancelled like anything else.
        """
        accounts: Realm = Realm(lambda avatarId: Deferred())

        class Asking(Portal):
            @inlineCallbacks
            def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
                yield accounts.requestAvatar(b"service", None, IThing)

        self.serve(portal=Asking)
        _, logins = self.logIn()
        (session,) = accounts.sessions
        self.late(logins, self.check)
        assert type(session.reason) is LoggedOut
        assert not accounts.sessions

    def test_earlierSession(self) -> None:
        """
        So is the end of an earlier session over the same connection, which a portal waits for.
        """

        class Replacing(Portal):
            @inlineCallbacks
            def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
                for session in tuple(self.realm.sessions):  # type: ignore[attr-defined]
                    session.logout()
                    yield session.whenClosed()
                result = yield super().login(credentials, mind, *interfaces)
                return result

        class Slow(Thing):
            def logout(self) -> Any:
                return Deferred()

        self.serve(portal=Replacing, make=lambda avatarId: Slow())
        wire, logins = self.logIn()
        assert logins.pop()[1].__class__ is Slow
        wire.deliver(b"alice\r\n")
        self.clock.advance(29.9)
        assert not logins
        with logged() as said:
            self.clock.advance(0.1)
        assert [each.type for each in logins] == [LoginTimedOut]
        assert said == [f"error: a login {self.check} did not finish in 30 seconds"]

    def test_failsWhenCancelled(self) -> None:
        """
        If what a portal waits for fails when it is cancelled, or its canceller raises, that is
        logged.
        """

        def fail(login: Deferred[Any]) -> None:
            login.errback(Boom())

        def canceller(login: Deferred[Any]) -> None:
            raise Boom

        for cancel in (fail, canceller):

            class Own(Portal):
                def login(self, *args: Any, cancel: Any = cancel, **kwargs: Any) -> Any:
                    return Deferred(cancel)

            self.serve(portal=Own)
            _, logins = self.logIn()
            with logged(LogLevel.critical) as said:
                self.late(logins, self.check)
            (line,) = said
            assert line.endswith(" could not be cancelled when its time was over")
            assert len(self.flushLoggedErrors(Boom)) == 1

    def test_named(self) -> None:
        """
        A portal that is called in a way of its own, for credentials that nobody checks, has a time
        limit too; nobody can be named then.
        """

        class Own(Portal):
            def login(self, *args: Any, **kwargs: Any) -> Any:
                return Deferred()

        self.serve(portal=Own)
        _, server = self.connect()
        for call in (
            lambda: server.portal.login(credentials=UsernamePassword(b"", b"")),
            lambda: server.portal.login("credentials"),
        ):
            results: list[Any] = []
            call().addBoth(results.append)
            with logged() as said:
                self.clock.advance(30)
            assert results[0].type is LoginTimedOut
            assert "is given up: None did not finish in 30 seconds" in said[0]


class CheckerTests(PortalCase):
    """
    The checker that a portal with a time limit asks.
    """

    def test_same(self) -> None:
        """
        It looks like the one that the server has.
        """
        self.serve()
        _, server = self.connect()
        ((kind, checker),) = server.portal.checkers.items()
        assert checker is not self.checker
        assert kind in checker.credentialInterfaces
        assert checker.results == []
        assert server.portal.listCredentialsInterfaces() == [kind]

    def test_itself(self) -> None:
        """
        Without a time limit it is the same one.
        """
        self.serve(below=lambda realm: realm)
        _, server = self.connect()
        assert [*server.portal.checkers.values()] == [self.checker]


class ThrottledTests(PortalCase):
    """
    Logins that wait for their turn to be checked.
    """

    def test_turn(self) -> None:
        """
        Their time begins when it is their turn, and nobody is blamed while they wait.
        """
        first: Deferred[Any] = Deferred()
        throttle = partial(ThrottledChecker, freeForName=1, reactor=self.clock, checkTimeout=100)
        self.serve(first, Deferred(), throttle=throttle)
        wire, logins = self.logIn()
        self.clock.advance(20)
        wire.deliver(b"alice\r\n")
        with logged(LogLevel.critical):
            self.clock.advance(10)
        assert [each.type for each in logins] == [LoginTimedOut]
        with logged() as said:
            self.clock.advance(1)
            self.clock.advance(29)
        assert said == []
        with logged() as said:
            self.clock.advance(1)
        assert [each.type for each in logins] == [LoginTimedOut] * 2
        assert len(said) == 1
