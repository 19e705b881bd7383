"""
Tests for L{WatchingFactory} and the ways to a portal: by a property, a method or another object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import Interface, implementer

from avatarkit import Realm
from avatarkit.transports import IPortalHolder, WatchingFactory
from logs import logged
from scripted import IThing, Thing
from watched import SECRET, Anybody, WatchingCase
from wires import Wire, connect

# Any in this module: protocols and factories, which have whatever attributes they have.


class Gates(Factory):
    """
    A factory with a portal.
    """

    protocol = Protocol
    noisy = False
    last: Any = None

    def __init__(self, portal: Any) -> None:
        self.portal = portal


class Auth:
    """
    An object that logs in.
    """

    failures = 0

    def __init__(self, portal: Any) -> None:
        self.portal = portal

    def logIn(self, *args: Any) -> Any:
        """
        Log in.
        """
        self.failures += 1
        return self.portal.login(*args)


class WayCase(WatchingCase):
    """
    A factory, and a way to its portal.
    """

    def setUp(self) -> None:
        """
        Make a realm.
        """
        self.serve()

    def building(self, build: Callable[[], Any]) -> Any:
        """
        Return a factory that has no portal itself.
        """
        factory: Any = Factory()
        factory.protocol, factory.noisy = build, False
        return factory

    def call(self, factory: Any) -> tuple[Wire, Any]:
        """
        Connect a client, and return its wire and the server's protocol.
        """
        with logged() as said:
            wire = connect(factory)
        assert said == []
        return wire, wire.protocol.wrappedProtocol

    def isWatched(self, factory: Any, way: Callable[[Any], Callable[..., Any]]) -> None:
        """
        Check that two clients whose protocols log in on some way have each a session that knows
        its connection, and ends with it.

        @param way: returns what a protocol logs in with.
        """
        self.factory = WatchingFactory(factory, self.portal, reactor=Clock())
        clients = [self.call(self.factory) for _ in range(2)]
        for _ in range(2):
            for wire, protocol in clients:
                before = {*self.realm.sessions}
                self.successResultOf(way(protocol)(SECRET, None, IThing))
                (session,) = {*self.realm.sessions} - before
                assert session.connection is wire.protocol.connection
        for left in (2, 0):
            clients.pop(0)[0].leave()
            assert len(self.realm.sessions) == left
        self.nothingIsLeft()


class PropertyTests(WayCase):
    """
    Properties of a factory.
    """

    def test_property(self) -> None:
        """
        A property sees the portal, itself or by another property, also one of a class above.
        """

        class Above(Gates):
            @property
            def logIn(self) -> Any:
                return self.portal.login

        class Below(Above):
            @property
            def logIn(self) -> Any:
                return super().logIn

            @property
            def twice(self) -> Any:
                return lambda *args: self.logIn(*args)

        self.isWatched(Above(self.portal), lambda protocol: protocol.factory.logIn)
        self.isWatched(Below(self.portal), lambda protocol: protocol.factory.logIn)
        self.isWatched(Below(self.portal), lambda protocol: protocol.factory.twice)

    def test_ofThePortal(self) -> None:
        """
        The portal itself may be a property, of the factory, or of a protocol that has a factory.
        """

        class Hiding(Gates):
            def __init__(self, portal: Any) -> None:
                self._door = portal

            @property
            def portal(self) -> Any:
                return self._door

            @portal.setter
            def portal(self, portal: Any) -> None:
                self._door = portal

        class Asking(Protocol):
            @property
            def portal(self) -> Any:
                factory: Any = self.factory
                return factory.portal

        self.isWatched(Hiding(self.portal), lambda protocol: protocol.factory.portal.login)
        factory = Gates(self.portal)
        factory.protocol = Asking
        self.isWatched(factory, lambda protocol: protocol.portal.login)

    def test_setter(self) -> None:
        """
        What sets a property sees the portal, and changes the factory; of the factory itself a
        connection's portal is never any.
        """

        class Setting(Gates):
            kept: Any = None

            @property
            def door(self) -> Any:
                return self.kept

            @door.setter
            def door(self, portal: Any) -> None:
                assert portal is self.portal
                self.kept = portal
                self.portal.login(SECRET, None, IThing)

        self.factory = WatchingFactory(Setting(self.portal), self.portal, reactor=Clock())
        wire, protocol = self.call(self.factory)
        _wire, other = self.call(self.factory)
        protocol.factory.door = protocol.factory.portal
        assert self.factory.wrappedFactory.kept is self.portal
        (session,) = self.realm.sessions
        assert session.connection is wire.protocol.connection
        assert other.factory.door is other.factory.portal is not protocol.factory.portal

    def test_kept(self) -> None:
        """
        What a property makes of the portal of one connection, and keeps for all, knows the
        connection of whoever uses it.
        """

        class Keeping(Gates):
            _auth: Any = None

            @property
            def auth(self) -> Any:
                if self._auth is None:
                    self._auth = Auth(self.portal)
                return self._auth

        factory = Keeping(self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.auth.logIn)
        assert factory._auth.failures == 4

    def test_cachedMethod(self) -> None:
        """
        A cached property may be a method of the portal, evaluated before or not.
        """

        class Caching(Gates):
            @cached_property
            def logIn(self) -> Any:
                return self.portal.login

        factory = Caching(self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)
        assert factory.logIn == self.portal.login
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)

    def test_cachedFunction(self) -> None:
        """
        It may be a function, of which each connection has one.
        """

        class Caching(Gates):
            made = 0

            @cached_property
            def logIn(self) -> Any:
                self.made += 1
                return lambda *args: self.portal.login(*args)

            @cached_property
            def logInAs(self) -> Any:
                return partial(self.logIn, SECRET)

        factory = Caching(self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)
        assert factory.made == 3
        self.isWatched(factory, lambda protocol: lambda *args: protocol.factory.logInAs(*args[1:]))
        (_wire, one), (_wire, other) = self.call(self.factory), self.call(self.factory)
        assert one.factory.logIn is one.factory.logIn is not other.factory.logIn
        one.factory.logIn = len
        assert one.factory.logIn is other.factory.logIn is factory.logIn is len
        assert one.factory.logInAs is not factory.logInAs
        del one.factory.logInAs
        assert "logInAs" not in vars(factory)

    def test_cachedObject(self) -> None:
        """
        Anything else is the same for all connections, as it is without being watched.
        """

        class Caching(Gates):
            @cached_property
            def users(self) -> dict[str, str]:
                return {}

            @cached_property
            def auth(self) -> Auth:
                return Auth(self.portal)

        factory = Caching(self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.auth.logIn)
        assert factory.auth.failures == 4
        (_wire, one), (_wire, other) = self.call(self.factory), self.call(self.factory)
        assert one.factory.users is other.factory.users is factory.users


class ObjectTests(WayCase):
    """
    Objects that have the portal.
    """

    def test_ofFactory(self) -> None:
        """
        An attribute of the factory, which may have the portal as well or not, and may be its
        class's.
        """

        class Having(Gates):
            def __init__(self, portal: Any) -> None:
                super().__init__(portal)
                self.auth = Auth(portal)

        class Only(Having):
            def __init__(self, portal: Any) -> None:
                super().__init__(portal)
                del self.portal

            def enter(self, *args: Any) -> Any:
                return self.auth.portal.login(*args)

        class Both(Gates):
            auth = Auth(self.portal)

        for kind in (Having, Only, Both):
            self.isWatched(kind(self.portal), lambda protocol: protocol.factory.auth.portal.login)
            self.isWatched(kind(self.portal), lambda protocol: protocol.factory.auth.logIn)
        self.isWatched(Only(self.portal), lambda protocol: protocol.factory.enter)

    def test_ofProtocol(self) -> None:
        """
        An attribute of the protocol, whether the protocol, or its factory, has the portal as well
        or not.
        """

        class Having(Protocol):
            def __init__(self) -> None:
                self.auth = Auth(portal)

        class Both(Having):
            def __init__(self) -> None:
                super().__init__()
                self.portal = portal

        portal = self.portal
        for kind in (Having, Both):
            for factory in (self.building(kind), Gates(portal)):
                factory.protocol = kind
                self.isWatched(factory, lambda protocol: protocol.auth.portal.login)
                self.isWatched(factory, lambda protocol: protocol.auth.logIn)

    def test_slots(self) -> None:
        """
        An object with slots, in a slot of the protocol, which has a portal elsewhere as well.
        """

        class Slotted:
            __slots__ = ("_door",)

            def __init__(self) -> None:
                self._door = portal

            @property
            def logIn(self) -> Any:
                return self._door.login

        class Having(Protocol):
            __slots__ = ("auth",)

            def __init__(self) -> None:
                self.auth, self.portal = Slotted(), portal

        portal = self.portal
        self.isWatched(self.building(Having), lambda protocol: protocol.auth.logIn)

    def test_methods(self) -> None:
        """
        A method of the portal, or of an object that has it, as an attribute.
        """

        class Having(Protocol):
            def __init__(self) -> None:
                self.own, self.itself = self.connectionMade, self
                self.door, self.logIn = portal, portal.login
                self.byAuth = Auth(portal).logIn

        portal = self.portal
        self.isWatched(self.building(Having), lambda protocol: protocol.logIn)
        self.isWatched(self.building(Having), lambda protocol: protocol.byAuth)
        _wire, protocol = self.call(self.factory)
        assert protocol.own.__self__ is protocol.itself is protocol
        factory: Any = self.building(Protocol)
        factory.logIn = portal.login
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)
        factory.logIn = Auth(portal).logIn
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)

    def test_tuple(self) -> None:
        """
        A tuple of the factory, or of such an object.
        """
        factory: Any = self.building(Protocol)
        factory.args = ("shell", self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.args[1].login)
        factory = Gates(self.portal)
        factory.auth = Auth(self.portal)
        factory.auth.args = (self.portal, "shell")
        self.isWatched(factory, lambda protocol: protocol.factory.auth.args[0].login)
        assert factory.auth.args == (self.portal, "shell")

    def test_back(self) -> None:
        """
        An object that leads to the factory, or to the protocol, leads to the portal there.
        """

        class Having(Protocol):
            def __init__(self) -> None:
                self.auth, self.itself, self.portal = Auth(portal), self, portal
                vars(self.auth)["protocol"] = self

        portal = self.portal
        self.isWatched(self.building(Having), lambda protocol: protocol.auth.protocol.portal.login)
        _wire, protocol = self.call(self.factory)
        assert protocol.itself is protocol.auth.protocol is protocol
        factory: Any = Gates(portal)
        factory.auth = Auth(portal)
        factory.auth.factory = factory
        self.isWatched(factory, lambda protocol: protocol.factory.auth.factory.auth.logIn)

    def test_later(self) -> None:
        """
        What the factory gets later is looked at when it is asked for.
        """
        factory: Any = Gates(self.portal)
        self.factory = WatchingFactory(factory, self.portal, reactor=Clock())
        wire, protocol = self.call(self.factory)
        for _ in range(2):
            factory.auth = Auth(self.portal)
            assert protocol.factory.auth == factory.auth
            assert protocol.factory.auth is protocol.factory.auth
            protocol.factory.auth.logIn(SECRET, None, IThing)
        assert len(self.realm.sessions) == 2
        wire.leave()
        self.nothingIsLeft()

    def test_nested(self) -> None:
        """
        A login is watched by each of two WatchingFactories, on whatever way.
        """

        class Having(Gates):
            def __init__(self, portal: Any) -> None:
                self.auth = Auth(portal)

            @property
            def logIn(self) -> Any:
                return self.auth.portal.login

            @cached_property
            def function(self) -> Any:
                return lambda *args: self.auth.logIn(*args)

        for way in ("logIn", "function"):
            inner = WatchingFactory(Having(self.portal), self.portal, reactor=Clock())
            self.factory = WatchingFactory(inner, self.portal, reactor=Clock())
            wire, watched = self.call(self.factory)
            getattr(watched.wrappedProtocol.factory, way)(SECRET, None, IThing)
            (session,) = self.realm.sessions
            assert session.connection is wire.protocol.connection
            assert wire.protocol._logins.succeeded
            assert watched._logins.succeeded
            wire.leave()
            assert inner.protocols == {}
            self.nothingIsLeft()

    def test_holder(self) -> None:
        """
        A protocol that says where its portal is is asked first, and the rest is looked for.
        """

        @implementer(IPortalHolder)
        class Having(Protocol):
            def __init__(self) -> None:
                self.portal, self.auth = portal, {"portal": portal}

            def givePortal(self, old: Any, new: Any) -> bool:
                assert self.portal is old
                self.auth["portal"] = new
                return True

        portal = self.portal
        self.isWatched(self.building(Having), lambda protocol: protocol.portal.login)
        self.isWatched(self.building(Having), lambda protocol: protocol.auth["portal"].login)


class IAuth(Interface):
    """
    What an object may provide.
    """


@implementer(IAuth)
class Many(Auth):
    """
    An object of which Python expects much.
    """

    names = ("a", "b")

    def __call__(self, *args: Any) -> Any:
        """
        Log in.
        """
        return self.portal.login(*args)

    def __iter__(self) -> Iterator[Any]:
        return iter((*self.names, self.portal))

    def __len__(self) -> int:
        return 0

    def __enter__(self) -> Any:
        return self.portal

    def __exit__(self, *args: object) -> None:
        self.left = True


class Words(dict[str, str]):
    """
    A dict with a portal.
    """

    portal: Any


class StandInTests(WayCase):
    """
    What stands for an object.
    """

    def seen(self, thing: Any) -> Any:
        """
        Return what a protocol sees of an attribute of its factory.
        """
        factory: Any = Gates(self.portal)
        factory.thing = thing
        self.factory = WatchingFactory(factory, self.portal, reactor=Clock())
        _wire, protocol = self.call(self.factory)
        seen = protocol.factory.thing
        assert seen is not thing
        assert seen.portal is protocol.factory.portal is not self.portal
        return seen

    def test_special(self) -> None:
        """
        It can be called, iterated over and so on, as the object can, and these see the portal.
        """
        many = Many(self.portal)
        factory: Any = Gates(self.portal)
        factory.auth = many
        self.isWatched(factory, lambda protocol: protocol.factory.auth)
        seen = self.seen(many)
        assert [*seen] == ["a", "b", seen.portal]
        assert (len(seen), bool(seen), callable(seen)) == (0, False, True)
        with seen as portal:
            assert portal is seen.portal
        assert many.left
        plain = self.seen(Auth(self.portal))
        assert bool(plain)
        assert not callable(plain)
        self.assertRaises(TypeError, len, plain)

    def test_builtIn(self) -> None:
        """
        So can an object of a class that is built in.
        """
        words = Words(hello="world")
        words.portal = self.portal
        seen = self.seen(words)
        assert (seen["hello"], len(seen), [*seen], "hello" in seen) == ("world", 1, ["hello"], True)
        seen["more"] = "words"
        assert words == {"hello": "world", "more": "words"} == seen
        assert repr(seen) == repr(words)

    def test_same(self) -> None:
        """
        It is taken for the object: by C{isinstance}, C{==}, dicts, and interfaces.
        """
        many = Many(self.portal)
        seen, other = self.seen(many), self.seen(many)
        assert isinstance(seen, Many)
        assert IAuth.providedBy(seen)
        assert seen == many == seen == other
        assert seen != Many(self.portal)
        assert {many: 1}[seen] == {seen: 1}[many] == 1
        self.assertRaises(TypeError, hash, self.seen(SimpleNamespace(portal=self.portal)))

    def test_set(self) -> None:
        """
        What is set through it is the object's, and what stands for something is set as that.
        """
        auth: Any = Auth(self.portal)
        seen = self.seen(auth)
        seen.more, seen.itself, seen.door = 1, seen, seen.portal
        assert (auth.more, auth.itself, auth.door) == (1, auth, self.portal)
        assert (seen.itself, seen.door) == (seen, seen.portal)
        del seen.more
        assert not hasattr(auth, "more")
        self.assertRaises(AttributeError, lambda: seen.more)
        self.assertRaises(AttributeError, delattr, seen, "more")

    def test_others(self) -> None:
        """
        Protocols are never stood for, whatever they have; nor are classes and other portals.
        """
        self.factory = WatchingFactory(Gates(self.portal), self.portal, reactor=Clock())
        (wire, one), (_wire, other) = self.call(self.factory), self.call(self.factory)
        one.portal = one.factory.portal
        other.factory.last = one
        assert one.factory.last is other.factory.last is one
        one.factory.last = Portal(Realm(lambda avatarId: Thing()), [Anybody()])
        assert one.factory.last is self.factory.wrappedFactory.last

        class Kind(type):
            pass

        class Shell(metaclass=Kind):
            portal = self.portal

        one.factory.last = Shell
        assert one.factory.last is Shell
        one.factory.last = Shell()
        assert one.factory.last.portal is one.factory.portal
        wire.leave()
