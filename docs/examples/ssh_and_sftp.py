"""
An SSH server on loopback: a shell, commands and SFTP, and at most two logins per user.

    python docs/examples/ssh_and_sftp.py PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  The
users are alice and bob, whose passwords are "secret"; with --key FILE, alice may also use that
public key.  Connect to it with

    ssh -p PORT alice@127.0.0.1
    ssh -p PORT alice@127.0.0.1 who
    sftp -P PORT alice@127.0.0.1

Its host key is a new one each time; a real server would keep it, and the notes.
"""

import argparse
import errno
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.interfaces import IConchUser, ISession, ISFTPFile, ISFTPServer
from twisted.conch.recvline import HistoricRecvLine
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.filetransfer import FX_FAILURE, FXF_TRUNC, FileTransferServer, SFTPError
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession, wrapProtocol
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ProcessDone
from twisted.internet.task import react
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from zope.interface import implementer

import avatarkit
from avatarkit.transports import IdleLimit, ThrottledChecker, WatchingFactory

MOST_IN_A_NOTE = 65536

online = avatarkit.MindRegistry()


class User(avatarkit.ConnectionAware):
    """A user, with notes: one object for all logins of the user."""

    def __init__(self, avatarId: bytes) -> None:
        self.avatarId = avatarId
        self.notes: dict[bytes, bytes] = {}

    def command(self, line: bytes) -> bytes:
        match line.split(maxsplit=2):
            case [b"who"]:
                return b"".join(b"%s %d\n" % (each, len(online.sessions(each))) for each in online)
            case [b"note", name, text] if b"/" not in name:
                self.notes[name] = text[:MOST_IN_A_NOTE]
                return b""
            case [b"notes"]:
                return b"".join(b"%s: %s\n" % each for each in self.notes.items())
            case [b"bye", b"all"]:  # closes the connections of all logins of the user
                online.disconnect(self.avatarId, timeout=2)
                return b""
        return b"who, note NAME TEXT, notes, bye or bye all\n"


class Login(ConchUser):
    """A user as SSH sees it: one for each login, since Twisted keeps the connection in it."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user
        self.channelLookup[b"session"] = SSHSession
        self.subsystemLookup[b"sftp"] = FileTransferServer


class Shell(HistoricRecvLine):
    """What somebody types into."""

    ps = (b"$ ", b"> ")

    def __init__(self, user: User) -> None:
        self.user = user

    def lineReceived(self, line: bytes) -> None:
        if line.strip() == b"bye":
            self.terminal.loseConnection()
            return
        self.terminal.write(self.user.command(line))
        self.terminal.write(self.ps[self.pn])


@implementer(ISession)
class Terminal:
    """A channel of a login that runs a shell, or one command."""

    def __init__(self, login: Login) -> None:
        self.user = login.user

    def openShell(self, channel: Any) -> None:
        server = ServerProtocol(Shell, self.user)
        server.makeConnection(channel)
        channel.makeConnection(wrapProtocol(server))

    def execCommand(self, channel: Any, command: bytes) -> None:
        channel.outReceived(self.user.command(command))
        channel.processEnded(Failure(ProcessDone(None)))

    def getPty(self, terminal: Any, size: Any, modes: Any) -> None:
        pass

    def windowChanged(self, size: Any) -> None:
        pass

    def eofReceived(self) -> None:
        pass

    def closed(self) -> None:
        pass


def attributes(text: bytes) -> dict[str, int]:
    return {"permissions": 0o100600, "size": len(text)}


@implementer(ISFTPFile)
class Note:
    """An open note."""

    def __init__(self, notes: dict[bytes, bytes], name: bytes) -> None:
        self.notes, self.name = notes, name

    def readChunk(self, offset: int, length: int) -> bytes:
        return self.notes[self.name][offset : offset + length]

    def writeChunk(self, offset: int, data: bytes) -> None:
        if offset + len(data) > MOST_IN_A_NOTE:
            raise SFTPError(FX_FAILURE, "a note is not that long")
        text = self.notes[self.name].ljust(offset, b"\0")
        self.notes[self.name] = text[:offset] + data + text[offset + len(data) :]

    def getAttrs(self) -> dict[str, int]:
        return attributes(self.notes[self.name])

    def setAttrs(self, attrs: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Listing:
    """The notes, as an open directory."""

    def __init__(self, notes: dict[bytes, bytes]) -> None:
        self.entries = [
            (name, b"-rw------- %d %s" % (len(text), name), attributes(text))
            for name, text in notes.items()
        ]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def close(self) -> None:
        pass


@implementer(ISFTPServer)
class Files:
    """A user's notes as the files of one directory."""

    def __init__(self, login: Login) -> None:
        self.avatar, self.notes = login, login.user.notes

    def find(self, path: bytes) -> bytes:
        name = self.realPath(path)[1:]
        if name not in self.notes:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return name

    def gotVersion(self, version: Any, extensions: Any) -> dict[bytes, bytes]:
        return {}

    def realPath(self, path: bytes) -> bytes:
        return b"/" + posixpath.normpath(b"/" + path).lstrip(b"/")

    def openDirectory(self, path: bytes) -> Listing:
        return Listing(self.notes)

    def openFile(self, path: bytes, flags: int, attrs: Any) -> Note:
        name = self.realPath(path)[1:]
        if flags & FXF_TRUNC and name and b"/" not in name:
            self.notes[name] = b""
        return Note(self.notes, self.find(path))

    def removeFile(self, path: bytes) -> None:
        del self.notes[self.find(path)]

    def getAttrs(self, path: bytes, followLinks: Any) -> dict[str, int]:
        if self.realPath(path) == b"/":
            return {"permissions": 0o040700}
        return attributes(self.notes[self.find(path)])

    def setAttrs(self, path: bytes, attrs: Any) -> None:
        pass

    def unsupported(self, *args: Any) -> Any:
        raise NotImplementedError

    renameFile = makeDirectory = removeDirectory = unsupported
    readLink = makeLink = extendedRequest = unsupported


registerAdapter(Login, User, IConchUser)
registerAdapter(Terminal, Login, ISession)
registerAdapter(Files, Login, ISFTPServer)

realm = IdleLimit(900)(
    online(
        avatarkit.ConnectionLimit(2)(avatarkit.ConnectionCounter()(avatarkit.AvatarCache()(User)))
    )
)


def makeFactory(portal: Any) -> Any:
    factory: Any = SSHFactory()
    key = Key(Ed25519PrivateKey.generate())
    factory.portal = portal
    factory.privateKeys = {b"ssh-ed25519": key}
    factory.publicKeys = {b"ssh-ed25519": key.public()}
    return factory


async def main(reactor: Any, port: int, keys: list[Path]) -> None:
    passwords: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    known = {b"alice": [Key.fromFile(str(each)) for each in keys]}
    publicKeys: Any = SSHPublicKeyChecker(InMemorySSHKeyDB(known))
    portal: Any = Portal(realm, [ThrottledChecker(passwords), publicKeys])
    factory = WatchingFactory(makeFactory(portal), portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("--key", type=Path, action="append", default=[])
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.port, asked.key)))
