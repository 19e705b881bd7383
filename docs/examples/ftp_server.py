"""
An FTP server: each user has a directory, and at most two sessions.

    python docs/examples/ftp_server.py DIRECTORY PORT

It prints the port that it listens on (PORT may be 0), and serves until it is interrupted.  The only
user is alice, whose password is "secret".
"""

import argparse
import sys
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.ftp import FTPFactory, FTPShell, IFTPShell
from twisted.python.components import registerAdapter
from twisted.python.filepath import FilePath

import avatarkit
from avatarkit.transports import ThrottledChecker, WatchingFactory


class User(avatarkit.ConnectionAware):
    """A user, with a directory: one object for all sessions of the user."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        if not directory.isdir():
            directory.makedirs()

    def logout(self) -> None:
        print(f"{self.directory.basename()} has left", flush=True)


# The shell is an adapter, and not the user: Twisted calls the logout of a shell by itself, for each
# connection, while other sessions may still use the user.
registerAdapter(lambda user: FTPShell(user.directory), User, IFTPShell)


def makeRealm(directory: Any) -> avatarkit.Realm:
    @avatarkit.MindRegistry()
    @avatarkit.ConnectionLimit(2)
    @avatarkit.ConnectionCounter()
    @avatarkit.AvatarCache()
    def realm(avatarId: str) -> User:
        return User(directory.child(avatarId))

    return realm


async def main(reactor: Any, directory: str, port: int) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    realm = makeRealm(FilePath(directory))
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser("alice", "secret")  # over FTP, names and passwords are str
    portal: Any = Portal(realm, [ThrottledChecker(checker)])
    ftp = FTPFactory(portal)
    ftp.timeOut = 600  # and no IdleLimit, which would end long transfers
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
