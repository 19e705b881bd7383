"""
OpenSSH: C{ssh} and C{sftp}.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.cred.portal import Portal

import realclients
from needing import needs, needsModule


class SSHCase(realclients.ClientCase):
    """
    An SSH server.
    """

    def setUp(self) -> None:
        """
        Have something that tells OpenSSH the password, and do not answer wrong ones late.
        """
        from twisted.conch.ssh.userauth import SSHUserAuthServer

        self.patch(SSHUserAuthServer, "passwordDelay", 0)
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        asked = Path(directory.name) / "password"
        asked.write_text("#!/bin/sh\necho secret\n")
        asked.chmod(0o700)
        self.environment = {
            "SSH_ASKPASS": str(asked),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":0",
        }

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve SSH.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from twisted.conch.ssh.factory import SSHFactory
        from twisted.conch.ssh.keys import Key

        key = Key(Ed25519PrivateKey.generate())
        factory: Any = SSHFactory()
        factory.portal = portal
        factory.privateKeys = {b"ssh-ed25519": key}
        factory.publicKeys = {b"ssh-ed25519": key.public()}
        return factory

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return a user who can look at files.
        """
        from twisted.conch.avatar import ConchUser
        from twisted.conch.interfaces import ISFTPServer
        from twisted.conch.ssh.filetransfer import FileTransferServer
        from twisted.conch.ssh.session import SSHSession
        from zope.interface import directlyProvides, providedBy

        user: Any = ConchUser()
        user.channelLookup[b"session"] = SSHSession
        user.subsystemLookup[b"sftp"] = FileTransferServer
        user.gotVersion = lambda version, extensions: {}
        user.realPath = lambda path: b"/"
        directlyProvides(user, providedBy(user), ISFTPServer)
        return user


@needs("ssh")
@needsModule("bcrypt", "cryptography")
class SSHTests(SSHCase):
    """
    C{ssh}.
    """

    command = ["ssh", *realclients.QUIETLY, "-N", "-p", "PORT", "alice@127.0.0.1"]

    def hasNoticed(self, client: realclients.Client) -> bool:
        """
        Return whether it has ended.
        """
        return client.whenEnded.called


@needs("sftp")
@needsModule("bcrypt", "cryptography")
class SFTPTests(SSHCase):
    """
    C{sftp}, which starts an C{ssh}.
    """

    command = ["sftp", *realclients.QUIETLY, "-P", "PORT", "alice@127.0.0.1"]

    def hasNoticed(self, client: realclients.Client) -> bool:
        """
        Return whether it says so; it goes on reading commands.
        """
        return b"Connection closed" in client.output


del SSHCase  # which has no command
