"""
Telling an avatar of its clients, and reporting mistakes.

Three mistakes would otherwise go unnoticed: a method of L{ConnectionAware} or L{MindAware} that is
overridden and does not call C{super()}; an avatar that has the methods without declaring the
interface; and an avatar that nobody tells, because the block is missing or comes too late.
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
    Logs a sentence once for each class.

    @ivar _text: the sentence: a format with C{kind}, the name of the class.
    """

    _text: str
    _said: WeakSet[type] = attrs.field(factory=WeakSet, init=False)
    _last: Callable[[], type | None] = attrs.field(default=lambda: None, init=False)

    _log = Logger()

    def say(self, avatar: object) -> None:
        """
        Log it for an avatar, unless it was logged for its class.
        """
        if self.hush(avatar):
            self._log.warn(self._text, kind=type(avatar).__qualname__)

    def hush(self, avatar: object) -> bool:
        """
        Do not log it any more for the class of an avatar; return whether it would have been.
        """
        kind = type(avatar)
        if kind is self._last() or kind in self._said:
            return False
        self._said.add(kind)
        self._last = ref(kind)
        return True


#: For C{connections} that no counter has set.
UNCOUNTED = Once(
    "the connections of a {kind} are 0, since no ConnectionCounter has told it of one: stack a "
    "ConnectionCounter around its factory, and around the AvatarCache, if there is one"
)

#: For a push through C{minds} that no registry has filled.
UNTOLD = Once(
    "a push through the minds of a {kind} went to nobody, since no MindRegistry has told it of a "
    "client: stack a MindRegistry around its factory, and around the AvatarCache, if there is "
    "one; push in attached(mind), after super().attached(mind), and not in __init__, which is too "
    "early"
)

#: For an avatar that has the methods of L{IConnectionAware}, and does not declare it.
NOT_CONNECTION_AWARE = Once(
    "a {kind} has connect() and disconnect(), which are not called: it must be an "
    "avatarkit.ConnectionAware, or @implementer(IConnectionAware)"
)

#: For an avatar that has the methods of L{IMindAware}, and does not declare it.
NOT_MIND_AWARE = Once(
    "a {kind} has attached(), which is not called: it must be an avatarkit.MindAware, or "
    "@implementer(IMindAware)"
)

#: For an avatar that has the methods of L{IPresenceAware}, and does not declare it.
NOT_PRESENCE_AWARE = Once(
    "a {kind} has arrived() and departed(), which are not called: it must be an "
    "avatarkit.PresenceAware, or @implementer(IPresenceAware)"
)


def sayIfMeant(once: Once, avatar: object, *names: str) -> None:
    """
    Log a sentence for an avatar whose class has all of these methods.
    """
    if all(callable(getattr(type(avatar), name, None)) for name in names):
        once.say(avatar)


def mustCallSuper(thing: object, call: str) -> str:
    """
    Return the message for a method that does not call C{super()}.

    @param call: the call that is missing, without C{super()}.
    """
    name = call.partition("(")[0]
    return f"{type(thing).__qualname__}.{name}() must call super().{call}"


def checked(tell: Callable[[], object], wrong: Callable[[], str | None]) -> Callable[[], object]:
    """
    Return a callable that calls C{tell}, and then fails if something is wrong.

    @param wrong: returns what is wrong, or C{None}.
    """

    def check(told: object) -> None:
        text = wrong()
        if text is not None:
            raise TypeError(text)

    return lambda: then(tell(), check)
