"""
Whether a part keeps the promises that the others rely on.

Each check makes parts and uses them in every way in which a realm does; it raises
C{AssertionError} with a sentence that says which promise is broken, and answers C{None} if none is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import ref

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread.pb import DeadReferenceError, IPerspective
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from .._realm import Block, Realm
from .._session import Session
from ..errors import LoginRefused
from ..interfaces import IAvatarSource, IBlock, IMind
from ._login import Login, login
from ._minds import FakeMind

__all__ = ["checkBlock", "checkMind", "checkRealm", "checkSource"]


#: How a login is refused.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How often a login is made to end in each way, so that what is lost with each of them adds up.
REPEATS = 50


class IUnheardOf(Interface):
    """
    What no avatar provides.
    """


class Refused(LoginRefused):
    """
    How a login fails that a check has fail.
    """


@implementer(IPerspective)
class Anyone:
    """
    An avatar.
    """

    def perspectiveMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Do nothing.
        """


def checkMind(makeMind: Callable[[], tuple[Any, Callable[[], object]]]) -> None:
    """
    Check what avatarkit needs of a mind: see L{IMind<avatarkit.IMind>}.

    @param makeMind: called without arguments, any number of times: answers a mind of a client of
        its own, and what makes that client be gone when it is called.  The client has no method
        C{remote_avatarkitCheck}.
    @raise AssertionError: if it breaks a promise.
    """
    (mind, leave), (other, _) = makeMind(), makeMind()
    adapted, bystander = IMind(mind, None), IMind(other, None)
    _hold(adapted is not None, f"{mind!r} can be adapted to IMind")
    _verify(IMind, adapted)
    _hold(not adapted.disconnected, "a mind is not disconnected when its client is there")
    silent = adapted.callRemote("avatarkitCheck", pbanswer=False)
    _hold(silent is None, "callRemote with pbanswer=False answers None")
    waiting: Any = adapted.callRemote("avatarkitCheck")
    _hold(isinstance(waiting, Deferred), "callRemote answers a Deferred")
    failures: list[Any] = []
    waiting.addBoth(failures.append)
    told: list[str] = []
    _listen(adapted, mind, told)
    bystander.notifyOnDisconnect(lambda gone: told.append("who is still there"))
    leave()
    _hold(adapted.disconnected, "a mind is disconnected when its client is gone")
    _hold(told == ["first", "last"], f"who asked is told that the client is gone, once: {told}")
    failed = len(failures) == 1 and isinstance(failures[0], Failure)
    _hold(failed, "a call that waits fails when the client is gone")
    try:
        adapted.callRemote("avatarkitCheck")
    except DeadReferenceError:
        return
    raise AssertionError("callRemote raises DeadReferenceError when the client is gone")


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


def checkBlock(makeBlock: Callable[[], Any]) -> None:
    """
    Check a block: that it undoes what it did, whatever way a session ends, and keeps nothing.

    @param makeBlock: called without arguments, any number of times: answers a new
        L{IBlock<avatarkit.IBlock>} that lets in, and without waiting, at least one login of the
        avatar ID C{b"alice"} at a time.
    @raise AssertionError: if it breaks a promise.
    """
    for way in _WAYS:
        block = makeBlock()
        _hold(IBlock.providedBy(block), f"{block!r} provides IBlock")
        _verify(IBlock, block)
        _Scene(lambda avatarId: Anyone(), [block], IPerspective).play(way)
    _checkShared(makeBlock())


