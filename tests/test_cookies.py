"""
Tests of logins over the web that are the session of a browser.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from avatarkit import (
    AvatarCache,
    Block,
    ClientLost,
    ConnectionLimit,
    IdleTooLong,
    Kicked,
    LoggedOut,
    MindRegistry,
    Session,
)
from avatarkit.transports import CookieAuthSessionWrapper
from websites import BASIC, DIGEST, CookieCase, Jar, Page, Tab, basic, digest


class SessionTests(CookieCase):
    """
    The session of a browser.
    """

    async def test_session(self) -> None:
        """
        A browser logs in once, for all of its requests, over whatever connection they come.
        """
        self.cookies(ConnectionLimit(1)(AvatarCache()(Page)))
        tab = await self.logIn()
        session = await self.session()
        connection: Any = session.connection
        assert connection.lastReceived == session.lastActive == 0
        self.clock.advance(5)
        other = await self.open(tab.jar)
        assert (await other.ask(authorization=None)).body == b"page of alice"
        assert connection.getPeer() == other.transport.getHost()  # type: ignore[union-attr]
        assert (await tab.ask()).body == b"page of alice"
        assert await self.session() is session
        assert connection.lastReceived == session.lastActive == 5
        assert connection.getPeer() == tab.transport.getHost()  # type: ignore[union-attr]
        assert connection.getHost() == tab.transport.getPeer()  # type: ignore[union-attr]
        assert connection.backlog == 0
        assert not connection.disconnected
        assert len(tab.jar.set) == 1
        tab.leave()
        other.leave()
        await self.until(lambda: tab.lost and other.lost, "they are left")
        assert not session.ended

    async def test_cookie(self) -> None:
        """
        The cookie is not for scripts, nor for requests that other sites cause, nor for other sites;
        and not for plain HTTP, unless told otherwise.
        """
        tab = await self.served(secure=True)
        ((cookie, *attributes),) = [each.split(b"; ") for each in tab.jar.set]
        assert cookie.startswith(b"__Host-session=")
        assert len(cookie) > 50
        assert attributes == [b"Path=/", b"Secure", b"HttpOnly", b"SameSite=lax"]
        tab = await self.served(cookieName="sid", sameSite="strict")
        ((cookie, *attributes),) = [each.split(b"; ") for each in tab.jar.set]
        assert cookie.startswith(b"sid=")
        assert attributes == [b"Path=/", b"HttpOnly", b"SameSite=strict"]

    async def served(self, **options: Any) -> Tab:
        """
        Return a tab that has logged in on a new server.
        """
        self.cookies(AvatarCache()(Page), **options)
        return await self.logIn()

    async def test_newId(self) -> None:
        """
        What somebody has put into a browser before is not its cookie when it has logged in.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.open(Jar({b"session": b"planted"}))
        assert (await tab.ask()).code == 200
        assert tab.jar.cookies[b"session"] != b"planted"
        thief = await self.open(Jar({b"session": b"planted"}))
        assert (await thief.ask(authorization=None)).code == 401
        again = tab.jar.cookies[b"session"]
        assert (await (await self.logIn()).ask()).code == 200
        assert tab.jar.cookies[b"session"] == again

    async def test_third(self) -> None:
        """
        With a limit of two, the third browser is refused, until one of them has logged out.
        """
        self.cookies(ConnectionLimit(2)(AvatarCache()(Page)))
        first, _second, third = await self.logIn(), await self.logIn(), await self.open()
        refused = await third.ask()
        assert (refused.code, refused.all(b"retry-after")) == (503, [b"10"])
        assert refused.all(b"set-cookie") == []
        assert (await first.ask(b"/out", None)).body == b"out"
        assert (await third.ask()).code == 200

    async def test_ceiling(self) -> None:
        """
        There may be only so many browsers, until one of them has left.
        """
        self.cookies(AvatarCache()(Page), maximum=1)
        first, second = await self.logIn(), await self.open()
        refused = await second.ask(authorization=basic(b"bob"))
        assert (refused.code, refused.body) == (503, b"too many users are logged in")
        assert (await second.ask(authorization=basic(b"bob", b"wrong"))).code == 401
        assert (await first.ask(b"/out", None)).code == 200
        assert (await second.ask(authorization=basic(b"bob"))).code == 200

    async def test_ceilingChecked(self) -> None:
        """
        Those whose passwords are still being checked do not count, but those who wait in the realm
        do.
        """
        loads = self.slow(maximum=1)
        self.checker.waiting = True
        waiting = [await self.open() for _ in range(3)]
        answers = [tab.ask() for tab in waiting]
        await self.until(lambda: len(self.checker.asked) == 3, "they are not checked")
        self.checker.waiting = False
        bob = await self.open()
        entered = bob.ask(authorization=basic(b"bob"))
        await self.until(lambda: loads, "he is not let in")
        for check in self.checker.asked:
            check.callback(b"alice")
        assert [(await each).code for each in answers] == [503] * 3
        loads[0].callback(Page(b"bob"))
        assert (await entered).body == b"page of bob"

    async def test_caches(self) -> None:
        """
        No cache that others share keeps a page, unless the page says so.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        answers = [await tab.ask(authorization=None), await (await self.open()).ask(b"/", None)]
        assert [each.code for each in answers] == [200, 401]
        for answer in answers:
            assert answer.all(b"cache-control") == [b"private, no-cache"]
        page: Any = (await self.session()).avatar
        page.render = lambda request: request.setHeader(b"cache-control", b"public") or b"all"
        assert (await tab.ask(authorization=None)).all(b"cache-control") == [b"public"]

    async def test_anonymous(self) -> None:
        """
        A login without credentials lasts for its request, and has no cookie.
        """
        realm = AvatarCache()(lambda avatarId: Page(avatarId or b"nobody"))
        portal = Portal(realm, [AllowAnonymousAccess()])
        self.serve(CookieAuthSessionWrapper(portal, [BASIC]))
        tab = await self.open()
        assert (await tab.ask(authorization=None)).body == b"page of nobody"
        assert not realm.sessions
        assert tab.jar.set == []

    async def test_digest(self) -> None:
        """
        HTTP digest works, with other credentials for each request, and with the cookie alone.
        """
        self.cookies(AvatarCache()(Page), DIGEST)
        tab = await self.open()
        (challenge,) = (await tab.ask(authorization=None)).all(b"www-authenticate")
        for nc in (1, 2):
            assert (await tab.ask(authorization=digest(challenge, b"/", nc=nc))).code == 200
        assert (await tab.ask(authorization=None)).code == 200
        session = await self.session()
        bob = await tab.ask(authorization=digest(challenge, b"/", b"bob"))
        assert bob.body == b"page of bob"
        assert session.ended

    async def test_late(self) -> None:
        """
        A request that was lost before its login begins is not logged in.
        """
        realm = AvatarCache()(Page)
        wrapper = self.cookies(realm)
        await self.leavesBefore(wrapper)
        assert not realm.sessions


class EndTests(CookieCase):
    """
    How the session of a browser ends.
    """

    async def test_expiry(self) -> None:
        """
        It ends when nothing has been requested for some time, which a single timer waits for.
        """
        self.cookies(AvatarCache()(Page))
        alice = await self.logIn()
        self.clock.advance(500)
        bob = await self.logIn(b"bob")
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(399)
        assert (await alice.ask(authorization=None)).code == 200
        self.clock.advance(899)
        assert (await bob.ask(authorization=None)).code == 401
        assert (await alice.ask(authorization=None)).code == 200
        self.clock.advance(901)
        assert (await alice.ask(authorization=None)).code == 401
        assert not self.realm.sessions
        assert self.clock.getDelayedCalls() == []

    async def test_expiryOfMany(self) -> None:
        """
        Those that have been idle for as long end together, and nothing is kept of them.
        """
        self.cookies(AvatarCache()(Page))
        for user in (b"alice", b"bob", b"carol"):
            await self.logIn(user)
        assert len(self.realm.sessions) == 3
        self.clock.advance(900)
        assert not self.realm.sessions
        browsers = self.wrapper._browsers
        assert (len(browsers), browsers._byOrigin, browsers._idle) == (0, {}, {})

    async def test_busy(self) -> None:
        """
        It does not expire while a request goes on.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        waiting = tab.ask(b"/wait")
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        self.clock.advance(5000)
        assert not session.ended
        page.requests[0].setHeader(b"content-length", b"0")
        page.requests[0].finish()
        await waiting
        self.clock.advance(899)
        assert not session.ended
        self.clock.advance(1)
        assert session.ended

    async def test_expiryCauses(self) -> None:
        """
        What the end of one causes may be that another has nothing to do any longer.
        """
        pages: dict[Any, Page] = {}

        class Finishing(Block):
            def detached(self, session: Session) -> None:
                if session.avatarId == b"alice":
                    pages[b"bob"].requests[0].finish()

        self.cookies(Finishing()(AvatarCache()(lambda each: pages.setdefault(each, Page(each)))))
        await self.logIn()
        bob = await self.logIn(b"bob")
        bob.ask(b"/wait", None)
        await self.until(lambda: pages[b"bob"].requests, "the page is not rendered")
        self.clock.advance(900)
        (session,) = self.realm.sessions
        assert session.avatarId == b"bob"
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(900)
        assert not self.realm.sessions

    async def test_logOut(self) -> None:
        """
        When its page logs it out, the browser has to ask its user for the password again, although
        it still sends it.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        session = await self.session()
        stolen = Jar(dict(tab.jar.cookies))
        assert (await tab.ask(b"/out")).body == b"out"
        assert session.ended
        assert (await (await self.open(stolen)).ask(authorization=None)).code == 401
        assert (await tab.ask(authorization=None)).code == 401
        assert (await tab.ask()).code == 401
        assert (await tab.ask()).code == 200
        assert len(self.realm.sessions) == 1

    async def test_logOutElsewhere(self) -> None:
        """
        What the browser requests besides is cut off, also if it has stopped reading.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        other = await self.open(tab.jar)
        other.ask(b"/wait")
        page: Any = (await self.session()).avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        other.transport.pauseProducing()  # type: ignore[union-attr]  # there is one
        page.requests[0].write(b"x" * 20_000_000)
        gone = page.requests[0].notifyFinish()
        assert (await tab.ask(b"/out")).body == b"out"
        assert (await tab.ask(b"/out", None)).code == 401
        self.clock.advance(5)
        await self.assertFailure(gone, Exception)

    async def test_otherCredentials(self) -> None:
        """
        Other credentials end it, and are another login, with another cookie.
        """
        self.cookies(ConnectionLimit(1)(AvatarCache()(Page)))
        tab = await self.logIn()
        session, before = await self.session(), dict(tab.jar.cookies)
        assert (await tab.ask(authorization=basic(b"bob"))).body == b"page of bob"
        assert session.ended
        assert tab.jar.cookies != before
        assert (await tab.ask(authorization=basic(password=b"wrong"))).code == 401
        assert not self.realm.sessions

    async def test_kicked(self) -> None:
        """
        When it is kicked, its cookie is good for nothing, and its requests are cut off.
        """
        online = MindRegistry()
        self.cookies(online(AvatarCache()(Page)))
        idle, busy = await self.logIn(), await self.logIn()
        busy.ask(b"/wait")
        await self.until(lambda: self.page().requests, "the page is not rendered")
        await online.disconnect(b"alice", reactor=self.clock)
        await self.until(lambda: busy.lost, "the browser is left")
        assert (await idle.ask(authorization=None)).code == 401
        assert (await idle.ask()).code == 200  # it still knows the password
        assert self.realm.audit() == []

    def page(self) -> Page:
        """
        Return alice's avatar.
        """
        return next(iter(self.realm.sessions)).avatar  # type: ignore[no-any-return]  # a page

    async def test_kickedStalled(self) -> None:
        """
        A request that does not read is cut off by the deadline.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        tab.ask(b"/wait")
        session = await self.session()
        connection: Any = session.connection
        await self.until(lambda: self.page().requests, "the page is not rendered")
        tab.transport.pauseProducing()  # type: ignore[union-attr]  # there is one
        self.page().requests[0].write(b"x" * 20_000_000)
        assert connection.backlog > 1_000_000
        session.disconnect(timeout=3, reactor=self.clock)
        assert not connection.disconnected
        self.clock.advance(3)
        await self.until(lambda: connection.disconnected, "it is not closed")
        assert self.clock.getDelayedCalls() == []

    async def test_closed(self) -> None:
        """
        Closing its connection, politely or not, ends it.
        """
        self.cookies(AvatarCache()(Page))
        for how in ("loseConnection", "abortConnection"):
            await self.logIn()
            session = await self.session()
            getattr(session.connection, how)()
            assert session.ended
            getattr(session.connection, how)()

    async def test_loggedOut(self) -> None:
        """
        When its session is logged out, what it requests is still answered, and then no more.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        waiting = tab.ask(b"/wait")
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        session.logout()
        connection: Any = session.connection
        assert not connection.disconnected
        page.requests[0].setHeader(b"content-length", b"0")
        page.requests[0].finish()
        assert (await waiting).code == 200
        assert connection.disconnected
        assert (await tab.ask(authorization=None)).code == 401

    async def test_ending(self) -> None:
        """
        While the session closes, and that takes its time, its cookie is good for nothing already.
        """
        closing: Deferred[None] = Deferred()

        class Slow(Block):
            def detached(self, session: Session) -> Deferred[None]:
                return closing

        self.cookies(Slow()(AvatarCache()(Page)))
        tab, busy = await self.logIn(), await self.open()
        busy.jar = tab.jar
        waiting = busy.ask(b"/wait")
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        session.logout()
        answers = [await tab.ask(authorization=None), await tab.ask(authorization=None)]
        assert [each.code for each in answers] == [401, 401]
        page.requests[0].setHeader(b"content-length", b"0")
        page.requests[0].finish()
        await waiting
        assert self.realm.sessions
        closing.callback(None)
        assert not self.realm.sessions

    async def test_realmClosed(self) -> None:
        """
        It ends when the realm is closed.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        await self.realm.close()
        assert (await tab.ask(authorization=None)).code == 401
        assert (await tab.ask()).code == 503
        assert self.clock.getDelayedCalls() == []


class ReasonTests(CookieCase):
    """
    Why the session of a browser ends.
    """

    async def reason(self, end: Any) -> type[BaseException]:
        """
        Return why it has ended.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        session = await self.session()
        await end(tab, session)
        await session.whenClosed()
        return type(session.reason)  # type: ignore[return-value]  # it has ended

    async def test_expired(self) -> None:
        """
        It was idle for too long.
        """

        async def expire(tab: Tab, session: Session) -> None:
            self.clock.advance(900)

        assert await self.reason(expire) is IdleTooLong

    async def test_loggedOut(self) -> None:
        """
        Its page has logged it out, or it has sent other credentials.
        """

        async def out(tab: Tab, session: Session) -> None:
            await tab.ask(b"/out", None)

        async def other(tab: Tab, session: Session) -> None:
            await tab.ask(authorization=basic(b"bob"))

        assert await self.reason(out) is LoggedOut
        assert await self.reason(other) is LoggedOut

    async def test_kicked(self) -> None:
        """
        It was kicked.
        """

        async def kick(tab: Tab, session: Session) -> None:
            session.disconnect("spam", reactor=self.clock)

        assert await self.reason(kick) is Kicked

    async def test_leaves(self) -> None:
        """
        It has left while it logged in.
        """
        self.slow()
        tab = await self.open()
        tab.ask()
        session = await self.session()
        tab.leave()
        await session.whenClosed()
        assert type(session.reason) is ClientLost


