"""
Tests for hooks and factories that wait for asyncio.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Block, ConnectionLimit, Realm, Session
from avatarkit.testing import login
from scripted import (
    CLOSING,
    OPENING,
    Boom,
    IThing,
    Script,
    ScriptedSource,
    Thing,
    frank,
    opened,
    slots,
    undoing,
    waiting,
)

PROGRAM = """
import asyncio
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())
from twisted.internet import reactor, task
from twisted.spread.pb import IPerspective
from avatarkit import Avatar, AvatarCache, Block, ConnectionLimit

class Slow(Block):
    async def admit(self, session):
        await asyncio.sleep(0.001)
    def detached(self, session):
        return asyncio.ensure_future(asyncio.sleep(0.001))

async def load(avatarId):
    await asyncio.sleep(0.001)
    return Avatar()

early = reactor._asyncioEventloop.create_future()

async def main(reactor):
    early.set_result(None)
    await task.deferLater(reactor, 0)
    assert waited.called
    realm = ConnectionLimit(1)(Slow()(AvatarCache()(load)))
    for _ in range(2):
        interface, avatar, logout = await realm.requestAvatar(b"alice", None, IPerspective)
        (session,) = realm.sessions
        logout()
        assert realm.sessions
        await session.whenClosed()
    await realm.close()
    print("done")

class Early(Block):
    def admit(self, session):
        return early

waited = Early()(lambda avatarId: Avatar()).requestAvatar(b"early", None, IPerspective)
task.react(main)
"""


async def sleep(result: object = None) -> object:
    """
    Be a coroutine of asyncio.
    """
    await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    return result


async def failing() -> object:
    """
    Be one that fails.
    """
    await asyncio.sleep(0)
    await asyncio.ensure_future(asyncio.sleep(0))
    raise Boom


KINDS: dict[str, Callable[[], object]] = {
    "coroutine": sleep,
    "task": lambda: asyncio.ensure_future(sleep()),
    "future": lambda: asyncio.get_running_loop().run_in_executor(None, int),
}


async def eventually(waiting: Any) -> Any:
    """
    Wait in asyncio for what a realm has returned.
    """
    return await waiting.asFuture(asyncio.get_running_loop())


class LoopTests(SynchronousTestCase):
    """
    While asyncio's loop runs.
    """

    def test_hooks(self) -> None:
        """
        Each hook may wait for a coroutine, a task or a future of asyncio.
        """

        async def main(hook: str, make: Callable[[], object]) -> None:
            script = Script({hook: lambda session: make() if hook != "acquire" else sleep(Thing())})
            login = script.login()
            assert isinstance(login, Deferred) is (hook in OPENING)
            result = await eventually(login) if hook in OPENING else login
            (session,) = script.realm.sessions
            opened(result)[2]()
            assert (session in script.realm.sessions) is (hook in CLOSING)
            await eventually(session.whenClosed())
            assert script.log == [*OPENING, *undoing(7)], hook

        for hook in (*OPENING, *CLOSING):
            for make in KINDS.values():
                asyncio.run(main(hook, make))

    def test_failure(self) -> None:
        """
        What fails in asyncio fails the hook, and leaves no garbage.
        """

        async def main(make: Callable[[], object]) -> None:
            script = Script({"admit 1": lambda session: make()})
            try:
                await eventually(script.login())
            except Boom:
                assert script.log == [*OPENING[:2], *undoing(1)]
            else:
                raise AssertionError

        for make in (failing, lambda: asyncio.ensure_future(failing())):
            asyncio.run(main(make))
        gc.collect()

    def test_cancelling(self) -> None:
        """
        A login that is cancelled cancels what it waits for in asyncio.
        """
        cancelled: list[str] = []

        async def stubborn(name: str) -> None:
            try:
                await asyncio.sleep(60)
            except BaseException as error:
                cancelled.append(f"{name} {type(error).__name__}")
                raise

        async def main() -> None:
            for name, make in (
                ("coroutine", partial(stubborn, "coroutine")),
                ("task", lambda: asyncio.ensure_future(stubborn("task"))),
            ):
                script = Script({"admit 1": partial(self.answer, make)})
                login = waiting(script.login())
                await asyncio.sleep(0)
                login.cancel()
                login.addErrback(lambda failure: failure.trap(CancelledError))
                await asyncio.sleep(0.001)
                assert not script.realm.sessions, name

        asyncio.run(main())
        assert cancelled == ["coroutine CancelledError", "task CancelledError"]

    def answer(self, make: Callable[[], object], session: Session) -> object:
        """
        Be a hook.
        """
        return make()

    def test_closing(self) -> None:
        """
        A source may take its time in asyncio to close.
        """

        class Source(ScriptedSource):
            def close(self) -> Any:
                return sleep()

        async def main() -> None:
            closing = Realm(Source(Script())).close(timeout=None)
            assert not closing.called
            await eventually(closing)

        asyncio.run(main())

    def test_iterator(self) -> None:
        """
        An awaitable may be a plain iterator, or be dropped while it waits.
        """

        class Plain:
            def __await__(self) -> Any:
                return iter(())

        async def main() -> None:
            opened(Script({"admit 1": lambda session: Plain()}).login())
            waiting(Script({"admit 1": lambda session: drop()}).login())

        dropped: list[str] = []

        async def drop() -> None:
            try:
                await Deferred()
            finally:
                dropped.append("dropped")

        asyncio.run(main())
        gc.collect()
        assert dropped == ["dropped"]


class NoLoopTests(SynchronousTestCase):
    """
    While asyncio's loop does not run, as under every other reactor.
    """

    def test_error(self) -> None:
        """
        Whatever waits for asyncio fails at once, says why, and what to do.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()

        async def later() -> None:
            await future

        for make in (lambda: future, later, sleep, partial(sleep, 3)):
            limit = ConnectionLimit(1)

            class Waiting(Block):
                def admit(self, session: Session, make: Any = make) -> object:
                    return make()

            realm = frank(limit(Waiting()(lambda avatarId: Thing())))
            error = self.assertRaises(TypeError, realm.requestAvatar, b"alice", None, IThing)
            assert "twisted.internet.asyncioreactor" in str(error)
            assert slots(limit) == {}

    def test_cleanUp(self) -> None:
        """
        A coroutine that cannot wait is told inside, so that it can clean up.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        steps: list[str] = []

        async def load(avatarId: object) -> Thing:
            try:
                await loop.create_future()
            except TypeError:
                steps.append("told")
                return Thing()
            raise AssertionError

        login(Realm(load), b"alice", interface=IThing)
        assert steps == ["told"]

    def test_others(self) -> None:
        """
        A RuntimeError of another kind stays what it is; so does one that comes later.
        """
        gate: Deferred[None] = Deferred()

        async def load(avatarId: object) -> Thing:
            await gate
            raise RuntimeError("out of order")

        pending = waiting(frank(Realm(load)).requestAvatar(b"alice", None, IThing))
        gate.callback(None)
        failure: Failure = self.failureResultOf(pending, RuntimeError)
        assert failure.getErrorMessage() == "out of order"


class ReactorTests(SynchronousTestCase):
    """
    Twisted's asyncio reactor.
    """

    def test_program(self) -> None:
        """
        A program that has installed it may wait for asyncio anywhere, also before it runs.
        """
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-W", "error", "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
