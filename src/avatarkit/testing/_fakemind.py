"""
A mind without a network.

It behaves as badly as a real one does: a fake that behaves better hides the bugs that come with
the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import banana, pb
from twisted.spread.jelly import globalSecurity
from zope.interface import implementer

from .._push.sendable import CODE, Strict
from .._push.wire import copied, strangersIn
from ..interfaces import IDisconnectableMind


@attrs.frozen(eq=False)
class Call:
    """
    One C{callRemote} of a mind.

    @ivar name: the remote method's name.
    @ivar args: its arguments, as they were when it was called.
    @ivar kwargs: its keyword arguments, as they were.
    @ivar answer: fire it as the client would: with a value, or a failure.  If the mind was told
        what to answer it has fired already.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Deferred[Any]


@implementer(IDisconnectableMind)
@attrs.define(eq=False, repr=False, slots=False)
class FakeMind:
    """
    Stands for a L{twisted.spread.pb.RemoteReference}.

    @ivar answers: what the client answers, by method: a value; an exception, or a
        L{Failure}; a L{Deferred}; or a callable that is called with the arguments and answers one
        of these, or raises.  A call of any other method waits for its L{Call.answer}.
    @ivar calls: what was called on it, oldest first.
    @ivar disconnected: whether the client is gone.
    @ivar backlog: how many bytes wait to be sent to it.
    @ivar closings: how the server has closed its connection: C{"lose"}, C{"abort"}.
    @ivar stalled: whether the client has stopped reading, so that it is not gone when its
        connection is closed politely.
    @cvar brokerSecurity: what may be sent to it: what is not allowed there is refused by groups, as
        for a real mind.
    """

    brokerSecurity: ClassVar[Any] = globalSecurity

    answers: Mapping[str, object] = attrs.field(factory=dict)
    calls: list[Call] = attrs.field(factory=list, init=False)
    disconnected: bool = attrs.field(default=False, init=False)
    backlog: int = attrs.field(default=0, init=False)
    closings: list[str] = attrs.field(factory=list, init=False)
    stalled: bool = attrs.field(default=False, init=False)
    _waiting: list[Deferred[Any]] = attrs.field(factory=list, init=False)
    _callbacks: Any = attrs.field(factory=list, init=False)

    _log = Logger()

    def __repr__(self) -> str:
        return f"<FakeMind{', disconnected' * self.disconnected}, called {len(self.calls)} times>"

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

    def callRemote(self, name: str | bytes, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
        """
        Take a call down in C{calls}.

        @param pbanswer: whether an answer is asked for: with C{False} there is none.
        @return: a Deferred of what the client answers, or C{None}.  A failure comes as Perspective
            Broker delivers it, which is not with the exception: C{failure.check} it.
        @raise DeadReferenceError: if the client is gone.
        @raise TypeError: if there is something in the arguments that Perspective Broker does not
            send, or would deliver as an L{Unpersistable<twisted.spread.jelly.Unpersistable>}.
        @raise BananaError: if something is too large to be sent.
        """
        if self.disconnected:
            raise pb.DeadReferenceError("Calling Stale Broker")
        for taken in kw.keys() & {"self", "_name"}:
            raise TypeError(f"callRemote() got multiple values for argument {taken!r}")
        try:
            _encode(_jelly((args, kw)))
        except (banana.BananaError, TypeError):
            raise
        except Exception:
            return fail(Failure())
        method = name if isinstance(name, str) else name.decode("utf-8")
        args, kw = copied((args, kw))
        call = Call(method, args, kw, Deferred())
        self.calls.append(call)
        result: Deferred[Any] | None = None
        if pbanswer:
            result = Deferred()
            self._waiting.append(result)
        call.answer.addBoth(self._deliver, result)
        if method in self.answers:
            _answer(self.answers[method], call).chainDeferred(call.answer)
        return result

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called by L{disconnect}.

        @raise AttributeError: if the client is gone, as a real mind does.
        """
        self._callbacks.append(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take a callback back.

        @raise AttributeError: if the client is gone, as a real mind does.
        @raise ValueError: if there is no such callback.
        """
        self._callbacks.remove(callback)

    def loseConnection(self) -> None:
        """
        Let the client be gone, unless it is stalled.
        """
        self.closings.append("lose")
        if not self.stalled:
            self.disconnect()

    def abortConnection(self) -> None:
        """
        Let the client be gone.
        """
        self.closings.append("abort")
        self.disconnect()

    def disconnect(self) -> None:
        """
        Let the client be gone, if it is not: calls that wait fail with L{PBConnectionLost
        <twisted.spread.pb.PBConnectionLost>}, then the callbacks are called; one that raises is
        logged, and keeps the later ones from being called.
        """
        if self.disconnected:
            return
        self.disconnected = True
        waiting, self._waiting = self._waiting, []
        for result in waiting:
            result.errback(Failure(pb.PBConnectionLost("the connection was lost")))
        try:
            for callback in self._callbacks:
                callback(self)
        except Exception:
            self._log.failure("a disconnect callback failed")
        self._callbacks = None

    def _deliver(self, answer: object, result: Deferred[Any] | None) -> None:
        """
        Let an answer arrive, unless nobody asked, or it comes too late.
        """
        if all(each is not result for each in self._waiting):
            return
        self._waiting = [each for each in self._waiting if each is not result]
        assert result is not None
        if not isinstance(answer, Failure):
            try:
                _encode(_jelly(((answer,), {})))
            except Exception:
                answer = Failure()
        if isinstance(answer, Failure):
            broker: Any = pb.Broker()
            sent = broker.serialize(pb.failure2Copyable(answer, 0))
            result.errback(broker.unserialize(sent))
        else:
            result.callback(copied(answer))


def _answer(told: object, call: Call) -> Deferred[Any]:
    """
    Answer a call as the mind was told to.
    """
    if isinstance(told, (BaseException, Failure)):
        return fail(told)
    if callable(told):
        return maybeDeferred(told, *call.args, **call.kwargs)
    return maybeDeferred(lambda: told)


def _jelly(data: tuple[tuple[object, ...], dict[str, object]]) -> list[object]:
    for each in strangersIn(data):
        if isinstance(each, CODE):
            raise TypeError(f"Perspective Broker does not send {each!r}: clients refuse code")
    broker: Any = pb.Broker()
    broker.security = Strict(globalSecurity)
    return [broker.serialize(each) for each in data]


def _encode(jelly: list[Any]) -> None:
    broker: Any = pb.Broker()
    broker.makeConnection(BytesIO())
    broker.sendEncoded(jelly)
