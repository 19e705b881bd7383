"""
What Perspective Broker can send.

It does not refuse what it cannot: it sends a note in place of the object, and the client is called
with an L{Unpersistable<twisted.spread.jelly.Unpersistable>}, as if nothing were wrong.  So what is
pushed is looked at before it is sent, which for plain data costs nothing.

An object of a class that may not be sent is refused before anything is sent.  What is inside
objects is not known before they are encoded: there the encoding is made to fail.  Code, such as a
function, is sent by name, and it is the client that refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import attrs
from twisted.spread.jelly import Jellyable
from twisted.spread.pb import RemoteReference

# Any in this module: brokers, and their security, which Twisted does not describe.


#: What is sent by name.
CODE = (type, FunctionType, MethodType, ModuleType)


def checkSendable(strangers: Iterable[object], minds: Iterable[object]) -> None:
    """
    Check that things that are not plain data can be sent to all minds.

    @raise TypeError: if one of them cannot.
    """
    securities = {id(each): each for each in map(_securityOf, minds) if each is not None}
    for security in map(Strict, securities.values()):
        for each in strangers:
            if not isinstance(each, (Jellyable, *CODE)):
                security.isClassAllowed(type(each))


@contextmanager
def strictly(broker: Any) -> Iterator[None]:
    """
    Have the encoding of what a broker sends fail, where it would send a note in place of an object.
    """
    broker.security, lenient = Strict(broker.security), broker.security
    try:
        yield
    finally:
        broker.security = lenient


@attrs.define(eq=False)
class Strict:
    """
    A broker's rules for what may be sent, except that what it would replace by a note is refused.

    @ivar _rules: L{SecurityOptions<twisted.spread.jelly.SecurityOptions>}, or something like it.
    """

    _rules: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rules, name)

    def isClassAllowed(self, kind: type) -> bool:
        """
        Return whether instances of a class may be sent.

        @raise TypeError: if they may not.
        """
        if not self._rules.isClassAllowed(kind):
            raise TypeError(
                f"Perspective Broker cannot send instances of {kind.__qualname__}: "
                "make the class Copyable or Referenceable"
            )
        return True


def _securityOf(mind: Any) -> Any:
    """
    Return what says what may be sent to a mind, or C{None} if that is not Perspective Broker's to
    say.
    """
    if isinstance(mind, RemoteReference):
        return mind.broker.security
    return getattr(mind, "brokerSecurity", None)
