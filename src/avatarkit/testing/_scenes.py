"""
A part in a realm, and the ways in which a login can end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast
from weakref import ref

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.spread.pb import IPerspective
from zope.interface import Interface, implementer

from .._realm.block import Block
from .._realm.realm import Realm, Target
from .._realm.session import Session
from .._realm.targets import AnyBlock
from ..errors import LoginRefused
from ._fakemind import FakeMind
from ._login import Login, login

if TYPE_CHECKING:
    from ._login import LoginOrDeferred

#: The exceptions that refuse a login.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How many logins end in each way, so that what each of them leaks adds up.
REPEATS = 50


class Refused(LoginRefused):
    """
    A check refused the login on purpose.
    """


@implementer(IPerspective)
class Anyone:
    """
    An avatar that does nothing.
    """

    def perspectiveMessageReceived(
        self, broker: object, message: object, args: object, kw: object
    ) -> None:
        """
        Ignore the message.
        """


class _Probe(Block):
    """
    A block that does what a check tells it to, and remembers its sessions without keeping them.

    @ivar acts: what to do, by hook: each is done once.
    @ivar seen: weak references to the sessions.
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
        The session has its avatar.
        """
        return self.acts.pop("attached", _nothing)(session)


def _nothing(session: Session) -> None:
    """
    Do nothing.
    """


class Scene:
    """
    A realm with the part that is checked, between two blocks that make logins end in every way.

    @ivar outer: the block above the part.
    @ivar inner: the block below it.
    """

    def __init__(
        self, target: Target | None, interface: type[Interface], *blocks: AnyBlock
    ) -> None:
        """
        @param target: where the avatars come from; C{None} for avatars of the scene's own, which
            must be garbage in the end.
        @param interface: what the avatars provide.
        @param blocks: the blocks that are checked.
        """
        self.outer, self.inner = _Probe(), _Probe()
        self.interface = interface
        self.minds: list[ref[FakeMind]] = []
        self.avatars: list[ref[Anyone]] = []
        source = cast("Realm", self.makeAvatar if target is None else target)
        try:
            self.realm = Realm(source, blocks=[self.outer, *blocks, self.inner])
        except TypeError as reason:
            raise broken(f"a realm can be built with it: {reason}") from None

    def makeAvatar(self, avatarId: object) -> Anyone:
        """
        Return an avatar that must be garbage in the end.
        """
        avatar = Anyone()
        self.avatars.append(ref(avatar))
        return avatar

    def mind(self) -> FakeMind:
        """
        Return a mind that must be garbage in the end.
        """
        mind = FakeMind()
        self.minds.append(ref(mind))
        return mind

    def login(self, mind: object = None) -> LoginOrDeferred:
        """
        Log in.
        """
        return login(self.realm, b"alice", mind=mind, interface=self.interface)

    def open(self, mind: object = None) -> Login:
        """
        Log in without waiting.
        """
        opened = self.login(mind)
        hold(isinstance(opened, Login), "a login that need not wait has its result at once")
        return opened

    def logoutAll(self) -> None:
        """
        End every session.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

    def play(self, way: Callable[[Scene], None]) -> None:
        """
        End many logins in one way, and check what is left.
        """
        what = str(way.__doc__).strip()
        with nothingFails(what):
            for _ in range(REPEATS):
                try:
                    way(self)
                except REFUSALS as reason:
                    hold(False, f"after {what}, the next login succeeds: {reason!r}")
        self.verify(what)

    def verify(self, what: str) -> None:
        """
        Check that nothing is left, and that the next login succeeds.

        @param what: what has happened, for the sentence.
        """
        hold(not self.realm.sessions, f"after {what}, every session is closed")
        found = self.realm.audit()
        hold(not found, f"after {what}, audit() finds nothing: {found}")
        with nothingFails(f"a login after {what}"):
            try:
                self.open(self.mind()).logout()
            except REFUSALS as reason:
                hold(False, f"after {what}, the next login succeeds: {reason!r}")
        gc.collect()
        for thing, seen in (
            ("session", self.outer.seen),
            ("mind", self.minds),
            ("avatar", self.avatars),
        ):
            kept = [each for each in cast("list[ref[object]]", seen) if each() is not None]
            hold(not kept, f"after {what}, nothing refers to the {thing}")


# The docstrings of these ways stand in the sentences of the checks.


def _logout(scene: Scene) -> None:
    """a logout"""
    scene.open(scene.mind()).logout()


def _logouts(scene: Scene) -> None:
    """three logouts of one session"""
    once = scene.open(scene.mind())
    for _ in range(3):
        once.logout()


def _withoutMind(scene: Scene) -> None:
    """a login without a mind"""
    scene.open().logout()


def _two(scene: Scene) -> None:
    """two sessions at once"""
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
    """a login that has its avatar when a block above refuses it"""
    scene.outer.acts["attached"] = _refuse
    _expectRefusal(scene)


def _left(scene: Scene) -> None:
    """a login whose client leaves while it waits"""
    scene.outer.acts["attached"] = _wait
    mind = scene.mind()
    _abandon(scene.login(mind), mind.disconnect)


def _cancelled(scene: Scene) -> None:
    """a login that is cancelled before it has its avatar"""
    scene.inner.acts["admit"] = _wait
    waiting = scene.login(scene.mind())
    _abandon(waiting, lambda: waiting.cancel())


def _ended(scene: Scene) -> None:
    """a session that is logged out before its login is complete"""
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


def _abandon(waiting: LoginOrDeferred, end: Callable[[], object]) -> None:
    waiting.addErrback(lambda failure: None)
    end()


def hold(holds: bool, promise: str) -> None:
    """
    Check that a promise is kept.

    @param promise: what should be true, for the sentence.
    @raise AssertionError: if it is broken.
    """
    if not holds:
        raise broken(promise)


def broken(promise: str) -> AssertionError:
    """
    Return the exception that says that a promise is broken.
    """
    return AssertionError(f"a promise is broken: {promise}")


@contextmanager
def nothingFails(what: str) -> Iterator[None]:
    """
    Check that nothing raises an exception or logs a failure.

    @param what: what happens meanwhile, for the sentence.
    """
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            logged.append(event["log_failure"].getErrorMessage())

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield
    except Exception as reason:
        if isinstance(reason, AssertionError):
            raise
        raise broken(f"nothing fails during {what}: {reason!r}") from reason
    finally:
        globalLogPublisher.removeObserver(observer)
    hold(not logged, f"nothing fails during {what}: {logged}")