def _checkShared(block: Any) -> None:
    """
    Check that a block that is in two realms knows what it took from which.
    """
    scenes = [_Scene(lambda avatarId: Anyone(), [block], IPerspective) for _ in range(2)]
    what = "two realms that share it are used at a time"
    with _nothingLogged(what):
        for scene in scenes:
            with suppress(*REFUSALS):
                scene.open()
        for scene in scenes:
            scene.logoutAll()
    for scene in scenes:
        scene.verify(what)


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
    for way in _WAYS:
        source = makeSource()
        if IAvatarSource.providedBy(source):
            _verify(IAvatarSource, source)
        scene = _Scene(source, [], interface)
        scene.play(way)
        with _nothingLogged("closing it"):
            closing = scene.realm.close(timeout=None)
        _hold(closing.called, f"after {way.__doc__} it lets go of its avatars when it is closed")


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
    _hold(IRealm.providedBy(realm), f"{realm!r} provides IRealm")
    minds: list[ref[FakeMind]] = []
    for withMind in (True, False):
        with _nothingLogged("a login and two logouts"):
            for _ in range(REPEATS):
                mind = FakeMind() if withMind else None
                logout = _loginOf(realm.requestAvatar(avatarId, mind, interface), interface)
                logout()
                logout()
                if mind is not None:
                    minds.append(ref(mind))
        del mind, logout
        gc.collect()
        kept = [each for each in minds if each() is not None]
        _hold(_unused(realm) and not kept, "after a logout nothing is left of the login")
    with _nothingLogged("a login that asks for several interfaces, and one beside it"):
        logout = _loginOf(realm.requestAvatar(avatarId, None, IUnheardOf, interface), interface)
        with suppress(*REFUSALS):
            _resultOf(realm.requestAvatar(avatarId, FakeMind(), interface))[2]()
        logout()
    try:
        _resultOf(realm.requestAvatar(avatarId, None, IUnheardOf))
    except NotImplementedError:
        pass
    else:
        raise AssertionError("an interface that there is not is answered by NotImplementedError")
    _hold(_unused(realm), "after a login that failed nothing is left of it")
    with _nothingLogged("a login after one that failed"):
        _loginOf(realm.requestAvatar(avatarId, None, interface), interface)()


def _loginOf(answer: object, interface: type[Interface]) -> Callable[[], object]:
    """
    Answer the logout of what a realm has answered.
    """
    result = _resultOf(answer)
    right = isinstance(result, tuple) and len(result) == 3 and callable(result[2])
    _hold(right, f"a realm answers (interface, avatar, logout), and not {result!r}")
    seenAs, avatar, logout = result
    _hold(seenAs is interface, f"the interface is one that was asked for, and not {seenAs!r}")
    _hold(interface.providedBy(avatar), f"the avatar provides the interface, and {avatar!r} does")
    return logout  # type: ignore[no-any-return]  # it is callable


def _resultOf(answer: object) -> Any:
    """
    Answer what a realm has answered, or raise why it did not.
    """
    if not isinstance(answer, Deferred):
        return answer
    results: list[Any] = []
    answer.addBoth(results.append)
    _hold(bool(results), "a login that need not wait is answered")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _unused(realm: Any) -> bool:
    """
    Answer whether nothing of a login is left, if that can be known.
    """
    return not isinstance(realm, Realm) or not (realm.sessions or realm.audit())


class _Probe(Block):
    """
    A block that does what a check says, and remembers the sessions, but does not keep them.

    @ivar acts: what is done, by hook.
    @ivar seen: references to the sessions.
    """

    def __init__(self) -> None:
        self.acts: dict[str, Callable[[Session], object]] = {}
        self.seen: list[ref[Session]] = []

    def admit(self, session: Session) -> object:
        """
        A login begins.
        """
        self.seen.append(ref(session))
        return self.acts.pop("admit", _nothing)(session)

    def attached(self, session: Session) -> object:
        """
        It has its avatar.
        """
        return self.acts.pop("attached", _nothing)(session)


def _nothing(session: Session) -> None:
    """
    Do nothing.
    """


