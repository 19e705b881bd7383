"""
Tests of WebSockets that begin as a request with a login.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from avatarkit import AvatarCache, Session
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper, IdleLimit
from needing import needsModule
from websites import Tab, WebCase

UPGRADE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


@needsModule("autobahn")
class WebSocketTests(WebCase):
    """
    A request that becomes a WebSocket is never finished, and not told that its connection is lost.
    """

    async def connect(self, wrapper: Any, above: Any = None, **options: Any) -> Tab:
        """
        Serve a WebSocket, and connect to it.
        """
        from autobahn.twisted.resource import WebSocketResource
        from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

        factory = WebSocketServerFactory()
        factory.protocol = WebSocketServerProtocol
        realm = AvatarCache()(lambda avatarId: WebSocketResource(factory))
        self.guard(wrapper, realm if above is None else above(realm), **options)
        tab = await self.open()
        tab.ask(headers=UPGRADE)
        await self.until(lambda: b"101 Switching" in tab.received, "it is no WebSocket")
        return tab

    async def test_leaves(self) -> None:
        """
        Its login ends with its connection.
        """
        tab = await self.connect(HTTPAuthSessionWrapper)
        session = await self.session()
        tab.leave()
        await session.whenClosed()

    async def test_active(self) -> None:
        """
        What arrives over it is an activity of its user, on whom an IdleLimit looks.
        """
        for wrapper in HTTPAuthSessionWrapper, CookieAuthSessionWrapper:
            clock = Clock()
            idle: Any = IdleLimit(60, reactor=clock)
            tab = await self.connect(wrapper, above=idle, reactor=clock)
            session = await self.session()
            for _ in range(3):
                await self.ping(clock, tab, session)
            assert not session.ended
            clock.advance(60)
            assert session.ended
            await session.whenClosed()

    async def ping(self, clock: Clock, tab: Any, session: Session) -> None:
        """
        Send a ping, which nobody but autobahn and the wire sees, after some time.
        """
        clock.advance(50)
        tab.transport.write(b"\x89\x80\0\0\0\0")
        await self.until(lambda: session.lastActive == clock.seconds(), "it is not active")
        connection: Any = session.connection
        assert connection.lastReceived == clock.seconds()

    async def test_kicked(self) -> None:
        """
        A kick closes its connection.
        """
        tab = await self.connect(HTTPAuthSessionWrapper)
        await (await self.session()).disconnect()
        await self.until(lambda: tab.lost, "it is left")

    async def test_cookies(self) -> None:
        """
        So it does with cookies.
        """
        tab = await self.connect(CookieAuthSessionWrapper)
        await (await self.session()).disconnect()
        await self.until(lambda: tab.lost, "it is left")


class SecureWebSocketTests(WebSocketTests):
    """
    The same over TLS.
    """

    tls = negotiates = True  # autobahn bears no wrapper around TLS
