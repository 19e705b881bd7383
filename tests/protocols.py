"""
The protocols that Twisted's servers log their users in by, each with a server and a client.

A L{Row} is a protocol.  To add one, append it to L{ROWS}: whatever goes through all of them then
goes through it as well.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import attrs
from twisted.conch.telnet import (
    AuthenticatingTelnetProtocol,
    ITelnetProtocol,
    TelnetProtocol,
    TelnetTransport,
)
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory
from twisted.mail import imap4, pop3, smtp
from twisted.protocols import amp, basic, ftp
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.words.iwords import IUser
from twisted.words.service import InMemoryWordsRealm, IRCFactory
from zope.interface import Interface, implementer

from avatarkit import Avatar, LoginRefused
from avatarkit.transports import WatchingFactory
from callers import Caller, certificate, encrypt, talking

# Any in this module: protocols and factories, which have whatever attributes they have.


@attrs.frozen
class Row:
    """
    A protocol.

    @ivar serve: returns the factory of a server that logs in through a portal.
    @ivar call: returns a new client, which logs in as alice with the password C{secret}.
    @ivar encrypted: the same with STARTTLS; C{None} if the protocol has none.
    @ivar makeAvatar: returns an avatar.
    @ivar interface: what it is seen through.
    @ivar watch: returns the factory that the server listens with.
    @ivar again: what a client says to log in once more over the same connection, before the
        server has answered; C{None} if its protocol does not let it, or a function of the client.
    """

    name: str
    serve: Callable[[Portal], Any]
    call: Callable[[], Caller]
    makeAvatar: Callable[[], Any]
    interface: Any
    encrypted: Callable[[], Caller] | None = None
    watch: Callable[[Any, Any], Any] = WatchingFactory
    again: bytes | Callable[[Any], object] | None = None


def withPortal(protocol: Callable[[], Any], portal: Portal) -> Any:
    """
    Return the factory of a protocol that has the portal as an attribute.
    """
    factory: Any = Factory()
    factory.noisy = False

    def build() -> Any:
        built = protocol()
        built.portal = portal
        return built

    factory.protocol = build
    return factory


# Perspective Broker.


def logIn(caller: Caller, factory: Any, mind: object) -> None:
    """
    Log in to Perspective Broker.
    """
    login: Any = factory.login(UsernamePassword(b"alice", b"secret"), mind)
    login.addCallbacks(caller.loggedIn, lambda failure: None)


def broker(name: str, mind: Callable[[], object]) -> Row:
    """
    Return the row of Perspective Broker with a mind.
    """

    def talk(caller: Caller) -> Any:
        factory: Any = pb.PBClientFactory()
        logIn(caller, factory, mind())
        return factory.buildProtocol(None)

    return Row(
        name,
        lambda portal: pb.PBServerFactory(portal),
        lambda: Caller(talk),
        Avatar,
        pb.IPerspective,
        again=lambda caller: logIn(caller, caller.built.factory, mind()),
    )


# Mail.


@implementer(imap4.IAccount, smtp.IMessageDelivery)
class Mailbox(pop3.Mailbox):  # type: ignore[misc]  # no client asks for more
    """
    An empty mailbox, for each of the three protocols.
    """


class POP3(pop3.POP3):
    """
    POP3 with STLS, which Twisted's own server does not have.
    """

    AUTH_CMDS = [*pop3.POP3.AUTH_CMDS, b"STLS"]  # as POP3 has it

    def do_STLS(self) -> None:
        """
        Begin with TLS.
        """
        self.successResponse(b"")
        self.transport.startTLS(certificate().options())  # type: ignore[union-attr]  # it is TCP


class IMAP4(imap4.IMAP4Server):
    """
    IMAP4 that also takes passwords that are not encrypted.
    """

    def capabilities(self) -> Any:
        """
        Return what it can do.
        """
        return {k: v for k, v in super().capabilities().items() if k != b"LOGINDISABLED"}


def serveIMAP4(portal: Portal) -> Any:
    """
    Serve IMAP4 with STARTTLS.
    """
    return withPortal(lambda: IMAP4(contextFactory=certificate().options()), portal)


def serveESMTP(portal: Portal) -> Any:
    """
    Serve ESMTP with STARTTLS.
    """
    challengers = {b"PLAIN": imap4.PLAINCredentials}
    return withPortal(lambda: smtp.ESMTP(challengers, certificate().options()), portal)


AUTH = b"AUTH PLAIN " + b64encode(b"\0alice\0secret") + b"\r\n"
HELLO = b"EHLO localhost\r\n"

# Others of Twisted's.


@implementer(ITelnetProtocol)
class Shell(TelnetProtocol):
    """
    What a telnet user gets.
    """

    def connectionMade(self) -> None:
        """
        Greet.
        """
        self.transport.write(b"welcome")  # type: ignore[union-attr]  # there is one now


def serveTelnet(portal: Portal) -> Any:
    """
    Serve telnet.
    """
    factory: Any = Factory()
    factory.noisy = False
    factory.protocol = lambda: TelnetTransport(AuthenticatingTelnetProtocol, portal)
    return factory


@implementer(ftp.IFTPShell)
class Files:  # type: ignore[misc]  # no client asks for more
    """
    What a user of FTP gets.
    """


@implementer(IUser)
class Speaker:  # type: ignore[misc]  # no client asks for more
    """
    What a user of IRC gets.
    """

    name = "alice"


class LogIn(amp.Command):
    """
    Log in.
    """

    errors = {LoginRefused: b"REFUSED"}  # as AMP has it


class IThing(Interface):
    """
    What users of protocols of our own get.
    """


@implementer(IThing)
class Thing:
    """
    The avatar of such a user.
    """


class Keeping:
    """
    A protocol that keeps the logout of a login, and calls it when its connection is lost.
    """

    portal: Portal
    logout: Callable[[], object] = staticmethod(lambda: None)

    def logIn(self, name: bytes = b"alice", password: bytes = b"secret") -> Any:
        """
        Log in.
        """
        login: Any = self.portal.login(UsernamePassword(name, password), None, IThing)
        return login.addCallback(self.keep)

    def keep(self, result: Any) -> Any:
        """
        Keep the logout.
        """
        self.logout = result[2]
        return {}


class AMPServer(amp.AMP, Keeping):
    """
    A server of AMP.
    """

    @LogIn.responder
    def respond(self) -> Any:
        """
        Log in.
        """
        return self.logIn()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # one default less
        """
        Log out.
        """
        super().connectionLost(reason)
        self.logout()


class AMPClient(amp.AMP):
    """
    A client of AMP.
    """

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller

    def connectionMade(self) -> None:
        """
        Log in.
        """
        super().connectionMade()
        login: Any = self.callRemote(LogIn)
        login.addCallbacks(self.caller.loggedIn, lambda failure: None)


class Forgetful(basic.LineReceiver, Keeping):
    """
    A line that says a name and a password logs in; nothing logs out.
    """

    def lineReceived(self, line: bytes) -> None:
        """
        Log in.
        """
        name, _, password = line.partition(b" ")
        login = self.logIn(name, password)
        login.addCallbacks(lambda result: self.sendLine(b"welcome"), lambda failure: None)


class Careful(Forgetful):
    """
    The same, with a logout.
    """

    def connectionLost(self, reason: Any = None) -> None:
        """
        Log out.
        """
        self.logout()


SAYING = talking((b"", b"alice secret\r\n"), (b"welcome", b""))


def serveWebSocket(portal: Portal) -> Any:
    """
    Serve WebSocket: the first message logs in.
    """
    from autobahn.twisted import websocket

    class Server(websocket.WebSocketServerProtocol, Keeping):  # type: ignore[misc]  # autobahn's
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            login = self.factory.portal.login(UsernamePassword(b"alice", b"secret"), None, IThing)
            login.addCallback(self.keep).addCallback(lambda result: self.sendMessage(b"welcome"))
            login.addErrback(lambda failure: None)

        def onClose(self, clean: bool, code: object, reason: object) -> None:
            self.logout()

    factory: Any = websocket.WebSocketServerFactory()
    factory.noisy = False
    factory.protocol = Server
    factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)  # no timers
    factory.portal = portal
    return factory


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + b64encode(bytes(16)) + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MESSAGE = b"\x81\x85" + bytes(4) + b"hello"

ROWS = [
    broker("PB with a mind", pb.Referenceable),
    broker("PB without a mind", lambda: None),
    broker("PB with a junk mind", lambda: "x"),
    Row(
        "telnet",
        serveTelnet,
        talking(
            (b"Username: ", b"alice\n"),
            (b"Password: ", b"\xff\xfd\x01secret\n"),  # the server may echo
            (b"\xff\xfc\x01", b"\xff\xfe\x01"),  # or not
            (b"welcome", b""),
        ),
        Shell,
        ITelnetProtocol,
    ),
    Row(
        "FTP",
        lambda portal: ftp.FTPFactory(portal),
        talking((b"220 ", b"USER alice\r\n"), (b"331 ", b"PASS secret\r\n"), (b"230 ", b"")),
        Files,
        ftp.IFTPShell,
        again=b"USER alice\r\nPASS secret\r\n",
    ),
    Row(
        "POP3",
        partial(withPortal, POP3),
        talking((b"+OK", b"USER alice\r\n"), (b"+OK", b"PASS secret\r\n"), (b"+OK", b"")),
        Mailbox,
        pop3.IMailbox,
        talking(
            (b"+OK", b"STLS\r\n"),
            (b"+OK", encrypt(b"USER alice\r\n")),
            (b"+OK", b"PASS secret\r\n"),
            (b"+OK", b""),
        ),
        again=b"USER alice\r\nPASS secret\r\n",
    ),
    Row(
        "IMAP4",
        serveIMAP4,
        talking((b"* OK", b"1 LOGIN alice secret\r\n"), (b"1 OK", b"")),
        Mailbox,
        imap4.IAccount,
        talking(
            (b"* OK", b"0 STARTTLS\r\n"),
            (b"0 OK", encrypt(b"1 LOGIN alice secret\r\n")),
            (b"1 OK", b""),
        ),
        again=b"2 LOGIN alice secret\r\n",
    ),
    Row(
        "IRC",
        lambda portal: IRCFactory(InMemoryWordsRealm("example.org"), portal),
        talking((b"", b"PASS secret\r\nNICK alice\r\n"), (b" 001 ", b"")),
        Speaker,
        IUser,
        again=b"PASS secret\r\nNICK alice\r\n",
    ),
    Row(
        "ESMTP",
        serveESMTP,
        talking((b"220 ", HELLO), (b"250 ", AUTH), (b"235 ", b"")),
        Mailbox,
        smtp.IMessageDelivery,
        talking(
            (b"220 ", HELLO),
            (b"250 ", b"STARTTLS\r\n"),
            (b"220 ", encrypt(HELLO)),
            (b"250 ", AUTH),
            (b"235 ", b""),
        ),
        again=AUTH,
    ),
    Row("AMP", partial(withPortal, AMPServer), lambda: Caller(AMPClient), Thing, IThing),
    Row("a careful LineReceiver", partial(withPortal, Careful), SAYING, Thing, IThing),
    Row("a forgetful LineReceiver", partial(withPortal, Forgetful), SAYING, Thing, IThing),
]

if find_spec("autobahn") is not None:
    ROWS.append(
        Row(
            "WebSocket",
            serveWebSocket,
            talking((b"", HANDSHAKE), (b"\r\n\r\n", MESSAGE), (b"welcome", b"")),
            Thing,
            IThing,
        )
    )
