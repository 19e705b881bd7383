"""
An IRC client from the Python Package Index.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.words.iwords import IUser
from twisted.words.service import InMemoryWordsRealm, IRCFactory
from zope.interface import implementer

import realclients
from needing import needsModule


@implementer(IUser)
class Speaker:  # type: ignore[misc]  # the client asks for no more
    """
    An avatar that says nothing.
    """

    name = "alice"


@needsModule("irc")
class IRCTests(realclients.ScriptCase):
    """
    The client of the package C{irc}.
    """

    program = (
        "import irc.client; r = irc.client.Reactor(); c = r.server(); "
        "c.connect('127.0.0.1', PORT, 'alice', password='secret'); r.process_forever()"
    )

    def makeFactory(self, portal: Portal) -> Any:
        """
        Serve IRC.
        """
        return IRCFactory(InMemoryWordsRealm("example.org"), portal)

    def makeAvatar(self, avatarId: Any) -> Any:
        """
        Return a speaker.
        """
        return Speaker()
