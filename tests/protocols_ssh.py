"""
SSH and SFTP, as L{protocols} has the others.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import IConchUser, ISFTPServer
from twisted.conch.ssh import channel, common, connection, filetransfer, keys, session, transport
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.userauth import SSHUserAuthClient, SSHUserAuthServer
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from callers import Caller
from protocols import Row

# Any in this module: conch does not describe much of itself.


@cache
def hostKey() -> Any:
    """
    Return the server's key.
    """
    return keys.Key(Ed25519PrivateKey.generate())


class Impatient(SSHUserAuthServer):
    """
    Answers a wrong password at once.
    """

    passwordDelay = 0


class Server(SSHFactory):
    """
    A server of SSH.
    """

    noisy = False
    services = {**SSHFactory.services, b"ssh-userauth": Impatient}  # as SSH has it

    def __init__(self, portal: Portal) -> None:
        self.portal: Any = portal

    def getPublicKeys(self) -> Any:
        """
        Return the public half of the key.
        """
        return {b"ssh-ed25519": hostKey().public()}

    def getPrivateKeys(self) -> Any:
        """
        Return the private half.
        """
        return {b"ssh-ed25519": hostKey()}


class Password(SSHUserAuthClient):
    """
    A client's password.
    """

    def getPassword(self, prompt: Any = None) -> Deferred[bytes]:
        """
        Return it.
        """
        return succeed(b"secret")

    def getPublicKey(self) -> None:
        """
        There is no key.
        """


class Connection(connection.SSHConnection):
    """
    What follows the login.
    """

    def __init__(self, caller: Caller, subsystem: bytes) -> None:
        super().__init__()
        self.caller, self.subsystem = caller, subsystem

    def serviceStarted(self) -> None:
        """
        Begin to transfer files, if that is what is wanted.
        """
        super().serviceStarted()
        if self.subsystem:
            self.openChannel(Channel(conn=self))
        else:
            self.caller.loggedIn()


class Channel(channel.SSHChannel):
    """
    What files are transferred through.
    """

    name = b"session"

    def channelOpen(self, specificData: bytes) -> None:
        """
        Ask for SFTP.
        """
        conn: Any = self.conn
        asked = conn.sendRequest(self, "subsystem", common.NS(b"sftp"), wantReply=True)
        asked.addCallbacks(conn.caller.loggedIn, lambda failure: None)


class Client(transport.SSHClientTransport):
    """
    A client of SSH.
    """

    def __init__(self, caller: Caller, subsystem: bytes = b"") -> None:
        self.caller, self.subsystem = caller, subsystem

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """
        Trust everybody.
        """
        return succeed(True)

    def connectionSecure(self) -> None:
        """
        Log in.
        """
        self.requestService(Password(b"alice", Connection(self.caller, self.subsystem)))


@implementer(ISFTPServer)
class User(ConchUser):  # type: ignore[misc]  # no client asks for more
    """
    What a user of SSH and SFTP gets.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channelLookup[b"session"] = session.SSHSession
        self.subsystemLookup[b"sftp"] = filetransfer.FileTransferServer

    def gotVersion(self, otherVersion: int, extData: Any) -> Any:
        """
        Say that there are no extensions.
        """
        return {}


ROWS = [
    Row("SSH", Server, lambda: Caller(Client), User, IConchUser),
    Row("SFTP", Server, lambda: Caller(partial(Client, subsystem=b"sftp")), User, IConchUser),
]
