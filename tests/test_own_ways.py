"""
Avatars that Perspective Broker calls in a way of their own.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from itertools import product
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.spread import pb
from zope.interface import implementer

from avatarkit import Avatar, Kicked, Realm, Session, SessionEnded, currentSession
from perspectives import PerspectiveCase

# Any in this module: references, and what they are called with.


class Ending(pb.Copyable, pb.RemoteCopy):
    """
    What does something when a server unserializes it.
    """

    then: Any = bool

    def setCopyableState(self, state: object) -> None:
        """
        Do it.
        """
        type(self).then()


pb.setUnjellyableForClass(Ending, Ending)


class Waiting:
    """
    An avatar whose methods wait.

    @ivar said: what has happened, in order.
    """

    def __init__(self, avatarId: object = None) -> None:
        self.said: list[str] = []
        self.gate: Deferred[str] = Deferred()

    async def whose(self) -> str:
        """
        Return whose call it is, at once.
        """
        session = currentSession()
        assert session is not None
        return session.id

    async def wait(self) -> str:
        """
        Wait, and return whose call it is.
        """
        await self.gate
        self.said.append("goes on")
        return await self.whose()

    @inlineCallbacks
    def later(self) -> Any:
        """
        Wait, in Twisted's way.
        """
        yield self.gate
        self.said.append("goes on")

    def note(self, *args: object, **kw: object) -> None:
        """
        Take note.
        """
        self.said.append("noted")

    async def fail(self) -> None:
        """
        Fail.
        """
        raise pb.Error("told")

    def logout(self) -> None:
        """
        Be over.
        """
        self.said.append("logout")


class Methods(Waiting, Avatar):
    """
    One with methods that are called as ever.
    """

    perspective_whose, perspective_wait = Waiting.whose, Waiting.wait
    perspective_later, perspective_fail = Waiting.later, Waiting.fail
    perspective_note = Waiting.note


class Logging(Methods):
    """
    One that notes calls.
    """

    def perspectiveMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Note it.
        """
        self.said.append(message)
        return super().perspectiveMessageReceived(broker, message, args, kw)


class Asking(Methods):
    """
    One that waits before it calls.
    """

    async def perspectiveMessageReceived(
        self, broker: Any, message: Any, args: Any, kw: Any
    ) -> Any:
        """
        Wait.
        """
        granted: Deferred[None] = Deferred()
        self.granted = granted
        await granted
        result = super().perspectiveMessageReceived(broker, message, args, kw)
        return await result if isinstance(result, Deferred) else result


class OldAsking(Asking):
    """
    One that does so in the old way.
    """

    @inlineCallbacks
    def perspectiveMessageReceived(  # type: ignore[override]  # a Deferred, and no coroutine
        self, broker: Any, message: Any, args: Any, kw: Any
    ) -> Any:
        """
        Wait.
        """
        self.granted = Deferred()
        yield self.granted
        result = yield Methods.perspectiveMessageReceived(self, broker, message, args, kw)
        return result


@implementer(pb.IPerspective)
class Plain(Waiting, pb.Referenceable):
    """
    One that is called by its C{remote_} methods.
    """

    perspectiveMessageReceived = None
    remote_whose, remote_wait = Waiting.whose, Waiting.wait
    remote_later, remote_fail, remote_note = Waiting.later, Waiting.fail, Waiting.note


class Stubborn(Methods):
    """
    One that calls when it is cancelled, and again after that.
    """

    async def perspectiveMessageReceived(
        self, broker: Any, message: Any, args: Any, kw: Any
    ) -> Any:
        """
        Wait.
        """
        for _ in range(2):
            try:
                await self.gate
            except CancelledError:
                self.gate = Deferred()
            try:
                super().perspectiveMessageReceived(broker, message, args, kw)
            except SessionEnded:
                self.said.append("refused")


