"""
Mailboxes over POP3 and IMAP4, with mail that is submitted over SMTP, in memory.

    python docs/examples/mail_server.py

It prints the ports of the three, and serves until it is interrupted.  The users are alice and bob,
whose passwords are "secret"; each may have three sessions, over whatever protocol.
"""

import sys
from io import BytesIO
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.mail import imap4, pop3, smtp
from twisted.python.components import registerAdapter
from zope.interface import implementer

import avatarkit
from avatarkit.transports import IMAP4RefusalMixin, ThrottledChecker, WatchingFactory


class User:
    """A user: what all of the user's sessions share, over all protocols."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: list[bytes] = []

    def deliver(self, message: bytes) -> None:
        self.messages.append(message)


users = avatarkit.AvatarCache(maximumIdle=1000)


class POP3Mailbox(pop3.Mailbox):
    """A user, seen over POP3."""

    def __init__(self, user: User) -> None:
        self.user = user

    def listMessages(self, i: Any = None) -> Any:
        sizes = [len(each) for each in self.user.messages]
        return sizes if i is None else sizes[i]

    def getMessage(self, i: int) -> Any:
        return BytesIO(self.user.messages[i])

    def getUidl(self, i: int) -> bytes:
        return b"%d" % (i + 1)


@implementer(imap4.IMessage)
class IMAP4Message:
    """A message, seen over IMAP4."""

    def __init__(self, number: int, text: bytes) -> None:
        self.number, self.text = number, text

    def getUID(self) -> int:
        return self.number

    def getFlags(self) -> list[str]:
        return []

    def getInternalDate(self) -> str:
        return "01-Jan-2026 00:00:00 +0000"

    def getHeaders(self, negate: bool, *names: bytes) -> dict[str, str]:
        return {}

    def getBodyFile(self) -> Any:
        return BytesIO(self.text)

    def getSize(self) -> int:
        return len(self.text)

    def isMultipart(self) -> bool:
        return False

    def getSubPart(self, part: int) -> Any:
        raise IndexError(part)


@implementer(imap4.IMailbox)
class IMAP4Mailbox:
    """A user's only mailbox, seen over IMAP4."""

    def __init__(self, user: User) -> None:
        self.user = user

    def getUIDValidity(self) -> int:
        return 1

    def getUIDNext(self) -> int:
        return len(self.user.messages) + 1

    def getUID(self, message: int) -> int:
        return message

    def getMessageCount(self) -> int:
        return len(self.user.messages)

    def getRecentCount(self) -> int:
        return 0

    def getUnseenCount(self) -> int:
        return len(self.user.messages)

    def isWriteable(self) -> bool:
        return False

    def getFlags(self) -> list[str]:
        return []

    def getHierarchicalDelimiter(self) -> str:
        return "/"

    def requestStatus(self, names: Any) -> Any:
        return imap4.statusRequestHelper(self, names)

    def fetch(self, messages: Any, uid: bool) -> Any:
        messages.last = len(self.user.messages)
        return [
            (number, IMAP4Message(number, self.user.messages[number - 1]))
            for number in messages
            if number <= len(self.user.messages)
        ]

    def addListener(self, listener: Any) -> None:
        pass

    def removeListener(self, listener: Any) -> None:
        pass

    def addMessage(self, message: Any, flags: Any = (), date: Any = None) -> Any:
        raise imap4.ReadOnlyMailbox("this mailbox is read-only")

    def store(self, messages: Any, flags: Any, mode: Any, uid: Any) -> Any:
        raise imap4.ReadOnlyMailbox("this mailbox is read-only")

    def expunge(self) -> Any:
        raise imap4.ReadOnlyMailbox("this mailbox is read-only")

    def destroy(self) -> None:
        raise imap4.MailboxException("this mailbox stays")


def imap4Account(user: User) -> Any:
    account = imap4.MemoryAccount(user.name)
    account.addMailbox("INBOX", IMAP4Mailbox(user))
    return account


@implementer(smtp.IMessage)
class Incoming:
    """A mail on its way to a user."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Any:
        self.user.deliver(b"\r\n".join([*self.lines, b""]))
        return succeed(None)

    def connectionLost(self) -> None:
        self.lines = []


@implementer(smtp.IMessageDelivery)
class Submission:
    """A user, who may send mail to other users that have logged in before."""

    def __init__(self, user: User) -> None:
        self.user = user

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: from " + self.user.name.encode()

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, to: Any) -> Any:
        name = to.dest.local.decode()
        if name not in users:
            raise smtp.SMTPBadRcpt(to)
        return lambda: Incoming(users[name])


registerAdapter(POP3Mailbox, User, pop3.IMailbox)
registerAdapter(imap4Account, User, imap4.IAccount)
registerAdapter(Submission, User, smtp.IMessageDelivery)

realm: Any = avatarkit.CanonicalId(lambda session: avatarkit.canonicalName(session.avatarId, str))(
    avatarkit.ConnectionLimit(3)(users(User))
)


class IMAP4(IMAP4RefusalMixin, imap4.IMAP4Server):
    """Tells a full limit from a wrong password."""


class MailFactory(Factory):
    """Builds protocols that have the portal as an attribute, as those for mail do."""

    def __init__(self, protocol: Any, portal: Portal) -> None:
        self.protocol, self.portal = protocol, portal

    def buildProtocol(self, addr: Any) -> Any:
        build: Any = self.protocol
        built = build()
        built.factory, built.portal = self, self.portal
        if isinstance(built, smtp.ESMTP):
            built.challengers = {b"LOGIN": imap4.LOGINCredentials, b"PLAIN": imap4.PLAINCredentials}
        return built


async def main(reactor: Any) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    for name, protocol in (("POP3", pop3.POP3), ("IMAP4", IMAP4), ("SMTP", smtp.ESMTP)):
        factory = WatchingFactory(MailFactory(protocol, portal), portal)
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        print(f"{name} on port {listening.getHost().port}", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
