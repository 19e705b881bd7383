"""
An FTP server on loopback: a directory for each user, and at most two logins per user.

    python docs/examples/ftp.py DIRECTORY PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  The
users are alice and bob, whose passwords are "secret".  Connect to it with

    lftp -u alice,secret ftp://127.0.0.1:PORT

FTP sends passwords as they are, so a real server would use SFTP instead.
"""

import argparse
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.protocols.ftp import FTPFactory, FTPShell, IFTPShell
from twisted.python.components import registerAdapter
from twisted.python.filepath import FilePath
from zope.interface import implementer

import avatarkit
from avatarkit.transports import ThrottledChecker, WatchingFactory


class User(avatarkit.ConnectionAware):
    """A user, with a directory: one object for all logins of the user."""

    def __init__(self, directory: FilePath[str]) -> None:
        self.directory = directory
        directory.makedirs(ignoreExistingDirectory=True)

    def connect(self) -> object:
        result = super().connect()
        print(f"{self.directory.basename()}: {self.connections}", flush=True)
        return result

    def disconnect(self) -> object:
        result = super().disconnect()
        print(f"{self.directory.basename()}: {self.connections}", flush=True)
        return result


# The shell is an adapter, one for each login, and not the user: Twisted calls a shell's logout().
registerAdapter(lambda user: FTPShell(user.directory), User, IFTPShell)


@implementer(ICredentialsChecker)
class Passwords:
    """A checker for FTP, whose names and passwords are str and not bytes."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, **passwords: str) -> None:
        self.passwords = passwords

    def requestAvatarId(self, credentials: Any) -> Any:
        password = self.passwords.get(credentials.username)
        if password is None or not credentials.checkPassword(password):
            raise UnauthorizedLogin
        return credentials.username


def makeRealm(directory: FilePath[str]) -> avatarkit.Realm[User]:
    @avatarkit.MindRegistry()
    @avatarkit.ConnectionLimit(2)
    @avatarkit.ConnectionCounter()
    @avatarkit.AvatarCache()
    def realm(avatarId: str) -> User:
        return User(directory.child(avatarId))

    return realm


async def main(reactor: Any, directory: str, port: int) -> None:
    realm = makeRealm(FilePath(directory))
    checker: Any = Passwords(alice="secret", bob="secret")
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    ftp = FTPFactory(portal)
    ftp.allowAnonymous = False
    factory = WatchingFactory(ftp, portal)
    listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    print(f"listening on port {listening.getHost().port}", flush=True)
    await Deferred()  # until interrupted


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory")
    arguments.add_argument("port", type=int)
    asked = arguments.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, asked.directory, asked.port)))
