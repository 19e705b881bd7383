"""
A mind without a network.

It behaves as badly as a real one: a fake that behaves better hides the bugs that come with the real
one.
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

# Any in this module: what is said to a client, and what it answers, is up to a test and its avatar.


@attrs.frozen(eq=False)
class Call:
    """
    One C{callRemote} on a mind.

    @ivar name: the remote method's name, without C{remote_}.
    @ivar args: a copy of the arguments, made when the call was.
    @ivar kwargs: a copy of the keyword arguments.
    @ivar answer: fire it with what the client answers: a value or a failure.  If the mind's
        C{answers} has this method, it fires by itself.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Deferred[Any]


@implementer(IDisconnectableMind)
@attrs.define(eq=False, repr=False)
class FakeMind:
    """
    A stand-in for a L{twisted.spread.pb.RemoteReference}.

    @ivar answers: what the client answers, by method name: a value, an exception, a
        L{Failure<twisted.python.failure.Failure>}, a
        L{Deferred<twisted.internet.defer.Deferred>}, or a callable that takes the arguments of the
        call and returns one of these or raises.  A call of any other method waits for its
        L{Call.answer}.
    @ivar calls: every call so far, oldest first.
    @ivar disconnected: whether the client is gone.
    @ivar backlog: how many bytes wait to be sent to the client; set it as you need it.
    @ivar closings: how the server has closed the connection so far: C{"lose"} or C{"abort"} for
        each time.
    @ivar stalled: whether the client has stopped reading, so that C{loseConnection} does not make
        it leave; set it as you need it.
    @cvar brokerSecurity: what may be sent to it: a group refuses what is not allowed there, as it
        does for a real mind.
    """

    brokerSecurity: ClassVar[Any] = globalSecurity

    answers: Mapping[str, object] = attrs.field(factory=dict)
    calls: list[Call] = attrs.field(factory=list, init=False)
    disconnected: bool = attrs.field(default=False, init=False)
    backlog: int = attrs.field(default=0, init=False)
    closings: list[str] = attrs.field(factory=list, init=False)
    stalled: bool = attrs.field(default=False, init=False)
    _waiting: list[Deferred[object]] = attrs.field(factory=list, init=False)
    _callbacks: Any = attrs.field(factory=list, init=False)

    _log = Logger()

    def __repr__(self) -> str:
        return f"<FakeMind{', disconnected' * self.disconnected}, called {len(self.calls)} times>"

    def __eq__(self, other: object) -> bool:
        """
        Raise C{TypeError} for any other object, as the minds of two connections do.
        """
        if other is not self:
            raise TypeError(f"'<' not supported between a mind and {type(other).__name__!r}")
        return True

    def __hash__(self) -> int:
        """
        Return 1, which is the hash of the first mind of every connection.
        """
        return 1

    def callRemote(self, name: str | bytes, /, *args: Any, pbanswer: bool = True, **kw: Any) -> Any:
        """
        Record a call in C{calls}.

        @param name: the remote method's name, without C{remote_}.
        @param pbanswer: whether the client is asked for an answer.
        @return: a Deferred of what the client answers; C{None} with C{pbanswer=False}.  Perspective
            Broker delivers a failure without the original exception: use C{failure.check}.
        @raise DeadReferenceError: if the client is gone.
        @raise TypeError: if Perspective Broker cannot send one of the arguments, or would deliver
            it as an L{Unpersistable<twisted.spread.jelly.Unpersistable>}.
        @raise BananaError: if an argument is too large to be sent.
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
        result: Deferred[object] | None = None
        if pbanswer:
            result = Deferred()
            self._waiting.append(result)
        call.answer.addBoth(self._deliver, result)
        if method in self.answers:
            _answer(self.answers[method], call).chainDeferred(call.answer)
        return result

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have C{callback} called with this mind when the client leaves.

        @raise AttributeError: if the client is gone; a real mind raises the same.
        """
        self._callbacks.append(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take back a callback.

        @raise AttributeError: if the client is gone; a real mind raises the same.
        @raise ValueError: if C{callback} is not registered.
        """
        self._callbacks.remove(callback)

    def loseConnection(self) -> None:
        """
        Make the client leave, unless it is stalled.
        """
        self.closings.append("lose")
        if not self.stalled:
            self.disconnect()

    def abortConnection(self) -> None:
        """
        Make the client leave.
        """
        self.closings.append("abort")
        self.disconnect()

    def disconnect(self) -> None:
        """
        Make the client leave, unless it is gone already.

        Waiting calls fail with L{PBConnectionLost<twisted.spread.pb.PBConnectionLost>}, then the
        callbacks are called in order.  If one raises, that is logged, and the later ones are not
        called.
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

    def _deliver(self, answer: object, result: Deferred[object] | None) -> None:
        """
        Deliver the client's answer, unless nobody asked for one or it comes too late.
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
            broker = pb.Broker()
            sent = broker.serialize(pb.failure2Copyable(answer, 0))
            result.errback(broker.unserialize(sent))
        else:
            result.callback(copied(answer))


def _answer(configured: object, call: Call) -> Deferred[object]:
    """
    Return a Deferred of the answer that is configured for a call.
    """
    if isinstance(configured, (BaseException, Failure)):
        return fail(configured)
    if callable(configured):
        return maybeDeferred(configured, *call.args, **call.kwargs)
    return maybeDeferred(lambda: configured)


def _jelly(data: tuple[tuple[object, ...], dict[str, object]]) -> list[object]:
    for each in strangersIn(data):
        if isinstance(each, CODE):
            raise TypeError(f"Perspective Broker cannot send {each!r}: clients refuse code")
    broker = pb.Broker()
    broker.security = Strict(globalSecurity)
    return [broker.serialize(each) for each in data]


def _encode(jelly: list[object]) -> None:
    broker = pb.Broker()
    broker.makeConnection(BytesIO())
    broker.sendEncoded(jelly)
