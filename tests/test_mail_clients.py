"""
Mail clients of Python's standard library: C{poplib}, C{imaplib} and C{smtplib}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory
from twisted.mail import imap4, pop3, smtp
from zope.interface import implementer

import realclients
from certificates import selfSigned


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

    def serving(self, protocol: Callable[[], Any], portal: Portal) -> Any:
        """
        Return the factory of a protocol that has the portal as an attribute.
        """
        factory: Any = Factory()

        def build() -> Any:
            built = protocol()
            built.portal = portal
            return built

        factory.protocol = build
        return factory


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
        return self.serving(pop3.POP3, portal)


class IMAP4Tests(Mail, realclients.ScriptCase):
    """
    C{imaplib}.
    """

    program = "import imaplib; c = imaplib.IMAP4('127.0.0.1', PORT); c.login('alice', 'secret')"

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve IMAP4.
        """
        return self.serving(imap4.IMAP4Server, portal)


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
        return self.serving(partial(smtp.ESMTP, challengers, self.context), portal)


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
