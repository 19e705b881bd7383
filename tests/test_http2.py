"""
Tests of logins over HTTP/2, of which many go over one TCP connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from avatarkit import AvatarCache, ConnectionLimit, MindRegistry
from avatarkit.transports import CookieAuthSessionWrapper, HTTPAuthSessionWrapper
from needing import needsModule
from websites import Page, WebCase, basic


class Streams(Protocol):
    """
    A browser that speaks HTTP/2.
    """

    def __init__(self) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.lost = False
        self.whenMade: Deferred[None] = Deferred()
        self.conn: Any = H2Connection(H2Configuration(client_side=True))
        self.waiting: dict[int, Deferred[Any]] = {}
        self.headers: dict[int, dict[bytes, bytes]] = {}

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self.conn.initiate_connection()
        self.send()
        self.whenMade.callback(None)

    def send(self) -> None:
        """
        Send what there is to send.
        """
        self.transport.write(self.conn.data_to_send())  # type: ignore[union-attr]  # there is one

    def ask(self, path: str, authorization: bytes | None = b"", cookie: bytes = b"") -> Any:
        """
        Send a request.

        @return: its stream, and a Deferred of the headers of the response.
        """
        stream = self.conn.get_next_available_stream_id()
        headers: list[tuple[Any, Any]] = [
            (":method", "GET"),
            (":authority", "localhost"),
            (":scheme", "https"),
            (":path", path),
        ]
        if authorization is not None:
            headers.append(("authorization", authorization or basic()))
        if cookie:
            headers.append(("cookie", cookie))
        self.conn.send_headers(stream, headers, end_stream=True)
        self.send()
        return stream, self.expect(stream)

    def expect(self, stream: int) -> Deferred[Any]:
        """
        Return a Deferred of the headers of the response.
        """
        self.waiting[stream] = Deferred()
        return self.waiting[stream]

    def reset(self, stream: int) -> None:
        """
        Cancel a request.
        """
        self.conn.reset_stream(stream)
        self.send()

    def dataReceived(self, data: bytes) -> None:
        """
        Something has come.
        """
        for event in self.conn.receive_data(data):
            name = type(event).__name__
            if name == "ResponseReceived":
                self.headers[event.stream_id] = {
                    bytes(key): bytes(value) for key, value in event.headers
                }
            elif name == "StreamEnded":
                self.waiting[event.stream_id].callback(self.headers[event.stream_id])
            elif name == "StreamReset":
                self.waiting[event.stream_id].errback(Failure(ConnectionAborted()))
        self.send()

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is closed.
        """
        self.lost = True


class StreamCase(WebCase):
    """
    A server and browsers that speak HTTP/2.
    """

    tls = negotiates = True

    async def connect(self) -> Streams:
        """
        Connect.
        """
        streams = Streams()
        self.connectTo(streams, [b"h2"])
        await streams.whenMade
        self.addCleanup(lambda: Deferred.fromCoroutine(self.leave(streams)))
        return streams

    async def leave(self, streams: Streams) -> None:
        """
        Close a connection, and wait until it is.
        """
        if not streams.lost:
            streams.transport.abortConnection()  # type: ignore[union-attr]  # there is one
        await self.until(lambda: streams.lost, "the browser is left")


@needsModule("h2", "priority")
class HTTP2Tests(StreamCase):
    """
    Streams of one TCP connection.
    """

    async def test_each(self) -> None:
        """
        Each stream is a login of its own, which ends with it, and no other's does.
        """
        self.guard(HTTPAuthSessionWrapper, ConnectionLimit(2)(AvatarCache()(Page)))
        streams = await self.connect()
        first, _ = streams.ask("/wait")
        streams.ask("/wait")
        await self.until(lambda: len(self.realm.sessions) == 2, "not all have come")
        _, refused = streams.ask("/")
        assert (await refused)[b":status"] == b"503"
        one, other = self.realm.sessions
        assert one.connection.backlog is None
        assert one.connection.getPeer() == other.connection.getPeer()
        streams.reset(first)
        await one.whenClosed()
        assert not other.ended
        _, response = streams.ask("/")
        assert (await response)[b":status"] == b"200"

    async def test_leaves(self) -> None:
        """
        All of them end when the TCP connection is lost, also during the login.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda avatarId: Deferred()))
        streams = await self.connect()
        for user in (b"alice", b"bob"):
            streams.ask("/", basic(user))
        await self.until(lambda: len(self.realm.sessions) == 2, "not all have come")
        await self.leave(streams)
        await self.until(lambda: not self.realm.sessions, "they are left")
        assert self.flushLoggedErrors() == []

    async def test_kicked(self) -> None:
        """
        A kick resets the stream, and leaves the others alone; nothing more is written to it.
        """
        online = MindRegistry()
        self.guard(HTTPAuthSessionWrapper, online(AvatarCache()(Page)))
        streams = await self.connect()
        _, kicked = streams.ask("/wait")
        _, other = streams.ask("/wait", basic(b"bob"))
        await self.until(lambda: len(self.realm.sessions) == 2, "not all have come")
        page: Any = online.sessions(b"alice")[0].avatar
        await online.disconnect(b"alice")
        await self.assertFailure(kicked, ConnectionAborted)
        page.requests[0].write(b"x")
        (session,) = self.realm.sessions
        session.avatar.requests[0].finish()
        assert (await other)[b":status"] == b"200"

    async def test_kickedWaiting(self) -> None:
        """
        So does a kick during the login.
        """
        self.guard(HTTPAuthSessionWrapper, AvatarCache()(lambda avatarId: Deferred()))
        streams = await self.connect()
        _, kicked = streams.ask("/")
        await (await self.session()).disconnect()
        await self.assertFailure(kicked, ConnectionAborted)
        assert not streams.lost
        assert self.flushLoggedErrors() == []

    async def test_cookies(self) -> None:
        """
        Requests with the same credentials that come over one connection, before the browser has a
        cookie, share one login.
        """
        loads: list[Deferred[Page]] = []

        def load(avatarId: Any) -> Deferred[Page]:
            loads.append(Deferred())
            return loads[-1]

        self.guard(CookieAuthSessionWrapper, ConnectionLimit(1)(AvatarCache()(load)))
        streams = await self.connect()
        answers = [streams.ask("/")[1] for _ in range(3)]
        connection: Any = (await self.session()).connection
        await self.until(lambda: len(connection._waiting) == 3, "not all have come")
        loads[0].callback(Page(b"alice"))
        cookies = {(await each)[b"set-cookie"] for each in answers}
        assert len(cookies) == 1
        (cookie,) = cookies
        _, response = streams.ask("/", None, cookie.partition(b";")[0])
        assert (await response)[b":status"] == b"200"
        assert len(self.realm.sessions) == 1

    async def test_cookiesKicked(self) -> None:
        """
        A kick of the browser's session resets all of its streams.
        """
        self.guard(CookieAuthSessionWrapper, AvatarCache()(Page))
        streams = await self.connect()
        kicked = [streams.ask("/wait")[1] for _ in range(2)]
        session = await self.session()
        page: Any = session.avatar
        await self.until(lambda: len(page.requests) == 2, "not all have come")
        connection: Any = session.connection
        assert connection.backlog is None
        await session.disconnect()
        for each in kicked:
            await self.assertFailure(each, ConnectionAborted)
        assert connection.disconnected