class HTTPSCookieTests(CookieCase):
    """
    Over TLS.
    """

    tls = True

    async def test_secure(self) -> None:
        """
        The cookie is secure, whatever is said.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        assert b"; Secure; " in tab.jar.set[0]
        assert (await tab.ask(authorization=None)).code == 200

    async def test_kicked(self) -> None:
        """
        A kick closes the TCP connection of a request.
        """
        self.cookies(AvatarCache()(Page))
        tab = await self.logIn()
        tab.ask(b"/wait")
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: page.requests, "the page is not rendered")
        await session.disconnect(reactor=self.clock)
        await self.until(lambda: tab.lost, "the browser is left")


class MistakeTests(CookieCase):
    """
    Wrong arguments.
    """

    def test_arguments(self) -> None:
        """
        They are refused where they are given.
        """
        portal: Any = Portal(AvatarCache()(Page))
        for error, wrong in (
            (TypeError, {"timeout": None}),
            (TypeError, {"maximum": "1"}),
            (ValueError, {"maximum": 0}),
            (TypeError, {"secure": None}),
            (ValueError, {"sameSite": "no"}),
            (ValueError, {"sameSite": "none", "secure": False}),
            (ValueError, {"cookieName": "a=b"}),
            (ValueError, {"cookieName": b"a"}),
        ):
            options: Any = wrong
            self.assertRaises(error, CookieAuthSessionWrapper, portal, [BASIC], **options)
        CookieAuthSessionWrapper(portal, [BASIC], sameSite="none")
