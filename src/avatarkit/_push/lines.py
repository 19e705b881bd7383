"""
From a mind to its sessions.

A group of minds alone finds their sessions, and how far they may be behind, because each connection
knows the directories that its sessions are filed in, so that there is no need to ask every
directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from .._clients.connections import attach, attachedTo, connectionOf
from .._tools.counting import countDown
from .addressees import Addressee


class Directory(Protocol):
    """
    Knows the sessions of minds.
    """

    @property
    def age(self) -> int:
        """
        The smaller, the older.
        """

    @property
    def reactor(self) -> IReactorTime | None:
        """
        What measures the time of its pushes.
        """

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Return whom a push to a mind goes to, if the mind is filed here.

        @param avatar: whose client the mind should be, if it is several avatars'.
        """


@attrs.define(eq=False)
class Line:
    """
    What is kept on a connection.

    @ivar directories: those that have sessions of its minds on file, oldest first, and how many.
    """

    directories: dict[Directory, int] = attrs.field(factory=dict, init=False)

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
        A directory has taken a session of this connection off its file.
        """
        if directory in self.directories:  # a mind that takes no attributes has a new line by now
            countDown(self.directories, directory)

    def addresseeOf(self, mind: object, avatar: object) -> Addressee:
        """
        Return whom a push to a mind goes to; of several directories the oldest one counts that has
        bounds.
        """
        asked = (each.addresseeOf(mind, avatar) for each in self.directories)
        found = [to for to in asked if to is not None]
        bounded = [to for to in found if to.bounds is not None]
        return (*bounded, *found, Addressee(mind))[0]


def lineOf(mind: object) -> Line:
    """
    Return the line of a mind's connection, a new one if there is none.

    A mind that takes no attributes, and is its own connection, gets a new one each time: its
    session is known to its registry only.
    """
    connection = connectionOf(mind)
    line = attachedTo(connection, Line)
    if line is None:
        line = Line()
        attach(connection, line)
    return line


def find(minds: Iterable[object], avatar: object = None) -> Iterator[Addressee]:
    """
    Return whom a push to minds goes to that may or may not be on file anywhere.
    """
    for mind in minds:
        line = attachedTo(connectionOf(mind), Line)
        yield Addressee(mind) if line is None else line.addresseeOf(mind, avatar)


def reactorOf(addressees: Iterable[Addressee]) -> IReactorTime | None:
    """
    Return the reactor of the directory that knows the first of these that is known at all.
    """
    known = next((to.mind for to in addressees if to.session is not None), None)
    line = attachedTo(connectionOf(known), Line)
    if line is None:
        return None
    knowing = (each for each in line.directories if each.addresseeOf(known) is not None)
    return next((each.reactor for each in knowing), None)
