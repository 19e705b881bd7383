"""
C{curl}, in all ways of leaving a web server.
"""

from __future__ import annotations

import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.cred.portal import Portal
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.server import Site

import realclients
from avatarkit import AvatarCache, ConnectionLimit
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper
from certificates import selfSigned
from needing import needs, needsModule
from realclients import Client
from websites import BASIC, DIGEST, Page, Passwords, WebCase, plainly

CURL = ["curl", "--silent", "--insecure", "--user", "alice:secret"]


class CurlCase(realclients.ClientCase):
    """
    A server of pages that are never finished.
    """

    command = [*CURL, "http://127.0.0.1:PORT/wait"]
    credentials: Any = BASIC

    def makeFactory(self, portal: Portal) -> Site:
        """
        Return a web site.
        """
        return Site(HTTPAuthSessionWrapper(portal, [self.credentials]))

    def makeAvatar(self, avatarId: Any) -> Page:
        """
        Return a page.
        """
        return Page(avatarId)

    def watch(self, factory: Any, portal: Any) -> Any:
        """
        Return the factory to listen with.
        """
        return WrappingFactory(factory)


@needs("curl")
class CurlTests(CurlCase):
    """
    Over TCP.
    """


@needs("curl")
class CurlDigestTests(CurlCase):
    """
    With digest.
    """

    command = ["curl", "--silent", "--digest", *CURL[2:], "http://127.0.0.1:PORT/wait"]
    credentials = DIGEST

    def makeChecker(self, waiting: bool) -> Any:
        """
        Return a checker that knows digests.
        """
        return Passwords(waiting)

    async def test_kicked(self) -> None:
        """
        If it is kicked, its connection is closed; it then tries again, over another.
        """
        self.start()
        session = await self.loggedIn()
        connection: Any = session.connection
        await session.disconnect(timeout=1)
        await self.until(lambda: connection.disconnected, "its connection is left")
        assert session.ended


@needs("curl")
class CurlTLSTests(CurlCase):
    """
    Over TLS.
    """

    command = [*CURL, "--no-alpn", "https://127.0.0.1:PORT/wait"]

    def watch(self, factory: Any, portal: Any) -> Any:
        """
        Return the factory to listen with.
        """
        return TLSMemoryBIOFactory(selfSigned().options(), False, plainly(factory))


@needs("curl")
@needsModule("h2", "priority")
class CurlHTTP2Tests(CurlTLSTests):
    """
    With HTTP/2.
    """

    command = [*CURL, "--http2", "https://127.0.0.1:PORT/wait"]

    def watch(self, factory: Any, portal: Any) -> Any:
        """
        Return the factory to listen with.
        """
        return TLSMemoryBIOFactory(selfSigned().options(), False, factory)

    async def nothingIsLeft(self) -> None:
        """
        Check that nothing is left of the client, but for its TCP connection if it is stopped: only
        its streams can be closed.
        """
        await self.until(lambda: not self.realm.sessions, "the session is left")
        self.client.signal(signal.SIGCONT)
        await super().nothingIsLeft()


@needs("curl")
class CurlCookieTests(WebCase):
    """
    With cookies, which it keeps in a file.
    """

    async def curl(self, *options: str) -> str:
        """
        Return the code and the page that it gets.
        """
        url = f"http://a.test:{self.port}{options[0]}"
        where = ("--resolve", f"a.test:{self.port}:127.0.0.1")
        argv = ["curl", "--silent", "--write-out", "%{http_code} ", *where, url, *options[1:]]
        client = Client(argv, {}, [])
        self.addCleanup(client.kill)
        await client.whenEnded
        return client.output.decode()

    def makeJar(self) -> str:
        """
        Return the path of a file that keeps cookies, outside of the checkout.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return str(Path(directory.name) / "jar")

    async def test_session(self) -> None:
        """
        It logs in with its password, goes on with the cookie alone, logs out, and is out.
        """
        realm = ConnectionLimit(1)(AvatarCache()(Page))
        self.guard(CookieAuthSessionWrapper, realm, secure=False)
        jar = self.makeJar()
        cookies = ("--cookie", jar, "--cookie-jar", jar)
        assert await self.curl("/", *cookies) == "Unauthorized401 "
        assert await self.curl("/", *cookies, "--user", "alice:secret") == "page of alice200 "
        session = await self.session()
        assert await self.curl("/", *cookies) == "page of alice200 "
        assert await self.session() is session
        assert await self.curl("/", "--user", "alice:secret") == "too many connections503 "
        assert await self.curl("/out", *cookies) == "out200 "
        assert session.ended
        assert await self.curl("/", *cookies) == "Unauthorized401 "

    async def test_secure(self) -> None:
        """
        It does not send a secure cookie over plain HTTP.
        """
        self.guard(CookieAuthSessionWrapper, AvatarCache()(Page))
        jar = self.makeJar()
        cookies = ("--cookie", jar, "--cookie-jar", jar)
        assert await self.curl("/", *cookies, "--user", "alice:secret") == "page of alice200 "
        assert await self.curl("/", *cookies) == "Unauthorized401 "