class Strict(Methods):
    """
    One that ends the session of a call, and passes the call on all the same.
    """

    def perspectiveMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        End it.
        """
        session = currentSession()
        assert session is not None
        session.logout("strict")
        return super().perspectiveMessageReceived(broker, message, args, kw)


class OwnWayTests(PerspectiveCase):
    """
    Their calls are as good as those of others.
    """

    def enter(self, kind: Any) -> tuple[Any, Session]:
        """
        Log in.
        """
        self.serve(Realm(kind))
        return self.logIn()

    def start(self, held: Any, session: Session, name: str) -> Deferred[Any]:
        """
        Call, and let it begin.
        """
        answer = self.call(held, name)
        granted = session.avatar.__dict__.get("granted")
        if granted is not None:
            granted.callback(None)
            self.portal.pump()
        return answer

    KINDS = (Methods, Logging, Asking, OldAsking, Plain)

    def test_coroutines(self) -> None:
        """
        Coroutines work, errors included, and know whose call it is, also after they have waited.
        """
        for kind in self.KINDS:
            held, session = self.enter(kind)
            assert self.successResultOf(self.start(held, session, "whose")) == session.id
            failure: Any = self.failureResultOf(self.start(held, session, "fail"))
            assert failure.getErrorMessage() == "told"
            answer = self.start(held, session, "wait")
            self.assertNoResult(answer)
            session.avatar.gate.callback(None)
            self.portal.pump()
            assert self.successResultOf(answer) == session.id
            assert session._calls == {}

    def test_cancelled(self) -> None:
        """
        Calls that wait are cancelled when their session ends, before the avatar is told.
        """
        for kind in self.KINDS:
            for name in ("wait", "later"):
                held, session = self.enter(kind)
                avatar: Any = session.avatar
                answer = self.start(held, session, name)
                session.logout("spam")
                self.portal.pump()
                assert self.refused(answer, Kicked) == "spam"
                avatar.gate.callback(None)
                assert avatar.said[-1] == "logout"
                assert self.flushLoggedErrors() == []

    def test_meanwhile(self) -> None:
        """
        What is unserialized for a call may end its session: then no method is called, and the
        client is told why.
        """
        self.addCleanup(setattr, Ending, "then", bool)
        for kind, isKeyword in product(self.KINDS, (False, True)):
            held, session = self.enter(kind)
            Ending.then = partial(session.logout, "loud")
            args, kw = ((), {"it": Ending()}) if isKeyword else ((Ending(),), {})
            answer = self.call(held, "note", *args, **kw)
            granted = vars(session.avatar).get("granted")
            if granted is not None:
                granted.callback(None)
                self.portal.pump()
            assert self.refused(answer, Kicked) == "loud"
            assert "noted" not in session.avatar.said
            assert self.flushLoggedErrors() == []

    def test_strict(self) -> None:
        """
        One that ends the session of a call in its own way, and passes the call on all the same,
        calls no method, and nothing is unserialized.
        """
        self.addCleanup(setattr, Ending, "then", bool)
        held, session = self.enter(Strict)
        Ending.then = partial(session.avatar.said.append, "unserialized")
        assert self.refused(self.call(held, "note", Ending()), Kicked) == "strict"
        assert session.avatar.said == ["logout"]

    def test_stubborn(self) -> None:
        """
        One that passes a call on when that is cancelled calls no method, then or later, whether its
        client is still there or not.
        """
        for isLost in (False, True):
            held, session = self.enter(Stubborn)
            avatar: Any = session.avatar
            answer = self.call(held, "note")
            if isLost:
                self.client.drop()
            else:
                session.logout("spam")
            self.portal.pump()
            avatar.gate.callback(None)
            self.portal.pump()
            self.failureResultOf(answer)
            assert [each for each in avatar.said if each != "logout"] == ["refused"] * 2

    def test_beforehand(self) -> None:
        """
        One that waits before it calls is cancelled then.
        """
        for kind in (Asking, OldAsking):
            held, session = self.enter(kind)
            answer = self.call(held, "whose")
            session.logout("spam")
            self.portal.pump()
            assert self.refused(answer, Kicked) == "spam"

    def test_brokers(self) -> None:
        """
        What is done to the broker for this is done once, and undone when the connection is lost.
        """
        held, _session = self.enter(Logging)
        self.successResultOf(self.call(held, "whose"))
        broker: Any = self.client._server.protocol
        serialize = vars(broker)["serialize"]
        self.successResultOf(self.call(held, "whose"))
        assert vars(broker)["serialize"] is serialize
        self.client.drop()
        assert "serialize" not in vars(broker)

    def test_answers(self) -> None:
        """
        What arrives over the connection of a call that has ended its session is unserialized, if it
        is not for that call.
        """

        class Telling(Logging):
            def perspective_end(self) -> None:
                session = currentSession()
                assert session is not None
                session.logout("spam")
                contexts.append(copy_context())

        contexts: list[Any] = []
        held, _session = self.enter(Telling)
        self.successResultOf(self.call(held, "end"))
        broker: Any = self.client._server.protocol
        (context,) = contexts
        assert context.run(broker.unserialize, [b"tuple", 1]) == (1,)

    def test_returned(self) -> None:
        """
        Coroutines of what a method returns are not awaited, however the avatar is called.
        """
        coroutines: list[Any] = []

        class Room(pb.Referenceable):
            def remote_enter(self) -> Any:
                coroutines.append(Waiting().whose())
                return coroutines[-1]

        class Owner(Methods):
            def perspective_room(self) -> Room:
                return Room()

        class LoggingOwner(Owner, Logging):
            pass

        for kind in (Owner, LoggingOwner):
            held, _session = self.enter(kind)
            room = self.successResultOf(self.call(held, "room"))
            refusal = self.successResultOf(self.call(room, "enter"))
            assert type(refusal).__name__ == "Unpersistable"
            coroutines.pop().close()
            self.flushLoggedErrors()

    def test_elsewhere(self) -> None:
        """
        Code of the server may call it with something else than a broker, or with a broker whose
        connection is lost.
        """

        @implementer(pb.IPerspective)
        class Echo:
            def perspectiveMessageReceived(
                self, broker: Any, message: Any, args: Any, kw: Any
            ) -> Any:
                return broker

        held, session = self.enter(lambda avatarId: Echo())
        result: Any = self.realm.requestAvatar(b"bob", None, pb.IPerspective)
        broker: Any = self.client._server.protocol
        self.client.drop()
        for each in (None, broker):
            assert result[1].perspectiveMessageReceived(each, "name", (), {}) is each
        assert "serialize" not in vars(broker)
        assert session.ended
        del held
