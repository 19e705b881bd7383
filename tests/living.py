"""
Avatars that a machine watches: whether they are alive, and what their logout does.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail

from avatarkit import Avatar, AvatarCache, Block, Session
from comings import Comings
from scripted import Boom


class Home(Protocol):
    """
    A machine with a cache.

    @ivar cache: the cache of the avatars.
    @ivar players: all avatars, oldest first.
    @ivar saving: the avatars whose logout waits, by name and number.
    @ivar below: the last session of each name below the cache.
    @ivar comings: who comes and goes.
    """

    cache: AvatarCache[Any]
    players: list[Player]
    saving: dict[tuple[str, int], Deferred[Any]]
    below: dict[str, Session]
    comings: Comings

    @property
    def saves(self) -> str:
        """
        What an avatar's logout does: C{"passes"}, C{"raises"} or C{"waits"}.
        """


class Below(Block):
    """
    A block below the cache, which keeps the sessions it sees.
    """

    def __init__(self, home: Home) -> None:
        self.home = home

    def attached(self, session: Session) -> None:
        """
        Keep the session.
        """
        self.home.below[str(session.avatarId)] = session

    def admit(self, session: Session) -> None:
        """
        An avatar is needed.
        """

    def release(self, session: Session) -> None:
        """
        It is gone, if it ever was there.
        """
        if session.avatar is not None:
            session.avatar.alive = False


class Player(Avatar):
    """
    An avatar whose logout raises or waits on command.

    @ivar number: how many avatars of its name there were, including this one.
    @ivar saved: how often its logout was called.
    """

    def __init__(self, home: Home, name: str, *, overdue: bool = False) -> None:
        self.home, self.name, self.saved, self.alive = home, name, 0, True
        givenUp = [life.avatar for life in home.cache._kept.overdue]
        for other in home.players:
            alive = other.alive and other not in givenUp and not overdue
            assert not (alive and other.name == name), "two live avatars of one ID"
        self.number = 1 + sum(other.name == name for other in home.players)
        home.players.append(self)

    def arrived(self) -> object:
        """
        The user has come.
        """
        return self.home.comings.tell(0, "+", self.name)

    def departed(self) -> object:
        """
        The user has gone.
        """
        return self.home.comings.tell(0, "-", self.name)

    def logout(self) -> object:
        """
        Save the player.
        """
        self.saved += 1
        if self.home.saves == "waits":
            gate: Deferred[Any] = Deferred()
            self.home.saving[self.name, self.number] = gate
            return gate
        return fail(Boom()) if self.home.saves == "raises" else None
