"""
What becomes of a call that runs when its session ends, and does not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks

from avatarkit import Avatar, Kicked, Realm, Session
from avatarkit._perspectives.calls import Call, _Steps
from perspectives import PerspectiveCase

# Any in this module: what methods return, and what references are called with.


class Acting(Avatar):
    """
    An avatar whose methods set something off.

    @ivar act: what they set off.
    @ivar begin: what some of them wait for before that.
    @ivar save: what they wait for after that.
    @ivar said: what has happened, in order.
    """

    act: Callable[[], object]

    def __init__(self) -> None:
        self.begin: Deferred[None] = Deferred()
        self.save: Deferred[str] = Deferred(lambda save: self.said.append("cancel"))
        self.said: list[str] = []

    async def perspective_now(self) -> str:
        """
        Do it at once, and wait.
        """
        self.act()
        await self.save
        self.said.append("goes on")
        return "done"

    async def perspective_later(self) -> str:
        """
        Do it later, and wait.
        """
        await self.begin
        return await self.perspective_now()

    @inlineCallbacks
    def perspective_old(self) -> Any:
        """
        Do it at once, and wait, in the old way.
        """
        self.act()
        yield self.save
        self.said.append("goes on")
        return "done"

    def perspective_plain(self) -> Deferred[str]:
        """
        Do it, and return something to wait for.
        """
        self.act()
        return self.save

    async def perspective_thorough(self) -> str:
        """
        Do it, and whatever happens then, wait.
        """
        await self.begin
        self.act()
        try:
            await Deferred()
        except CancelledError:
            self.said.append("saves")
            await self.save
        self.said.append("saved")
        return "done"

    async def perspective_wait(self) -> str:
        """
        Wait.
        """
        return await self.save

    def perspective_quick(self) -> str:
        """
        Do it, and wait for nothing.
        """
        self.act()
        return "done"

    def logout(self) -> None:
        """
        Be over.
        """
        self.said.append("logout")


class Passing(Acting):
    """
    One that passes calls on in a way of its own.
    """

    def perspectiveMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Do so at once.
        """
        return super().perspectiveMessageReceived(broker, message, args, kw)


class Amid(Acting):
    """
    One that sets something off itself, when the method waits.
    """

    async def perspectiveMessageReceived(
        self, broker: Any, message: Any, args: Any, kw: Any
    ) -> Any:
        """
        Wait, pass the call on, and do it.
        """
        await self.begin
        answer: Any = super().perspectiveMessageReceived(broker, message, args, kw)
        self.act()
        return await answer


class RunningTests(PerspectiveCase):
    """
    A call sets off somebody else, who ends its session.
    """

    def enter(self, kind: Callable[[], Acting] = Acting) -> tuple[Any, Session, Any]:
        """
        Log in, where somebody waits for a call to set off the end of the session; return what the
        client holds, the session, and the avatar.
        """
        self.serve(Realm(lambda avatarId: kind()))
        held, session = self.logIn()
        signal: Deferred[None] = Deferred()

        async def end() -> None:
            await signal
            session.logout("banned")

        Deferred.fromCoroutine(end())
        avatar: Any = session.avatar
        avatar.act = lambda: signal.callback(None)
        return held, session, avatar

    def begin(self, held: Any, avatar: Any, name: str) -> Deferred[Any]:
        """
        Call, and let it begin.
        """
        answer = self.call(held, name)
        avatar.begin.callback(None)
        self.portal.pump()
        return answer

    def test_awaited(self) -> None:
        """
        What runs a coroutine of a call is one like any other, which may be awaited, or closed.
        """
        self.serve(Realm(lambda avatarId: Acting()))
        _held, session = self.logIn()
        begin: Deferred[int] = Deferred()

        async def inner() -> int:
            return await begin

        coroutine: Any = inner()
        steps = _Steps(Call(session), coroutine)

        async def outer() -> int:
            result: int = await steps
            return result + 1

        waiting = Deferred.fromCoroutine(outer())
        begin.callback(1)
        assert self.successResultOf(waiting) == 2
        never: Any = inner()
        _Steps(Call(session), never).close()
        assert never.cr_frame is None

    def test_waits(self) -> None:
        """
        When the call waits it is cancelled, and its client told, whatever kind of method it is, and
        whether it has waited before or not.
        """
        for kind in (Acting, Passing):
            for name in ("now", "later", "old", "plain"):
                held, session, avatar = self.enter(kind)
                answer = self.begin(held, avatar, name)
                assert self.refused(answer, Kicked) == "banned"
                assert avatar.said == ["logout", "cancel"]
                assert session._calls == {}

    def test_quick(self) -> None:
        """
        If it waits for nothing more, it has its answer.
        """
        held, session, _avatar = self.enter()
        assert self.successResultOf(self.call(held, "quick")) == "done"
        assert session.ended

    def test_once(self) -> None:
        """
        It is cancelled once, and may tidy up.
        """
        held, _session, avatar = self.enter()
        answer = self.begin(held, avatar, "thorough")
        assert avatar.said == ["logout", "saves"]
        avatar.save.callback("saved")
        self.portal.pump()
        assert self.refused(answer, Kicked) == "banned"
        assert avatar.said == ["logout", "saves", "saved"]

    def test_amid(self) -> None:
        """
        So it is if what runs is an avatar's own way to be called, and the method waits already.
        """
        held, _session, avatar = self.enter(Amid)
        answer = self.begin(held, avatar, "wait")
        assert self.refused(answer, Kicked) == "banned"
        assert avatar.said == ["logout", "cancel"]

    def test_stubborn(self) -> None:
        """
        A canceller that raises then is logged.
        """

        def cancel(save: object) -> None:
            raise ValueError("on purpose")

        for name in ("now", "later"):
            held, _session, avatar = self.enter()
            avatar.save = Deferred(cancel)
            answer = self.begin(held, avatar, name)
            assert self.refused(answer, Kicked) == "banned"
            assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_inVain(self) -> None:
        """
        It does not go on for having ended the session of somebody else.
        """
        held, _session, avatar = self.enter()
        end = avatar.act
        _other, others = self.logIn("bob")

        def act() -> None:
            others.logout("by alice")
            end()

        avatar.act = act
        answer = self.call(held, "now")
        assert self.refused(answer, Kicked) == "banned"
        assert avatar.said == ["logout", "cancel"]

    def test_other(self) -> None:
        """
        Another call of the session that ends it goes on, and this one does not.
        """

        class Twice(Acting):
            def __init__(self) -> None:
                super().__init__()
                self.signal: Deferred[None] = Deferred()

            async def perspective_end(self) -> str:
                await self.signal
                session.logout("enough")
                return "ended"

        held, session, avatar = self.enter(Twice)
        avatar.act = lambda: avatar.signal.callback(None)
        ending = self.call(held, "end")
        answer = self.begin(held, avatar, "later")
        assert self.successResultOf(ending) == "ended"
        assert self.refused(answer, Kicked) == "enough"
        assert avatar.said == ["logout", "cancel"]
