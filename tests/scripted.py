"""
A stack whose hooks do what a test says, and record that they ran.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Interface, implementer

from avatarkit import Block, ConnectionLimit, IAvatarSource, Realm, Session
from avatarkit._tools.typevars import A

#: What a hook does, apart from recording that it ran.
Act = Callable[[Session], object]

#: The hooks of a session, in the order in which they open it, and the hooks that undo them.
OPENING = ("admit 0", "admit 1", "admit 2", "acquire", "attached 2", "attached 1", "attached 0")
CLOSING = (
    "release 0",
    "release 1",
    "release 2",
    "let go",
    "detached 2",
    "detached 1",
    "detached 0",
)


class Boom(Exception):
    """
    The exception that failing hooks raise.
    """


class IThing(Interface):
    """
    The interface that most logins in the tests ask for.
    """


class IOther(Interface):
    """
    An interface that avatars lack, or need an adapter for.
    """


@implementer(IThing)
class Thing:
    """
    The avatar of most logins.
    """


class Player(Thing):
    """
    An avatar that knows its name.
    """

    def __init__(self, name: object) -> None:
        self.name = name


class Script:
    """
    @ivar log: the names of the hooks that ran.
    @ivar acts: what each hook does, by name; nothing by default.
    @ivar realm: three blocks and a source that follow the script.
    """

    def __init__(self, acts: dict[str, Act] | None = None) -> None:
        self.log: list[str] = []
        self.acts = acts or {}
        self.source = ScriptedSource(self)
        self.blocks = [ScriptedBlock(self, n) for n in range(3)]
        self.realm = frank(Realm(self.source, blocks=self.blocks))

    def run(self, hook: str, session: Session) -> object:
        """
        Record a hook, and do what the script says.
        """
        self.log.append(hook)
        return self.acts.get(hook, nothing)(session)

    def login(self) -> object:
        """
        Log in.
        """
        return self.realm.requestAvatar(b"alice", None, IThing)


class ScriptedBlock(Block):
    """
    A block that follows a script.
    """

    def __init__(self, script: Script, number: int) -> None:
        self.script, self.number = script, number

    def admit(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run(f"admit {self.number}", session)

    def release(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run(f"release {self.number}", session)

    def attached(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run(f"attached {self.number}", session)

    def detached(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run(f"detached {self.number}", session)


@implementer(IAvatarSource)
class ScriptedSource:
    """
    A source that follows a script.
    """

    def __init__(self, script: Script) -> None:
        self.script = script

    def acquire(self, session: Session) -> object:
        """
        Follow the script; if it returns C{None}, return a L{Thing}.
        """
        avatar = self.script.run("acquire", session)
        return Thing() if avatar is None else avatar

    def release(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run("let go", session)

    def close(self) -> None:
        """
        Record the call.
        """
        self.script.log.append("close")


def nothing(session: Session) -> object:
    """
    Do nothing.
    """
    return None


def undoing(passed: int) -> list[str]:
    """
    Return the hooks that undo the first C{passed} hooks of a login, in order.
    """
    return list(reversed(CLOSING[:passed]))


def raises(session: Session) -> object:
    """
    Raise.
    """
    raise Boom


def fails() -> object:
    """
    Raise.
    """
    raise Boom


def returnsFailure(session: Session) -> object:
    """
    Return a Deferred that has failed.
    """
    return fail(Boom())


async def raisesInCoroutine(session: Session) -> object:
    """
    Raise in a coroutine.
    """
    raise Boom


def returnsFired(session: Session) -> object:
    """
    Return a Deferred that has fired.
    """
    return succeed(Thing())


async def returnsAtOnce(session: Session) -> object:
    """
    Return from a coroutine without waiting.
    """
    return Thing()


#: Ways to fail at once, and ways to succeed at once.
FAILING: tuple[Act, ...] = (raises, returnsFailure, raisesInCoroutine)
PROMPT: tuple[Act, ...] = (nothing, returnsFired, returnsAtOnce)


class Gate:
    """
    A hook that waits until a test makes it go on.

    @ivar wait: the Deferred that it waits for.
    """

    def __init__(self) -> None:
        self.wait: Deferred[object] = Deferred()

    def deferred(self, session: Session) -> object:
        """
        Return a Deferred that waits.
        """
        return self.wait

    async def coroutine(self, session: Session) -> object:
        """
        Wait in a coroutine.
        """
        return await self.wait

    async def stubborn(self, session: Session) -> object:
        """
        Wait in a coroutine that ignores its cancellation.
        """
        try:
            return await self.wait
        except Exception:
            return Thing()


def frank(realm: Realm[A]) -> Realm[A]:
    """
    Return a realm, and have it raise what its hooks raise.
    """
    realm.hideFaults = False
    return realm


def opened(returned: Any) -> Any:
    """
    Return what a realm returned, which must not be a Deferred.
    """
    assert isinstance(returned, tuple)
    return returned


def waiting(returned: Any) -> Deferred[Any]:
    """
    Return what a realm returned, which must be a Deferred.
    """
    assert isinstance(returned, Deferred)
    return returned


def sessionOf(realm: Any, returned: Any) -> Session:
    """
    Return the session of a login that succeeded: the one that its logout ends.

    It must not have closed yet.
    """
    _, _, logout = opened(returned)
    (session,) = (each for each in realm.sessions if each.logout == logout)
    assert isinstance(session, Session)
    return session


def foreignSession() -> Session:
    """
    Return a session of another realm.
    """
    realm = Realm(lambda avatarId: Thing())
    return sessionOf(realm, realm.requestAvatar(b"ghost", None, IThing))


def slots(limit: ConnectionLimit) -> dict[object, int]:
    """
    Return how many slots of a limit are taken, by key.
    """
    return {key: len(sessions) for key, sessions in limit._slots.holders.items()}


def garbageOf(login: Callable[[], object]) -> int:
    """
    Return how many sessions and failures ten failing logins leave for the garbage collector.
    """

    def count() -> int:
        return sum(isinstance(each, (Session, Boom)) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = count()
        for _ in range(10):
            with contextlib.suppress(Boom):
                login()
        return count() - before
    finally:
        gc.enable()
