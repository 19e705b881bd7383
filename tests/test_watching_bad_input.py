"""
Tests for L{WatchingFactory} and what does not suit it: a clear error, or a connection that is cut
off, and nothing left.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from avatarkit import LoginAbandoned, Realm
from avatarkit.transports import WatchingFactory
from scripted import Boom, IThing, Thing
from watched import SECRET, Anybody, Server, WatchingCase, serving
from wires import Wire

# Any in this module: protocols and factories, which have whatever attributes they have.


class ArgumentTests(WatchingCase):
    """
    What a L{WatchingFactory} is given.
    """

    def refused(self, *args: Any, **kwargs: Any) -> str:
        """
        Return what is wrong with the arguments.
        """
        with self.assertRaises(TypeError) as caught:
            WatchingFactory(*args, **kwargs)
        return str(caught.exception)

    def test_kinds(self) -> None:
        """
        It needs a factory, a portal, a yes or a no, and a reactor.
        """
        self.serve()
        factory = Factory()
        assert self.refused(None, self.portal) == "factory must be a protocol factory, not None"
        assert self.refused(self.portal, factory).startswith("factory must be a protocol factory")
        assert self.refused(factory, self.realm) == (
            f"portal must be a twisted.cred.portal.Portal, not {self.realm!r}"
        )
        assert self.refused(factory, self.portal, 1).startswith("keepAlive must be")
        assert "reactor" in self.refused(factory, self.portal, reactor=object())
        assert self.refused(factory, self.portal, maximumBeforeLogin=1.5) == (
            "maximumBeforeLogin must be an int, not 1.5"
        )
        assert self.refused(factory, self.portal, loginGraceTime="2m") == (
            "loginGraceTime must be a number of seconds, not '2m'"
        )

    def test_values(self) -> None:
        """
        The bounds before a login allow something, or are C{None}.
        """
        self.serve()
        for argument, value, wrong in (
            ("maximumBeforeLogin", 0, "maximumBeforeLogin must be at least 1, not 0"),
            ("loginGraceTime", 0, "loginGraceTime must be more than 0"),
            ("loginGraceTime", 0.0, "loginGraceTime must be more than 0"),
            ("loginGraceTime", -1, "loginGraceTime must be finite and at least 0, not -1"),
            (
                "loginGraceTime",
                float("inf"),
                "loginGraceTime must be finite and at least 0, not inf",
            ),
        ):
            with self.assertRaises(ValueError) as caught:
                WatchingFactory(Factory(), self.portal, **{argument: value})  # type: ignore[arg-type]
            assert str(caught.exception) == wrong

    def test_ownLogin(self) -> None:
        """
        A portal whose login is an attribute would not be watched.
        """
        self.serve()
        self.portal.login = lambda *args: None
        assert self.refused(Factory(), self.portal) == (
            f"{self.portal!r} has a login of its own, as an attribute, which would not be watched: "
            "define it in a subclass of Portal"
        )


class RudeTests(WatchingCase):
    """
    Protocols that do not do what they should.
    """

    def test_swallows(self) -> None:
        """
        One that does not hear that its connection is lost.
        """

        class Deaf(Server):
            def connectionLost(self, reason: Any = None) -> None:
                pass

        self.serve(b"alice", Deferred(), protocol=Deaf)
        wire, server = self.connect()
        wire.deliver(b"alice\r\nbob\r\n")
        wire.leave()
        assert server.logins[1].check(LoginAbandoned)
        self.nothingIsLeft()

    def test_raises(self) -> None:
        """
        One that fails when it hears it.
        """

        class Loud(Server):
            def connectionLost(self, reason: Any = None) -> None:
                raise Boom("on purpose")

        self.serve(protocol=Loud)
        wire, _server = self.connect()
        wire.deliver(b"alice\r\n")
        self.assertRaises(Boom, wire.leave)
        self.nothingIsLeft()

    def test_replaces(self) -> None:
        """
        One that puts another protocol in its place, before its login, during it, and after it.
        """
        for place in range(3):
            waiting: Deferred[Any] = Deferred()
            self.serve(b"alice", waiting)
            wire, server = self.connect()
            other = Protocol()
            if place == 0:
                wire.protocol = other
            server.lineReceived(b"alice")
            if place == 1:
                server.lineReceived(b"bob")
                wire.protocol = other
            if place == 2:
                wire.protocol = other
            wire.leave()
            assert self.said == [], place
            assert len(server.logins) == (2 if place == 1 else 1)
            self.nothingIsLeft()

    def test_half(self) -> None:
        """
        A client that sends half a line and nothing more leaves nothing.
        """
        self.serve()
        wire, server = self.connect()
        wire.deliver(b"ali")
        assert server.logins == []
        assert self.factory.protocols == {wire.protocol: 1}
        wire.leave()
        self.nothingIsLeft()

    def test_long(self) -> None:
        """
        A protocol may cut off a client that sends too much for it, before a WatchingFactory does.
        """
        self.serve()
        wire, _server = self.connect()
        wire.loseConnection = wire.leave  # type: ignore[method-assign]  # there is nothing to send
        wire.deliver(b"x" * 65536)
        assert wire.lost
        self.nothingIsLeft()

    def test_makeConnectionRaises(self) -> None:
        """
        A protocol that fails when its connection is made leaves nothing when it is lost.
        """

        class Loud(Server):
            def connectionMade(self) -> None:
                self.lineReceived(b"alice")
                raise Boom("on purpose")

        self.serve(protocol=Loud)
        built = self.factory.buildProtocol(None)
        self.assertRaises(Boom, built.makeConnection, Wire())
        assert len(self.realm.sessions) == 1
        built.connectionLost(Failure(Boom()))
        self.nothingIsLeft()


class PortalTests(WatchingCase):
    """
    Portals that are not plain.
    """

    def test_realmReplaced(self) -> None:
        """
        A realm that the portal is given later is asked from then on, by connections that exist.
        """
        self.serve()
        wire, server = self.connect()
        other = Realm(lambda avatarId: Thing())
        wire.deliver(b"alice\r\n")
        self.portal.realm = other
        wire.deliver(b"alice\r\n")
        assert len(self.realm.sessions) == len(other.sessions) == 1
        wire.leave()
        assert not other.sessions
        assert len(server.logins) == 2
        self.nothingIsLeft()

    def test_realmOfOthers(self) -> None:
        """
        The same with realms that are not avatarkit's; their attributes can be read.
        """

        @implementer(IRealm)
        class Theirs:
            logins = 0

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                self.logins += 1
                return interfaces[0], "anything", self.logout

            def logout(self) -> None:
                self.logins -= 1

        self.serve()
        wire, server = self.connect()
        both = Theirs(), Theirs()
        for each in both:
            self.portal.realm = each
            wire.deliver(b"alice\r\nalice\r\n")
            assert server.portal.realm.logins == 2
        assert [result[1] for result in server.logins] == ["anything"] * 4
        assert not hasattr(server.portal.realm, "others")
        wire.leave()
        assert [each.logins for each in both] == [0, 0]

    def test_faultsOfOthers(self) -> None:
        """
        What such a realm raises is not hidden, and any number of logins may wait for it, as without
        a WatchingFactory.
        """

        @implementer(IRealm)
        class Theirs:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                if avatarId == b"bob":
                    raise Boom("on purpose")
                return Deferred()

        self.serve()
        self.portal.realm = Theirs()
        wire, server = self.connect()
        wire.deliver(b"bob\r\n")
        assert server.logins[0].check(Boom)
        assert self.factory.realms.current().maximumWaiting is None
        wire.deliver(b"alice\r\n")
        wire.leave()
        assert server.logins[1].check(LoginAbandoned)

    def test_subclass(self) -> None:
        """
        A subclass with a login of its own is watched, whatever that takes and returns.
        """

        class Mine(Portal):
            async def login(  # type: ignore[override]  # on purpose
                self, credentials: Any, mind: Any, *interfaces: Any, shout: bool = False
            ) -> Any:
                await succeed(None)
                if shout:
                    raise Boom("on purpose")
                return await super().login(credentials, mind, *interfaces)

        self.serve(b"alice", Deferred())
        portal = Mine(self.realm, [Anybody(b"alice", Deferred())])
        self.factory = serving(Server, portal)
        wire, server = self.connect()
        wire.deliver(b"alice\r\nbob\r\n")
        self.failureResultOf(server.portal.login(SECRET, None, IThing, shout=True), Boom)
        assert isinstance(server.portal, Mine)
        assert len(self.realm.sessions) == 1
        wire.leave()
        assert server.logins[1].check(LoginAbandoned)
        self.nothingIsLeft()

    def test_checkerLater(self) -> None:
        """
        A checker that is registered later is asked by connections that exist.
        """
        self.serve()
        wire, server = self.connect()
        self.portal.checkers.clear()
        wire.deliver(b"alice\r\n")
        assert server.portal.listCredentialsInterfaces() == []
        self.portal.registerChecker(Anybody())
        wire.deliver(b"alice\r\n")
        assert server.logins[0].check(Exception)
        assert len(self.realm.sessions) == 1
        checkers = server.portal.checkers
        assert (len(checkers), [*checkers]) == (1, [IUsernamePassword])
        server.portal.registerChecker(self)  # which has no kinds of credentials
        checkers[IThing] = "another"
        assert self.portal.checkers[IThing] == "another"
        del checkers[IThing]
        assert IThing not in self.portal.checkers

    credentialInterfaces = ()

    def test_forConnection(self) -> None:
        """
        A checker that wants to know the connection is asked for one that does; if that fails, so
        does the login.
        """

        @implementer(ICredentialsChecker)
        class Asking:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                raise AssertionError("the other one is to be asked")

            def forConnection(self, connection: Any) -> Any:
                asked.append(connection)
                if len(asked) > 1:
                    raise Boom("on purpose")
                return Anybody(b"bob")

        asked: list[Any] = []
        self.serve()
        self.portal.registerChecker(Asking())
        wire, server = self.connect()
        wire.deliver(b"alice\r\nalice\r\n")
        (session,) = self.realm.sessions
        assert session.avatarId == b"bob"
        assert asked == [wire.protocol.connection] * 2
        assert server.logins[1].check(Boom)
        wire.leave()
        self.nothingIsLeft()

    def test_cancellers(self) -> None:
        """
        A checker whose canceller raises, or does nothing, or does not let itself be cancelled.
        """

        def fail(cancelled: object) -> None:
            raise Boom("on purpose")

        async def stubborn() -> Any:
            try:
                await Deferred()
            except BaseException:
                return await later
            raise AssertionError("it was not cancelled")

        later: Deferred[Any] = Deferred()
        self.serve(
            Deferred(fail),
            Deferred(lambda cancelled: None),
            Deferred.fromCoroutine(stubborn()),
        )
        wire, server = self.connect()
        wire.deliver(b"a\r\nb\r\nc\r\n")
        wire.leave()
        assert [each.check(LoginAbandoned) for each in server.logins] == [LoginAbandoned] * 3
        assert len(self.flushLoggedErrors(Boom)) == 1
        later.callback(b"alice")
        self.nothingIsLeft()
