"""
Logins on other ways than by the portal of the factory itself, over loopback TCP: they are watched,
or a realm that insists on it refuses them.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

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


class Ways(Factory):
    """
    A factory that has the portal, and other ways to it.
    """

    noisy = False

    def __init__(self, portal: Any) -> None:
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


class Lines(LineReceiver):
    """
    A protocol that logs in on the way that a line says, and never logs out.
    """

    def lineReceived(self, line: bytes) -> None:
        """
        Log in.
        """
        factory: Any = self.factory
        ways = {
            b"property": lambda: factory.logIn,
            b"cached property": lambda: factory.logInLater,
            b"object": lambda: factory.auth.portal.login,
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
        By a property of the factory, or an object that has the portal itself, it ends with its
        connection, and a realm that insists on that lets it in.
        """
        for way in (b"property", b"cached property", b"object"):
            for insist in (False, True):
                assert await self.comesTo(way, insist=insist) == b"welcome"
                assert not self.realm.sessions

    async def test_unseen(self) -> None:
        """
        Deeper than that, in a dict or in a function, the portal is not found: the session stays,
        even when the client is cut off because it has not logged in, unless the realm insists on
        being able to watch it, and refuses it.
        """
        for way in (b"deeper", b"dict", b"closure"):
            for stay in (False, True):
                assert await self.comesTo(way, stay=stay) == b"welcome"
                (session,) = self.realm.sessions
                assert session.connection is None
                await self.realm.close()
            assert await self.comesTo(way, insist=True) == b"UnwatchableMind"
            assert not self.realm.sessions
