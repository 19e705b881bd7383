"""
Tests of what a web server renders for a session.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.web.error import UnsupportedMethod
from twisted.web.guard import HTTPAuthSessionWrapper as TwistedsWrapper
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from avatarkit import AvatarCache, CallLimit, Session, currentSession
from avatarkit.testing import login
from avatarkit.transports import HTTPAuthSessionWrapper
from websites import BASIC, CookieCase, Page, Passwords, WebCase

# Any in this module: requests, and what requestAvatar returns.


class Site(Resource):
    """
    An avatar with pages.

    @ivar seen: whose request each was.
    """

    def __init__(self, avatarId: object = None) -> None:
        super().__init__()
        self.seen: list[Session | None] = []
        self._session, self._resource = "its session", "its resource"
        self.gate: Deferred[None] = Deferred()

    def getChild(self, path: bytes, request: Any) -> Any:
        """
        Find a page.
        """
        self.seen.append(currentSession())
        return self if path == b"" else Leaf(self)

    def render_GET(self, request: Any) -> Any:
        """
        Render the front page, later.
        """
        Deferred.fromCoroutine(self.later(request))
        return NOT_DONE_YET

    async def later(self, request: Any) -> None:
        """
        Render it.
        """
        await self.gate
        self.seen.append(currentSession())
        request.write(b"front")
        request.finish()


class Leaf(Resource):
    """
    A page below.
    """

    isLeaf = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def render_GET(self, request: Any) -> bytes:
        """
        Render it.
        """
        self.site.seen.append(currentSession())
        return b"below"


class PageTests(WebCase):
    """
    A request knows whose it is, and is answered as long as its session has not ended.
    """

    async def test_whose(self) -> None:
        """
        In all that is done for a request its session is the current one, also after waiting, and
        with Twisted's own wrapper.
        """
        for wrapper in (HTTPAuthSessionWrapper, TwistedsWrapper):
            realm = AvatarCache()(Site)
            self.realm = realm
            self.serve(wrapper(Portal(realm, [Passwords()]), [BASIC]))
            tab = await self.open()
            answer = tab.ask(b"/")
            session = await self.session()
            site: Any = session.avatar
            await self.until(partial(getattr, site, "seen"), "the page is not found")
            site.gate.callback(None)
            assert (await answer).body == b"front"
            assert site.seen == [session, session]
            site.seen.clear()
            assert (await tab.ask(b"/below")).body == b"below"
            first, second = site.seen
            assert first is second
            assert first not in (None, session)
            assert currentSession() is None

    def held(self) -> tuple[Any, Session]:
        """
        Return what a login returns, and its session.
        """
        realm = AvatarCache()(Site)
        result: Any = realm.requestAvatar(b"alice", None, IResource)
        (session,) = realm.sessions
        return result[1], session

    async def test_ended(self) -> None:
        """
        A request of a session that has ended is a 401, with the reason, at any depth.
        """
        held, session = self.held()
        below = held.getChildWithDefault(b"below", None)
        session.logout("spam")
        for page in (held, below, held.getChildWithDefault(b"below", None)):
            self.serve(page)
            answer = await (await self.open()).ask(b"/", None)
            assert (answer.code, answer.body) == (401, b"spam")
        assert session.avatar.seen == [session]

    def test_looks(self) -> None:
        """
        It has what the avatar has, and is a resource; in tests a login has the avatar itself.
        """
        held, session = self.held()
        assert held.seen is session.avatar.seen
        assert (held._session, held._resource) == ("its session", "its resource")
        assert not held.isLeaf
        assert held.getChildWithDefault(b"below", None).isLeaf
        held.putChild(b"x", Leaf(session.avatar))
        assert session.avatar.children[b"x"].site is session.avatar
        assert IResource.providedBy(held)
        assert repr(held) == f"<Page of {session!r}>"
        self.assertRaises(AttributeError, getattr, held, "missing")
        self.assertRaises(AttributeError, getattr, held, "__missing__")
        entered: Any = login(AvatarCache()(Site), b"alice", interface=IResource)
        assert type(entered.avatar) is Site


class TooManyTests(CookieCase):
    """
    Too many requests.
    """

    async def test_refused(self) -> None:
        """
        One that comes too soon is a 429; a browser that goes on is logged out.
        """
        limit = CallLimit(rate=1, burst=3, reactor=self.clock)
        self.cookies(limit(AvatarCache()(Page)))
        tab = await self.logIn()
        session = await self.session()
        codes = [(await tab.ask(authorization=None)).code for _ in range(5)]
        assert codes == [200, 200, 429, 429, 429]
        self.clock.advance(1)
        assert (await tab.ask(authorization=None)).code == 200
        for _ in range(2):
            tab.ask(authorization=None)
        await self.until(lambda: session.ended, "it is not ended")
        await self.until(lambda: tab.lost, "it is left")

    async def test_head(self) -> None:
        """
        A C{HEAD} is one call, although Twisted renders it again as a C{GET}.
        """

        class Plain(Page):
            def render(self, request: Any) -> Any:
                if request.method == b"HEAD":
                    raise UnsupportedMethod([b"GET"])
                return super().render(request)

        self.cookies(CallLimit(rate=1, burst=3, reactor=self.clock)(AvatarCache()(Plain)))
        tab = await self.logIn()
        asked = [await tab.ask(authorization=None, method=b"HEAD") for _ in range(3)]
        assert [each.code for each in asked] == [200, 200, 429]

    async def test_aLoginEach(self) -> None:
        """
        Where each request is a login, those of a key are counted together, however they come.
        """
        for wrapper in (HTTPAuthSessionWrapper, TwistedsWrapper):
            limit: CallLimit = CallLimit(1, 2, key=lambda s: s.avatarId, reactor=self.clock)
            self.guard(wrapper, limit(Page))
            tab, other = await self.open(), await self.open()
            codes = [(await each.ask()).code for each in (tab, other, tab, other)]
            assert codes == [200, 200, 429, 429]
            self.clock.advance(1)
            assert (await tab.ask()).code == 200
            assert not self.realm.sessions
