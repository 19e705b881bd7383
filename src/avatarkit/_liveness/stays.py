"""
Avatars that outlive the connections of their clients, and the tickets that let these back in.

A I{stay} begins when an avatar is made for a client that can come back.  It belongs to one session
at a time: to the one that it was made for, and when that has lost its client, to the one that takes
it over.

A ticket is for one stay.  Of its token only a digest is kept: whoever reads the server's memory or
its logs cannot come back with that, and how long it takes to look a digest up says nothing about
the token.  A client has a new ticket after each login, and the one that it came with is good until
it is known to have the new one: the connection may be lost again before it has.
"""

from __future__ import annotations

from hashlib import sha256
from secrets import token_bytes
from typing import Generic, NamedTuple, Protocol

import attrs

from .._push.journal import Journal
from .._realm.session import Session
from .._tools.typevars import A
from .._waiting.timers import Timer

#: How many random bytes a token has.
LENGTH = 32


class Terms(Protocol):
    """
    How long what is kept; see L{Resume<avatarkit.Resume>}.
    """

    @property
    def window(self) -> float: ...

    @property
    def backlog(self) -> int: ...

    @property
    def hold(self) -> bool: ...

    @property
    def maximumLost(self) -> int: ...

    @property
    def timeout(self) -> float: ...


@attrs.define(eq=False)
class Stay(Generic[A]):
    """
    The stay of an avatar.

    @ivar session: whose avatar it is.
    @ivar journal: what was pushed to its client.
    @ivar taker: the session that is about to take it over, whose login is in progress.
    @ivar lost: whether its client is lost.
    @ivar parked: whether nothing is left of its session but the avatar.
    @ivar over: whether nobody can take it over any more.
    @ivar window: when that is so, if the client is lost and nobody comes.
    @ivar good: the digests of the tokens that it can be taken over with.
    """

    session: Session[A]
    journal: Journal
    taker: Session[A] | None = attrs.field(default=None, init=False)
    lost: bool = attrs.field(default=False, init=False)
    parked: bool = attrs.field(default=False, init=False)
    over: bool = attrs.field(default=False, init=False)
    window: Timer | None = attrs.field(default=None, init=False)
    good: list[bytes] = attrs.field(factory=list, init=False, repr=False)

    def wait(self, window: Timer | None) -> None:
        """
        Wait for the client to come back, or no longer.
        """
        former, self.window = self.window, window
        if former is not None:
            former.cancel()

    def belong(self, session: Session[A]) -> None:
        """
        Another session has the avatar now, whose client is there.
        """
        self.wait(None)
        self.session, self.lost, self.parked = session, False, False


class Taking(NamedTuple, Generic[A]):
    """
    A login in progress that takes over a stay.

    @ivar received: the number of the last push that its client has got.
    """

    stay: Stay[A]
    received: int


@attrs.define(eq=False)
class Tickets(Generic[A]):
    """
    Who may come back.

    @ivar _stays: the stay that each ticket is for, by the digest of its token.
    """

    _stays: dict[bytes, Stay[A]] = attrs.field(factory=dict, init=False, repr=False)

    def find(self, token: bytes) -> Stay[A] | None:
        """
        Return the stay that a token is good for.
        """
        return self._stays.get(_digestOf(token))

    def isNewest(self, stay: Stay[A], token: bytes) -> bool:
        """
        Return whether a token that is good is the last one that was issued.
        """
        return stay.good[-1] == _digestOf(token)

    def issue(self, stay: Stay[A]) -> bytes:
        """
        Return the token of a new ticket.
        """
        token = token_bytes(LENGTH)
        digest = _digestOf(token)
        self._stays[digest] = stay
        stay.good.append(digest)
        return token

    def confirm(self, stay: Stay[A], token: bytes) -> None:
        """
        The client has a ticket, and needs no older one.
        """
        digest = _digestOf(token)
        if digest in stay.good:
            self._keep(stay, stay.good.index(digest))

    def spend(self, stay: Stay[A], token: bytes) -> None:
        """
        The client has come back with a ticket: no other one is good any more.
        """
        digest = _digestOf(token)
        self.void(stay)
        self._stays[digest] = stay
        stay.good.append(digest)

    def void(self, stay: Stay[A]) -> None:
        """
        Nobody can come back.
        """
        self._keep(stay, len(stay.good))

    def _keep(self, stay: Stay[A], first: int) -> None:
        for digest in stay.good[:first]:
            del self._stays[digest]
        del stay.good[:first]


def _digestOf(token: bytes) -> bytes:
    return sha256(token).digest()
