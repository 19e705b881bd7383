"""
One message to many Perspective Broker minds, encoded once.

C{mind.callRemote} jellies and encodes its arguments anew for every receiver.  Of plain data that
makes the same bytes each time, but for the number of the request and that of the mind, which stand
at their beginning.  So the rest is made once, and each mind is written its own beginning and that.
Whatever is not known to come out the same goes through the mind's own C{callRemote}.

All that this relies on in L{twisted.spread} is said here.  These attributes are public by name and
documented nowhere: C{luid} and C{broker} of a L{RemoteReference};
C{disconnected}, C{security}, C{waitingForAnswers}, C{newRequestID}, C{currentDialect},
C{prefixLimit}, C{setPrefixLimit}, C{outgoingSymbols}, C{outgoingVocabulary}, C{serialize},
C{sendEncoded}, C{transport} of a L{Broker}; C{int2b128}, C{LIST}, C{INT}, C{LONGINT} of
L{banana<twisted.spread.banana>}.  And this is what its private
C{_sendMessage} does: a message is the list C{[b"message", requestID, luid, name, answerRequired,
args, kw]}, and who waits for an answer is put into C{waitingForAnswers}.  Tests compare what is
written with what C{callRemote} writes, byte by byte.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from decimal import Decimal
from io import BytesIO
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.spread import banana
from twisted.spread.pb import Broker, DeadReferenceError, RemoteReference

from .._clients.minds import mindOf

#: What makes the same jelly for everybody, if what is in it does.
_CONTAINERS = (list, tuple, dict, set, frozenset)
_ATOMS = frozenset(
    [
        *(type(None), bool, int, float, str, bytes, Decimal),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    ]
)

#: The largest integer that is sent as an C{INT}.
_LARGEST_INT = 2**31 - 1

#: What C{callRemote} does something else with than to send it.
_RESERVED = frozenset(["pbcallback", "pberrback", "self", "_name"])


@attrs.define(eq=False)
class Message:
    """
    A call of a C{remote_} method, to be sent to any number of minds.

    @ivar answering: whether it asks for answers.
    """

    _name: str | bytes
    _args: tuple[Any, ...]
    _kw: dict[str, Any]
    answering: bool = attrs.field(kw_only=True)
    _toMany: bool = attrs.field(kw_only=True)
    _plain: bool = attrs.field(init=False)
    _encoded: dict[tuple[int, int], bytes | Exception] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._plain = (
            self._toMany
            and _RESERVED.isdisjoint(self._kw)
            and not strangersIn((self._args, self._kw))
        )

    def keep(self) -> None:
        """
        Keep plain data in the arguments as it is now, since the caller may change it before all is
        sent.
        """
        with suppress(Exception):  # too deep to be copied: it is too deep to be sent, too
            self._args, self._kw = copied((self._args, self._kw))

    def send(self, mind: Any) -> Any:
        """
        Send it to one mind.

        @return: what C{mind.callRemote} answers.
        @raise Exception: what C{mind.callRemote} raises, or what encoding the message does, which
            then is not sent at all.
        """
        broker = _ordinaryBroker(mind) if self._plain else None
        if broker is None:
            wishes = {} if self.answering else {"pbanswer": False}
            return _caller(mind).callRemote(self._name, *self._args, **self._kw, **wishes)
        if broker.disconnected:
            raise DeadReferenceError("Calling Stale Broker")
        key = (id(broker.security), broker.prefixLimit)
        encoded = self._encoded.get(key) or self._encodeFor(broker, key)
        if not isinstance(encoded, bytes):
            raise encoded.with_traceback(None)
        requestID = broker.newRequestID()
        answer: Deferred[Any] | None = None
        if self.answering:
            answer = broker.waitingForAnswers[requestID] = Deferred()
        beginning = _with(_with(_OPENING, requestID), mind.luid)
        broker.transport.writeSequence((beginning, encoded))
        return answer

    def _encodeFor(self, broker: Any, key: tuple[int, int]) -> bytes | Exception:
        try:
            self._encoded[key] = self._encode(broker)
        except Exception as unsendable:
            self._encoded[key] = unsendable
        return self._encoded[key]

    def _encode(self, broker: Any) -> bytes:
        scribe = _scribe(broker.prefixLimit)
        scribe.security = broker.security
        name = self._name if isinstance(self._name, bytes) else self._name.encode("utf-8")
        args, kw = (scribe.serialize(each, method=name) for each in (self._args, self._kw))
        for part in (name, int(self.answering), args, kw):
            scribe.sendEncoded(part)
        return scribe.transport.getvalue()  # type: ignore[no-any-return]  # it is a BytesIO


def strangersIn(data: Iterable[Any]) -> list[Any]:
    """
    Answer what is not plain data in some that is nested.
    """
    strangers, seen, ahead = [], set(), [data]
    while ahead:
        value: Any = ahead.pop()
        kind = type(value)
        if kind in _ATOMS or id(value) in seen:
            continue
        if kind not in _CONTAINERS:
            strangers.append(value)
            continue
        seen.add(id(value))
        ahead.extend(value)
        if kind is dict:
            ahead.extend(value.values())
    return strangers


def copied(data: Any) -> Any:
    """
    Copy plain data, and the containers of what is in it and is not.
    """
    return deepcopy(data, {id(each): each for each in strangersIn(data)})


def _ordinaryBroker(mind: Any) -> Any:
    """
    Answer the broker of a mind, or C{None} if what it is sent may depend on more than two numbers.
    """
    if type(mind) is not RemoteReference:
        return None
    broker = mind.broker
    ordinary = (
        type(broker) is Broker
        and broker.currentDialect == b"pb"
        and len(broker.outgoingSymbols) == _SYMBOLS
        and type(mind.luid) is int
        and 0 <= mind.luid <= _LARGEST_INT
    )
    return broker if ordinary else None


def _caller(mind: Any) -> Any:
    """
    Answer what has the C{callRemote} of a mind.
    """
    return mind if hasattr(mind, "callRemote") else mindOf(mind)


def _scribe(prefixLimit: int) -> Any:
    """
    Answer a broker that nobody is connected to: what it sends can be had from its transport.
    """
    scribe: Any = Broker()
    scribe.transport = BytesIO()
    scribe.currentDialect = b"pb"
    scribe.setPrefixLimit(prefixLimit)
    return scribe


def _openingOf(parts: int, first: bytes) -> bytes:
    """
    Answer how a list of so many parts begins.
    """
    scribe = _scribe(64)
    banana.int2b128(parts, scribe.transport.write)
    scribe.transport.write(banana.LIST)
    scribe.sendEncoded(first)
    return scribe.transport.getvalue()  # type: ignore[no-any-return]  # it is a BytesIO


_SYMBOLS = len(Broker.outgoingVocabulary)
_OPENING = _openingOf(7, b"message")


#: How each digit of a number is sent, which has seven bits; and how the first one is, which comes
#: last, with what kind of number it was.
_DIGITS = [bytes((digit,)) for digit in range(128)]
_ENDS = [digit + banana.INT for digit in _DIGITS]
_LONG_ENDS = [digit + banana.LONGINT for digit in _DIGITS]


def _with(beginning: bytes, number: int) -> bytes:
    """
    Answer the beginning of a message with one more number, which is not negative.

    It is what C{banana.int2b128} does, in a fraction of the time.
    """
    ends = _ENDS if number <= _LARGEST_INT else _LONG_ENDS
    while number > 127:
        beginning += _DIGITS[number & 127]
        number >>= 7
    return beginning + ends[number]
