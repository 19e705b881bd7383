"""
What a client says of itself when it logs in: whether it can come back, and whether it does.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.spread import pb

from .._push.wire import Message
from .._realm.session import Session
from .._waiting.timers import Timers
from ..errors import LoggedOut

#: How long a token may be, in bytes, and how large the number of a push.
LONGEST, LARGEST = 64, 2**62

_ASKING: Any = {"answering": True, "toMany": False}  # Any: they are passed on


class Claim(NamedTuple):
    """
    What a client that can come back says.

    @ivar token: what it was given when it logged in last, empty if it was not.
    @ivar received: the number of the last push that it has got.
    """

    token: bytes
    received: int

    def __repr__(self) -> str:
        return f"<Claim of {self.received}>"  # nobody is to read the token


#: What a client claims that says nothing sensible.
NONSENSE = Claim(b"", -1)


def askFor(mind: object, timeout: float, timers: Timers) -> Deferred[Claim | None]:
    """
    Ask a client whether it can come back.

    @param timeout: how many seconds it has to answer.
    @return: a Deferred of what it says; of C{None} if it says nothing, of L{NONSENSE} if it says
        nothing sensible.
    """
    claim: Deferred[Claim | None] = Deferred(lambda claim: claim.errback(CancelledError()))

    def settle(said: Claim | None) -> None:
        if not claim.called:
            claim.callback(said)

    def done(result: Claim | None) -> Claim | None:
        deadline.cancel()
        return result

    deadline = timers.start(timeout, partial(settle, None))
    claim.addBoth(done)
    question = Message("sessionClaim", (), {}, **_ASKING)
    answer = maybeDeferred(question.send, mind)
    answer.addCallbacks(_claimIn, lambda failure: None).addCallback(settle)
    return claim


def _claimIn(answer: object) -> Claim:
    """
    Return what a client says.
    """
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
        return NONSENSE
    token, received = answer
    if not (type(token) is bytes and len(token) <= LONGEST):
        return NONSENSE
    if not (type(received) is int and 0 <= received <= LARGEST):
        return NONSENSE
    return Claim(token, received)


def giveTicket(session: Session, token: bytes, *, resumed: bool) -> Deferred[object]:
    """
    Give the client of a session what it comes back with.

    @param resumed: whether it has come back.
    @return: a Deferred that fires when it has it.
    """
    ticket = Message("sessionTicket", (token, resumed, Line(session)), {}, **_ASKING)
    return maybeDeferred(ticket.send, session.mind)


class Line(pb.Referenceable):
    """
    What a client calls about its session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def remote_ping(self) -> None:
        """
        The client wants to know whether the server is there.
        """

    def remote_logout(self) -> None:
        """
        The client leaves, and does not come back.
        """
        self._session.logout(LoggedOut())
