"""
Browsers that leave, in four ways, leave nothing behind.

The rows are ways to log in over the web.  A cell is a row, a realm and a way of leaving, over TCP
and over TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import IResource

from avatarkit import AvatarCache, ConnectionCounter, ConnectionLimit, MindRegistry, PerConnection
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper
from websites import BASIC, DIGEST, Page, Tab, WebCase, basic, digest

# Any in this module: realms, and what they return.


class Row(NamedTuple):
    """
    A way to log in.
    """

    name: str
    wrapper: Any
    factory: Any


class Way(NamedTuple):
    """
    A way to leave.

    @ivar loading: whether the avatar is being loaded.
    @ivar late: whether it comes after all.
    @ivar checking: whether the password is being checked.
    """

    name: str
    loading: bool = False
    late: bool = False
    checking: bool = False


ROWS = (
    Row("basic", HTTPAuthSessionWrapper, BASIC),
    Row("digest", HTTPAuthSessionWrapper, DIGEST),
    Row("cookies", CookieAuthSessionWrapper, BASIC),
    Row("cookiesWithDigest", CookieAuthSessionWrapper, DIGEST),
)

WAYS = (
    Way("plainly"),
    Way("whileLoadingWhichEnds", loading=True, late=True),
    Way("whileLoadingForEver", loading=True),
    Way("whileChecking", checking=True),
)


class ByHand:
    """
    A realm as people write it.

    @ivar sessions: who is logged in.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make
        self.sessions: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Log in.
        """
        made = self.make(avatarId)
        if isinstance(made, Deferred):
            return made.addCallback(self.begun)
        return self.begun(made)

    def begun(self, avatar: Any) -> Any:
        """
        A session has begun.
        """
        self.sessions.append(avatar)
        return IResource, avatar, lambda: self.sessions.remove(avatar)


def fourBlocks(make: Callable[[Any], Any]) -> Any:
    """
    Return a realm of four blocks.
    """
    return MindRegistry()(ConnectionLimit(3)(ConnectionCounter()(AvatarCache()(make))))


def perConnection(make: Callable[[Any], Any]) -> Any:
    """
    Return a realm that makes an avatar for each session.
    """
    return PerConnection(lambda session: session.avatar)(AvatarCache()(make))


REALMS = (fourBlocks, perConnection, ByHand)


class MatrixCase(WebCase):
    """
    All cells.
    """

    async def leave(self, row: Row, makeRealm: Callable[..., Any], way: Way) -> None:
        """
        Log in, leave, and count what is left.
        """
        clock, loads = Clock(), list[Deferred[Page]]()

        def make(avatarId: Any) -> Any:
            if not way.loading:
                return Page(avatarId)
            loads.append(Deferred())
            return loads[-1]

        self.guard(row.wrapper, makeRealm(make), row.factory, reactor=clock)
        self.checker.waiting = way.checking
        tab = await self.ask(row)
        if way.checking:
            await self.until(lambda: self.checker.asked, "nothing is checked")
        elif way.loading:
            await self.until(lambda: loads, "nothing is loaded")
        else:
            await self.session()
        await self.close(tab)
        if way.checking:
            await self.until(lambda: self.checker.cancelled, "the check goes on")
        elif way.late:
            await self.until(lambda: loads[0].called, "the avatar is still loaded")  # or cancelled
            loads[0].callback(Page(b"alice"))
        elif not way.loading and row.wrapper is CookieAuthSessionWrapper:
            await self.until(clock.getDelayedCalls, "the session does not become idle")
            clock.advance(900)
        await self.until(lambda: not self.realm.sessions, "a session is left")
        assert not hasattr(self.realm, "audit") or self.realm.audit() == []
        assert clock.getDelayedCalls() == []
        assert self.flushLoggedErrors() == []

    async def ask(self, row: Row) -> Tab:
        """
        Ask for a page that is never finished.
        """
        tab, authorization = await self.open(), basic()
        if row.factory is DIGEST:
            response = await tab.ask(authorization=None)
            (challenge,) = response.all(b"www-authenticate")
            authorization = digest(challenge, b"/wait")
        tab.ask(b"/wait", authorization)
        return tab

    def session(self) -> Any:
        """
        Wait for a session.
        """
        return self.until(lambda: self.realm.sessions, "no login")


def cells() -> Iterator[tuple[str, Row, Callable[..., Any], Way]]:
    """
    Return the cells, by name.
    """
    for row, realm, way in product(ROWS, REALMS, WAYS):
        yield f"test_{row.name}_{realm.__name__}_{way.name}", row, realm, way


def withCells(cls: type[MatrixCase]) -> type[MatrixCase]:
    """
    Give a class a test for each cell.
    """
    for name, *cell in cells():

        async def test(self: MatrixCase, cell: Any = cell) -> None:
            await self.leave(*cell)

        test.__doc__ = "Nothing is left of this browser."
        setattr(cls, name, test)
    return cls


@withCells
class HTTPMatrixTests(MatrixCase):
    """
    Over TCP.
    """


@withCells
class HTTPSMatrixTests(MatrixCase):
    """
    Over TLS.
    """

    tls = True
