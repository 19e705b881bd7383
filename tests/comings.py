"""
Who comes and who goes in a random machine: an avatar and two observers are told, who wait, raise
and end sessions, and what they are told must alternate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from avatarkit import Presence
from moves import NAMES, WAITS, Gate
from scripted import Boom

#: How many seconds an observer may take.
OBSERVING = 6

#: What an observer does, mostly nothing.
OBSERVERS = ("passes",) * 6 + ("waits", "waits", "raises", "is thorny", "is stubborn")


class Call(Gate):
    """
    A call of an observer that waits.

    @ivar name: whose arrival or departure it is told.
    @ivar givenUp: whether it was cancelled.
    """

    def __init__(self, comings: Comings, name: str, manner: str) -> None:
        super().__init__(manner)
        self.comings, self.name, self.givenUp = comings, name, False
        if manner == "is thorny":
            self.now = Deferred(self.fail)

    def fail(self, cancelled: object) -> None:
        """
        Be a canceller that raises, which is logged.
        """
        self.comings.failures += 1
        raise Boom

    async def _stubborn(self) -> object:
        try:
            return await self.now
        except CancelledError:
            self.givenUp, self.now = True, Deferred()
            return await self.now

    def finish(self, succeeds: bool, result: object = None) -> None:
        """
        Succeed, or fail, which is logged.
        """
        self.comings.failures += not succeeds
        super().finish(succeeds, result)


class Comings:
    """
    A presence, and what is told of it.

    @ivar act: what the next call does, and only that.
    @ivar end: called with a name to end a session of it.
    @ivar told: what the avatars, the first observer and the second one were told of each name.
    @ivar calls: those that have waited.
    @ivar failures: how many failures should have been logged.
    @ivar wrong: what was told that should not have been.
    """

    def __init__(self, clock: Clock, end: Callable[[str], object] = lambda name: None) -> None:
        self.presence = Presence(timeout=OBSERVING, reactor=clock)
        self.act, self.end, self.failures = "passes", end, 0
        self.told: list[dict[str, str]] = [dict.fromkeys(NAMES, "") for _ in range(3)]
        self.calls: list[Call] = []
        self.wrong: list[str] = []
        for place in (1, 2):
            self.presence.observe(
                arrived=partial(self.tell, place, "+"), departed=partial(self.tell, place, "-")
            )

    def tell(self, place: int, sign: str, name: str) -> Any:
        """
        Take note of what somebody is told, and do what is planned.
        """
        before = self.told[place][name]
        if before[-1:] == sign or (not before and sign == "-"):
            self.wrong.append(f"{place} is told {sign} of {name} after {before}")
        if any(each.name == name and not each.givenUp for each in self.open()):
            self.wrong.append(f"{place} is told of {name} while another one is")
        self.told[place][name] = before + sign
        act, self.act = self.act, "passes"
        if act == "raises":
            self.failures += 1
            raise Boom
        if act == "ends another":
            self.end(name)
        if act not in WAITS:
            return None
        self.calls.append(Call(self, name, act))
        return self.calls[-1].promise()

    def open(self) -> list[Call]:
        """
        Return the calls that wait.
        """
        return [each for each in self.calls if each.isOpen]

    @property
    def telling(self) -> set[str]:
        """
        The names of which somebody is still told.
        """
        return {each.name for each in self.open() if not each.givenUp}

    def check(self) -> None:
        """
        What is told alternates, each is told the same in the same order, and when all are told it
        is how it is.
        """
        assert self.wrong == []
        for name in NAMES:
            lengths = [len(each[name]) for each in self.told]
            assert sorted(lengths, reverse=True) == lengths, lengths
            if name not in self.telling:
                assert lengths[0] == lengths[2], lengths
                assert (lengths[0] % 2 == 1) is (name in self.presence), name
        assert {str(each) for each in self.presence._leaving} <= self.telling

    def checkPresent(self, there: Mapping[str, int]) -> None:
        """
        Those are there who should be.
        """
        assert dict(self.presence) == there, (dict(self.presence), there)

    def checkNothing(self) -> None:
        """
        Everybody has gone, and everybody has been told.
        """
        assert (len(self.presence), self.presence._leaving) == (0, {})
        assert (self.presence._going, self.presence._closers) == ({}, [])
