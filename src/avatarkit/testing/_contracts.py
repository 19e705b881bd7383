"""
Whether a part keeps the promises that the others rely on.

Each check makes parts and uses them in every way in which a realm does; it raises
C{AssertionError} with a sentence that says which promise is broken, and answers C{None} if none is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Literal, overload
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, IPerspective
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from .._realm.realm import Realm
from .._realm.targets import isRealm
from ..interfaces import IAvatarSource, IBlock, IMind
from ._fakemind import FakeMind
from ._login import ask
from ._scenes import REFUSALS, REPEATS, SLOW_WAYS, WAYS, Scene, atOnce, broken, hold, nothingLogged


class IUnheardOf(Interface):
    """
    What no avatar provides.
    """


def checkMind(makeMind: Callable[[], tuple[object, Callable[[], object]]]) -> None:
    """
    Check what avatarkit needs of a mind: see L{IMind<avatarkit.IMind>}.

    @param makeMind: called without arguments, any number of times: answers a mind of a client of
        its own, and what makes that client be gone when it is called.  The client has no method
        C{remote_avatarkitCheck}.
    @raise AssertionError: if it breaks a promise.
    """
    (mind, leave), (other, _) = makeMind(), makeMind()
    adapted, bystander = IMind(mind, None), IMind(other, None)
    hold(adapted is not None, f"{mind!r} can be adapted to IMind")
    _verify(IMind, adapted)
    hold(not adapted.disconnected, "a mind is not disconnected when its client is there")
    silent = adapted.callRemote("avatarkitCheck", pbanswer=False)
    hold(silent is None, "callRemote with pbanswer=False answers None")
    waiting: Any = adapted.callRemote("avatarkitCheck")
    hold(isinstance(waiting, Deferred), "callRemote answers a Deferred")
    failures: list[Any] = []
    waiting.addBoth(failures.append)
    told: list[str] = []
    _listen(adapted, mind, told)
    bystander.notifyOnDisconnect(lambda gone: told.append("who is still there"))
    leave()
    hold(adapted.disconnected, "a mind is disconnected when its client is gone")
    hold(told == ["first", "last"], f"who asked is told that the client is gone, once: {told}")
    failed = len(failures) == 1 and isinstance(failures[0], Failure)
    hold(failed, "a call that waits fails when the client is gone")
    try:
        adapted.callRemote("avatarkitCheck")
    except DeadReferenceError:
        return
    raise broken("callRemote raises DeadReferenceError when the client is gone")


def _listen(adapted: Any, mind: object, told: list[str]) -> None:
    def first(gone: object) -> None:
        told.append("first" if gone is mind else f"of {gone!r}")

    def last(gone: object) -> None:
        told.append("last")

    def never(gone: object) -> None:
        told.append("never")

    for callback in (first, never, last):
        adapted.notifyOnDisconnect(callback)
    adapted.dontNotifyOnDisconnect(never)


@overload
def checkBlock(makeBlock: Callable[[], Any], *, waits: Literal[False] = False) -> None: ...


@overload
def checkBlock(makeBlock: Callable[[], Any], *, waits: Literal[True]) -> Deferred[None]: ...


def checkBlock(makeBlock: Callable[[], Any], *, waits: bool = False) -> Deferred[None] | None:
    """
    Check a block: that it undoes what it did, whatever way a session ends, and keeps nothing.

    @param makeBlock: called without arguments, any number of times: returns a new
        L{IBlock<avatarkit.IBlock>} that lets in at least one login of the avatar ID C{b"alice"} at
        a time; without waiting, unless C{waits} is true.
    @param waits: whether the block's hooks may wait, for the reactor for example: up to ten seconds
        for each login and each logout.
    @return: C{None}; if C{waits} is true, a Deferred that fires with C{None}, or fails, when the
        block is checked.
    @raise AssertionError: if it breaks a promise.
    """
    checking = _checkBlock(makeBlock, waits)
    if waits:
        return Deferred.fromCoroutine(checking)
    atOnce(checking)
    return None


async def _checkBlock(makeBlock: Callable[[], Any], waits: bool) -> None:
    for way in SLOW_WAYS if waits else WAYS:
        block = makeBlock()
        hold(IBlock.providedBy(block), f"{block!r} provides IBlock")
        _verify(IBlock, block)
        await Scene(None, IPerspective, block, waits=waits).play(way)
    await _checkShared(makeBlock(), waits)


async def _checkShared(block: Any, waits: bool) -> None:
    """
    Check that a block that is in two realms knows what it took from which.
    """
    scenes = [Scene(None, IPerspective, block, waits=waits) for _ in range(2)]
    what = "two realms that share it are used at a time"
    with nothingLogged(what):
        for scene in scenes:
            with suppress(*REFUSALS):
                await scene.open()
        for scene in scenes:
            scene.logoutAll()
    for scene in scenes:
        await scene.closed()
    for scene in scenes:
        await scene.verify(what)


def checkSource(
    makeSource: Callable[[], Any], *, interface: type[Interface] = IPerspective
) -> None:
    """
    Check a source of avatars: that it gives each session an avatar, and keeps nothing of a session
    that has ended.

    @param makeSource: called without arguments, any number of times: answers a new
        L{IAvatarSource<avatarkit.IAvatarSource>}, or whatever else blocks can be stacked upon, that
        gives C{b"alice"} an avatar without waiting.
    @param interface: what the avatar provides.
    @raise AssertionError: if it breaks a promise.
    """
    for way in WAYS:
        source = makeSource()
        if IAvatarSource.providedBy(source):
            _verify(IAvatarSource, source)
        scene = Scene(source, interface)
        atOnce(scene.play(way))
        with nothingLogged("closing it"):
            closing = scene.realm.close(timeout=None)
        hold(closing.called, f"after {way.__doc__} it lets go of its avatars when it is closed")


def checkRealm(
    makeRealm: Callable[[], Any],
    *,
    avatarId: Hashable = b"alice",
    interface: type[Interface] = IPerspective,
) -> None:
    """
    Check any realm: that it answers as C{twisted.cred} and L{avatarkit} have it, also to those who
    log out twice, or ask for what there is not.

    @param makeRealm: called without arguments, any number of times: answers a new realm that lets
        in, and without waiting for more than what it is given, one login of the avatar ID at a
        time.
    @param avatarId: who logs in.
    @param interface: what the avatar is asked to provide.
    @raise AssertionError: if it breaks a promise.
    """
    realm = makeRealm()
    hold(isRealm(realm), f"{realm!r} has a requestAvatar, as a realm has")
    for makeMind in (FakeMind, lambda: None):
        _checkLogins(lambda mind: ask(realm, avatarId, mind, interface), makeMind, interface)
        hold(_unused(realm), "after a logout nothing is left of the login")
    with nothingLogged("a login that asks for several interfaces, and one beside it"):
        logout = _loginOf(ask(realm, avatarId, None, IUnheardOf, interface), interface)
        with suppress(*REFUSALS):
            _resultOf(ask(realm, avatarId, FakeMind(), interface))[2]()
        logout()
    try:
        _resultOf(ask(realm, avatarId, None, IUnheardOf))
    except NotImplementedError:
        pass
    else:
        raise broken("an interface that there is not is answered by NotImplementedError")
    hold(_unused(realm), "after a login that failed nothing is left of it")
    with nothingLogged("a login after one that failed"):
        _loginOf(ask(realm, avatarId, None, interface), interface)()


def _checkLogins(
    ask: Callable[[Any], object], makeMind: Callable[[], object], interface: type[Interface]
) -> None:
    """
    Check many logins, one after the other, each of which is logged out twice.
    """
    minds: list[ref[object]] = []
    with nothingLogged("a login and two logouts"):
        for _ in range(REPEATS):
            mind = makeMind()
            logout = _loginOf(ask(mind), interface)
            logout()
            logout()
            if mind is not None:
                minds.append(ref(mind))
    del mind, logout
    gc.collect()
    kept = [each for each in minds if each() is not None]
    hold(not kept, "after a logout nothing is left of the login's mind")


def _loginOf(answer: object, interface: type[Interface]) -> Callable[[], object]:
    """
    Answer the logout of what a realm has answered.
    """
    result = _resultOf(answer)
    right = isinstance(result, tuple) and len(result) == 3 and callable(result[2])
    hold(right, f"a realm answers (interface, avatar, logout), and not {result!r}")
    seenAs, avatar, logout = result
    hold(seenAs is interface, f"the interface is one that was asked for, and not {seenAs!r}")
    provides = interface.providedBy(avatar)
    hold(provides, f"the avatar provides the interface, and {avatar!r} does not")
    return logout  # type: ignore[no-any-return]  # it is callable


def _resultOf(answer: object) -> Any:
    """
    Answer what a realm has answered, or raise why it did not.
    """
    if not isinstance(answer, Deferred):
        return answer
    results: list[object] = []
    answer.addBoth(results.append)
    hold(bool(results), "a login that need not wait is answered")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _unused(realm: object) -> bool:
    """
    Answer whether nothing of a login is left, if that can be known.
    """
    return not isinstance(realm, Realm) or not (realm.sessions or realm.audit())


def _verify(interface: type[Interface], thing: object) -> None:
    try:
        verifyObject(interface, thing)
    except Invalid as reason:
        raise broken(f"it has what its interface has: {reason}") from None
