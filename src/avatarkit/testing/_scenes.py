"""
A part in a realm, and the ways in which a login can end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast
from weakref import ref

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.spread.pb import IPerspective
from zope.interface import Interface, implementer

from .._realm.block import Block
from .._realm.realm import Realm
from .._realm.session import Session
from ..errors import LoginRefused
from ._fakemind import FakeMind
from ._login import Login, login

#: How a login is refused.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How often a login is made to end in each way, so that what is lost with each of them adds up.
REPEATS = 50


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


class Scene:
    """
    A part in a realm, between two blocks that have logins end in every way.
    """

    def __init__(self, target: Any, interface: type[Interface], *blocks: Any) -> None:
        """
        @param target: what the avatars come from; C{None}: they are nobody in particular, of whom
            nothing has to be left in the end.
        """
        self.outer, self.inner = _Probe(), _Probe()
        self.interface = interface
        self.minds: list[ref[FakeMind]] = []
        self.avatars: list[ref[Anyone]] = []
        source = self.makeAvatar if target is None else target
        try:
            self.realm = Realm(source, blocks=[self.outer, *blocks, self.inner])
        except TypeError as reason:
            raise broken(f"it can be stacked: {reason}") from None

    def makeAvatar(self, avatarId: object) -> Anyone:
        """
        Answer an avatar.
        """
        avatar = Anyone()
        self.avatars.append(ref(avatar))
        return avatar

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
        hold(isinstance(answer, Login), "a login that need not wait is answered at once")
        return answer  # type: ignore[no-any-return]  # it is one

    def logoutAll(self) -> None:
        """
        End what there is.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

    def play(self, way: Callable[[Scene], None]) -> None:
        """
        Have a login end in a way, and see what is left.
        """
        what = str(way.__doc__).strip()
        with nothingLogged(what):
            for _ in range(REPEATS):
                try:
                    way(self)
                except REFUSALS as reason:
                    hold(False, f"after {what} the next login gets in: {reason!r}")
        self.verify(what)

    def verify(self, what: str) -> None:
        """
        See what is left.
        """
        hold(not self.realm.sessions, f"after {what} the session is closed")
        found = self.realm.audit()
        hold(not found, f"after {what} everything agrees: {found}")
        with nothingLogged(f"a login after {what}"):
            try:
                self.open(self.mind()).logout()
            except REFUSALS as reason:
                hold(False, f"after {what} the next login gets in: {reason!r}")
        gc.collect()
        for thing, seen in (
            ("session", self.outer.seen),
            ("mind", self.minds),
            ("avatar", self.avatars),
        ):
            kept = [each for each in cast("list[ref[object]]", seen) if each() is not None]
            hold(not kept, f"after {what} nothing is kept of the {thing}")


def _logout(scene: Scene) -> None:
    """a logout"""
    scene.open(scene.mind()).logout()


def _logouts(scene: Scene) -> None:
    """three logouts"""
    once = scene.open(scene.mind())
    for _ in range(3):
        once.logout()


def _withoutMind(scene: Scene) -> None:
    """a login without a mind"""
    scene.open().logout()


def _two(scene: Scene) -> None:
    """two logins at a time"""
    first = scene.open(scene.mind())
    try:
        second = scene.open(scene.mind())
    except REFUSALS:
        second = first
    first.logout()
    second.logout()


def _refusedBelow(scene: Scene) -> None:
    """a login that a block below refuses"""
    scene.inner.acts["admit"] = _refuse
    _expectRefusal(scene)


def _refusedAbove(scene: Scene) -> None:
    """a login that a block above refuses, when it has its avatar"""
    scene.outer.acts["attached"] = _refuse
    _expectRefusal(scene)


def _left(scene: Scene) -> None:
    """a client that leaves while its login waits"""
    scene.outer.acts["attached"] = _wait
    mind = scene.mind()
    _abandon(scene.login(mind), mind.disconnect)


def _cancelled(scene: Scene) -> None:
    """a login that is cancelled before it has its avatar"""
    scene.inner.acts["admit"] = _wait
    waiting = scene.login(scene.mind())
    _abandon(waiting, lambda: waiting.cancel())


def _ended(scene: Scene) -> None:
    """a session that is ended from inside of its login"""
    scene.outer.acts["attached"] = Session.logout
    _expectRefusal(scene)


WAYS = (
    *(_logout, _logouts, _withoutMind, _two, _refusedBelow, _refusedAbove),
    *(_left, _cancelled, _ended),
)


def _refuse(session: Session) -> None:
    raise Refused


def _wait(session: Session) -> Deferred[None]:
    return Deferred()


def _expectRefusal(scene: Scene) -> None:
    with suppress(*REFUSALS):
        scene.open(scene.mind()).logout()


def _abandon(waiting: Any, end: Callable[[], object]) -> None:
    waiting.addErrback(lambda failure: None)
    end()


def hold(holds: bool, promise: str) -> None:
    if not holds:
        raise broken(promise)


def broken(promise: str) -> AssertionError:
    """
    Return what a check raises: the promise, said to be broken.
    """
    return AssertionError(f"a promise is broken: {promise}")


@contextmanager
def nothingLogged(what: str) -> Iterator[None]:
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
        raise broken(f"{what} goes well: {reason!r}") from reason
    finally:
        globalLogPublisher.removeObserver(observer)
    hold(not logged, f"{what} goes well: {logged}")
