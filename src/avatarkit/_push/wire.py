"""
One message to many Perspective Broker minds, encoded once.

C{mind.callRemote} jellies and encodes its arguments anew for every receiver.  For plain data that
makes the same bytes each time, except for the number of the request and that of the mind, which
stand at the beginning.  So the rest is encoded once, and each mind is sent its own beginning
followed by that.  Whatever is not known to come out the same goes through the mind's own
C{callRemote}.

All that this relies on in L{twisted.spread} is said here.  These names are public, and are not
described as something to build on: C{luid} and C{broker} of a L{RemoteReference}; C{disconnected},
C{security}, C{waitingForAnswers}, C{newRequestID}, C{currentRequestID}, C{currentDialect},
C{prefixLimit}, C{setPrefixLimit}, C{outgoingSymbols}, C{outgoingVocabulary}, C{serialize},
C{sendEncoded}, C{transport} of a L{Broker}; C{int2b128}, C{LIST}, C{INT}, C{LONGINT} of
L{banana<twisted.spread.banana>}.  And this is what its private C{_sendMessage} does: a message is
the list C{[b"message", requestID, luid, name, answerRequired, args, kw]}, and what waits for an
answer is put into C{waitingForAnswers}.  Tests compare what is written with what C{callRemote}
writes, byte by byte.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from copy import deepcopy
from decimal import Decimal
from io import BytesIO
from reprlib import repr as short
from typing import Any, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.spread import banana
from twisted.spread.pb import Broker, DeadReferenceError, RemoteReference

from .._clients.minds import callRemoteOf
from .sendable import checkSendable, strictly

T = TypeVar("T")

#: What decides how a message is encoded: the C{id} of a broker's security, its C{prefixLimit}, and
#: whether the message is numbered.
_Rules: TypeAlias = tuple[int, int, bool]

#: What a client that may come back is called with.
_PUSH = b"sessionPush"

# Any in this module: minds, and the parts of a broker that Twisted does not describe.

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

#: In how many ways a message is kept encoded; nearly always there is one.
_MOST_ENCODED = 100

#: What C{callRemote} takes for itself instead of sending it.
_RESERVED = frozenset(["pbcallback", "pberrback", "self", "_name"])


class NotCallable(TypeError):
    """
    A push goes to something that is not a client.
    """


@attrs.define(eq=False, repr=False)
class Message:
    """
    A call of a C{remote_} method, to be sent to any number of minds.

    A client that may come back is sent it as a call of C{sessionPush}, with the number of the push
    and what it was to be called with.

    @ivar answering: whether it asks for answers.
    @ivar passing: whether it is worth nothing later, so that it is not kept for a client that comes
        back.
    @ivar _strangers: what is not plain data in its arguments.
    @ivar _kept: whether the arguments are its own.
    @ivar _encoded: by the rules that it is encoded by: what is the same for all minds.
    """

    _name: str | bytes
    _args: tuple[object, ...]
    _kw: dict[str, object]
    answering: bool = attrs.field(kw_only=True)
    _toMany: bool = attrs.field(alias="toMany", kw_only=True)
    passing: bool = attrs.field(default=False, kw_only=True)
    _strangers: list[object] = attrs.field(init=False)
    _plain: bool = attrs.field(init=False)
    _kept: bool = attrs.field(default=False, init=False)
    _encoded: dict[_Rules, bytes | Exception] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._strangers = strangersIn((self._args, self._kw))
        self._plain = self._toMany and not self._strangers and _RESERVED.isdisjoint(self._kw)

    def check(self, minds: Iterable[object]) -> None:
        """
        Check that it can be sent to all of these minds.

        @raise TypeError: if there is something in the arguments that Perspective Broker cannot
            send.
        """
        if self._strangers:
            checkSendable(self._strangers, minds)

    def keep(self) -> None:
        """
        Keep plain data in the arguments as it is now, since the caller may change it before all is
        sent.
        """
        if self._kept:
            return
        self._kept = True
        with suppress(Exception):  # too deep to be copied: it is too deep to be sent, too
            self._args, self._kw = copied((self._args, self._kw))

    def send(self, mind: Any, number: int | None = None, *, again: bool = False) -> object:
        """
        Send it to one mind.

        @param number: the number of the push, for a client that may come back.
        @param again: whether nobody waits for the answer any more.
        @return: what C{mind.callRemote} returns.
        @raise Exception: what C{mind.callRemote} raises, or what encoding the message does, which
            then is not sent at all.
        """
        broker = _ordinaryBroker(mind) if self._plain and not again else None
        if broker is None:
            return self._call(mind, number, answering=self.answering and not again)
        if broker.disconnected:
            raise DeadReferenceError("Calling Stale Broker")
        rules = (id(broker.security), broker.prefixLimit, number is not None)
        encoded = self._encoded.get(rules) or self._encodeFor(broker, rules)
        if not isinstance(encoded, bytes):
            raise encoded.with_traceback(None)
        requestID = broker.newRequestID()
        answer: Deferred[object] | None = None
        if self.answering:
            answer = broker.waitingForAnswers[requestID] = Deferred()
        beginning = _withInteger(_withInteger(_OPENING, requestID), mind.luid)
        if number is not None:
            beginning = _withInteger(beginning + _NUMBERED[self.answering], number)
        broker.transport.writeSequence((beginning, encoded))
        return answer

    def _call(self, mind: Any, number: int | None, *, answering: bool) -> object:
        """
        Have the mind send it.
        """
        wishes = {} if answering else {"pbanswer": False}
        callRemote = callRemoteOf(mind)
        if callRemote is None:
            raise NotCallable(
                f"{short(mind)} is no client: it has no callRemote, and no adapter to IMind"
            )
        broker: Any = mind.broker if isinstance(mind, RemoteReference) else None
        last = getattr(broker, "currentRequestID", None)
        strict = strictly(broker) if broker is not None and self._strangers else nullcontext()
        try:
            with strict:
                if number is not None:
                    whole = (number, self._name, self._args, self._kw)
                    return callRemote("sessionPush", *whole, **wishes)
                result = callRemote(self._name, *self._args, **self._kw, **wishes)
        except BaseException:
            if broker is not None and broker.currentRequestID != last and broker.waitingForAnswers:
                # It was too large, and not sent; the broker waits for an answer all the same.
                broker.waitingForAnswers.pop(broker.currentRequestID, None)
            raise
        return result

    def _encodeFor(self, broker: Any, rules: _Rules) -> bytes | Exception:
        if len(self._encoded) >= _MOST_ENCODED:
            self._encoded.clear()
        encode = self._encodeNumbered if rules[2] else self._encode
        try:
            self._encoded[rules] = encode(broker)
        except Exception as unsendable:
            self._encoded[rules] = unsendable
        return self._encoded[rules]

    def _encodeNumbered(self, broker: Any) -> bytes:
        """
        Return what comes after the number of the push.
        """
        encoder, encoded = _encoder(broker.prefixLimit)
        encoder.security = broker.security
        whole = encoder.serialize((0, self._name, self._args, self._kw), method=_PUSH)
        for part in (*whole[2:], encoder.serialize({}, method=_PUSH)):
            encoder.sendEncoded(part)
        return encoded.getvalue()

    def _encode(self, broker: Any) -> bytes:
        encoder, encoded = _encoder(broker.prefixLimit)
        encoder.security = broker.security
        name = self._name if isinstance(self._name, bytes) else self._name.encode("utf-8")
        args, kw = (encoder.serialize(each, method=name) for each in (self._args, self._kw))
        for part in (name, int(self.answering), args, kw):
            encoder.sendEncoded(part)
        return encoded.getvalue()


def strangersIn(data: Iterable[object]) -> list[object]:
    """
    Return what is not plain data among nested data.
    """
    strangers: list[object] = []
    seen: set[int] = set()
    ahead: list[object] = [data]
    while ahead:
        value = ahead.pop()
        kind = type(value)
        if kind in _ATOMS or id(value) in seen:
            continue
        if not isinstance(value, _CONTAINERS) or kind not in _CONTAINERS:
            strangers.append(value)
            continue
        seen.add(id(value))
        ahead.extend(value)
        if isinstance(value, dict):
            ahead.extend(value.values())
    return strangers


def copied(data: T) -> T:
    """
    Copy plain data, and the containers of what is in it and is not plain.
    """
    return deepcopy(data, {id(each): each for each in strangersIn((data,))})


def _ordinaryBroker(mind: object) -> Any:
    """
    Return the broker of a mind, or C{None} if what the mind is sent may depend on more than two
    numbers.
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


