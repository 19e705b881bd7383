"""
A Perspective Broker avatar and client.
"""

from __future__ import annotations

from typing import Any

from twisted.spread import pb

from avatarkit import Avatar
from scripted import Boom


class Client(pb.Referenceable):
    """
    A client that records its pushes.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def remote_notify(self, *args: Any) -> str:
        """
        Record a push.
        """
        self.told.append(args)
        return "done"

    def remote_fail(self) -> None:
        """
        Fail.
        """
        raise Boom("on purpose")


class Player(Avatar):
    """
    An avatar with a name.
    """

    def __init__(self, name: Any) -> None:
        self.name = name

    def perspective_name(self) -> Any:
        """
        Return the name.
        """
        return self.name

    def perspective_raise(self) -> None:
        """
        Raise an error that the client may see.
        """
        raise pb.Error("no")
