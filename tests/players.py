"""
An avatar and a client of Perspective Broker.
"""

from __future__ import annotations

from typing import Any

from twisted.spread import pb

from avatarkit import Avatar
from scripted import Boom


class Client(pb.Referenceable):
    """
    A client.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def remote_notify(self, *args: Any) -> str:
        """
        Be told.
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
    An avatar.
    """

    def __init__(self, name: Any) -> None:
        self.name = name

    def perspective_name(self) -> Any:
        """
        Answer who it is.
        """
        return self.name

    def perspective_raise(self) -> None:
        """
        Refuse.
        """
        raise pb.Error("no")
