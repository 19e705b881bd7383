"""
Clients of the L{protocols}: each has one connection, and logs in over it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from certificates import selfSigned

# Any in this module: protocols, which have whatever attributes they have.

certificate: Callable[[], Any] = cache(selfSigned)


class Caller(ClientFactory):
    """
    A client with one connection.

    @ivar ready: fires when the client has logged in.
    @ivar closed: fires when its connection is closed.
    @ivar transport: its transport.
    """

    noisy = False

    def __init__(self, talk: Callable[[Caller], Any]) -> None:
        self.ready: Deferred[None] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.kept: list[object] = []
        self._talk = talk

    def buildProtocol(self, address: Any) -> Any:
        """
        Build the client's protocol.
        """
        self.built = self._talk(self)
        return self.built

    @property
    def transport(self) -> Any:
        """
        The transport of the protocol.
        """
        return self.built.transport

    def loggedIn(self, result: object = None) -> None:
        """
        The client has logged in.
        """
        self.kept.append(result)  # Perspective Broker logs out who drops it
        if not self.ready.called:
            self.ready.callback(None)

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """
        The connection is closed.
        """
        self.closed.callback(None)


class Talk(Protocol):
    """
    A client that waits for one thing after another, and says what comes next.

    @ivar steps: what to wait for, and what to say then: bytes, or a function of this protocol that
        returns bytes.
    """

    def __init__(self, caller: Caller, steps: list[tuple[bytes, Any]]) -> None:
        self.caller, self.steps, self.heard = caller, [*steps], b""

    def connectionMade(self) -> None:
        """
        Say what needs no answer first.
        """
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """
        Go on as far as there are answers.
        """
        self.heard += data
        while self.steps and self.steps[0][0] in self.heard:
            wanted, words = self.steps.pop(0)
            self.heard = self.heard.partition(wanted)[2] if wanted else self.heard
            said: bytes = words(self) if callable(words) else words
            self.transport.write(said)  # type: ignore[union-attr]  # there is one now
            if not self.steps:
                self.caller.loggedIn()


def encrypt(words: bytes) -> Callable[[Any], bytes]:
    """
    Begin with TLS, and then say something.
    """

    def begin(talk: Any) -> bytes:
        options = ssl.optionsForClientTLS("localhost", trustRoot=certificate())
        talk.transport.startTLS(options)
        return words

    return begin


def talking(*steps: tuple[bytes, Any]) -> Callable[[], Caller]:
    """
    Return what makes a client that talks.
    """
    return lambda: Caller(partial(Talk, steps=[*steps]))
