"""
Tests of logins over the web that live as long as their request.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.guard import HTTPAuthSessionWrapper as TwistedWrapper
from twisted.web.resource import Resource
from twisted.web.server import Site

from avatarkit import (
    AvatarCache,
    Block,
    ClientLost,
    ConnectionLimit,
    LoggedOut,
    LoginRefused,
    MindRegistry,
    Realm,
    Session,
)
from avatarkit.transports import HTTPAuthSessionWrapper, ThrottledChecker, WatchingFactory, logOut
from websites import BASIC, DIGEST, Page, Passwords, WebCase, basic, digest, reactor


class Refusing(Block):
    """
    Refuses everybody.
    """

    def admit(self, session: Session) -> None:
        """
        Refuse.
        """
        raise LoginRefused("not on <Sundays>")


class GuardTests(WebCase):
    """
    What the wrapper shares with Twisted's.
    """

    async def test_same(self) -> None:
        """
        A page, a page below it, a page that is not there, HEAD, POST, a missing and a wrong
        password, and a header that cannot be read, get the same answers as from Twisted's wrapper.
        """
        answers = []
        for wrapper in (TwistedWrapper, HTTPAuthSessionWrapper):
            self.guard(wrapper, AvatarCache()(Page))
            tab = await self.open()
            answers.append(
                [
                    response._replace(
                        headers=[each for each in response.headers if each[0] != b"date"]
                    )
                    for response in (
                        await tab.ask(),
                        await tab.ask(b"/out"),
                        await tab.ask(b"/nothing/here"),
                        await tab.ask(method=b"HEAD"),
                        await tab.ask(
                            method=b"POST",
                            body=b"x=1",
                            headers=[b"Content-Type: application/x-www-form-urlencoded"],
                        ),
                        await tab.ask(authorization=None),
                        await tab.ask(authorization=basic(password=b"wrong")),
                        await tab.ask(authorization=b"Basic ==="),
                        await tab.ask(authorization=b"Bearer token"),
                        await tab.ask(authorization=None, method=b"HEAD"),
                    )
                ]
            )
        theirs, ours = answers
        assert [each.code for each in ours] == [200, 200, 404, 200, 200, 401, 401, 401, 401, 401]
        assert ours[1].body == b"out"
        assert theirs[1].body == b"was out"
        del theirs[1], ours[1]
        assert ours == theirs

    async def test_below(self) -> None:
        """
        The wrapper may stand anywhere in a site.
        """
        realm = AvatarCache()(Page)
        root = Resource()
        root.putChild(b"in", HTTPAuthSessionWrapper(Portal(realm, [Passwords()]), [BASIC]))
        self.serve(root)
        tab = await self.open()
        assert (await tab.ask(b"/in")).body == b"page of alice"
        assert (await tab.ask(b"/in/")).body == b"page of alice"
        assert (await tab.ask(b"/in/none")).code == 404
        self.assertRaises(NotImplementedError, root.children[b"in"].putChild, b"x", root)

    async def test_digest(self) -> None:
        """
        HTTP digest works.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page), DIGEST)
        tab = await self.open()
        asked = await tab.ask(authorization=None)
        (challenge,) = asked.all(b"www-authenticate")
        response = await tab.ask(authorization=digest(challenge, b"/"))
        assert (response.code, response.body) == (200, b"page of alice")
        assert not self.realm.sessions

    async def test_anonymous(self) -> None:
        """
        Whoever sends no credentials is logged in anonymously, if the portal allows it.
        """
        realm = AvatarCache()(lambda avatarId: Page(b"nobody"))
        portal = Portal(realm, [AllowAnonymousAccess()])
        self.serve(HTTPAuthSessionWrapper(portal, [BASIC]))
        assert (await (await self.open()).ask(authorization=None)).body == b"page of nobody"


