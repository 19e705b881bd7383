"""
A part in a realm, and the ways in which a login can end.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias, cast
from weakref import ref

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread.pb import IPerspective
from zope.interface import Interface, implementer

from .._realm.block import Block
from .._realm.realm import Realm, Target
from .._realm.session import Session
from .._realm.targets import AnyBlock
from .._tools.clock import clockOr
from ..errors import LoginRefused
from ._fakeconnection import FakeConnection
from ._fakemind import FakeMind
from ._login import Login, login

if TYPE_CHECKING:
    from ._login import LoginOrDeferred

#: The exceptions that refuse a login.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How many logins end in each way, so that what each of them leaks adds up.
REPEATS = 50

#: How many seconds a login or a logout may take if it may wait.
PATIENCE = 10

_AT_ONCE = (
    "a login that need not wait has its result at once; "
    "to check a block that waits, use checkBlock(..., waits=True)"
)

#: A way in which a login ends.
Way: TypeAlias = "Callable[[Scene], Awaitable[None]]"


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

    def stopAt(self, hook: str) -> Deferred[None]:
        """
        Let the next login wait at a hook for ever.

        @return: a Deferred that fires when the login is there.
        """
        stopped: Deferred[None] = Deferred()

        def stop(session: Session) -> Deferred[None]:
            stopped.callback(None)
            return Deferred()

        self.acts[hook] = stop
        return stopped

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
    @ivar waits: whether logins and logouts may wait.
    """

    def __init__(
        self,
        target: Target | None,
        interface: type[Interface],
        *blocks: AnyBlock,
        waits: bool = False,
    ) -> None:
        """
        @param target: where the avatars come from; C{None} for avatars of the scene's own, which
            must be garbage in the end.
        @param interface: what the avatars provide.
        @param blocks: the blocks that are checked.
        @param waits: whether logins and logouts may wait.
        """
        self.outer, self.inner = _Probe(), _Probe()
        self.interface, self.waits = interface, waits
        self.minds: list[ref[FakeMind]] = []
        self.avatars: list[ref[Anyone]] = []
        source = cast("Realm", self.makeAvatar if target is None else target)
        try:
            self.realm = Realm(source, blocks=[self.outer, *blocks, self.inner])
        except TypeError as reason:
            raise broken(f"a realm can be built with it: {reason}") from None
        self.realm.closeTimeout = None  # what hangs is found, and leaves no timers

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

    def login(
        self, mind: object = None, connection: FakeConnection | None = None
    ) -> LoginOrDeferred:
        """
        Log in.
        """
        return login(
            self.realm, b"alice", mind=mind, interface=self.interface, connection=connection
        )

    async def open(self, mind: object = None, connection: FakeConnection | None = None) -> Login:
        """
        Log in, without waiting unless logins may wait.
        """
        opened = self.login(mind, connection)
        hold(self.waits or isinstance(opened, Login), _AT_ONCE)
        if isinstance(opened, Deferred):
            opened.addTimeout(PATIENCE, clockOr(None))
        return await opened

    async def openUntil(
        self,
        probe: _Probe,
        hook: str,
        mind: object,
        connection: FakeConnection | None = None,
    ) -> LoginOrDeferred:
        """
        Log in as far as a hook of C{outer} or C{inner}, where the login waits for ever.

        @return: the login, whose failure is taken care of.
        """
        stopped = probe.stopAt(hook)
        waiting = self.login(mind, connection)

        def failed(failure: Failure) -> None:
            if not stopped.called:
                stopped.errback(failure)

        waiting.addErrback(failed)
        hold(self.waits or stopped.called, _AT_ONCE)
        if self.waits:
            stopped.addTimeout(PATIENCE, clockOr(None))
        await stopped
        return waiting

    def logoutAll(self) -> None:
        """
        End every session.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

    async def closed(self, what: str) -> None:
        """
        Wait until the sessions that have ended are closed, if logouts may wait.

        @param what: what has happened, for the sentence.
        """
        if not self.waits:
            return
        clock = clockOr(None)
        end = clock.seconds() + PATIENCE
        while any(each.ended for each in self.realm.sessions):
            hold(clock.seconds() < end, f"after {what}, every session is closed")
            await _turn(clock)
        await _turn(clock)  # whatever closed the last one refers to it until it returns

    async def play(self, way: Way) -> None:
        """
        End many logins in one way, and check what is left.
        """
        what = str(way.__doc__).strip()
        with nothingFails(what):
            for _ in range(REPEATS):
                try:
                    await way(self)
                except REFUSALS as reason:
                    hold(False, f"after {what}, the next login succeeds: {reason!r}")
                await self.closed(what)
        await self.verify(what)

    async def verify(self, what: str) -> None:
        """
        Check that nothing is left, and that the next login succeeds.

        @param what: what has happened, for the sentence.
        """
        hold(not self.realm.sessions, f"after {what}, every session is closed")
        found = self.realm.audit()
        hold(not found, f"after {what}, audit() finds nothing: {found}")
        with nothingFails(f"a login after {what}"):
            try:
                (await self.open(self.mind())).logout()
            except REFUSALS as reason:
                hold(False, f"after {what}, the next login succeeds: {reason!r}")
            await self.closed(what)
        gc.collect()
        for thing, seen in (
            ("session", self.outer.seen),
            ("mind", self.minds),
            ("avatar", self.avatars),
        ):
            kept = [each for each in cast("list[ref[object]]", seen) if each() is not None]
            hold(not kept, f"after {what}, nothing refers to the {thing}")


# The docstrings of these ways stand in the sentences of the checks.


async def _logout(scene: Scene) -> None:
    """a logout"""
    (await scene.open(scene.mind())).logout()


async def _logouts(scene: Scene) -> None:
    """three logouts of one session"""
    once = await scene.open(scene.mind())
    for _ in range(3):
        once.logout()


async def _withoutMind(scene: Scene) -> None:
    """a login without a mind"""
    (await scene.open()).logout()


async def _two(scene: Scene) -> None:
    """two sessions at once"""
    first = await scene.open(scene.mind())
    try:
        second = await scene.open(scene.mind())
    except REFUSALS:
        second = first
    first.logout()
    second.logout()


async def _refusedBelow(scene: Scene) -> None:
    """a login that a block below refuses"""
    scene.inner.acts["admit"] = _refuse
    await _expectRefusal(scene)


async def _refusedAbove(scene: Scene) -> None:
    """a login that has its avatar when a block above refuses it"""
    scene.outer.acts["attached"] = _refuse
    await _expectRefusal(scene)


async def _left(scene: Scene) -> None:
    """a login whose client leaves while it waits"""
    mind = scene.mind()
    await scene.openUntil(scene.outer, "attached", mind)
    mind.disconnect()


async def _leftWithoutMind(scene: Scene) -> None:
    """a login without a mind whose connection is lost while it waits"""
    connection = FakeConnection()
    await scene.openUntil(scene.outer, "attached", None, connection)
    connection.disconnect()


async def _lost(scene: Scene) -> None:
    """a session whose connection is lost"""
    connection = FakeConnection()
    await scene.open(scene.mind(), connection)
    connection.disconnect()


async def _cancelled(scene: Scene) -> None:
    """a login that is cancelled before it has its avatar"""
    (await scene.openUntil(scene.inner, "admit", scene.mind())).cancel()


async def _cancelledAtOnce(scene: Scene) -> None:
    """a login that is cancelled as soon as it waits"""
    scene.outer.stopAt("attached")
    waiting = scene.login(scene.mind())
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    scene.outer.acts.clear()  # the login may not have got there


async def _ended(scene: Scene) -> None:
    """a session that is logged out before its login is complete"""
    scene.outer.acts["attached"] = Session.logout
    await _expectRefusal(scene)


WAYS = (
    *(_logout, _logouts, _withoutMind, _two, _refusedBelow, _refusedAbove),
    *(_left, _leftWithoutMind, _lost, _cancelled, _ended),
)

#: The ways in which a login ends that may wait.
WAITING_WAYS = (*WAYS, _cancelledAtOnce)


def _refuse(session: Session) -> None:
    raise Refused


async def _expectRefusal(scene: Scene) -> None:
    with suppress(*REFUSALS):
        (await scene.open(scene.mind())).logout()


def _turn(clock: IReactorTime) -> Deferred[None]:
    """
    Return a Deferred that fires in the reactor's next turn.
    """
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


def atOnce(check: Coroutine[object, None, None]) -> None:
    """
    Run a check that does not wait.
    """
    complete = False
    try:
        check.send(None)
    except StopIteration:
        complete = True
    hold(complete, "a check that need not wait is complete at once")


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
