"""
From a mind to its sessions, and to the answers that its connection owes.

Each connection knows the directories that its sessions are filed in, so a group that has nothing
but minds finds their sessions, and how far they may be behind, without asking every directory.

A connection owes the answers to what was pushed over it.  Perspective Broker forgets a request as
soon as it begins to read the answer: if the answer cannot be read, the Deferred of the request
never fires, not even when the connection is lost.  So what is still owed when it is lost is settled
here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.spread.pb import Broker, PBConnectionLost

from .._clients.connections import attach, attachedTo, connectionOf, partingsOf
from .._clients.minds import identityOf
from .._tools.counting import countDown
from .addressees import Addressee


class Directory(Protocol):
    """
    Knows the sessions of minds.
    """

    @property
    def age(self) -> int:
        """
        A number that is smaller the older the directory is.
        """

    @property
    def reactor(self) -> IReactorTime | None:
        """
        What measures the time of its pushes.
        """

    @property
    def oncePerMind(self) -> bool:
        """
        Whether a mind is pushed to once, however many sessions it has.
        """

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Return whom a push to a mind goes to, if the mind is filed here.

        @param avatar: the avatar that is meant, if the mind is a client of several.
        """


@attrs.define(eq=False)
class Line:
    """
    What is kept on a connection.

    @ivar directories: those that have filed sessions of its minds, oldest first, and how many.
    @ivar _owed: the callables that take the answers that the connection owes.
    @ivar _watching: whether it is told when the connection is lost.
    """

    directories: dict[Directory, int] = attrs.field(factory=dict, init=False)
    _owed: dict[Callable[[object], object], None] = attrs.field(factory=dict, init=False)
    _watching: bool = attrs.field(default=False, init=False)

    def filed(self, directory: Directory) -> None:
        """
        A directory has filed a session of this connection.
        """
        if directory in self.directories:
            self.directories[directory] += 1
        else:
            self.directories[directory] = 1
            if len(self.directories) > 1:
                ages = sorted(self.directories.items(), key=lambda item: item[0].age)
                self.directories = dict(ages)

    def unfiled(self, directory: Directory) -> None:
        """
        A directory has removed a session of this connection.
        """
        countDown(self.directories, directory)

    def addresseeOf(self, mind: object, avatar: object) -> Addressee:
        """
        Return whom a push to a mind goes to; if several directories know it, the oldest one with
        bounds counts.
        """
        asked = (each.addresseeOf(mind, avatar) for each in self.directories)
        found = [to for to in asked if to is not None]
        bounded = [to for to in found if to.bounds is not None]
        return (*bounded, *found, Addressee(mind))[0]

    def isOncePerMind(self) -> bool:
        """
        Return whether a mind of this connection is pushed to once, however often it is in a group.
        """
        return any(each.oncePerMind for each in self.directories)

    def owe(self, broker: Broker, take: Callable[[object], object]) -> None:
        """
        A Perspective Broker connection owes an answer.

        @param take: called once, with the answer, or with the L{Failure} that there will be none.
        """
        if not self._watching:
            self._watching = True
            partingsOf(broker).add(Line._lost, self)
        self._owed[take] = None

    def pay(self, answer: object, take: Callable[[object], object]) -> None:
        """
        An answer has come.
        """
        del self._owed[take]
        take(answer)

    def _lost(self) -> None:
        """
        The connection is lost, and nobody will answer any more.
        """
        owed, self._owed = self._owed, {}
        for take in owed:
            take(Failure(PBConnectionLost("the client left without an answer that can be read")))


def lineOf(mind: object) -> Line:
    """
    Return the line of a mind's connection, a new one if there is none.
    """
    connection = connectionOf(mind)
    line = attachedTo(connection, Line)
    if line is None:
        line = Line()
        attach(connection, line)
    return line


def find(minds: Iterable[object], avatar: object = None) -> Iterator[Addressee]:
    """
    Return the addressee of each mind, whether or not a registry knows it.
    """
    seen: set[Hashable] = set()
    for mind in minds:
        line = attachedTo(connectionOf(mind), Line)
        if line is None:
            yield Addressee(mind)
            continue
        if line.isOncePerMind():
            key = identityOf(mind)
            if key in seen:
                continue
            seen.add(key)
        yield line.addresseeOf(mind, avatar)


def reactorOf(addressees: Iterable[Addressee]) -> IReactorTime | None:
    """
    Return the reactor of the registry that knows the first known mind.
    """
    known = next((to.mind for to in addressees if to.session is not None), None)
    line = attachedTo(connectionOf(known), Line)
    if line is None:
        return None
    knowing = (each for each in line.directories if each.addresseeOf(known) is not None)
    return next((each.reactor for each in knowing), None)