class LifeTests(WebCase):
    """
    How long a login lives.
    """

    async def test_finish(self) -> None:
        """
        It lives until the response is finished, however many requests come over the connection.
        """
        online = MindRegistry()
        self.guard(HTTPAuthSessionWrapper, online(AvatarCache()(Page)))
        tab = await self.open()
        for _ in range(2):
            waiting = tab.ask(b"/wait")
            session = await self.session()
            assert session.connection is not None
            peer: Any = session.connection.getPeer()
            assert peer.host == "127.0.0.1"
            assert session.connection.getHost() == tab.transport.getPeer()  # type: ignore[union-attr]
            assert session.connection.backlog is not None
            assert session.connection.lastReceived == session.lastActive
            page: Any = session.avatar
            await self.until(lambda: page.requests, "the page is not rendered")  # noqa: B023
            request = page.requests.pop()
            request.setHeader(b"content-length", b"0")
            request.finish()
            await waiting
            assert type(session.reason) is LoggedOut
            assert session.connection.disconnected
            session.connection.loseConnection()
            session.connection.abortConnection()
        assert self.realm.audit() == []
        assert (await tab.ask()).code == 200

    async def test_pipelined(self) -> None:
        """
        Requests that are pipelined have a login each, one after the other, and are answered in
        order.
        """
        self.guard(HTTPAuthSessionWrapper, ConnectionLimit(1)(AvatarCache()(Page)))
        tab = await self.open()
        answers = [tab.ask(authorization=basic(each)) for each in (b"alice", b"bob", b"alice")]
        bodies = [(await each).body for each in answers]
        assert bodies == [b"page of alice", b"page of bob", b"page of alice"]

    async def test_keepAlive(self) -> None:
        """
        TCP's keep-alive is on, unless told otherwise.
        """
        for on in (True, False):
            self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page), keepAlive=on)
            tab = await self.open()
            tab.ask(b"/wait")
            connection: Any = (await self.session()).connection
            assert connection.transport.channel.transport.getTcpKeepAlive() == on
            await self.realm.close()

    async def test_leaves(self) -> None:
        """
        It ends if the browser leaves while the page is rendered.
        """
        self.guard(HTTPAuthSessionWrapper, ConnectionLimit(1)(AvatarCache()(Page)))
        tab = await self.open()
        tab.ask(b"/wait")
        session = await self.session()
        tab.leave()
        await session.whenClosed()
        assert type(session.reason) is ClientLost

    async def test_nothingWritten(self) -> None:
        """
        Nothing is written to a request whose browser has left while the login waited, and nothing
        is logged.
        """
        loads: list[Deferred[Page]] = []
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: _append(loads, Deferred())))
        tab = await self.open()
        tab.ask()
        session = await self.session()
        tab.leave()
        await session.whenClosed()
        loads[0].callback(Page(b"alice"))
        assert self.flushLoggedErrors() == []

    async def test_tooMuch(self) -> None:
        """
        A browser that sends so much during its login that Twisted stops reading is cut off: its
        leaving would not be noticed.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: Deferred()))
        tab = await self.open()
        tab.ask()
        session = await self.session()
        tab.transport.write(b"x" * 40_000)  # type: ignore[union-attr]  # there is one
        await session.whenClosed()
        await self.until(lambda: tab.lost, "the browser is left")

    async def test_muchLater(self) -> None:
        """
        One that sends so much when its login is done is not.
        """
        loads: list[Deferred[Page]] = []
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: _append(loads, Deferred())))
        tab = await self.open()
        tab.ask(b"/wait")
        connection: Any = (await self.session()).connection
        wire = connection.transport.channel.transport
        assert "pauseProducing" in vars(wire)
        loads[0].callback(Page(b"alice"))
        assert "pauseProducing" not in vars(wire)

    async def test_kickedWaiting(self) -> None:
        """
        A kick while a login waits closes the TCP connection, without an answer.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: Deferred()))
        tab = await self.open()
        tab.ask()
        await (await self.session()).disconnect()
        await self.until(lambda: tab.lost, "the browser is left")
        assert tab.received == b""

    async def test_kickedWhileChecked(self) -> None:
        """
        The check of a password is cancelled when the browser leaves.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        await self.leavesWhileChecked()
        assert self.checker.cancelled == 1

    async def test_kicked(self) -> None:
        """
        A kick while a page is rendered closes the TCP connection.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        tab = await self.open()
        tab.ask(b"/wait")
        session = await self.session()
        await session.disconnect()
        await self.until(lambda: tab.lost, "the browser is left")

    async def test_kickedStalled(self) -> None:
        """
        A kick closes the connection of a browser that reads nothing, by its deadline, even if the
        page is finished meanwhile.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        tab = await self.open()
        tab.ask(b"/wait")
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        tab.transport.pauseProducing()  # type: ignore[union-attr]  # there is one
        page.requests[0].write(b"x" * 20_000_000)
        connection: Any = session.connection
        assert connection.backlog > 1_000_000
        session.disconnect(timeout=0.1)
        assert not connection.disconnected
        connection.loseConnection()  # again, which is harmless
        page.requests[0].finish()
        assert not connection.disconnected
        await self.until(lambda: connection.disconnected, "it is not closed")

    async def test_loggedOutWaiting(self) -> None:
        """
        A login that is ended while it waits, and not by a kick, is answered with a 503.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: Deferred()))
        tab = await self.open()
        waiting = tab.ask()
        (await self.session()).logout()
        assert (await waiting).code == 503

    async def test_loggedOutLeaves(self) -> None:
        """
        If the browser leaves then, nothing is written.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda each: Deferred()))
        tab = await self.open()
        tab.ask()
        session = await self.session()
        connection: Any = session.connection
        session.logout()
        connection.abortConnection()
        await self.until(lambda: tab.lost, "the browser is left")
        assert tab.received == b""

    async def test_late(self) -> None:
        """
        A request that was lost before its login begins is not logged in, and not answered.
        """
        realm = AvatarCache()(Page)
        wrapper = HTTPAuthSessionWrapper(Portal(realm, [Passwords()]), [BASIC])
        await self.leavesBefore(wrapper)
        assert not realm.sessions

    async def test_logOut(self) -> None:
        """
        C{logOut} ends the login and not the request.
        """
        ended: list[BaseException | None] = []

        class Ended(Block):
            def detached(self, session: Session) -> None:
                ended.append(session.reason)

        self.guard(HTTPAuthSessionWrapper, Ended()(AvatarCache()(Page)))
        tab = await self.open()
        assert (await tab.ask(b"/out")).body == b"out"
        assert (await tab.ask(b"/out")).body == b"out"
        assert [type(each) for each in ended] == [LoggedOut] * 2
        assert logOut(object()) is False


def _append(things: list[Any], thing: Any) -> Any:
    things.append(thing)
    return thing


class HTTPSLifeTests(LifeTests):
    """
    The same over TLS.
    """

    tls = True


class AnswerTests(WebCase):
    """
    What is answered if a login fails.
    """

    async def test_full(self) -> None:
        """
        A full limit is a 503 that says when to come again.
        """
        realm = ConnectionLimit(1)(AvatarCache()(Page))
        self.guard(HTTPAuthSessionWrapper, realm, retryAfter=7)
        first, second = await self.open(), await self.open()
        first.ask(b"/wait")
        await self.session()
        response = await second.ask()
        assert (response.code, response.body) == (503, b"too many connections")
        assert response.all(b"retry-after") == [b"7"]
        assert response.all(b"www-authenticate") == []
        assert (await second.ask(authorization=basic(password=b"wrong"))).code == 401
        head = await second.ask(method=b"HEAD")
        assert (head.code, head.body) == (503, b"")
        assert (await second.ask()).code == 503  # the body of HEAD was none

    async def test_ceiling(self) -> None:
        """
        So is a realm with too many logins in progress.
        """
        realm: Any = AvatarCache()(lambda each: Deferred())
        realm.maximumWaiting = 1
        self.guard(HTTPAuthSessionWrapper, realm)
        (await self.open()).ask()
        await self.session()
        response = await (await self.open()).ask(authorization=basic(b"bob"))
        assert (response.code, response.all(b"retry-after")) == (503, [b"10"])

    async def test_closed(self) -> None:
        """
        So is a realm that is closed.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        await self.realm.close()
        response = await (await self.open()).ask()
        assert (response.code, response.body) == (503, b"the server is shutting down")

    async def test_attempts(self) -> None:
        """
        Whoever tries too often gets a 429.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        clock = Clock()
        throttled = ThrottledChecker(Passwords(), freeForName=1, maximumWaiting=0, reactor=clock)
        realm = AvatarCache()(Page)
        self.serve(HTTPAuthSessionWrapper(Portal(realm, [throttled]), [BASIC]))
        wrong, tab = basic(password=b"wrong"), await self.open()
        assert (await tab.ask(authorization=wrong)).code == 401
        response = await tab.ask(authorization=wrong)
        assert (response.code, response.all(b"retry-after")) == (429, [b"10"])
        clock.advance(60)

    async def test_refused(self) -> None:
        """
        Somebody whom a block refuses gets a 403 with its text, which is not HTML.
        """
        self.guard(HTTPAuthSessionWrapper, Refusing()(AvatarCache()(Page)))
        response = await (await self.open()).ask()
        assert (response.code, response.body) == (403, b"not on <Sundays>")
        assert response.all(b"content-type") == [b"text/plain; charset=utf-8"]

    async def test_refusedAnonymous(self) -> None:
        """
        Whoever sent no credentials and is refused is asked for some.
        """
        realm = Refusing()(AvatarCache()(Page))
        portal = Portal(realm, [AllowAnonymousAccess()])
        self.serve(HTTPAuthSessionWrapper(portal, [BASIC]))
        response = await (await self.open()).ask(authorization=None)
        assert (response.code, len(response.all(b"www-authenticate"))) == (401, 1)

    async def test_fault(self) -> None:
        """
        A fault of the realm's is a 500 that says nothing, and is logged once.
        """

        def make(avatarId: Any) -> Page:
            raise ValueError("the password of the database")

        self.guard(HTTPAuthSessionWrapper, AvatarCache()(make))
        response = await (await self.open()).ask()
        assert (response.code, response.body) == (500, b"something went wrong on the server")
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_faultShown(self) -> None:
        """
        So is one of a realm that hides none, or of a checker.
        """

        def make(avatarId: Any) -> Page:
            raise ValueError("the password of the database")

        realm: Any = AvatarCache()(make)
        realm.hideFaults = False
        self.guard(HTTPAuthSessionWrapper, realm)
        response = await (await self.open()).ask()
        assert (response.code, response.body) == (500, b"something went wrong on the server")
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_noPage(self) -> None:
        """
        An avatar that is no resource, and cannot be adapted to one, is a fault.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda avatarId: object()))
        response = await (await self.open()).ask()
        assert (response.code, response.body) == (500, b"something went wrong on the server")
        assert len(self.flushLoggedErrors(NotImplementedError)) == 1


