"""
A web page that is only for users, who log in with a password, stay logged in by a cookie, and can
log out; nobody is logged in from more than two browsers.

    python docs/examples/web.py

It serves the page over plain HTTP on loopback, visits it like a few browsers, prints what they see,
and exits.  With C{--stay} it goes on serving, on port 8080; log in as alice, password "secret":

    a browser without a password: 401 Unauthorized
    it logs in: 200 hello alice, from 1 browser
    it comes back with its cookie: 200 hello alice, from 1 browser
    another browser logs in: 200 hello alice, from 2 browsers
    a third one: 503 too many connections; try again in 10 seconds
    the first logs out: 200 goodbye alice
    it comes back: 401 Unauthorized
    now the third one: 200 hello alice, from 2 browsers
"""

import sys
from base64 import b64encode
from http.cookiejar import CookieJar
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import react
from twisted.web.client import Agent, CookieAgent
from twisted.web.guard import BasicCredentialFactory
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site

from avatarkit import AvatarCache, ConnectionAware, ConnectionCounter, ConnectionLimit
from avatarkit.transports import CookieAuthSessionWrapper, logOut


class Home(ConnectionAware, Resource):
    """What a user sees: one page for all of the user's browsers."""

    def __init__(self, avatarId: bytes) -> None:
        super().__init__()
        self.name = avatarId.decode()
        self.putChild(b"", self)
        self.putChild(b"goodbye", Goodbye(self.name))

    def render_GET(self, request: Any) -> bytes:
        plural = "" if self.connections == 1 else "s"
        return f"hello {self.name}, from {self.connections} browser{plural}".encode()


class Goodbye(Resource):
    """Logs the browser out."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render_GET(self, request: Any) -> bytes:
        logOut(request)
        return f"goodbye {self.name}".encode()


realm = ConnectionLimit(2)(ConnectionCounter()(AvatarCache()(Home)))
checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
wrapper = CookieAuthSessionWrapper(
    Portal(realm, [checker]),
    [BasicCredentialFactory(b"the example")],
    secure=False,  # only because this is plain HTTP
)


class Body(Protocol):
    """Reads what a server shows."""

    def __init__(self) -> None:
        self.shown, self.whenRead = b"", Deferred[str]()

    def dataReceived(self, data: bytes) -> None:
        self.shown += data

    def connectionLost(self, reason: Any = None) -> None:
        self.whenRead.callback(self.shown.decode())


class Browser:
    """A client that keeps its cookies."""

    def __init__(self, reactor: Any, url: bytes) -> None:
        self.agent, self.url = CookieAgent(Agent(reactor), CookieJar()), url

    async def see(self, path: bytes = b"/", password: bytes = b"") -> str:
        """Return what is shown; the password is sent only if it is given."""
        headers = Headers()
        if password:
            headers.addRawHeader(b"Authorization", b"Basic " + b64encode(b"alice:" + password))
        response: Any = await self.agent.request(b"GET", self.url + path, headers)
        response.deliverBody(body := Body())
        shown = f"{response.code} {await body.whenRead}"
        (again,) = response.headers.getRawHeaders("retry-after", [""])
        return f"{shown}; try again in {again} seconds" if again else shown


async def visit(reactor: Any, url: bytes) -> None:
    one, two, three = (Browser(reactor, url) for _ in range(3))
    print("a browser without a password:", await one.see())
    print("it logs in:", await one.see(password=b"secret"))
    print("it comes back with its cookie:", await one.see())
    print("another browser logs in:", await two.see(password=b"secret"))
    print("a third one:", await three.see(password=b"secret"))
    print("the first logs out:", await one.see(b"/goodbye"))
    print("it comes back:", await one.see())
    print("now the third one:", await three.see(password=b"secret"))


async def main(reactor: Any) -> None:
    stays = "--stay" in sys.argv
    endpoint = TCP4ServerEndpoint(reactor, 8080 if stays else 0, interface="127.0.0.1")
    port = await endpoint.listen(Site(wrapper))
    if stays:
        await Deferred()  # until it is interrupted
    await visit(reactor, b"http://127.0.0.1:%d" % port.getHost().port)
    await port.stopListening()
    await realm.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
