"""
Tests for avatars that are told when their user comes and goes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel
from twisted.python.components import registerAdapter
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import Avatar, AvatarCache, IPresenceAware, PresenceAware, Realm
from logs import logged
from observing import PresenceCase
from scripted import Boom, Thing

# Any in this module: avatars of several kinds.


@implementer(IPresenceAware)
class Told(Thing):
    """
    An avatar that notes what it is told where the observer notes it, too.

    @cvar made: all of them.
    @cvar notes: where.
    @cvar waits: what it waits for when it is told that its user has come.
    """

    made: list[Told]
    notes: list[str]
    waits: Any = None

    def __init__(self, avatarId: object) -> None:
        self.number = len(self.made)
        self.made.append(self)

    def arrived(self) -> object:
        """
        The user has come.
        """
        self.notes.append(f"{self.number} arrived")
        return self.waits

    def departed(self) -> object:
        """
        The user has gone.
        """
        self.notes.append(f"{self.number} departed")
        return None

    def logout(self) -> None:
        """
        Its life is over.
        """
        self.notes.append(f"{self.number} logged out")


class AvatarTests(PresenceCase):
    """
    An avatar is told.
    """

    def setUp(self) -> None:
        """
        Have a cache.
        """
        super().setUp()
        Told.made, Told.notes, Told.waits = [], self.told, None
        cache: AvatarCache[Any] = AvatarCache(idleTimeout=100, reactor=self.clock)
        self.cached: Realm[Any] = self.presence(cache(Told))

    def test_cached(self) -> None:
        """
        An avatar that several sessions share is told of the first and of the last, before the
        observers are.
        """
        first, second = self.enter(realm=self.cached), self.enter(realm=self.cached)
        first()
        second()
        assert self.told == ["0 arrived", "+alice", "0 departed", "-alice"]
        self.enter(realm=self.cached)
        assert self.told[4:] == ["0 arrived", "+alice"]

    def test_several(self) -> None:
        """
        Of several avatars the one of the session that came first is told of the arrival, and the
        one of the session that went last of the departure, before its logout.
        """
        realm = self.presence(Told)
        first, second = self.enter(realm=realm), self.enter(realm=realm)
        first()
        second()
        assert self.told == [
            *("0 arrived", "+alice", "0 logged out"),
            *("1 departed", "-alice", "1 logged out"),
        ]

    def test_lingers(self) -> None:
        """
        It is told of the departure when its user has lingered, and may be logged out by then; if
        another session comes, that one's avatar is told of the departure.
        """
        self.presence.linger = 5
        realm = self.presence(Told)
        for _ in range(2):
            self.enter(realm=realm)()
            self.clock.advance(4)
        assert self.told == ["0 arrived", "+alice", "0 logged out", "1 logged out"]
        self.clock.advance(1)
        assert self.told[4:] == ["1 departed", "-alice"]

    def test_awaited(self) -> None:
        """
        It is awaited, though not by the login, and given up like an observer.
        """
        Told.waits = Deferred()
        self.enter(realm=self.cached)()
        assert self.told == ["0 arrived"]
        with logged() as said:
            self.clock.advance(30)
        assert said[0].startswith("error: Told.arrived is given up")
        assert self.told[1:] == ["+alice", "0 departed", "-alice"]

    def test_cameFirst(self) -> None:
        """
        If the arrival is told late, the one that came first is told all the same, even if it
        lingers by then.
        """
        self.presence.linger = 5
        realm = self.presence(Told)
        self.watch.waiting = True
        self.enter(realm=realm)()
        self.clock.advance(5)
        self.watch.finish()
        self.enter(realm=realm)()
        self.enter(realm=realm)
        self.watch.finish()
        assert self.told[-2:] == ["1 arrived", "+alice"]

    def test_base(self) -> None:
        """
        The base class, and C{Avatar}, do nothing; a subclass overrides what it wants to know.
        """

        class Player(Avatar, Thing):
            def __init__(self, avatarId: object) -> None:
                """
                Be nobody in particular.
                """

            def departed(self) -> object:
                Told.notes.append("departed")
                return None

        class Plain(PresenceAware, Thing):
            def __init__(self, avatarId: object) -> None:
                """
                Be nobody in particular.
                """

        verifyObject(IPresenceAware, Plain(b""))
        assert Plain(b"").arrived() is None
        assert Plain(b"").departed() is None
        self.enter(realm=self.presence(Player))()
        self.enter(realm=self.presence(Plain))()
        assert self.told == ["+alice", "departed", "-alice", "+alice", "-alice"]

    def test_adapter(self) -> None:
        """
        An avatar that can be adapted is told through the adapter; an adapter that raises is logged,
        and harms nobody.
        """

        class Other(Thing):
            def __init__(self, avatarId: object) -> None:
                self.told = Told(avatarId)

        class Broken(Thing):
            def __init__(self, avatarId: object) -> None:
                """
                Be nobody in particular.
                """

        def breaks(avatar: object) -> object:
            raise Boom

        registerAdapter(lambda other: other.told, Other, IPresenceAware)
        registerAdapter(breaks, Broken, IPresenceAware)
        self.enter(realm=self.presence(Other))()
        assert self.told == ["0 arrived", "+alice", "0 departed", "-alice"]
        self.enter(realm=self.presence(Broken))()
        assert self.told[4:] == ["+alice", "-alice"]
        assert len(self.flushLoggedErrors(Boom)) == 2

    def test_undeclared(self) -> None:
        """
        An avatar that has the methods and does not declare it is not told, and that is logged.
        """

        class Undeclared(Thing):
            def __init__(self, avatarId: object) -> None:
                """
                Be nobody in particular.
                """

            def arrived(self) -> None:
                raise Boom

            departed = arrived

        with logged(LogLevel.warn) as said:
            self.enter(realm=self.presence(Undeclared))()
        (line,) = said
        assert "arrived() and departed(), which are not called" in line

    def test_nothingKept(self) -> None:
        """
        An avatar that need not be told is not kept while its user lingers.
        """

        class Plain(PresenceAware, Thing):
            def __init__(self, avatarId: object) -> None:
                """
                Be nobody in particular.
                """

        self.presence.linger = 5
        for name, make in ((b"alice", lambda avatarId: Thing()), (b"bob", Plain)):
            self.enter(name, self.presence(make))()
        for who in self.presence._there.values():
            assert (who.sessions, who.arriving, who.departing) == (0, None, None)
        assert len(self.presence) == 2
