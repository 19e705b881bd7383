"""
Every hook that a user can write, failing in every way, at every time: nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionAware,
    ConnectionCounter,
    ConnectionLimit,
    MindAware,
    MindRegistry,
    PerConnection,
    Session,
)
from avatarkit.testing import FakeMind
from scripted import Boom, IThing, ScriptedBlock, Thing, frank, slots

OPENING = ("admit", "factory", "build", "attached 1", "connect", "attached mind")
CLOSING = ("detached mind", "disconnect", "detached 1", "built logout", "release 1", "logout")


class Rig:
    """
    A stack with everything in it, one or two hooks of which do what a test says.

    @ivar log: the hooks that ran.
    @ivar done: those that did not fail.
    """

    def __init__(self, acts: dict[str, Callable[[Rig], object]]) -> None:
        self.acts = acts
        self.log: list[str] = []
        self.done: list[str] = []
        self.session: Any = None
        self.gate: Deferred[Any] = Deferred()
        self.clock, self.mind = Clock(), FakeMind()
        self.online, self.limit = MindRegistry(), ConnectionLimit()
        self.counter, self.cache = ConnectionCounter(), AvatarCache()
        scripted = ScriptedBlock(self, 1)  # type: ignore[arg-type]  # it follows this script
        source = PerConnection(self.build)(self.cache(self.factory))
        self.realm = frank(self.online(self.limit(self.counter(scripted(source)))))

    def run(self, hook: str, session: Session | None = None) -> Any:
        """
        Do what the test says.
        """
        self.session = session or self.session
        self.log.append(hook.replace("admit 1", "admit"))
        hook = self.log[-1]
        act = self.acts.get(hook)
        answer = None if act is None else act(self)
        if isinstance(answer, Deferred):
            return answer.addCallback(self.over, hook)
        self.over(None, hook)
        return answer

    def over(self, result: object, hook: str) -> object:
        """
        Take down that a hook is done.
        """
        self.done.append(hook)
        return result

    def factory(self, avatarId: bytes) -> Any:
        """
        Make what is shared.
        """
        answer = self.run("factory")
        return Shared(self) if answer is None else answer

    def build(self, session: Session) -> Any:
        """
        Make what is not.
        """
        answer = self.run("build")
        return Built(self) if answer is None else answer

    def login(self) -> Any:
        """
        Log in, and answer what came of it, or the Deferred if nothing did yet.
        """
        try:
            return self.realm.requestAvatar(b"alice", self.mind, IThing)
        except Exception as error:
            return error

    def assertNothingLeft(self) -> None:
        """
        The login has gone, and everything with it.
        """
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.counter)) == (0, {}, {})
        assert (len(self.online), len(self.online.everyone)) == (0, 0)
        assert self.cache._kept.unready == {}
        assert self.log.count("logout") == self.log.count("shared made") - len(self.cache)
        for do, undo in zip(DONE, UNDONE, strict=True):
            assert self.log.count(undo) == (do in self.done), (do, undo, self.log)


DONE = ("admit", "built made", "attached 1", "connect", "attached mind")
UNDONE = ("release 1", "built logout", "detached 1", "disconnect", "detached mind")


class Shared:
    """
    The avatar that is cached.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.log.append("shared made")

    def logout(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("logout")


class Built(ConnectionAware, MindAware, Thing):
    """
    The avatar of a session.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.log.append("built made")
        rig.done.append("built made")

    def connect(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("connect")

    def disconnect(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("disconnect")

    def attached(self, mind: object) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("attached mind")

    def detached(self, mind: object) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("detached mind")

    def logout(self) -> Any:
        """
        Follow the rig.
        """
        return self.rig.run("built logout")


def raising(rig: Rig) -> object:
    """
    Raise.
    """
    raise Boom


def failing(rig: Rig) -> object:
    """
    Answer what has failed.
    """
    return fail(Boom())


def hanging(rig: Rig) -> object:
    """
    Wait until the test says otherwise.
    """
    return rig.gate


def ending(rig: Rig) -> object:
    """
    End the session.
    """
    rig.session.logout()
    return None


def endingAndRaising(rig: Rig) -> object:
    """
    End the session, and raise.
    """
    rig.session.logout()
    raise Boom


def endingAndHanging(rig: Rig) -> object:
    """
    End the session, and wait until the test says otherwise.
    """
    rig.session.logout()
    return rig.gate


def dying(rig: Rig) -> object:
    """
    Let the client be gone, as Twisted does it, and wait.
    """
    if not rig.mind.disconnected:
        rig.mind.disconnect()
    return rig.gate


def closing(rig: Rig) -> object:
    """
    Close the realm from inside.
    """
    rig.realm.close(timeout=None)
    return None


ACTS = (raising, failing, hanging, ending, endingAndRaising, endingAndHanging, dying, closing)


class FaultTests(SynchronousTestCase):
    """
    The enumeration.
    """

    def test_opening(self) -> None:
        """
        Whatever a hook does while a session opens, and whichever way the session then ends, nothing
        is left, and what was done is undone once.
        """
        for hook, act, end in product(OPENING, ACTS, (logout, disconnect, cancel, close, finish)):
            self.run_(hook, act, end)

    def test_closing(self) -> None:
        """
        Whatever a hook does while a session closes, and whichever way it came to close, the others
        still run, and nothing is left.
        """
        for hook, act, end in product(CLOSING, ACTS, (logout, disconnect, close)):
            rig = self.run_(hook, act, end)
            assert [each for each in rig.log if each in UNDONE] == [
                "detached mind",
                "disconnect",
                "detached 1",
                "built logout",
                "release 1",
            ], (hook, act, end)

    def test_pairs(self) -> None:
        """
        When one hook fails while a session opens, and another while that is undone, nothing is left
        either.
        """
        for first, second, act in product(OPENING, CLOSING, (raising, failing, hanging)):
            rig = Rig({first: raising, second: act})
            answer = rig.login()
            rig.gate.callback(None)
            if isinstance(answer, Deferred):
                self.failureResultOf(answer, Boom)
            else:
                assert isinstance(answer, Boom), (first, second, act)
            rig.realm.close(reactor=rig.clock)
            rig.assertNothingLeft()
            self.flushLoggedErrors(Boom)

    def run_(self, hook: str, act: Callable[[Rig], object], end: Callable[..., object]) -> Rig:
        """
        Log in, have things go wrong, end, and look what is left.
        """
        rig = Rig({hook: act})
        answer = rig.login()
        if isinstance(answer, Deferred):
            results: list[Any] = []
            answer.addBoth(results.append)
            end(rig, answer)
            if not rig.gate.called:
                rig.gate.callback(None)
            assert results, (hook, act, end)
            answer = results[0]
        if isinstance(answer, tuple):
            end(rig, answer)
            answer[2]()
        if not rig.gate.called:
            rig.gate.callback(None)
        rig.gate.addErrback(lambda failure: None)
        rig.realm.close(reactor=rig.clock)
        rig.assertNothingLeft()
        assert dict(rig.cache) == {}, (hook, act, end)
        self.flushLoggedErrors(Boom)
        return rig


def logout(rig: Rig, answer: Any) -> None:
    """
    Log the session out.
    """
    rig.session.logout()


def disconnect(rig: Rig, answer: Any) -> None:
    """
    Let the client be gone; a protocol then logs out what is logged in.
    """
    if not rig.mind.disconnected:
        rig.mind.disconnect()
    if isinstance(answer, tuple):
        answer[2]()


def cancel(rig: Rig, answer: Any) -> None:
    """
    Cancel the login if it waits.
    """
    if isinstance(answer, Deferred):
        answer.cancel()


def close(rig: Rig, answer: Any) -> None:
    """
    Close the realm, whose deadline passes.
    """
    rig.realm.close(timeout=5, reactor=rig.clock)
    rig.clock.advance(5)


def finish(rig: Rig, answer: Any) -> None:
    """
    Let what hangs be done.
    """
    if not rig.gate.called:
        rig.gate.callback(None)
