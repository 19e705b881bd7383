"""
Checks of the promises that blocks, sources, realms and minds make to each other.

Each check creates parts and uses them in every way in which a realm does.  It raises
C{AssertionError} with a sentence that says which promise is broken, and returns C{None} if none is.
The check of a block that waits returns a Deferred, to which the same happens.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Literal, cast, overload
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, IPerspective
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from .._realm.realm import Realm, Target
from .._realm.targets import AnyBlock, AskedRealm, ForeignRealm, isRealm
from .._tools.clock import clockOr
from ..interfaces import IAvatarSource, IBlock, IConnection, IMind
from ._fakeconnection import FakeConnection
from ._fakemind import FakeMind
from ._login import ask
from ._scenes import (
    PATIENCE,
    REFUSALS,
    REPEATS,
    WAITING_WAYS,
    WAYS,
    Scene,
    atOnce,
    broken,
    hold,
    nothingFails,
)

# Any in this module: what a mind or a realm returns is not known until it has been checked.


class IUnheardOf(Interface):
    """
    An interface that no avatar provides.
    """


def checkMind(makeMind: Callable[[], tuple[object, Callable[[], object]]]) -> None:
    """
    Check that a mind does what avatarkit needs of it: see L{IMind<avatarkit.IMind>}.

    @param makeMind: takes no arguments, may be called several times, and returns a mind with a
        client of its own and a callable that makes that client leave.  The client must have no
        method C{remote_avatarkitCheck}.
    @raise AssertionError: if a promise is broken.
    """
    (mind, leave), (other, _) = makeMind(), makeMind()
    adapted, bystander = IMind(mind, None), IMind(other, None)
    hold(adapted is not None, f"{mind!r} can be adapted to IMind")
    _verify(IMind, adapted)
    hold(not adapted.disconnected, "a mind is not disconnected while its client is there")
    silent = adapted.callRemote("avatarkitCheck", pbanswer=False)
    hold(silent is None, "callRemote with pbanswer=False returns None")
    waiting: Any = adapted.callRemote("avatarkitCheck")
    hold(isinstance(waiting, Deferred), "callRemote returns a Deferred")
    failures: list[object] = []
    waiting.addBoth(failures.append)
    called = _listen(adapted, mind)
    bystander.notifyOnDisconnect(lambda gone: called.append("that of a client that is still there"))
    leave()
    hold(adapted.disconnected, "a mind is disconnected when its client is gone")
    expected = ["first", "last"]
    hold(called == expected, f"a mind whose client leaves calls {expected}, not {called}")
    failed = len(failures) == 1 and isinstance(failures[0], Failure)
    hold(failed, "a call that waits for its answer fails when the client leaves")
    try:
        adapted.callRemote("avatarkitCheck")
    except DeadReferenceError:
        return
    raise broken("callRemote raises DeadReferenceError when the client is gone")


def _listen(adapted: IMind | IConnection, mind: object) -> list[str]:
    """
    Register three callbacks, and take back the second.

    @return: a list to which each adds its name when it is called; the first must be called with
        C{mind}.
    """
    called: list[str] = []

    def first(gone: object) -> None:
        called.append("first" if gone is mind else f"first with {gone!r}")

    def last(gone: object) -> None:
        called.append("last")

    def never(gone: object) -> None:
        called.append("one that was taken back")

    for callback in (first, never, last):
        adapted.notifyOnDisconnect(callback)
    adapted.dontNotifyOnDisconnect(never)
    return called


def checkConnection(makeConnection: Callable[[], tuple[object, Callable[[], object]]]) -> None:
    """
    Check that a connection does what a session needs of it: see
    L{IConnection<avatarkit.IConnection>}.

    @param makeConnection: takes no arguments, may be called several times, and returns a connection
        of its own and a callable that makes its client leave.
    @raise AssertionError: if a promise is broken.
    """
    (made, leave), (other, _) = makeConnection(), makeConnection()
    _verify(IConnection, made)
    connection, bystander = cast("IConnection", made), cast("IConnection", other)
    hold(not connection.disconnected, "a connection is not disconnected while its client is there")
    backlog: object = connection.backlog
    hold(backlog is None or isinstance(backlog, int), f"a backlog is an int or None: {backlog!r}")
    for name in ("lastReceived", "lastActive"):
        hold(isinstance(getattr(connection, name), (int, float)), f"{name} is a number")
    called = _listen(connection, connection)
    connection.dontNotifyOnDisconnect(print)
    bystander.notifyOnDisconnect(lambda gone: called.append("that of a client that is still there"))
    leave()
    hold(connection.disconnected, "a connection is disconnected when its client is gone")
    expected = ["last", "first"]
    hold(called == expected, f"a connection that is lost calls {expected}, not {called}")
    with nothingFails("what is asked of a connection that is lost"):
        connection.dontNotifyOnDisconnect(print)
        connection.getPeer()
        connection.getHost()


@overload
def checkBlock(makeBlock: Callable[[], AnyBlock], *, waits: Literal[False] = False) -> None: ...


@overload
def checkBlock(makeBlock: Callable[[], AnyBlock], *, waits: Literal[True]) -> Deferred[None]: ...


def checkBlock(makeBlock: Callable[[], AnyBlock], *, waits: bool = False) -> Deferred[None] | None:
    """
    Check that a block undoes what it did, however a session ends, and keeps nothing of the session;
    and that it works in two realms, also when one of them has been closed.

    @param makeBlock: takes no arguments, may be called several times, and returns a new
        L{IBlock<avatarkit.IBlock>}.  The block must admit at least one session of C{b"alice"},
        without waiting unless C{waits} is true.
    @param waits: whether the block's hooks may wait, for the reactor for example: up to ten seconds
        in each login, in each logout, and in its C{close}, if it has one.
    @return: C{None}; if C{waits} is true, a Deferred that fires with C{None} when the block has
        been checked, or fails with the C{AssertionError}.
    @raise AssertionError: if a promise is broken.
    """
    checking = _checkBlock(makeBlock, waits)
    if waits:
        return Deferred.fromCoroutine(checking)
    atOnce(checking)
    return None


async def _checkBlock(makeBlock: Callable[[], AnyBlock], waits: bool) -> None:
    """
    Check a block in every way in which a login can end, and in two realms.
    """
    for way in WAITING_WAYS if waits else WAYS:
        block = makeBlock()
        hold(IBlock.providedBy(block), f"{block!r} provides IBlock")
        _verify(IBlock, block)
        await Scene(None, IPerspective, block, waits=waits).play(way)
    await _checkShared(makeBlock(), waits)


async def _checkShared(block: AnyBlock, waits: bool) -> None:
    """
    Check that a block in two realms keeps their sessions apart.
    """
    scenes = [Scene(None, IPerspective, block, waits=waits) for _ in range(2)]
    what = "sessions in two realms that share the block"
    with nothingFails(what):
        for scene in scenes:
            with suppress(*REFUSALS):
                await scene.open()
        for scene in scenes:
            scene.logoutAll()
        for scene in scenes:
            await scene.closed(what)
    for scene in scenes:
        await scene.verify(what)
    what = "the close of another realm that shares the block"
    with nothingFails(what):
        closing = scenes[0].realm.close(timeout=None)
        hold(waits or closing.called, "close() of a block that need not wait is done at once")
        if not closing.called:
            closing.addTimeout(PATIENCE, clockOr(None))
        await closing
    await scenes[1].verify(what)


def checkSource(
    makeSource: Callable[[], Target], *, interface: type[Interface] = IPerspective
) -> None:
    """
    Check that a source gives each session an avatar, and keeps nothing of a session that has ended.

    @param makeSource: takes no arguments, may be called several times, and returns a new
        L{IAvatarSource<avatarkit.IAvatarSource>}, or anything else that blocks can be stacked on.
        The source must give C{b"alice"} an avatar without waiting.
    @param interface: what the avatar provides.
    @raise AssertionError: if a promise is broken.
    """
    for way in WAYS:
        source = makeSource()
        if IAvatarSource.providedBy(source):
            _verify(IAvatarSource, source)
        scene = Scene(source, interface)
        atOnce(scene.play(way))
        with nothingFails("the realm's close()"):
            closing = scene.realm.close(timeout=None)
        hold(closing.called, f"after {way.__doc__}, close() lets go of every avatar at once")


def checkRealm(
    makeRealm: Callable[[], Realm | ForeignRealm],
    *,
    avatarId: Hashable = b"alice",
    interface: type[Interface] = IPerspective,
) -> None:
    """
    Check that a realm returns what C{twisted.cred} and avatarkit expect, that it can be logged out
    of twice, that a login ends with its connection, and that an interface that its avatars lack is
    refused.

    @param makeRealm: takes no arguments, may be called several times, and returns a new realm.  The
        realm must admit at least one session of the avatar ID, without waiting.
    @param avatarId: who logs in.
    @param interface: what the avatar is asked to provide.
    @raise AssertionError: if a promise is broken.
    """
    made = makeRealm()
    hold(isRealm(made), f"{made!r} has a requestAvatar, as a realm has")
    realm = cast("AskedRealm", made)
    if isinstance(made, Realm):
        made.closeTimeout = None  # what hangs is found, and leaves no timers
    for makeMind in (FakeMind, lambda: None):
        _checkLogins(lambda mind: ask(realm, avatarId, mind, interface), makeMind, interface)
        hold(_unused(realm), "after a logout, nothing of the login is left")
    _checkConnected(realm, avatarId, interface)
    with nothingFails("a login that asks for two interfaces, and a second login during it"):
        logout = _logoutOf(ask(realm, avatarId, None, IUnheardOf, interface), interface)
        with suppress(*REFUSALS):
            _resultOf(ask(realm, avatarId, FakeMind(), interface))[2]()
        logout()
    _checkRefusal(lambda: ask(realm, avatarId, None, IUnheardOf))
    hold(_unused(realm), "after a failed login, nothing of the login is left")
    with nothingFails("a login after a failed one"):
        _logoutOf(ask(realm, avatarId, None, interface), interface)()


def _checkLogins(
    ask: Callable[[object], object], makeMind: Callable[[], object], interface: type[Interface]
) -> None:
    """
    Check many logins, one after the other, and log each out twice.
    """
    minds: list[ref[object]] = []
    with nothingFails("a login and two logouts"):
        for _ in range(REPEATS):
            mind = makeMind()
            logout = _logoutOf(ask(mind), interface)
            logout()
            logout()
            if mind is not None:
                minds.append(ref(mind))
    del mind, logout
    gc.collect()
    kept = [each for each in minds if each() is not None]
    hold(not kept, "after a logout, nothing refers to the mind")


def _checkConnected(realm: AskedRealm, avatarId: Hashable, interface: type[Interface]) -> None:
    """
    Check many logins without a mind whose connections are lost, before the logout and after it.
    """
    ours: Realm = realm if isinstance(realm, Realm) else Realm(realm)
    with nothingFails("a login whose connection is lost"):
        for _ in range(REPEATS):
            connection = FakeConnection()
            result = ask(ours, avatarId, None, interface, connection=connection)
            logout = _logoutOf(result, interface)
            connection.disconnect()
            hold(_unused(ours), "when its connection is lost, nothing of a login is left")
            logout()


def _checkRefusal(ask: Callable[[], object]) -> None:
    """
    Check a login for an interface that the avatar lacks.
    """
    try:
        _resultOf(ask())
    except NotImplementedError:
        return
    raise broken("a login for an interface that the avatar lacks raises NotImplementedError")


def _logoutOf(returned: object, interface: type[Interface]) -> Callable[[], object]:
    """
    Return the logout that the realm returned.
    """
    result = _resultOf(returned)
    right = isinstance(result, tuple) and len(result) == 3 and callable(result[2])
    hold(right, f"requestAvatar returns (interface, avatar, logout), not {result!r}")
    seenAs, avatar, logout = result
    hold(seenAs is interface, f"the interface that is returned is {interface!r}, not {seenAs!r}")
    provides = interface.providedBy(avatar)
    hold(provides, f"the avatar provides the interface, which {avatar!r} does not")
    return logout  # type: ignore[no-any-return]  # it is callable


def _resultOf(returned: object) -> Any:
    """
    Return the result of a login, or raise the reason why it failed.
    """
    if not isinstance(returned, Deferred):
        return returned
    results: list[object] = []
    returned.addBoth(results.append)
    hold(bool(results), "a login that need not wait has its result at once")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _unused(realm: object) -> bool:
    """
    Return whether nothing of a login is left in a realm; true if that cannot be known.
    """
    return not isinstance(realm, Realm) or not (realm.sessions or realm.audit())


def _verify(interface: type[Interface], thing: object) -> None:
    """
    Check that an object has the attributes and methods of an interface.
    """
    try:
        verifyObject(interface, thing)
    except Invalid as reason:
        raise broken(f"it implements {interface.__name__}: {reason}") from None
