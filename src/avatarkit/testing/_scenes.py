"""
A part in a realm, and the ways in which a login can end.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast
from weakref import ref

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, globalLogPublisher
from twisted.spread.pb import IPerspective
from zope.interface import Interface, implementer

from .._realm.block import Block
from .._realm.realm import Realm
from .._realm.session import Session
from .._tools.clock import clockOr
from ..errors import LoginRefused
from ._fakemind import FakeMind
from ._login import Login, login

#: How a login is refused.
REFUSALS = (LoginDenied, UnauthorizedLogin)

#: How often a login is made to end in each way, so that what is lost with each of them adds up.
REPEATS = 50


#: How many seconds a login or a logout may take that may take its time.
PATIENCE = 10

_IF_IT_WAITS = "a block that waits is checked with checkBlock(..., waits=True)"

#: A way in which a login ends.
Way: TypeAlias = "Callable[[Scene], Awaitable[None]]"


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
    @ivar held: fires when a login has come to where it is held, if one is.
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
        self.acts[hook] = self._held

    def _held(self, session: Session) -> Deferred[None]:
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

    def __init__(
        self, target: Any, interface: type[Interface], *blocks: Any, waits: bool = False
    ) -> None:
        """
        @param waits: whether logins and logouts may take their time.
        @param target: what the avatars come from; C{None}: they are nobody in particular, of whom
            nothing has to be left in the end.
        """
        self.outer, self.inner = _Probe(), _Probe()
        self.interface, self.waits = interface, waits
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

    async def open(self, mind: object = None) -> Login:
        """
        Log in, which has to work at once, unless it may take its time.
        """
        answer = self.login(mind)
        prompt = self.waits or isinstance(answer, Login)
        hold(prompt, f"a login that need not wait is answered at once; {_IF_IT_WAITS}")
        if isinstance(answer, Deferred):
            answer.addTimeout(PATIENCE, clockOr(None))
        opened: Login = await answer
        return opened

    async def closed(self) -> None:
        """
        Wait until those that are closing are closed, if they may take their time, and until nothing
        of theirs is left on the stack.
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
        Wait until a login has come to where a probe holds it, if it may take its time.
        """
        if self.waits:
            await probe.held

    def logoutAll(self) -> None:
        """
        End what there is.
        """
        for session in tuple(self.realm.sessions):
            session.logout()

    async def play(self, way: Way) -> None:
        """
        Have a login end in a way, and see what is left.
        """
        what = str(way.__doc__).strip()
        with nothingLogged(what):
            for _ in range(REPEATS):
                try:
                    await way(self)
                except REFUSALS as reason:
                    hold(False, f"after {what} the next login gets in: {reason!r}")
                await self.closed()
        await self.verify(what)

    async def verify(self, what: str) -> None:
        """
        See what is left.
        """
        await self.closed()
        hold(not self.realm.sessions, f"after {what} the session is closed")
        found = self.realm.audit()
        hold(not found, f"after {what} everything agrees: {found}")
        with nothingLogged(f"a login after {what}"):
            try:
                (await self.open(self.mind())).logout()
            except REFUSALS as reason:
                hold(False, f"after {what} the next login gets in: {reason!r}")
            await self.closed()
        gc.collect()
        for thing, seen in (
            ("session", self.outer.seen),
            ("mind", self.minds),
            ("avatar", self.avatars),
        ):
            kept = [each for each in cast("list[ref[object]]", seen) if each() is not None]
            hold(not kept, f"after {what} nothing is kept of the {thing}")


async def _logout(scene: Scene) -> None:
    """a logout"""
    (await scene.open(scene.mind())).logout()


async def _logouts(scene: Scene) -> None:
    """three logouts"""
    once = await scene.open(scene.mind())
    for _ in range(3):
        once.logout()


async def _withoutMind(scene: Scene) -> None:
    """a login without a mind"""
    (await scene.open()).logout()


async def _two(scene: Scene) -> None:
    """two logins at a time"""
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
    """a login that a block above refuses, when it has its avatar"""
    scene.outer.acts["attached"] = _refuse
    await _expectRefusal(scene)


async def _left(scene: Scene) -> None:
    """a client that leaves while its login waits"""
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
    """a session that is ended from inside of its login"""
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


def _abandon(waiting: Any, end: Callable[[], object]) -> None:
    waiting.addErrback(lambda failure: None)
    end()


def _turn(clock: IReactorTime) -> Deferred[None]:
    """
    Give the reactor a turn.
    """
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


def atOnce(check: Coroutine[Any, Any, None]) -> None:
    """
    Run a check that waits for nothing: a login that does is a broken promise in it.
    """
    with suppress(StopIteration):
        check.send(None)


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
