"""
Mail clients of Python's standard library: C{poplib}, C{imaplib} and C{smtplib}.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.mail import imap4, pop3, smtp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import realclients
from avatarkit import (
    LoginTimedOut,
    RealmClosed,
    TooManyAttempts,
    TooManyConnections,
    TooManyLogins,
    TooManyWaiting,
)
from avatarkit.transports import IMAP4RefusalMixin
from certificates import selfSigned
from protocols import withPortal


@implementer(imap4.IAccount, smtp.IMessageDelivery)
class Mailbox(pop3.Mailbox):  # type: ignore[misc]  # no client asks for more
    """
    An empty mailbox, for each of the three protocols.
    """


class Mail:
    """
    Mailboxes for everybody.
    """

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return a mailbox.
        """
        return Mailbox()


class POP3Tests(Mail, realclients.ScriptCase):
    """
    C{poplib}.
    """

    program = (
        "import poplib; c = poplib.POP3('127.0.0.1', PORT); c.user('alice'); c.pass_('secret')"
    )

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve POP3.
        """
        return withPortal(pop3.POP3, portal)


class IMAP4Tests(Mail, realclients.ScriptCase):
    """
    C{imaplib}.
    """

    program = "import imaplib; c = imaplib.IMAP4('127.0.0.1', PORT); c.login('alice', 'secret')"

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve IMAP4.
        """
        return withPortal(imap4.IMAP4Server, portal)


class SMTPTests(Mail, realclients.ScriptCase):
    """
    C{smtplib}.
    """

    program = "import smtplib; c = smtplib.SMTP('127.0.0.1', PORT); c.login('alice', 'secret')"
    context: Any = None

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve ESMTP.
        """
        challengers = {b"PLAIN": imap4.PLAINCredentials, b"LOGIN": imap4.LOGINCredentials}
        return withPortal(partial(smtp.ESMTP, challengers, self.context), portal)


class STARTTLSTests(SMTPTests):
    """
    C{smtplib} with STARTTLS: the connection is still watched when it is encrypted.
    """

    program = (
        "import smtplib; c = smtplib.SMTP('127.0.0.1', PORT); c.starttls(); "
        "c.login('alice', 'secret')"
    )

    def setUp(self) -> None:
        """
        Make a certificate.
        """
        self.context = selfSigned().options()


class RefusedTests(Mail, realclients.ServingCase):
    """
    What C{imaplib} is told of a login that is refused.
    """

    program = """
import imaplib
for password in ('wrong', 'secret', 'secret', 'secret', 'secret'):
    client = imaplib.IMAP4('127.0.0.1', PORT)
    kept = [client, *globals().get('kept', ())]
    try:
        print(client.{login}[0])
    except imaplib.IMAP4.error as refused:
        print(refused)
"""

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve IMAP4.
        """

        class Server(IMAP4RefusalMixin, imap4.IMAP4Server):
            pass

        challengers = {b"PLAIN": imap4.PLAINCredentials}
        return withPortal(partial(Server, challengers), portal)

    async def refused(self, login: str) -> list[str]:
        """
        Return what the client is told at each of five logins, of which three may succeed.
        """
        self.command = [sys.executable, "-c", self.program.replace("{login}", login)]
        client = self.start()
        await client.whenEnded
        return client.output.decode().splitlines()

    async def test_login(self) -> None:
        """
        A wrong password and a full limit are told apart.
        """
        told = await self.refused("login('alice', password)")
        assert told == ["b'LOGIN failed'", "OK", "OK", "OK", "b'[LIMIT] too many connections'"]

    async def test_authenticate(self) -> None:
        """
        The same with AUTHENTICATE.
        """
        told = await self.refused(
            "authenticate('PLAIN', lambda challenge: b'\\0alice\\0' + password.encode())"
        )
        assert told[1:] == ["OK", "OK", "OK", "[LIMIT] too many connections"]
        assert told[0] == "Authentication failed: unauthorized"


class MixinTests(SynchronousTestCase):
    """
    The mixin.
    """

    def test_order(self) -> None:
        """
        A class in which the mixin would do nothing is refused.
        """
        for bases in ((imap4.IMAP4Server, IMAP4RefusalMixin), (IMAP4RefusalMixin,)):
            error = self.assertRaises(TypeError, type, "Server", bases, {})
            assert "(IMAP4RefusalMixin, IMAP4Server), in this order" in str(error)

    def test_oneLine(self) -> None:
        """
        Whatever the text of a refusal is, the client receives one line of ASCII.
        """

        class Server(IMAP4RefusalMixin, imap4.IMAP4Server):
            def sendLine(self, line: bytes) -> None:
                sent.append(line)

        server, sent = Server(), list[bytes]()
        for refusal in (
            TooManyConnections("nine\r\n* BYE \xfc"),
            TooManyWaiting(),
            TooManyLogins(),
            RealmClosed(),
            LoginTimedOut(),
            TooManyAttempts(),
            UnauthorizedLogin(),
        ):
            server._IMAP4Server__ebLogin(Failure(refusal), b"1")
        assert sent == [
            b"1 NO [LIMIT] nine * BYE ?",
            b"1 NO [LIMIT] too many logins are waiting",
            b"1 NO [LIMIT] too many logins are in progress",
            b"1 NO [UNAVAILABLE] the server is shutting down",
            b"1 NO [UNAVAILABLE] the login took too long",
            b"1 NO [LIMIT] too many attempts; try again later",
            b"1 NO LOGIN failed",
        ]
