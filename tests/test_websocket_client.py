"""
A WebSocket client from the Python Package Index.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from zope.interface import Interface, implementer

import realclients
from needing import needsModule


class ISocket(Interface):
    """
    What a client of the WebSocket server gets.
    """


@implementer(ISocket)
class Reader:
    """
    An avatar that says nothing.
    """


@needsModule("autobahn", "websockets")
class WebSocketTests(realclients.ScriptCase):
    """
    The client of the package C{websockets}, and a server of C{autobahn}.
    """

    program = (
        "from websockets.sync.client import connect; c = connect('ws://127.0.0.1:PORT'); "
        "c.send('alice secret'); print(c.recv())"
    )

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve WebSocket: the first message says who logs in.
        """
        from autobahn.twisted import websocket

        class Protocol(websocket.WebSocketServerProtocol):
            def onMessage(self, payload: bytes, isBinary: bool) -> None:
                name, password = payload.split()
                login = self.factory.portal.login(UsernamePassword(name, password), None, ISocket)
                login.addCallback(self.loggedIn).addErrback(lambda failure: self.sendClose())

            def loggedIn(self, result: Any) -> None:
                self.sendMessage(b"welcome")

        factory: Any = websocket.WebSocketServerFactory()
        factory.protocol = Protocol
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)  # no timers
        factory.portal = portal
        return factory

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return a reader.
        """
        return Reader()
