"""
Logins on other ways than by the portal of the factory itself, over loopback TCP: they are watched,
or a realm that insists on it refuses them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property, partial, partialmethod, singledispatchmethod
from typing import Any, ClassVar, NamedTuple

from twisted.cred.credentials import UsernamePassword
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.mail.imap4 import IAccount
from twisted.protocols.basic import LineReceiver

import rawclients
from avatarkit.transports import WatchingFactory

# Any in this module: factories and protocols, which have whatever attributes they have.


class Auth:
    """
    An object that has the portal.
    """

    def __init__(self, portal: Any) -> None:
        self.portal = portal


class Config(NamedTuple):
    """
    A named tuple that has the portal.
    """

    name: str
    portal: Any


class Told:
    """
    A decorator that makes methods in its own way.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method

    def __get__(self, thing: Any, kind: Any = None) -> Any:
        """
        Bind it.
        """
        return partial(self.method, thing)


class Back:
    """
    An object that has the factory.
    """

    def __init__(self, factory: Any) -> None:
        self.factory = factory


class Ways(Factory):
    """
    A factory that has the portal, and other ways to it.
    """

    noisy = False
    ofClass: ClassVar[Any]

    def __init__(self, portal: Any) -> None:
        Ways.ofClass = portal
        self.config, self.back = Config("mail", portal), Back(self)
        self.weak, self.partial = weakref.ref(self), partial(portal.login)
        self.portal, self.auth = portal, Auth(portal)
        self.deeper, self.words = Auth(Auth(portal)), {"portal": portal}
        self.closure = lambda *args: portal.login(*args)

    @property
    def logIn(self) -> Any:
        """
        How to log in.
        """
        return self.portal.login

    @cached_property
    def logInLater(self) -> Any:
        """
        How to log in.
        """
        return self.portal.login

    def enter(self, *args: Any) -> Any:
        """
        Log in.
        """
        return self.portal.login(*args)

    enterPartly = partialmethod(enter)

    @singledispatchmethod
    def enterBy(self, credentials: Any, *args: Any) -> Any:
        """
        Log in by the kind of credentials.
        """
        return self.portal.login(credentials, *args)

    @Told
    def enterTold(self, *args: Any) -> Any:
        """
        Log in.
        """
        return self.portal.login(*args)

    def __getattr__(self, name: str) -> Any:
        if name == "enterMade":
            return lambda *args: self.portal.login(*args)
        raise AttributeError(name)

    @classmethod
    def enterByClass(cls, *args: Any) -> Any:
        """
        Log in by what the class has.
        """
        return cls.ofClass.login(*args)


class Lines(LineReceiver):
    """
    A protocol that logs in on the way that a line says, and never logs out.
    """

    def connectionMade(self) -> None:
        """
        Lead to the factory.
        """
        factory: Any = self.factory
        self.config = factory.config

    def lineReceived(self, line: bytes) -> None:
        """
        Log in.
        """
        factory: Any = self.factory
        ways = {
            b"property": lambda: factory.logIn,
            b"cached property": lambda: factory.logInLater,
            b"object": lambda: factory.auth.portal.login,
            b"named tuple": lambda: factory.config.portal.login,
            b"partialmethod": lambda: factory.enterPartly,
            b"singledispatchmethod": lambda: factory.enterBy,
            b"decorator": lambda: factory.enterTold,
            b"own named tuple": lambda: self.config.portal.login,
            b"class method": lambda: factory.enterByClass,
            b"made": lambda: factory.enterMade,
            b"back": lambda: factory.back.factory.portal.login,
            b"weak": lambda: factory.weak().portal.login,
            b"partial": lambda: factory.partial,
            b"deeper": lambda: factory.deeper.portal.portal.login,
            b"dict": lambda: factory.words["portal"].login,
            b"closure": lambda: factory.closure,
        }
        login = ways[line]()(UsernamePassword(b"alice", b"right"), None, IAccount)
        login.addCallback(lambda result: self.sendLine(b"welcome"))
        login.addErrback(lambda failure: self.sendLine(failure.type.__name__.encode()))


class WaysTests(rawclients.RawCase):
    """
    What becomes of a login on each way.
    """

    async def comesTo(self, way: bytes, *, insist: bool = False, stay: bool = False) -> bytes:
        """
        Return what the server says to a client that logs in on a way, and then leaves.

        @param insist: whether the realm refuses sessions that are not watched.
        @param stay: whether the client waits until the server has closed the connection, because
            there was no login as far as that can see.
        """

        def makeFactory(portal: Any) -> Any:
            factory: Any = Ways(portal)
            factory.protocol = Lines
            return factory

        self.clock = Clock()
        watch = partial(WatchingFactory, reactor=self.clock)
        await self.serve(makeFactory, rawclients.Asked(), watch=watch)
        self.realm.requireWatched = insist
        client = await self.connect()
        client.send(way)
        await self.until(lambda: client.received.endswith(b"\r\n"), "no answer")
        if stay:
            self.clock.advance(120)
        else:
            client.leave()
        await self.until(lambda: not self.watching.protocols, "the connection is left")
        return client.received.strip()

    async def test_watched(self) -> None:
        """
        By a property or a method of the factory, however it is made, or an object or a tuple that
        has the portal itself, it ends with its connection, and a realm that insists on that lets it
        in.
        """
        methods = (b"partialmethod", b"singledispatchmethod", b"decorator")
        things = (b"object", b"named tuple", b"own named tuple")
        for way in (b"property", b"cached property", *methods, *things):
            for insist in (False, True):
                assert await self.comesTo(way, insist=insist) == b"welcome"
                assert not self.realm.sessions

    async def test_unseen(self) -> None:
        """
        Deeper than that, in a dict, a function, also one that C{__getattr__} makes, or a weak
        reference, or by the class, the portal is not found: the session stays, even when the client
        is cut off because it has not logged in, unless the realm insists on being able to watch it,
        and refuses it.
        """
        further = (b"class method", b"made", b"back", b"weak", b"partial")
        for way in (b"deeper", b"dict", b"closure", *further):
            for stay in (False, True):
                assert await self.comesTo(way, stay=stay) == b"welcome"
                (session,) = self.realm.sessions
                assert session.connection is None
                await self.realm.close()
            assert await self.comesTo(way, insist=True) == b"UnwatchableMind"
            assert not self.realm.sessions
