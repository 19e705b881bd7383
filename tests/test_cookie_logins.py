"""
Tests of how a browser logs in that is given a cookie.
"""

from __future__ import annotations

from typing import Any

from avatarkit import AvatarCache, ConnectionLimit, LoginRefused
from websites import CookieCase, Jar, Page, basic, reactor


class LoginTests(CookieCase):
    """
    The login of a browser.
    """

    async def test_shared(self) -> None:
        """
        Requests that a browser sends at the same time log in once, and each is given the cookie.
        """
        loads = self.slow(ConnectionLimit(1))
        tabs = await self.waitingTabs(3)
        before = dict(tabs[0].jar.cookies)
        answers = [each.ask() for each in tabs]
        await self.session()
        late = await self.open(Jar(before))
        await self.until(lambda: self.waiting() == 3, "not all have come")
        loads[0].callback(Page(b"alice"))
        bodies = [(await each).body for each in answers]
        assert bodies == [b"page of alice"] * 3
        assert len(set(tabs[0].jar.set[1:])) == 1
        assert (await late.ask()).code == 200
        assert late.jar.cookies == tabs[0].jar.cookies
        assert len(self.realm.sessions) == 1

    def waiting(self) -> int:
        """
        Return how many requests wait.
        """
        (session,) = self.realm.sessions
        connection: Any = session.connection
        return len(connection._waiting)

    async def test_notShared(self) -> None:
        """
        Those with other credentials, and those of another browser, log in on their own.
        """
        loads = self.slow()
        (tab, other), stranger = await self.waitingTabs(2), await self.open()
        for each, user in ((tab, b"alice"), (other, b"bob"), (stranger, b"alice")):
            each.ask(authorization=basic(user))
        await self.until(lambda: len(self.realm.sessions) == 3, "not all have come")
        del loads

    async def test_oneLeaves(self) -> None:
        """
        If one of them leaves, the others go on waiting; if all do, nothing is left.
        """
        loads = self.slow()
        one, other = await self.waitingTabs(2)
        one.ask()
        waiting = other.ask()
        session = await self.session()
        await self.until(lambda: self.waiting() == 2, "not all have come")
        one.leave()
        await self.until(lambda: self.waiting() == 1, "it is not noticed")
        loads[0].callback(Page(b"alice"))
        assert (await waiting).code == 200
        session.logout()
        await self.close(other)

    async def test_allLeave(self) -> None:
        """
        If all of them leave during the login, it is cancelled.
        """
        loads = self.slow(ConnectionLimit(1))
        tabs = await self.waitingTabs(2)
        for tab in tabs:
            tab.ask()
        session = await self.session()
        await self.until(lambda: self.waiting() == 2, "not all have come")
        for tab in tabs:
            tab.leave()
        await session.whenClosed()
        loads[0].callback(Page(b"alice"))
        assert self.realm.audit() == []
        assert self.flushLoggedErrors() == []
        assert self.clock.getDelayedCalls() == []
        assert len(self.wrapper._browsers) == 0

    async def test_tooMuch(self) -> None:
        """
        A browser that sends so much during its login that Twisted stops reading is cut off.
        """
        self.slow()
        tab = await self.open()
        tab.ask()
        session = await self.session()
        tab.transport.write(b"x" * 40_000)  # type: ignore[union-attr]  # there is one
        await session.whenClosed()
        await self.until(lambda: tab.lost, "the browser is left")

    async def test_muchLater(self) -> None:
        """
        One that does so when it has logged in is not.
        """
        loads = self.slow()
        tab = await self.open()
        answer = tab.ask(b"/wait")
        session = await self.session()
        page = Page(b"alice")
        loads[0].callback(page)
        await self.until(lambda: page.requests, "the page is not rendered")
        (visit,) = page.requests
        tab.transport.write(b"x" * 40_000)  # type: ignore[union-attr]  # there is one
        wire = visit.channel.transport
        await self.until(lambda: wire not in reactor.getReaders(), "Twisted goes on reading")
        visit.setHeader(b"content-length", b"0")
        visit.finish()
        assert (await answer).code == 200
        assert not session.ended

    async def test_meanwhile(self) -> None:
        """
        A request that comes when the login has been ended, and before those that waited for it are
        told so, logs in anew.
        """
        loads = self.slow()
        one, other = await self.waitingTabs(2)
        first = one.ask()
        (await self.session()).logout()
        second = other.ask()
        await self.until(lambda: len(loads) == 2, "it does not log in")
        self.clock.advance(0)
        assert (await first).code == 503
        loads[1].callback(Page(b"alice"))
        assert (await second).code == 200

    async def test_checked(self) -> None:
        """
        So it is while the password is checked.
        """
        self.cookies(AvatarCache()(Page))
        await self.leavesWhileChecked()
        assert self.checker.cancelled == 1

    async def test_kicked(self) -> None:
        """
        A kick during the login closes the connections of all that wait.
        """
        self.slow()
        tabs = await self.waitingTabs(2)
        for tab in tabs:
            tab.ask()
        session = await self.session()
        await self.until(lambda: self.waiting() == 2, "not all have come")
        await session.disconnect(reactor=self.clock)
        self.clock.advance(0)
        await self.until(lambda: all(each.lost for each in tabs), "they are left")
        assert [each.received for each in tabs] == [b"", b""]

    async def test_loggedOut(self) -> None:
        """
        If the login is ended otherwise, all that wait get a 503.
        """
        self.slow()
        tabs = await self.waitingTabs(2)
        answers = [each.ask() for each in tabs]
        session = await self.session()
        await self.until(lambda: self.waiting() == 2, "not all have come")
        session.logout()
        self.clock.advance(0)
        assert [(await each).code for each in answers] == [503, 503]

    async def test_fails(self) -> None:
        """
        If it fails, each of them is told why, and a fault is logged once.
        """
        loads = self.slow()
        for fault, code in ((ValueError("x"), 500), (LoginRefused(), 403)):
            tabs = await self.waitingTabs(2)
            answers = [each.ask() for each in tabs]
            await self.session()
            await self.until(lambda: self.waiting() == 2, "not all have come")
            loads.pop().errback(fault)
            assert [(await each).code for each in answers] == [code, code]
            assert len(self.flushLoggedErrors(ValueError)) == (code == 500)
        assert len(self.wrapper._browsers) == 0

    async def test_outAtOnce(self) -> None:
        """
        If the first of them logs the browser out, the next is asked for credentials, and cut off.
        """
        loads = self.slow()
        first, second = await self.waitingTabs(2)
        out = first.ask(b"/out")
        await self.session()
        other = second.ask()
        await self.until(lambda: self.waiting() == 2, "not all have come")
        loads[0].callback(Page(b"alice"))
        assert (await out).body == b"out"
        assert (await other).code == 401
        await self.until(lambda: second.lost, "it is not cut off")
        assert self.flushLoggedErrors() == []