class MistakeTests(WebCase):
    """
    What is put together wrongly.
    """

    async def test_watching(self) -> None:
        """
        A site in a WatchingFactory has no portal, and is refused.
        """
        realm = AvatarCache()(Page)
        portal: Any = Portal(realm, [Passwords()])
        site = Site(HTTPAuthSessionWrapper(portal, [BASIC]))
        listening: Any = reactor.listenTCP(0, WatchingFactory(site, portal), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.port = listening.getHost().port
        tab = await self.open()
        tab.ask()
        await self.until(lambda: tab.lost, "it is let in")
        assert tab.received == b""

    def test_arguments(self) -> None:
        """
        They are refused where they are given.
        """
        portal: Any = Portal(AvatarCache()(Page))
        for wrong in (
            lambda: HTTPAuthSessionWrapper(object(), []),  # type: ignore[arg-type]
            lambda: HTTPAuthSessionWrapper(portal, None),  # type: ignore[arg-type]
            lambda: HTTPAuthSessionWrapper(portal, [], retryAfter=1.5),  # type: ignore[arg-type]
            lambda: HTTPAuthSessionWrapper(portal, [], keepAlive=1),  # type: ignore[arg-type]
            lambda: HTTPAuthSessionWrapper(portal, [], reactor=1),  # type: ignore[arg-type]
        ):
            self.assertRaises(TypeError, wrong)
        assert isinstance(portal.realm, Realm)
