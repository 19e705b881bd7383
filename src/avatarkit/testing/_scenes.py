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
from twisted.spread.pb import IPerspective
from zope.interface import Interface, implementer

from .._realm.block import Block
from .._realm.realm import Realm, Target
from .._realm.session import Session
from .._realm.targets import AnyBlock
from .._tools.clock import clockOr
from ..errors import LoginRefused
from ._fakemind import FakeMind
from ._login import Login, login

if TYPE_CHECKING:
    from ._login import LoginOrDeferred

#: The exceptions that refuse a login.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How many logins end in each way, so that what each of them leaks adds up.
REPEATS = 50


#: How many seconds a login or a logout may take that may take its time.
PATIENCE = 10

_IF_IT_WAITS = "check a block that waits with checkBlock(..., waits=True)"

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
    @ivar held: fires when a login arrives where it is held.
    """

    def __init__(self) -> None:
        self.acts: dict[str, Callable[[Session], object]] = {}
        self.seen: list[ref[Session]] = []
        self.held: Deferred[None] = Deferred()

    def hold(self, hook: str) -> None:
        """
        Hold the next login at a hook.
        """
        self.held = Deferred()
        self.acts[hook] = self._hold

    def _hold(self, session: Session) -> Deferred[None]:
        self.held.callback(None)
        return Deferred()

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
        @param waits: whether logins and logouts may take their time.
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

    async def open(self, mind: object = None) -> Login:
        """
        Log in, without waiting unless logins may take their time.
        """
        pending = self.login(mind)
        prompt = self.waits or isinstance(pending, Login)
        hold(prompt, f"a login that need not wait has its result at once; {_IF_IT_WAITS}")
        if isinstance(pending, Deferred):
            pending.addTimeout(PATIENCE, clockOr(None))
        opened: Login = await pending
        return opened

    async def closed(self) -> None:
        """
        If logouts may take their time, wait until the sessions that are closing are closed, and
        nothing of theirs is left on the stack.
        """
        if not self.waits:
            return
        clock = clockOr(None)
        end = clock.seconds() + PATIENCE
        while any(each.ended for each in self.realm.sessions) and clock.seconds() < end:
            await _turn(clock)
        await _turn(clock)

    async def held(self, probe: _Probe) -> None:
        """
        If logins may take their time, wait until one arrives where a probe holds it.
        """
        if self.waits:
            await probe.held

    def logoutAll(self) -> None:
        """
        End every session.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

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
                await self.closed()
        await self.verify(what)

    async def verify(self, what: str) -> None:
        """
        Check that nothing is left, and that the next login succeeds.

        @param what: what has happened, for the sentence.
        """
        await self.closed()
        hold(not self.realm.sessions, f"after {what}, every session is closed")
        found = self.realm.audit()
        hold(not found, f"after {what}, audit() finds nothing: {found}")
        with nothingFails(f"a login after {what}"):
            try:
                (await self.open(self.mind())).logout()
            except REFUSALS as reason:
                hold(False, f"after {what}, the next login succeeds: {reason!r}")
            await self.closed()
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
    scene.outer.hold("attached")
    mind = scene.mind()
    waiting = scene.login(mind)
    await scene.held(scene.outer)
    _abandon(waiting, mind.disconnect)


async def _cancelled(scene: Scene) -> None:
    """a login that is cancelled before it has its avatar"""
    scene.inner.hold("admit")
    waiting = scene.login(scene.mind())
    await scene.held(scene.inner)
    _abandon(waiting, lambda: waiting.cancel())


async def _cancelledAtOnce(scene: Scene) -> None:
    """a login that is cancelled as soon as it waits"""
    scene.outer.hold("attached")
    waiting = scene.login(scene.mind())
    _abandon(waiting, lambda: waiting.cancel())
    scene.outer.acts.clear()


async def _ended(scene: Scene) -> None:
    """a session that is logged out before its login is complete"""
    scene.outer.acts["attached"] = Session.logout
    await _expectRefusal(scene)


WAYS = (
    *(_logout, _logouts, _withoutMind, _two, _refusedBelow, _refusedAbove),
    *(_left, _cancelled, _ended),
)

#: The ways of logins that may take their time.
SLOW_WAYS = (*WAYS, _cancelledAtOnce)


def _refuse(session: Session) -> None:
    raise Refused


async def _expectRefusal(scene: Scene) -> None:
    with suppress(*REFUSALS):
        (await scene.open(scene.mind())).logout()


def _abandon(waiting: LoginOrDeferred, end: Callable[[], object]) -> None:
    waiting.addErrback(lambda failure: None)
    end()


def _turn(clock: IReactorTime) -> Deferred[None]:
    """
    Give the reactor a turn.
    """
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


def atOnce(check: Coroutine[Deferred[object], object, None]) -> None:
    """
    Run a check that waits for nothing: in it, a login that does is a broken promise.
    """
    with suppress(StopIteration):
        check.send(None)


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
