"""
Tests of logins over the web with klein.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from avatarkit import AvatarCache, ConnectionLimit
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper, logOut
from needing import needsModule
from websites import BASIC, Page, Passwords, WebCase


@needsModule("klein")
class KleinTests(WebCase):
    """
    The wrappers in a site of klein's, and a site of klein's as an avatar.
    """

    def app(self) -> Any:
        """
        Return a site of klein's.
        """
        from klein import Klein

        return Klein()

    async def test_below(self) -> None:
        """
        A wrapper is what a route returns.
        """
        app, realm = self.app(), ConnectionLimit(1)(AvatarCache()(Page))
        self.addCleanup(realm.close)
        for path, kind, options in (
            ("/basic/", HTTPAuthSessionWrapper, {}),
            ("/cookies/", CookieAuthSessionWrapper, {"secure": False, "reactor": Clock()}),
        ):
            given: Any = options
            wrapper = kind(Portal(realm, [Passwords()]), [BASIC], **given)
            app.route(path, branch=True, endpoint=path)(lambda request, wrapper=wrapper: wrapper)
        self.serve(app.resource())
        tab = await self.open()
        assert (await tab.ask(b"/basic/")).body == b"page of alice"
        assert not realm.sessions
        assert (await tab.ask(b"/basic/", None)).code == 401
        assert (await tab.ask(b"/cookies/")).body == b"page of alice"
        assert (await tab.ask(b"/cookies/", None)).body == b"page of alice"
        assert (await tab.ask(b"/basic/")).code == 503
        assert (await tab.ask(b"/cookies/out", None)).body == b"out"
        assert not realm.sessions

    async def test_avatar(self) -> None:
        """
        An avatar's routes are answered, also later; a browser that leaves ends its session.
        """
        app, later = self.app(), list[Deferred[bytes]]()

        def home(request: Any) -> bytes:
            return b"home"

        def out(request: Any) -> bytes:
            return b"out" if logOut(request) else b"was out"

        def wait(request: Any) -> Deferred[bytes]:
            later.append(Deferred())
            return later[-1]

        for path, page in (("/", home), ("/out", out), ("/later", wait)):
            app.route(path)(page)
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda avatarId: app.resource()))
        tab = await self.open()
        assert (await tab.ask()).body == b"home"
        assert (await tab.ask(b"/out")).body == b"out"
        waiting = tab.ask(b"/later")
        await self.until(lambda: later, "no request")
        assert len(self.realm.sessions) == 1
        later[0].callback(b"done")
        assert (await waiting).body == b"done"
        tab.ask(b"/later")
        session = await self.session()
        tab.leave()
        await session.whenClosed()
