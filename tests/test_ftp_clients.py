"""
FTP clients: C{ftplib} of Python's standard library, and C{lftp}.
"""

from __future__ import annotations

from tempfile import gettempdir
from typing import Any

from twisted.cred.portal import Portal
from twisted.protocols.ftp import FTPAnonymousShell, FTPFactory
from twisted.python.filepath import FilePath

import realclients
from needing import needs


class FTP:
    """
    Files for everybody.
    """

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve FTP.
        """
        return FTPFactory(portal)

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return what shows files.
        """
        return FTPAnonymousShell(FilePath(gettempdir()))


class FTPLibTests(FTP, realclients.ScriptCase):
    """
    C{ftplib}.
    """

    program = (
        "from ftplib import FTP; c = FTP(); c.connect('127.0.0.1', PORT); "
        "c.login('alice', 'secret')"
    )


@needs("lftp")
class LFTPTests(FTP, realclients.ClientCase):
    """
    C{lftp}.
    """

    command = [
        *("lftp", "--norc", "-u", "alice,secret", "-e"),
        "set net:max-retries 1; set net:persist-retries 0; cd /; echo there",
        "ftp://127.0.0.1:PORT",
    ]
