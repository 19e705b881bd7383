"""
An avatar whose logout is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

from scripted import Thing


class Player(Thing):
    """
    An avatar whose logout is recorded, and waits if the test says so.
    """

    made: list[Player]
    saving: Callable[[Player], object]

    def __init__(self, name: object) -> None:
        self.name = name
        self.made.append(self)
        self.saved = 0

    def logout(self) -> object:
        """
        Count a logout, and do what the test says.
        """
        self.saved += 1
        return type(self).saving(self)
