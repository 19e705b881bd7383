"""
Web servers and browsers for tests, over real TCP and TLS.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import md5
from typing import Any, NamedTuple

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import reactor as globalReactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock, LoopingCall
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.guard import BasicCredentialFactory, DigestCredentialFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import DeferredResource
from zope.interface import implementer

from avatarkit import AvatarCache, Session
from avatarkit.transports import CookieAuthSessionWrapper, logOut
from certificates import selfSigned

# Any in this module: a reactor, requests, and what realms and checkers are given.
reactor: Any = globalReactor

BASIC = BasicCredentialFactory(b"a realm")
DIGEST = DigestCredentialFactory(b"md5", b"a realm")


class Missing(Resource):
    """
    What is not there.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """
        Say so.
        """
        request.setResponseCode(404)
        return b"not there"


class Later(DeferredResource):
    """
    A page that is found later.

    @ivar requests: those for it.
    """

    def __init__(self) -> None:
        self.found: Deferred[Any] = Deferred()
        self.requests: list[Any] = []
        super().__init__(self.found)

    def render(self, request: Any) -> Any:
        """
        Keep the request waiting.
        """
        self.requests.append(request)
        return super().render(request)


class Page(Resource):
    """
    An avatar that is a web page, with pages below it.

    @ivar requests: those that are kept waiting, at C{/wait}.
    """

    isLeaf = False

    def __init__(self, avatarId: Any) -> None:
        super().__init__()
        self.avatarId, self.requests = avatarId, list[Any]()

    def getChild(self, path: bytes, request: Any) -> Any:
        """
        Return what is shown at a path.
        """
        return self if path in (b"", b"wait", b"out") else Missing()

    def render_GET(self, request: Any) -> Any:
        """
        Say who is logged in, or wait, or log out.
        """
        if request.prepath[-1] == b"wait":
            self.requests.append(request)
            return NOT_DONE_YET
        if request.prepath[-1] == b"out":
            first, again = logOut(request), logOut(request)
            return b"out" if first and not again else b"was out"
        return b"page of " + self.avatarId

    def render_POST(self, request: Any) -> Any:
        """
        Say what was posted.
        """
        return b"posted " + request.content.read() + b"|" + request.args[b"x"][0]


