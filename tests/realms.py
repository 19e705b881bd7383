"""
Realms that somebody has written by hand.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import maybeDeferred
from twisted.spread import pb
from zope.interface import implementer

from players import Player


@implementer(IRealm)
class Foreign:
    """
    A realm by hand.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Answer an avatar.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        return pb.IPerspective, Player(avatarId), lambda: None


@implementer(IRealm)
class Later(Foreign):
    """
    One that answers Deferreds.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Answer a Deferred of an avatar.
        """
        return maybeDeferred(super().requestAvatar, avatarId, mind, *interfaces)
