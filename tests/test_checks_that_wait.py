"""
Tests for L{avatarkit.testing.checkBlock} with blocks that wait, and for logins that may.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase, TestCase

from avatarkit import AvatarCache, Block, LoginRefused, Realm, Session
from avatarkit.testing import Login, _scenes, checkBlock, login
from players import Player
from scripted import Boom

reactor: Any = globalReactor


def pause() -> Deferred[None]:
    """
    Wait for the reactor.
    """
    return deferLater(reactor, 0)


class Slow(Block):
    """
    A block each of whose hooks waits.
    """

    def __init__(self) -> None:
        self.admitted: dict[Session, None] = {}

    async def admit(self, session: Session) -> None:
        """
        Wait, and remember the session.
        """
        await pause()
        self.admitted[session] = None

    async def release(self, session: Session) -> None:
        """
        Wait, and forget the session.
        """
        await pause()
        del self.admitted[session]

    def attached(self, session: Session) -> object:
        """
        Wait.
        """
        return pause()

    def detached(self, session: Session) -> object:
        """
        Wait.
        """
        return pause()

    def close(self) -> object:
        """
        Wait.
        """
        return pause()


class WaitingBlockTests(TestCase):
    """
    L{checkBlock} with C{waits=True}.
    """

    timeout = 60

    async def test_slow(self) -> None:
        """
        A block that waits and keeps its promises passes, as does one that does not wait.
        """
        await checkBlock(Slow, waits=True)
        await checkBlock(Block, waits=True)

    async def broken(self, block: type[Block]) -> str:
        """
        Check that a broken block is caught, and return the sentence.
        """
        try:
            await checkBlock(block, waits=True)
        except AssertionError as error:
            self.flushLoggedErrors(Boom)
            return str(error)
        raise AssertionError("it passed")

    async def test_broken(self) -> None:
        """
        A block is caught if it keeps sessions, fails, or does not give back what it took when its
        login is cancelled.
        """

        class Keeping(Slow):
            async def release(self, session: Session) -> None:
                await pause()

        assert (await self.broken(Keeping)).endswith("nothing refers to the session")

        class Failing(Slow):
            async def release(self, session: Session) -> None:
                await pause()
                raise Boom("no")

        assert "nothing fails during a logout: " in await self.broken(Failing)

        class Losing(Block):
            taken: dict[Session, None]

            def __init__(self) -> None:
                self.taken = {}

            async def admit(self, session: Session) -> None:
                self.taken[session] = None
                await pause()

            def release(self, session: Session) -> None:
                del self.taken[session]

        said = await self.broken(Losing)
        assert said == (
            "a promise is broken: after a login that is cancelled as soon as it waits, nothing "
            "refers to the session"
        )

    async def test_neverDone(self) -> None:
        """
        A block that never finishes is caught after some seconds.
        """
        self.patch(_scenes, "PATIENCE", 0.05)

        class Hanging(Slow):
            def detached(self, session: Session) -> object:
                return Deferred()

        assert (await self.broken(Hanging)).endswith("after a logout, every session is closed")

        class Deaf(Slow):
            def attached(self, session: Session) -> object:
                return Deferred()

        assert "nothing fails during a logout: TimeoutError" in await self.broken(Deaf)

    async def test_refusedMeanwhile(self) -> None:
        """
        A block that refuses a login which should have waited is caught without delay.
        """

        numbers = count()

        class Full(Slow):
            def __init__(self) -> None:
                super().__init__()
                self.number = next(numbers)

            async def admit(self, session: Session) -> None:
                await super().admit(session)
                if self.number == 6:
                    raise LoginRefused("no")

        assert await self.broken(Full) == (
            "a promise is broken: after a login whose client leaves while it waits, the next login "
            f"succeeds: {LoginRefused('no')!r}"
        )

    async def test_notSaid(self) -> None:
        """
        Without C{waits=True}, the sentence says that a block that waits needs it.
        """
        error = self.assertRaises(AssertionError, checkBlock, Slow)
        assert "checkBlock(..., waits=True)" in str(error)
        for _ in range(2):  # let the block that was left alone finish
            await pause()


class LoginTests(SynchronousTestCase):
    """
    L{login} in a test that does not know whether the realm waits.
    """

    def test_awaited(self) -> None:
        """
        A login that need not wait can be awaited like one that does.
        """
        gate: Deferred[Player] = Deferred()

        async def test(realm: Realm[Player]) -> object:
            alice = await login(realm, b"alice")
            return alice.avatar

        player = Player(b"alice")
        now = Deferred.fromCoroutine(test(Realm(lambda avatarId: player)))
        later = Deferred.fromCoroutine(test(AvatarCache()(lambda avatarId: gate)))
        self.assertNoResult(later)
        gate.callback(player)
        assert self.successResultOf(now) is self.successResultOf(later) is player

    def test_notYet(self) -> None:
        """
        A Deferred that is used as a L{Login} says so, and what to do; otherwise it is like any
        other.
        """
        gate: Deferred[Player] = Deferred()
        pending: Any = login(Realm(lambda avatarId: gate), b"alice")
        for name in ("avatar", "interface", "logout"):
            error = self.assertRaises(AttributeError, getattr, pending, name)
            assert str(error).startswith(f"the login has no {name} yet")
        error = self.assertRaises(AttributeError, getattr, pending, "avatars")
        assert str(error) == "a Deferred has no attribute 'avatars'"
        gate.callback(Player(b"alice"))
        assert isinstance(self.successResultOf(pending), Login)

    def test_cancelled(self) -> None:
        """
        Cancelling the Deferred cancels the login; one that goes on all the same is ignored.
        """
        gate: Deferred[Player] = Deferred()
        cancelled: list[str] = []

        async def load(avatarId: Any) -> Any:
            try:
                await Deferred()
            except CancelledError:
                cancelled.append("cancelled")
            return pb.IPerspective, await gate, lambda: None

        class Stubborn:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return Deferred.fromCoroutine(load(avatarId))

        waiting: Realm = Realm(lambda avatarId: Deferred())
        for realm in (waiting, Stubborn()):
            pending: Any = login(realm, b"alice")
            pending.cancel()
            self.failureResultOf(pending, CancelledError)
        assert not waiting.sessions
        gate.callback(Player(b"alice"))
        assert cancelled == ["cancelled"]
