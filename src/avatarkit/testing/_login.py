"""
A login in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, TypeVar

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import IPerspective
from zope.interface import Interface

_E = TypeVar("_E", bound=BaseException)


@attrs.frozen(eq=False)
class Login:
    """
    A login that has succeeded.

    @ivar avatar: what the realm answered: the avatar, seen through the interface.
    @ivar interface: the interface.
    """

    avatar: Any
    interface: type[Interface]
    _logout: Callable[[], object]

    def logout(self) -> Any:
        """
        Log out.

        @return: what the realm's logout answers.
        """
        return self._logout()


def login(
    realm: Any,
    avatarId: Hashable,
    *,
    mind: object = None,
    interface: type[Interface] = IPerspective,
) -> Any:
    """
    Ask a realm for an avatar.

    @return: a L{Login}, if the realm answers at once; otherwise a Deferred of one.
    @raise Exception: why the realm refuses, with a traceback of the code that is being tested, and
        not of what has called it.
    @raise TypeError: if C{realm} is none, or what it answers is not what a realm answers.
    """
    asked: Any = realm
    if not IRealm.providedBy(realm):
        raise TypeError(f"{realm!r} is no realm: it does not provide IRealm")
    refusal: Exception | None = None
    try:
        answer = asked.requestAvatar(avatarId, mind, interface)
    except Exception as reason:
        refusal = reason
    if refusal is not None:
        raise _brief(refusal)
    if isinstance(answer, Deferred):
        return answer.addCallbacks(_loginOf, _failed)
    return _loginOf(answer)


def _loginOf(answer: object) -> Login:
    if not isinstance(answer, tuple) or len(answer) != 3 or not callable(answer[2]):
        raise TypeError(
            f"a realm answers (interface, avatar, logout), or a Deferred of it, not {answer!r}"
        )
    interface, avatar, logout = answer
    return Login(avatar, interface, logout)


def _failed(failure: Failure) -> Failure:
    if isinstance(failure.value, BaseException):
        return Failure(_brief(failure.value))
    return failure


def _brief(reason: _E) -> _E:
    """
    Leave out of an exception's traceback what is neither the realm's nor the test's.
    """
    kept: list[TracebackType] = []
    traceback = reason.__traceback__
    while traceback is not None:
        package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("avatarkit", "twisted"):
            kept.append(traceback)
        traceback = traceback.tb_next
    brief: TracebackType | None = None
    for each in reversed(kept):
        brief = TracebackType(brief, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return reason.with_traceback(brief)
