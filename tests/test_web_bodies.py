"""
What a browser sends before it logs in, over loopback TCP: the class of requests that the page about
the web shows bounds it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionAborted

import test_http2 as http2
from avatarkit import AvatarCache
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper
from needing import needsModule
from websites import Page, Tab, WebCase, basic

# Any in this module: requests, and a class that a page of the documentation defines.

PAGE = Path(__file__).parent.parent / "docs" / "howto-web.md"
MEBIBYTE = 1024 * 1024

#: A form, and what says so.
FORM = b"Content-Type: application/x-www-form-urlencoded"


def boundedRequest() -> Any:
    """
    Return the class of requests that the page shows.
    """
    blocks: list[str] = re.findall("```python\\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (each for each in blocks if "class BoundedRequest" in each)
    names: dict[str, Any] = {"Site": lambda wrapper, requestFactory: None, "wrapper": None}
    exec(block, names)  # noqa: S102  # it is our own
    return names["BoundedRequest"]


class BodyCase(WebCase):
    """
    A site that bounds what is sent to it.
    """

    def bound(self) -> None:
        """
        Serve a page.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(Page))
        self.taken: list[int] = []
        taken, known = self.taken, boundedRequest()

        class Request(known):  # type: ignore[misc, valid-type]  # it is one
            def requestReceived(self, *args: Any) -> None:
                taken.append(self.content.tell())
                super().requestReceived(*args)

        self.site.requestFactory = Request

    def nobody(self) -> None:
        """
        Check that nobody has logged in.
        """
        assert not self.realm.sessions
        assert self.flushLoggedErrors() == []


class HTTP1Tests(BodyCase):
    """
    Over HTTP/1.1.
    """

    async def isCutOff(self, tab: Tab) -> None:
        """
        Check that a browser is cut off, and gets no answer.
        """
        await self.until(lambda: tab.lost, "it may go on")
        assert tab.received == b""
        self.nobody()

    async def test_unbounded(self) -> None:
        """
        Without it, Twisted takes whatever comes, before any wrapper is asked.
        """
        for wrapper in (HTTPAuthSessionWrapper, CookieAuthSessionWrapper):
            options = {"secure": False} if wrapper is CookieAuthSessionWrapper else {}
            self.guard(wrapper, AvatarCache()(Page), **options)
            tab = await self.open()
            response = await tab.ask(body=b"x" * (4 * MEBIBYTE), method=b"POST", authorization=None)
            assert response.code == 401

    async def test_most(self) -> None:
        """
        As much as may be sent is taken.
        """
        self.bound()
        tab = await self.open()
        body = b"x=" + b"y" * (MEBIBYTE - 2)
        response = await tab.ask(method=b"POST", body=body, headers=[FORM])
        assert response.code == 200
        assert response.body == b"posted " + body + b"|" + body[2:]
        assert self.taken == [MEBIBYTE]

    async def test_tooMuch(self) -> None:
        """
        A browser that sends more is cut off, whether it has a password or not, and however much
        more it is.
        """
        self.bound()
        for authorization in (None, b""):
            for more in (1, 10 * MEBIBYTE):
                tab = await self.open()
                tab.ask(method=b"POST", body=b"x" * (MEBIBYTE + more), authorization=authorization)
                await self.isCutOff(tab)
        assert all(each <= MEBIBYTE for each in self.taken)

    async def test_chunks(self) -> None:
        """
        So is one that does not say how much it will be.
        """
        self.bound()
        tab = await self.open()
        head = [b"POST / HTTP/1.1", b"Host: localhost", b"Transfer-Encoding: chunked"]
        wire: Any = tab.transport
        wire.write(b"\r\n".join([*head, b"Authorization: " + basic(), b"", b""]))
        for _ in range(40):
            wire.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await self.isCutOff(tab)
        assert self.taken == []


@needsModule("h2", "priority")
class HTTP2Tests(BodyCase, http2.StreamCase):
    """
    Over HTTP/2.
    """

    tls = negotiates = True

    async def post(self, streams: Any, size: int, *, end: bool = True) -> Any:
        """
        Send a body, as fast as the server allows; return the Deferred of the headers.
        """
        conn = streams.conn
        stream = conn.get_next_available_stream_id()
        names = {":method": "POST", ":authority": "localhost", ":scheme": "https", ":path": "/none"}
        conn.send_headers(stream, [*names.items(), ("authorization", basic())])
        streams.send()
        answer = streams.expect(stream)

        def room() -> Any:
            return answer.called or conn.local_flow_control_window(stream)

        while size and not answer.called:
            await self.until(room, "the server does not take it")
            if answer.called:
                break
            piece = min(size, conn.local_flow_control_window(stream), conn.max_outbound_frame_size)
            size -= piece
            conn.send_data(stream, b"x" * piece, end_stream=end and not size)
            streams.send()
        return answer

    async def test_most(self) -> None:
        """
        As much as may be sent is taken.
        """
        self.bound()
        streams = await self.connect()
        headers = await (await self.post(streams, MEBIBYTE))
        assert headers[b":status"] == b"404"
        assert self.taken == [MEBIBYTE]

    async def test_tooMuch(self) -> None:
        """
        The stream of a request that sends more is reset; others go on.
        """
        self.bound()
        streams = await self.connect()
        for more in (1, MEBIBYTE):
            answer = await self.post(streams, MEBIBYTE + more)
            await self.assertFailure(answer, ConnectionAborted)
            self.nobody()
        _, response = streams.ask("/")
        assert (await response)[b":status"] == b"200"

    async def test_leaves(self) -> None:
        """
        A browser may leave when it has sent too much.
        """
        self.bound()
        streams = await self.connect()
        answer = await self.post(streams, MEBIBYTE + 1, end=False)
        answer.addErrback(lambda failure: None)
        await self.leave(streams)
        await self.until(lambda: not self.realm.sessions, "a session is left")
        self.nobody()
