"""
A stack whose every hook does what a test says, and writes down that it ran.
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

#: What a hook does, beside writing down that it ran.
Act = Callable[[Session], object]

#: The hooks of a session, in the order in which it opens, and what undoes each.
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
    What a hook fails with.
    """


class IThing(Interface):
    """
    What the logins of these tests ask for.
    """


class IOther(Interface):
    """
    Another thing to log in for.
    """


@implementer(IThing)
class Thing:
    """
    What they get.
    """


class Player(Thing):
    """
    An avatar that knows whose it is.
    """

    def __init__(self, name: object) -> None:
        self.name = name


class Script:
    """
    @ivar log: the names of the hooks that ran.
    @ivar acts: what a hook does, by its name; nothing unless said.
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
        Do what the script says that a hook does.
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
        Follow the script; the avatar is a L{Thing} unless it says otherwise.
        """
        answer = self.script.run("acquire", session)
        return Thing() if answer is None else answer

    def release(self, session: Session) -> object:
        """
        Follow the script.
        """
        return self.script.run("let go", session)

    def close(self) -> None:
        """
        Write it down.
        """
        self.script.log.append("close")


def nothing(session: Session) -> object:
    """
    Do nothing.
    """
    return None


def undoing(passed: int) -> list[str]:
    """
    Answer the hooks that undo the first C{passed} hooks of a login, in order.
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


def answersFailure(session: Session) -> object:
    """
    Answer a Deferred that has failed.
    """
    return fail(Boom())


async def raisesInCoroutine(session: Session) -> object:
    """
    Raise in a coroutine.
    """
    raise Boom


def answersFired(session: Session) -> object:
    """
    Answer a Deferred that has fired.
    """
    return succeed(Thing())


async def answersCoroutine(session: Session) -> object:
    """
    Answer a coroutine that does not wait.
    """
    return Thing()


#: Ways to fail at once, and ways to be done at once.
FAILING: tuple[Act, ...] = (raises, answersFailure, raisesInCoroutine)
PROMPT: tuple[Act, ...] = (nothing, answersFired, answersCoroutine)


class Gate:
    """
    A hook that waits until the test says how it goes on.

    @ivar wait: what it waits for.
    """

    def __init__(self) -> None:
        self.wait: Deferred[object] = Deferred()

    def deferred(self, session: Session) -> object:
        """
        Be a hook that answers a Deferred.
        """
        return self.wait

    async def coroutine(self, session: Session) -> object:
        """
        Be a hook that is a coroutine.
        """
        return await self.wait

    async def stubborn(self, session: Session) -> object:
        """
        Be a hook that does not mind being cancelled.
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


def opened(answer: Any) -> Any:
    """
    Answer what a realm answered at once.
    """
    assert isinstance(answer, tuple)
    return answer


def waiting(answer: Any) -> Deferred[Any]:
    """
    Answer what a realm will answer.
    """
    assert isinstance(answer, Deferred)
    return answer


def sessionOf(realm: Any, answer: Any) -> Session:
    """
    Return the session of a login that succeeded: the one that its logout ends.

    It must not have closed yet.
    """
    _, _, logout = opened(answer)
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
    Answer how many slots of a limit are taken, by key.
    """
    return {key: len(sessions) for key, sessions in limit._slots.holders.items()}


def garbageOf(login: Callable[[], object]) -> int:
    """
    Answer how many sessions and failures ten logins that fail leave for the garbage collector.
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
