"""
Tests for L{WatchingFactory} and less usual ways to a portal: methods that are made by something
else than a function, tuples with names, and objects with two portals.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, partialmethod
from typing import Any, NamedTuple

from twisted.cred.portal import Portal
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from avatarkit.transports import WatchingFactory
from scripted import IThing
from test_watching_standins import Auth, Gates, WayCase
from watched import SECRET, Anybody

# Any in this module: protocols and factories, which have whatever attributes they have.


class Bound:
    """
    Makes methods.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method

    def __get__(self, thing: Any, kind: Any = None) -> Any:
        """
        Bind it.
        """
        return partial(self.method, thing)


class Reified:
    """
    Evaluates a method once, and keeps what it returns in the object.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method

    def __get__(self, thing: Any, kind: Any = None) -> Any:
        """
        Evaluate it.
        """
        vars(thing)[self.method.__name__] = found = self.method(thing)
        return found


class DecoratorTests(WayCase):
    """
    What makes methods of a factory, other than functions.
    """

    def test_methods(self) -> None:
        """
        They see the portal, also of an object with slots, and those of a class above.
        """

        class Binding(Gates):
            def enter(self, *args: Any) -> Any:
                return self.portal.login(*args)

            @Bound
            def logIn(self, *args: Any) -> Any:
                return self.portal.login(*args)

            logInPartly = partialmethod(enter)

        class Below(Binding):
            pass

        class Slotted:
            __slots__ = ("portal",)

            def __init__(self) -> None:
                self.portal = portal

            @Bound
            def logIn(self, *args: Any) -> Any:
                return self.portal.login(*args)

        portal = self.portal
        for kind in (Binding, Below):
            for name in ("enter", "logIn", "logInPartly"):
                way = partial(lambda name, protocol: getattr(protocol.factory, name), name)
                self.isWatched(kind(portal), way)
        factory: Any = Gates(portal)
        factory.slotted = Slotted()
        self.isWatched(factory, lambda protocol: protocol.factory.slotted.logIn)

    def test_replaced(self) -> None:
        """
        An attribute of the factory goes before them.
        """

        class Binding(Gates):
            @Bound
            def logIn(self, *args: Any) -> Any:
                raise AssertionError("it has been replaced")

        factory = Binding(self.portal)
        factory.logIn = self.portal.login
        self.isWatched(factory, lambda protocol: protocol.factory.logIn)

    def test_kept(self) -> None:
        """
        What they keep in the factory is the same for all connections, as it is without being
        watched.
        """

        class Keeping(Gates):
            @Reified
            def auth(self) -> Auth:
                return Auth(self.portal)

            @Reified
            def users(self) -> dict[str, str]:
                return {}

        factory = Keeping(self.portal)
        self.isWatched(factory, lambda protocol: protocol.factory.auth.logIn)
        auth: Any = factory.auth
        assert auth.failures == 4
        (_wire, one), (_wire, other) = self.call(self.factory), self.call(self.factory)
        assert one.factory.users is other.factory.users is factory.users

    def test_builtIn(self) -> None:
        """
        Methods that are built in work as they do without being watched.
        """

        class Words(dict[str, int]):
            def __init__(self) -> None:
                self.portal = portal

        portal = self.portal
        factory: Any = Gates(portal)
        factory.words = Words()
        self.isWatched(factory, lambda protocol: protocol.factory.words.portal.login)
        _wire, protocol = self.call(self.factory)
        words = protocol.factory.words
        words.update(one=1)
        assert (len(words), words.get("one"), words["one"]) == (1, 1, 1)
        assert dict(words.fromkeys(["two"])) == {"two": None}


class ThingTests(WayCase):
    """
    Tuples and objects that have the portal.
    """

    def test_namedTuple(self) -> None:
        """
        A named tuple, or one with attributes, stays what it is.
        """

        class Config(NamedTuple):
            portal: Any
            name: str = "shell"

        class More(Config):
            pass

        more = More(self.portal)
        vars(more)["more"] = "more"
        factory: Any = self.building(Protocol)
        for config in (Config(self.portal), more):
            factory.config = config
            self.isWatched(factory, lambda protocol: protocol.factory.config.portal.login)
            _wire, protocol = self.call(self.factory)
            seen = protocol.factory.config
            assert type(seen) is type(config)
            assert seen.name == "shell"
            assert getattr(seen, "__dict__", {}) == getattr(config, "__dict__", {})
            assert config.portal is self.portal

    def test_twoPortals(self) -> None:
        """
        An object with two portals has two stand-ins, one for each L{WatchingFactory}.
        """
        other = Portal(self.realm, [Anybody()])
        factory: Any = Gates(self.portal)
        factory.auth = Auth(self.portal)
        factory.auth.other = other
        inner = WatchingFactory(factory, self.portal, reactor=Clock())
        self.factory = WatchingFactory(inner, other, reactor=Clock())
        wire, watched = self.call(self.factory)
        auth = watched.wrappedProtocol.factory.auth
        for portal in (auth.portal, auth.other):
            self.successResultOf(portal.login(SECRET, None, IThing))
        assert None not in [session.connection for session in self.realm.sessions]
        assert len(self.realm.sessions) == 2
        wire.leave()
        self.nothingIsLeft()