class _Scene:
    """
    A part in a realm, between two blocks that have logins end in every way.
    """

    def __init__(self, target: Any, blocks: list[Any], interface: type[Interface]) -> None:
        self.outer, self.inner = _Probe(), _Probe()
        self.interface = interface
        self.minds: list[ref[FakeMind]] = []
        try:
            self.realm = Realm(target, blocks=[self.outer, *blocks, self.inner])
        except TypeError as reason:
            raise AssertionError(f"it can be stacked: {reason}") from None

    def mind(self) -> FakeMind:
        """
        Answer a mind, of which nothing has to be left in the end.
        """
        mind = FakeMind()
        self.minds.append(ref(mind))
        return mind

    def login(self, mind: object = None) -> Any:
        """
        Log in.
        """
        return login(self.realm, b"alice", mind=mind, interface=self.interface)

    def open(self, mind: object = None) -> Login:
        """
        Log in, which has to work at once.
        """
        answer = self.login(mind)
        _hold(isinstance(answer, Login), "a login that need not wait is answered at once")
        return answer  # type: ignore[no-any-return]  # it is one

    def logoutAll(self) -> None:
        """
        End what there is.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

    def play(self, way: Callable[[_Scene], None]) -> None:
        """
        Have a login end in a way, and see what is left.
        """
        what = str(way.__doc__).strip()
        with _nothingLogged(what):
            for _ in range(REPEATS):
                try:
                    way(self)
                except REFUSALS as reason:
                    _hold(False, f"after {what} the next login gets in: {reason!r}")
        self.verify(what)

    def verify(self, what: str) -> None:
        """
        See what is left.
        """
        _hold(not self.realm.sessions, f"after {what} the session is closed")
        found = self.realm.audit()
        _hold(not found, f"after {what} everything agrees: {found}")
        with _nothingLogged(f"a login after {what}"):
            try:
                self.open(self.mind()).logout()
            except REFUSALS as reason:
                _hold(False, f"after {what} the next login gets in: {reason!r}")
        gc.collect()
        for things, seen in (("session", self.outer.seen), ("mind", self.minds)):
            kept = [each for each in seen if each() is not None]
            _hold(not kept, f"after {what} nothing is kept of the {things}")


def _logout(scene: _Scene) -> None:
    """a logout"""
    scene.open(scene.mind()).logout()


def _logouts(scene: _Scene) -> None:
    """three logouts"""
    once = scene.open(scene.mind())
    for _ in range(3):
        once.logout()


def _withoutMind(scene: _Scene) -> None:
    """a login without a mind"""
    scene.open().logout()


def _two(scene: _Scene) -> None:
    """two logins at a time"""
    first = scene.open(scene.mind())
    try:
        second = scene.open(scene.mind())
    except REFUSALS:
        second = first
    first.logout()
    second.logout()


def _refusedBelow(scene: _Scene) -> None:
    """a login that a block below refuses"""
    scene.inner.acts["admit"] = _refuse
    _expectRefusal(scene)


def _refusedAbove(scene: _Scene) -> None:
    """a login that a block above refuses, when it has its avatar"""
    scene.outer.acts["attached"] = _refuse
    _expectRefusal(scene)


def _left(scene: _Scene) -> None:
    """a client that leaves while its login waits"""
    scene.outer.acts["attached"] = _wait
    mind = scene.mind()
    _abandon(scene.login(mind), mind.disconnect)


def _cancelled(scene: _Scene) -> None:
    """a login that is cancelled before it has its avatar"""
    scene.inner.acts["admit"] = _wait
    waiting = scene.login(scene.mind())
    _abandon(waiting, lambda: waiting.cancel())


def _ended(scene: _Scene) -> None:
    """a session that is ended from inside of its login"""
    scene.outer.acts["attached"] = Session.logout
    _expectRefusal(scene)


_WAYS = (
    *(_logout, _logouts, _withoutMind, _two, _refusedBelow, _refusedAbove),
    *(_left, _cancelled, _ended),
)


def _refuse(session: Session) -> None:
    raise Refused


def _wait(session: Session) -> Deferred[None]:
    return Deferred()


def _expectRefusal(scene: _Scene) -> None:
    with suppress(*REFUSALS):
        scene.open(scene.mind()).logout()


def _abandon(waiting: Any, end: Callable[[], object]) -> None:
    _hold(isinstance(waiting, Deferred), "a login waits for every block")
    waiting.addErrback(lambda failure: None)
    end()


def _verify(interface: type[Interface], thing: object) -> None:
    try:
        verifyObject(interface, thing)
    except Invalid as reason:
        raise AssertionError(f"it has what its interface has: {reason}") from None


def _hold(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(f"a promise is broken: {promise}")


@contextmanager
def _nothingLogged(what: str) -> Iterator[None]:
    """
    Check that nothing goes wrong, also nothing that is only logged.
    """
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            logged.append(event["log_failure"].getErrorMessage())

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        yield
    except Exception as reason:
        if isinstance(reason, AssertionError):
            raise
        raise AssertionError(f"a promise is broken: {what} goes well: {reason!r}") from reason
    finally:
        globalLogPublisher.removeObserver(observer)
    _hold(not logged, f"{what} goes well: {logged}")
