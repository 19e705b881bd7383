"""
What a random machine is: moves that can be made, what must hold after each, and an end at which
nothing may be left.

A machine does not know what chooses its moves: a random generator that can be replayed, see
C{tests/machines.py}, or hypothesis, see C{tests/test_machine.py}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.components import registerAdapter
from zope.interface import implementer

from avatarkit import Block, IDisconnectableMind, Session
from avatarkit.testing import FakeMind
from scripted import Boom

T = TypeVar("T")

NAMES = ("alice", "bob", "carol")

#: The ways in which something waits: it can be cancelled, its canceller raises, or it does not mind
#: being cancelled.
WAITS = ("waits", "is thorny", "is stubborn")

#: What a hook does on the way up, and on the way down.
UP = ("passes",) * 6 + ("raises", "waits", "waits", "is thorny", "is stubborn")
DOWN = ("passes",) * 6 + ("raises", "waits", "waits")

#: The methods of a mind's adapter that may raise; mostly none of them does.
RAISING = ("disconnected", "notifyOnDisconnect", "dontNotifyOnDisconnect")
MOODS = ("",) * 7 + RAISING


class Choose(Protocol):
    """
    Chooses one of several things.
    """

    def __call__(self, what: Sequence[T], /) -> T:
        """
        Return one of them.
        """


class Move(NamedTuple):
    """
    Something that can happen.

    @ivar when: whether it can happen now.
    @ivar often: how often it comes, compared with others.
    """

    name: str
    make: Callable[[Any, Choose], None]
    when: Callable[[Any], object]
    often: int


def move(
    when: Callable[[Any], object] = lambda machine: True, *, often: int = 2
) -> Callable[[Callable[[Any, Choose], None]], Callable[[Any, Choose], None]]:
    """
    Return a decorator for methods that are moves.
    """

    def decorate(method: Callable[[Any, Choose], None]) -> Callable[[Any, Choose], None]:
        vars(method)["move"] = Move(method.__name__, method, when, often)
        return method

    return decorate


class Machine(ABC):
    """
    Something that can be driven at random.

    @cvar CASES: what must have happened in enough of the runs, besides the moves.
    @ivar cases: what has happened, and how often.
    @ivar errors: the failures that were logged.
    """

    CASES: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.clock = Clock()
        self.cases: Counter[str] = Counter()
        self.errors: list[dict[str, Any]] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)

    def observe(self, event: dict[str, Any]) -> None:
        """
        Collect the failures that are logged, but not those that Deferreds have kept to themselves:
        the garbage collector may find those of another machine.
        """
        if "log_failure" in event and not isUnhandled(event):
            self.errors.append(event)

    def happened(self, case: str, when: object = True) -> None:
        """
        Count a case, if it is one.
        """
        if when:
            assert case in self.CASES, case
            self.cases[case] += 1

    @classmethod
    def moves(cls) -> list[Move]:
        """
        Return all moves.
        """
        found = (getattr(each, "move", None) for each in vars(cls).values())
        return [each for each in found if each is not None]

    def begin(self, choose: Choose) -> None:  # noqa: B027  # it need not do anything
        """
        Prepare for the first move.
        """

    @abstractmethod
    def check(self) -> None:
        """
        Check what must hold after each move.
        """

    @abstractmethod
    def finish(self) -> None:
        """
        Close everything, and check that nothing is left.
        """

    def dispose(self) -> None:
        """
        Leave nothing behind, however the run went.
        """
        observer: Any = self.observe
        globalLogPublisher.removeObserver(observer)


def isUnhandled(event: dict[str, Any]) -> bool:
    """
    Return whether an event is about the failure of a Deferred that nobody has handled.
    """
    return event.get("log_namespace") == "twisted.internet.defer"


class Gate:
    """
    Something that waits.

    @ivar manner: one of L{WAITS}.
    @ivar now: what it waits for now.
    @ivar results: what it may finish with.
    """

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.results: tuple[Any, ...] = (None,)
        self.now: Deferred[Any] = Deferred(fails if manner == "is thorny" else None)

    @property
    def isOpen(self) -> bool:
        """
        Whether it still waits.
        """
        return not self.now.called

    def promise(self) -> Any:
        """
        Return what a hook returns that waits for this.
        """
        return self._stubborn() if self.manner == "is stubborn" else self.now

    async def _stubborn(self) -> object:
        try:
            return await self.now
        except CancelledError:
            self.now = Deferred()
            return await self.now

    def finish(self, succeeds: bool, result: object = None) -> None:
        """
        Succeed or fail.
        """
        now = self.now
        now.callback(result) if succeeds else now.errback(Boom())
        now.addErrback(lambda failure: None)  # nobody may be there to handle it


def fails(waiting: object) -> None:
    """
    Be a canceller that raises.
    """
    raise Boom


class Moody:
    """
    A mind whose adapter may raise.  Like the minds of two connections, it cannot be compared with
    another.

    @ivar client: its good half.
    @ivar mood: which of the adapter's methods raises now, if one does.
    @ivar calls: what a call of the client does, if it does not wait: C{"raises"}, or
        C{"is thorny"}.
    """

    def __init__(self, mood: str, *, stalled: bool = False) -> None:
        self.client, self.mood, self.calls = FakeMind(), mood, ""
        self.client.stalled = stalled

    def __repr__(self) -> str:
        return f"<a mind, {self.mood or 'well'}{', stalled' * self.client.stalled}>"

    def __eq__(self, other: object) -> bool:
        """
        Raise C{TypeError} for any other object.
        """
        if other is not self:
            raise TypeError(f"a mind and {type(other).__name__!r} cannot be compared")
        return True

    def __hash__(self) -> int:
        """
        Return the hash of the first mind of every connection.
        """
        return 1

    def raises(self, method: str) -> None:
        """
        Raise, if it is in the mood.
        """
        if self.mood == method:
            raise Boom

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Any:
        """
        Call the client.
        """
        if self.calls == "raises":
            raise Boom
        answer: Deferred[Any] = self.client.callRemote(name, *args, **kw)
        if self.calls == "is thorny":
            answer.addErrback(lambda failure: None)
            return Deferred(fails)
        return answer


@implementer(IDisconnectableMind)
class Adapter:
    """
    What a realm sees of such a mind.
    """

    def __init__(self, mind: Moody) -> None:
        self.mind = mind

    @property
    def disconnected(self) -> bool:
        """
        Whether the client is gone.
        """
        self.mind.raises("disconnected")
        return self.mind.client.disconnected

    @property
    def backlog(self) -> int:
        """
        How many bytes wait to be sent.
        """
        return self.mind.client.backlog

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Any:
        """
        Call the client.
        """
        return self.mind.callRemote(name, *args, **kw)

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have the callback called when the client is gone.
        """
        self.mind.raises("notifyOnDisconnect")
        self.mind.client.notifyOnDisconnect(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take the callback back.
        """
        self.mind.raises("dontNotifyOnDisconnect")
        self.mind.client.dontNotifyOnDisconnect(callback)

    def loseConnection(self) -> None:
        """
        Close the connection politely.
        """
        self.mind.client.loseConnection()

    def abortConnection(self) -> None:
        """
        Close the connection now.
        """
        self.mind.client.abortConnection()


registerAdapter(Adapter, Moody, IDisconnectableMind)


class Scripted(Block):
    """
    A block that passes, raises or waits on command.
    """

    def __init__(self, act: Callable[[Session, str], object]) -> None:
        self.act = act

    def admit(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "admit")

    def release(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "release")

    def attached(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "attached")

    def detached(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "detached")