@implementer(ICredentialsChecker)
class Passwords:
    """
    A checker of passwords, which may wait.

    @ivar waiting: whether it waits.
    @ivar asked: the checks that wait.
    @ivar cancelled: how many were cancelled.
    """

    credentialInterfaces: tuple[Any, ...] = (IUsernamePassword, IUsernameHashedPassword)

    def __init__(self, waiting: bool = False) -> None:
        self.waiting, self.cancelled = waiting, 0
        self.asked: list[Deferred[bytes]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Let everybody in whose password is "secret".
        """
        if not credentials.checkPassword(b"secret"):
            raise UnauthorizedLogin
        if not self.waiting:
            return credentials.username
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def _cancel(self, waiting: Deferred[bytes]) -> None:
        self.cancelled += 1


def basic(user: bytes = b"alice", password: bytes = b"secret") -> bytes:
    """
    Return an C{Authorization} header.
    """
    return b"Basic " + b64encode(user + b":" + password)


def digest(challenge: bytes, path: bytes, user: bytes = b"alice", nc: int = 1) -> bytes:
    """
    Return an C{Authorization} header that replies to a challenge.
    """
    pairs = (each.partition(b"=") for each in challenge.partition(b" ")[2].split(b", "))
    asked = {name: value.strip(b'"') for name, _, value in pairs}

    def hashed(*parts: bytes) -> bytes:
        return md5(b":".join(parts)).hexdigest().encode()  # noqa: S324  # what digest is

    count = b"%08d" % nc
    mine = hashed(
        hashed(user, asked[b"realm"], b"secret"),
        asked[b"nonce"],
        count,
        b"mine",
        b"auth",
        hashed(b"GET", path),
    )
    said = {b"username": user, b"uri": path, b"response": mine, b"cnonce": b"mine"} | {
        each: asked[each] for each in (b"realm", b"nonce", b"opaque", b"algorithm")
    }
    text = b", ".join(b'%s="%s"' % pair for pair in said.items())
    return b"Digest " + text + b", qop=auth, nc=" + count


class Response(NamedTuple):
    """
    What a server answers.
    """

    code: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        """
        Return all headers of a name.
        """
        return [value for each, value in self.headers if each == name]


@attrs.define(eq=False)
class Jar:
    """
    The cookies of a browser.

    @ivar set: each C{Set-Cookie} that came.
    """

    cookies: dict[bytes, bytes] = attrs.field(factory=dict)
    set: list[bytes] = attrs.field(factory=list)

    def take(self, response: Response) -> None:
        """
        Keep the cookies that a server sends.
        """
        for each in response.all(b"set-cookie"):
            self.set.append(each)
            name, _, value = each.partition(b";")[0].partition(b"=")
            if b"max-age=0" in each.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value


@attrs.define(eq=False)
class Tab(Protocol):
    """
    A TCP connection of a browser.
    """

    jar: Jar
    whenMade: Deferred[None] = attrs.field(factory=Deferred)
    lost: bool = False
    received: bytes = b""
    _expected: list[tuple[bytes, Deferred[Response]]] = attrs.field(factory=list)

    def connectionMade(self) -> None:
        """
        It is connected.
        """
        self.whenMade.callback(None)

    def ask(
        self,
        path: bytes = b"/",
        authorization: bytes | None = b"",
        *,
        method: bytes = b"GET",
        body: bytes = b"",
        headers: Iterable[bytes] = (),
    ) -> Deferred[Response]:
        """
        Send a request.

        @param authorization: the header; alice's by default.
        """
        lines = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", *headers]
        if authorization is not None:
            lines.append(b"Authorization: " + (authorization or basic()))
        if self.jar.cookies:
            lines.append(b"Cookie: " + b"; ".join(map(b"=".join, self.jar.cookies.items())))
        lines += [b"Content-Length: %d" % len(body), b"", body]
        self._expected.append((method, Deferred()))
        self.transport.write(b"\r\n".join(lines))  # type: ignore[union-attr]  # there is one
        return self._expected[-1][1]

    def dataReceived(self, data: bytes) -> None:
        """
        Part of a response has come.
        """
        self.received += data
        while self._expected and not self.received.startswith(b"HTTP/1.1 101"):
            head, found, rest = self.received.partition(b"\r\n\r\n")
            if not found:
                return
            first, *lines = head.split(b"\r\n")
            pairs = [each.partition(b": ") for each in lines]
            headers = [(name.lower(), value) for name, _, value in pairs]
            method, waiting = self._expected[0]
            body = _bodyOf(method, dict(headers), rest)
            if body is None:
                return
            self._expected.pop(0)
            self.received = rest[body[1] :]
            response = Response(int(first.split()[1]), headers, body[0])
            self.jar.take(response)
            waiting.callback(response)

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is closed.
        """
        self.lost = True

    def leave(self) -> None:
        """
        Close it at once, without a goodbye.
        """
        self.transport.abortConnection()  # type: ignore[union-attr]  # there is one


def _bodyOf(method: bytes, headers: dict[bytes, bytes], rest: bytes) -> tuple[bytes, int] | None:
    """
    Return the body of a response, and how many bytes it takes, if all of it is there.
    """
    if b"transfer-encoding" in headers:
        chunks, found, _ = rest.partition(b"0\r\n\r\n")
        body = b"".join(chunks.split(b"\r\n")[1::2])
        return (body, len(chunks + found)) if found else None
    length = 0 if method == b"HEAD" else int(headers[b"content-length"])
    return (rest[:length], length) if len(rest) >= length else None


def plainly(site: Site) -> WrappingFactory:
    """
    Return a factory for a site that is to speak HTTP/1.1 only: what Twisted 22.8 does to offer
    more, the newest pyOpenSSL refuses.
    """
    return WrappingFactory(site)


class WebCase(TestCase):
    """
    A web server on loopback, and browsers.

    @ivar tls: whether it is HTTPS.
    @ivar negotiates: whether it then speaks HTTP/2 as well.
    """

    timeout = 30
    tls = False
    negotiates = False

    def serve(self, resource: Any) -> Site:
        """
        Serve a resource.
        """
        site = Site(resource)
        site.displayTracebacks = False
        if self.tls:
            factory = site if self.negotiates else plainly(site)
            options = selfSigned().options()
            listening = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        else:
            listening = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.site, self.port = site, listening.getHost().port
        return site

    def guard(self, wrapper: Any, realm: Any, *factories: Any, **options: Any) -> Any:
        """
        Serve what a wrapper guards.
        """
        self.realm, self.checker = realm, Passwords()
        self.addCleanup(lambda: realm.close() if hasattr(realm, "close") else None)
        self.wrapper = wrapper(Portal(realm, [self.checker]), factories or [BASIC], **options)
        self.serve(self.wrapper)
        return self.wrapper

    async def open(self, jar: Jar | None = None) -> Tab:
        """
        Open a TCP connection, of a new browser if none is given.
        """
        tab = Tab(Jar() if jar is None else jar)
        self.connectTo(tab)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close(tab)))
        await tab.whenMade
        return tab

    def connectTo(self, protocol: Protocol, offered: list[bytes] | None = None) -> None:
        """
        Connect a protocol.

        @param offered: the protocols that are offered to a server with TLS.
        """
        factory: Any = ClientFactory()
        factory.protocol, factory.noisy = lambda: protocol, False
        if self.tls:
            options = ssl.CertificateOptions(acceptableProtocols=offered)
            reactor.connectSSL("127.0.0.1", self.port, factory, options)
        else:
            reactor.connectTCP("127.0.0.1", self.port, factory)

    async def leavesBefore(self, wrapper: Any) -> None:
        """
        A browser leaves before the wrapper that it asks is found.
        """
        later = Later()
        self.serve(later)
        tab = await self.open()
        tab.ask()
        await self.until(lambda: later.requests, "no request")
        gone = self.assertFailure(later.requests[0].notifyFinish(), Exception)
        tab.leave()
        await gone
        later.found.callback(wrapper)
        assert self.flushLoggedErrors() == []

    async def leavesWhileChecked(self) -> None:
        """
        A browser leaves while its password is checked, and the check is cancelled.
        """
        self.checker.waiting = True
        tab = await self.open()
        tab.ask()
        await self.until(lambda: self.checker.asked, "nothing is checked")
        tab.leave()
        await self.until(lambda: self.checker.cancelled, "it is not cancelled")
        assert self.flushLoggedErrors() == []

    async def close(self, tab: Tab) -> None:
        """
        Close a connection, and wait until it is.
        """
        if not tab.lost:
            tab.leave()
        await self.until(lambda: tab.lost, "the browser is left")

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """
        Wait until something holds.
        """
        poll = LoopingCall(lambda: poll.stop() if holds() else None)
        done = poll.start(0.002)
        end = reactor.callLater(10, poll.stop)
        await done
        if end.active():
            end.cancel()
        assert holds(), what

    async def session(self) -> Session:
        """
        Return the only session, as soon as there is one.
        """
        await self.until(lambda: self.realm.sessions, "no login")
        (session,) = self.realm.sessions
        found: Session = session
        return found


