"""
A login in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import IPerspective
from zope.interface import Interface

from .._perspectives.calls import avatarBehind
from .._realm.realm import Realm, askPlainly
from .._realm.targets import AskedRealm, ForeignRealm, isRealm
from .._tools.typevars import A
from .._waiting.circles import Waiting
from ..interfaces import IConnection

_E = TypeVar("_E", bound=BaseException)


@attrs.frozen(eq=False)
class Login(Generic[A]):
    """
    A login that has succeeded.  It can be awaited, so a test need not know whether the realm waits.

    @ivar avatar: what the realm returned: the avatar, seen through the interface.
    @ivar interface: the interface.
    """

    avatar: A
    interface: type[Interface]
    _logout: Callable[[], object]

    def __await__(self) -> Generator[Deferred[Login[A]], None, Login[A]]:
        """
        Return the login itself, without waiting.
        """
        yield from ()
        return self

    def logout(self) -> object:
        """
        Log out.

        @return: what the realm's logout returns.
        """
        return self._logout()


class _Later(Waiting[Login]):
    """
    A Deferred of a L{Login}, which says so to a test that takes it for the login.
    """

    def __init__(self, result: Deferred[object]) -> None:
        super().__init__(lambda cancelled: result.cancel())
        self._result = result
        result.addCallbacks(_loginOf, _failed).addBoth(self._fire)

    def _fire(self, outcome: Login | Failure) -> None:
        if not self.called:  # a login may go on although it was cancelled
            self.callback(outcome)  # a Failure starts the errbacks

    def awaits(self) -> Deferred[object]:
        """
        Return what the realm returned.
        """
        return self._result

    def __getattr__(self, name: str) -> object:
        if name in ("avatar", "interface", "logout"):
            raise AttributeError(
                f"the login has no {name} yet: the realm waits, so this is a Deferred; await it, "
                "or use successResultOf(...) when it has fired"
            )
        raise AttributeError(f"a Deferred has no attribute {name!r}")


if TYPE_CHECKING:

    class LoginOrDeferred(Login[A], Deferred["Login[A]"]):
        """
        A L{Login}, or a Deferred of one: only whoever stacked the realm knows which.
        """


@overload
def login(
    realm: Realm[A],
    avatarId: Hashable,
    *,
    mind: object = None,
    connection: IConnection | None = None,
) -> LoginOrDeferred[A]: ...


@overload
def login(
    realm: Realm | ForeignRealm,
    avatarId: Hashable,
    *,
    mind: object = None,
    interface: type[Interface] = IPerspective,
    connection: IConnection | None = None,
) -> LoginOrDeferred: ...


def login(
    realm: object,
    avatarId: Hashable,
    *,
    mind: object = None,
    interface: type[Interface] = IPerspective,
    connection: IConnection | None = None,
) -> object:
    """
    Ask a realm for an avatar.

    @param realm: any L{IRealm<twisted.cred.portal.IRealm>}.
    @param avatarId: who logs in.
    @param mind: the client, for example a L{FakeMind<avatarkit.testing.FakeMind>}.
    @param interface: what the avatar is to be seen through.
    @param connection: what the login is made over, and ends with, for example a
        L{FakeConnection<avatarkit.testing.FakeConnection>}; for a realm of avatarkit's only.
    @return: a L{Login<avatarkit.testing.Login>}, or a Deferred of one if the realm returns a
        Deferred.
    @raise Exception: what the realm raised, or what was raised inside of it, which a client would
        not be told; the traceback shows neither avatarkit's code nor Twisted's.
    @raise TypeError: if C{realm} is not a realm, does not return what a realm returns, or knows
        nothing of connections and is given one.
    """
    if not isRealm(realm):
        raise TypeError(f"{realm!r} is not a realm: it has no requestAvatar")
    refusal: Exception | None = None
    try:
        result = ask(realm, avatarId, mind, interface, connection=connection)
    except Exception as reason:
        refusal = reason
    if refusal is not None:
        raise _brief(refusal)
    return _Later(result) if isinstance(result, Deferred) else _loginOf(result)


def ask(
    realm: object,
    avatarId: Hashable,
    mind: object,
    *interfaces: type[Interface],
    connection: IConnection | None = None,
) -> object:
    """
    Ask a realm for an avatar; one of ours does not hide what was raised, and does not log it.
    """
    if isinstance(realm, Realm):
        return askPlainly(realm, avatarId, mind, interfaces, connection)
    if connection is not None:
        raise TypeError(f"{realm!r} knows nothing of connections: give Realm({realm!r})")
    result: object = cast(AskedRealm, realm).requestAvatar(avatarId, mind, *interfaces)
    return result


def _loginOf(result: object) -> Login:
    if not isinstance(result, tuple) or len(result) != 3 or not callable(result[2]):
        raise TypeError(
            f"a realm must return (interface, avatar, logout), or a Deferred of it, not {result!r}"
        )
    interface, avatar, logout = result
    return Login(avatarBehind(avatar), interface, logout)


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
