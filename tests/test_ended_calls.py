"""
What becomes of the calls of a session that ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.spread import pb

from avatarkit import Avatar, AvatarCache, Block, Kicked, Realm, Session
from avatarkit._perspectives.calls import CURRENT
from perspectives import Banned, PerspectiveCase, Shared, length

# Any in this module: references, and what they are called with.


def gathered() -> Deferred[Any]:
    """
    Wait for several things.
    """
    return gatherResults([Deferred(), Deferred()], consumeErrors=True)


def nested() -> Deferred[Any]:
    """
    Wait for several times several things.
    """
    return gatherResults([gathered(), gathered()], consumeErrors=True)


async def gather() -> None:
    """
    Wait for several things, in a coroutine.
    """
    await gathered()


async def save() -> str:
    """
    Wait, and return something all the same.
    """
    try:
        await Deferred()
    except CancelledError:
        return "saved"
    return "late"


async def other(error: BaseException) -> None:
    """
    Wait, and fail with something else.
    """
    try:
        await Deferred()
    except CancelledError:
        raise error from None


class RefusedTests(PerspectiveCase):
    """
    Calls that come too late.
    """

    def test_traceback(self) -> None:
        """
        The reason is copied for each call that is refused, so that its traceback does not grow.
        """
        for reason in (Kicked("spam"), Banned("bob", "noon")):
            self.serve(AvatarCache()(Shared))
            held, session = self.logIn()
            session.logout(reason)
            for _ in range(2):
                failure: Any = self.failureResultOf(self.call(held, "note", 1))
                assert failure.getErrorMessage() == str(reason)
            assert session.reason is reason
            assert length(reason) == 0


class EndedTests(PerspectiveCase):
    """
    Calls that wait when their session ends.
    """

    def test_quit(self) -> None:
        """
        A method that waits for nothing and ends the session of its call returns its answer, and all
        that wait are cancelled before the avatar's logout, coroutines or not.
        """
        self.serve(AvatarCache(idleTimeout=0)(Shared))
        held, session = self.logIn()
        avatar = session.avatar
        names = ("wait", "later", "inline")
        answers = [self.call(held, each, each) for each in names]
        assert self.successResultOf(self.call(held, "quit")) == "bye"
        for answer in answers:
            assert self.refused(answer, Kicked) == "enough"
        assert avatar.said == [*((each, "cancel") for each in names), ("logout", "Kicked")]

    def test_others(self) -> None:
        """
        A call that ends another session of its user has those of that session cancelled, and none
        of its own.
        """

        class Owner(Shared):
            def perspective_kick(self) -> None:
                others.logout("by the owner")

        self.serve(AvatarCache()(Owner))
        (mine, its), (other, others) = self.logIn(), self.logIn()
        waits = [self.call(each, "later", name) for each, name in ((mine, "a"), (other, "b"))]
        self.successResultOf(self.call(mine, "kick"))
        assert self.refused(waits[1], Kicked) == "by the owner"
        self.assertNoResult(waits[0])
        its.avatar.gate("a").callback("done")
        self.portal.pump()
        assert self.successResultOf(waits[0]) == "done"

    def test_indirectly(self) -> None:
        """
        A call ends its own session also if it ends another one, whose hook does the rest; then it
        goes on, whatever kind of method it is, and other calls of both are cancelled.
        """

        class Party(Block):
            def detached(self, session: Session) -> None:
                for each in tuple(test.realm.sessions):
                    each.logout("the party is over")

        class Owner(Shared):
            @inlineCallbacks
            def perspective_old(self, name: str) -> Any:
                yield self.gate(name)
                others.logout("out")
                return "done"

            async def perspective_new(self, name: str) -> str:
                await self.gate(name)
                others.logout("out")
                return "done"

        test = self
        for method in ("old", "new"):
            self.serve(Party()(AvatarCache()(Owner)))
            (mine, its), (other, others) = self.logIn(), self.logIn()
            waits = [self.call(each, "wait", str(each)) for each in (mine, other)]
            answer = self.call(mine, method, "a")
            its.avatar.gate("a").callback(None)
            self.portal.pump()
            assert self.successResultOf(answer) == "done"
            assert self.refused(waits[0], Kicked) == "the party is over"
            assert self.refused(waits[1], Kicked) == "out"

    def test_forgotten(self) -> None:
        """
        What has ended is not kept by what it has set off.
        """
        seen: list[Any] = []

        class Chain(Block):
            def detached(self, session: Session) -> None:
                seen.append(CURRENT.get())
                for each in [each for each in test.realm.sessions if not each.ended][:1]:
                    each.logout("next")

        test = self
        self.serve(Chain()(AvatarCache()(Shared)))
        held = [self.logIn() for _ in range(5)]
        next(iter(self.realm.sessions)).logout("first")
        assert len(seen) == len(held) == 5
        assert all(each.within is None for each in seen)

    def endAmid(self, act: Callable[[], Any]) -> str:
        """
        End a session while its client waits for what C{act} returns; return what the client is
        told.
        """

        class Acting(Avatar):
            def perspective_act(self) -> Any:
                return act()

        self.serve(Realm(lambda avatarId: Acting()))
        held, session = self.logIn()
        answer = self.call(held, "act")
        self.assertNoResult(answer)
        session.logout("spam")
        self.portal.pump()
        assert session._calls == {}
        return self.refused(answer, Kicked)

    def test_gathered(self) -> None:
        """
        Whatever a call does with being cancelled, its client is told why the session has ended, and
        nothing is logged.
        """
        for act in (
            gathered,
            gather,
            nested,
            save,
            lambda: other(asyncio.CancelledError()),
            lambda: other(pb.Error("cancelled")),
        ):
            assert self.endAmid(act) == "spam"
            assert self.flushLoggedErrors() == []

    def test_fails(self) -> None:
        """
        A call that fails otherwise when it is cancelled is logged, and its client is told why the
        session has ended.
        """

        def failing() -> Deferred[None]:
            return Deferred.fromCoroutine(other(ValueError("on purpose")))

        assert self.endAmid(failing) == "spam"
        assert len(self.flushLoggedErrors(ValueError)) == 1
        assert self.endAmid(lambda: gatherResults([failing()], consumeErrors=True)) == "spam"
        assert len(self.flushLoggedErrors()) == 1

    def test_together(self) -> None:
        """
        So it is with one that fails because another is cancelled.
        """
        self.serve(AvatarCache()(Shared))
        held, session = self.logIn()
        gates = session.avatar.gates
        gates["b"] = Deferred()
        gates["a"] = Deferred(lambda gate: gates["b"].errback(CancelledError()))
        answers = [self.call(held, "later", "a"), self.call(held, "wait", "b")]
        session.logout("spam")
        self.portal.pump()
        for answer in answers:
            assert self.refused(answer, Kicked) == "spam"