class CookieCase(WebCase):
    """
    A server with cookies, whose time stands still.
    """

    def setUp(self) -> None:
        """
        Make its clock.
        """
        self.clock = Clock()

    def cookies(self, realm: Any, *factories: Any, secure: bool = False, **options: Any) -> Any:
        """
        Serve a realm.
        """
        options = {"secure": secure, "reactor": self.clock} | options
        return self.guard(CookieAuthSessionWrapper, realm, *factories, **options)

    def slow(self, *blocks: Any, **options: Any) -> list[Deferred[Page]]:
        """
        Serve a realm whose avatars are loaded until a test says so.
        """
        loads: list[Deferred[Page]] = []

        def load(avatarId: Any) -> Deferred[Page]:
            loads.append(Deferred())
            return loads[-1]

        realm: Any = AvatarCache()(load)
        for block in blocks:
            realm = block(realm)
        self.cookies(realm, **options)
        return loads

    async def logIn(self, user: bytes = b"alice") -> Tab:
        """
        Log a new browser in, and return its first tab.
        """
        tab = await self.open()
        assert (await tab.ask(authorization=basic(user))).body == b"page of " + user
        return tab

    async def waitingTabs(self, number: int) -> list[Tab]:
        """
        Return tabs of one browser, which has been asked for credentials.
        """
        first = await self.open()
        assert (await first.ask(authorization=None)).code == 401
        return [first, *[await self.open(first.jar) for _ in range(number - 1)]]
