"""
What people test their own realms and avatars with.

L{FakeMind} behaves as badly as a real mind does: a fake that behaves better hides the bugs that
come with the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, PBConnectionLost
from zope.interface import implementer

from .interfaces import IMind

__all__ = ["Call", "FakeMind"]


@attrs.frozen(eq=False)
class Call:
    """
    One C{callRemote} of a mind.

    @ivar name: the remote method's name.
    @ivar args: its arguments.
    @ivar kwargs: its keyword arguments.
    @ivar answer: what the caller waits for; fire it as the client would.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Deferred[Any]


@implementer(IMind)
@attrs.define(eq=False)
class FakeMind:
    """
    Stands for a L{twisted.spread.pb.RemoteReference}.

    @ivar calls: what was called on it, oldest first.
    @ivar disconnected: whether the client is gone.
    @ivar backlog: how many bytes wait to be sent to it.
    """

    calls: list[Call] = attrs.field(factory=list, init=False)
    disconnected: bool = attrs.field(default=False, init=False)
    backlog: int = attrs.field(default=0, init=False)
    _callbacks: list[Callable[[Any], object]] | None = attrs.field(factory=list, init=False)

    def __eq__(self, other: object) -> bool:
        """
        Raise, as comparing the minds of two connections does.
        """
        if other is not self:
            raise TypeError(f"'<' not supported between a mind and {type(other).__name__!r}")
        return True

    def __hash__(self) -> int:
        """
        The first mind of every connection hashes to 1.
        """
        return 1

    def callRemote(
        self, name: str, /, *args: Any, pbanswer: bool = True, **kw: Any
    ) -> Deferred[Any] | None:
        """
        Take a call down in C{calls}; it waits for its C{answer} to be fired.

        @param pbanswer: whether an answer is asked for: with C{False} there is none.
        @raise DeadReferenceError: if the client is gone.
        """
        if self.disconnected:
            raise DeadReferenceError("Calling Stale Broker")
        call = Call(name, args, kw, Deferred())
        self.calls.append(call)
        return call.answer if pbanswer else None

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called by L{disconnect}.

        @raise AttributeError: if the client is gone, as a real mind does.
        """
        self._listening.append(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take a callback back.

        @raise AttributeError: if the client is gone, as a real mind does.
        @raise ValueError: if there is no such callback.
        """
        self._listening.remove(callback)

    def disconnect(self) -> None:
        """
        Let the client be gone: calls that wait fail with L{PBConnectionLost}, then the callbacks
        are called; one that raises keeps the later ones from being called.
        """
        self.disconnected = True
        for call in self.calls:
            if not call.answer.called:
                call.answer.errback(Failure(PBConnectionLost("the connection was lost")))
        callbacks = self._listening
        try:
            for callback in callbacks:
                callback(self)
        finally:
            self._callbacks = None

    @property
    def _listening(self) -> list[Callable[[Any], object]]:
        if self._callbacks is None:
            raise AttributeError("the connection of this mind is lost")
        return self._callbacks