def _encoder(prefixLimit: int) -> tuple[Any, BytesIO]:
    """
    Return an unconnected broker, and the buffer that it writes to.
    """
    encoder: Any = Broker()
    encoded = BytesIO()
    encoder.transport = encoded
    encoder.currentDialect = b"pb"
    encoder.setPrefixLimit(prefixLimit)
    return encoder, encoded


def _openingOf(parts: int, first: bytes) -> bytes:
    """
    Return the beginning of a list with a number of parts.
    """
    encoder, encoded = _encoder(64)
    banana.int2b128(parts, encoded.write)
    encoded.write(banana.LIST)
    encoder.sendEncoded(first)
    return encoded.getvalue()


def _numbered(answering: bool) -> bytes:
    """
    Return what comes before the number of a push.
    """
    encoder, encoded = _encoder(64)
    encoder.sendEncoded(_PUSH)
    encoder.sendEncoded(int(answering))
    banana.int2b128(5, encoded.write)
    encoded.write(banana.LIST)
    encoder.sendEncoded(b"tuple")
    return encoded.getvalue()


_SYMBOLS = len(Broker.outgoingVocabulary)
_OPENING = _openingOf(7, b"message")
_NUMBERED = (_numbered(answering=False), _numbered(answering=True))


#: How each digit of a number is sent, which has seven bits; and how the most significant one is,
#: which comes last, together with the kind of the number.
_DIGITS = [bytes((digit,)) for digit in range(128)]
_ENDS = [digit + banana.INT for digit in _DIGITS]
_LONG_ENDS = [digit + banana.LONGINT for digit in _DIGITS]


def _withInteger(beginning: bytes, number: int) -> bytes:
    """
    Return the beginning of a message with one more integer, which is not negative.

    It is what C{banana.int2b128} does, in a fraction of the time.
    """
    ends = _ENDS if number <= _LARGEST_INT else _LONG_ENDS
    while number > 127:
        beginning += _DIGITS[number & 127]
        number >>= 7
    return beginning + ends[number]
