"""
Hand-written realms.
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
    A realm that is not avatarkit's.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Return an avatar.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        return pb.IPerspective, Player(avatarId), lambda: None


@implementer(IRealm)
class Later(Foreign):
    """
    A realm that returns Deferreds.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Return a Deferred of an avatar.
        """
        return maybeDeferred(super().requestAvatar, avatarId, mind, *interfaces)
