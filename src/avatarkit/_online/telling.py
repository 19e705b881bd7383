"""
Telling an avatar of its clients, and saying so when that goes amiss.

Three mistakes would otherwise say nothing: a method of L{ConnectionAware} or L{MindAware} that is
overridden without a call of the one below it; an avatar that has the methods, and does not say that
it does; and an avatar that nobody tells, because the block is missing or comes too late.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet, ref

import attrs
from twisted.logger import Logger

from .._waiting.awaiting import then


@attrs.define(eq=False)
class Once:
    """
    Says something once for each class.

    @ivar _text: what is said: a format with C{kind}, the name of the class.
    """

    _text: str
    _said: WeakSet[type] = attrs.field(factory=WeakSet, init=False)
    _last: Callable[[], type | None] = attrs.field(default=lambda: None, init=False)

    _log = Logger()

    def say(self, avatar: object) -> None:
        """
        Say it of an avatar, unless it was said of its class.
        """
        if self.hush(avatar):
            self._log.warn(self._text, kind=type(avatar).__qualname__)

    def hush(self, avatar: object) -> bool:
        """
        Do not say it any more of the class of an avatar; return whether it might have been said.
        """
        kind = type(avatar)
        if kind is self._last() or kind in self._said:
            return False
        self._said.add(kind)
        self._last = ref(kind)
        return True


#: Said of C{connections} that no counter has set.
UNCOUNTED = Once(
    "the connections of a {kind} are 0, since no ConnectionCounter has told it of one: stack a "
    "ConnectionCounter around its factory, and around the AvatarCache, if there is one"
)

#: Said of a push through C{minds} that no registry has filled.
UNTOLD = Once(
    "a push through the minds of a {kind} went to nobody, since no MindRegistry has told it of a "
    "client: stack a MindRegistry around its factory, and around the AvatarCache, if there is "
    "one; push in attached(mind), after super().attached(mind), and not in __init__, which is too "
    "early"
)

#: Said of an avatar that has the methods of L{IConnectionAware} only.
NOT_CONNECTION_AWARE = Once(
    "a {kind} has connect() and disconnect(), which are not called: it must be an "
    "avatarkit.ConnectionAware, or @implementer(IConnectionAware)"
)

#: Said of an avatar that has the methods of L{IMindAware} only.
NOT_MIND_AWARE = Once(
    "a {kind} has attached(), which is not called: it must be an avatarkit.MindAware, or "
    "@implementer(IMindAware)"
)


def sayIfMeant(once: Once, avatar: object, *names: str) -> None:
    """
    Say something of an avatar that has all of some methods.
    """
    if all(callable(getattr(type(avatar), name, None)) for name in names):
        once.say(avatar)


def mustCallSuper(thing: object, call: str) -> str:
    """
    Return what to do about a method that does not call the one below it.

    @param call: the call that is missing, without C{super()}.
    """
    name = call.partition("(")[0]
    return f"{type(thing).__qualname__}.{name}() must call super().{call}"


def checked(tell: Callable[[], object], wrong: Callable[[], str | None]) -> Callable[[], object]:
    """
    Return what does the same, and fails if something is wrong when that is done.

    @param wrong: returns what is wrong, or C{None}.
    """

    def check(told: object) -> None:
        text = wrong()
        if text is not None:
            raise TypeError(text)

    return lambda: then(tell(), check)
