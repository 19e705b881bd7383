"""
The program C{telnet}.
"""

from __future__ import annotations

from typing import Any

from twisted.conch.telnet import (
    AuthenticatingTelnetProtocol,
    ITelnetProtocol,
    TelnetProtocol,
    TelnetTransport,
)
from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory
from zope.interface import implementer

import realclients
from needing import needs


@implementer(ITelnetProtocol)
class Quiet(TelnetProtocol):
    """
    An avatar that says nothing.
    """


@needs("telnet")
class TelnetTests(realclients.ClientCase):
    """
    C{telnet}.
    """

    command = ["telnet", "127.0.0.1", "PORT"]
    typed = [(b"Username:", b"alice\n"), (b"Password:", b"secret\n")]

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve telnet.
        """
        factory: Any = Factory()
        factory.protocol = lambda: TelnetTransport(AuthenticatingTelnetProtocol, portal)
        return factory

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return one who says nothing.
        """
        return Quiet()
