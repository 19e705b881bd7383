"""
Mail clients of Python's standard library: C{poplib}, C{imaplib} and C{smtplib}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory
from twisted.mail import imap4, pop3, smtp
from zope.interface import implementer

import realclients


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

    def serving(self, protocol: type[Any], portal: Portal) -> Any:
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

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve ESMTP.
        """
        factory = self.serving(smtp.ESMTP, portal)
        build = factory.protocol

        def authenticating() -> Any:
            built = build()
            built.challengers = {b"PLAIN": imap4.PLAINCredentials, b"LOGIN": imap4.LOGINCredentials}
            return built

        factory.protocol = authenticating
        return factory
