"""
Tests of why sessions end.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import avatarkit
from avatarkit import (
    AvatarCache,
    Block,
    ClientLost,
    ConnectionLimit,
    Displaced,
    Evicted,
    IdleTooLong,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    LoginRefused,
    LoginTimedOut,
    MindRegistry,
    PerConnection,
    RealmClosed,
    Session,
    SessionEnded,
    Unresponsive,
    displaceOldest,
)
from avatarkit.testing import FakeConnection, FakeMind, login
from avatarkit.transports import IdleLimit

# Any in this module: logins, and what is no reason.


class Watching(Block):
    """
    Takes note of the reason that each hook sees.
    """

    def __init__(self) -> None:
        self.seen: list[object] = []

    def detached(self, session: Session) -> None:
        """
        Take note.
        """
        self.seen.append(session.reason)

    def release(self, session: Session) -> None:
        """
        Take note.
        """
        self.seen.append(session.reason)


class ReasonTests(SynchronousTestCase):
    """
    Every ending has one reason, which each hook sees.
    """

    def setUp(self) -> None:
        """
        Have a realm with all that ends sessions.
        """
        self.clock = Clock()
        self.upper, self.lower = Watching(), Watching()
        self.online: MindRegistry = MindRegistry(reactor=self.clock)
        self.cache: AvatarCache = AvatarCache(idleTimeout=0)
        self.limit = ConnectionLimit(2, whenFull=displaceOldest, reactor=self.clock)
        below = self.cache(self.lower(lambda avatarId: avatarkit.Avatar()))
        built = PerConnection(lambda session: session.avatar)(below)
        self.realm = self.upper(self.online(self.limit(IdleLimit(60, reactor=self.clock)(built))))
        self.client = FakeMind()
        self.connection = FakeConnection()
        self.login: Any = login(self.realm, b"alice", mind=self.client, connection=self.connection)
        (self.session,) = self.realm.sessions

    def ended(self, kind: type[SessionEnded], text: str | None = None) -> Any:
        """
        Check that the session has ended for a reason, which each of its hooks has seen, and those
        of the avatar's own session.
        """
        reason: Any = self.session.reason
        assert type(reason) is kind
        assert str(reason) == (kind.text if text is None else text)
        assert self.upper.seen[:2] == [reason, reason]
        assert self.lower.seen[:2] == [reason, reason]
        return reason

    def test_none(self) -> None:
        """
        As long as it has not ended, it has none.
        """
        assert self.session.reason is None

    def test_loggedOut(self) -> None:
        """
        The protocol logs out.
        """
        self.login.logout()
        assert not self.ended(LoggedOut).mayReturn

    def test_first(self) -> None:
        """
        The first reason stays the reason.
        """
        self.session.logout("spam")
        reason = self.ended(Kicked, "spam")
        self.session.disconnect(Evicted())
        self.session.logout()
        self.connection.disconnect()
        assert self.session.reason is reason

    def test_whileClosing(self) -> None:
        """
        So it does if another one comes while the session closes.
        """
        closing: Deferred[None] = Deferred()

        class Slow(Block):
            def detached(self, session: Session) -> Deferred[None]:
                session.logout("again")
                return closing

        realm = Slow()(lambda avatarId: avatarkit.Avatar())
        login(realm, b"alice")
        (session,) = realm.sessions
        session.logout()
        session.disconnect("kicked")
        closing.callback(None)
        assert type(session.reason) is LoggedOut

    def test_lost(self) -> None:
        """
        The connection is lost.
        """
        self.connection.disconnect()
        assert self.ended(ClientLost).mayReturn

    def test_lostMind(self) -> None:
        """
        The protocol logs out since the client is gone.
        """
        self.client.disconnect()
        self.login.logout()
        self.ended(ClientLost)

    def test_kicked(self) -> None:
        """
        Somebody disconnects it, and may say why.
        """
        self.session.disconnect(reactor=self.clock)
        assert not self.ended(Kicked).mayReturn

    def test_text(self) -> None:
        """
        A text is the text of a kick.
        """
        self.session.disconnect("spam", reactor=self.clock)
        self.ended(Kicked, "spam")

    def test_own(self) -> None:
        """
        A reason of one's own is that object.
        """

        class Banned(Kicked):
            text = "banned"

        banned = Banned()
        self.realm.disconnect(b"alice", banned, reactor=self.clock)
        assert self.ended(Banned) is banned

    def test_byId(self) -> None:
        """
        A realm, a registry and a group disconnect for a reason.
        """
        for who in ("realm", "online"):
            self.setUp()
            end = getattr(self, who).disconnect
            end(b"bob", "not her", reactor=self.clock)
            assert not self.session.ended
            end(b"alice", "by ID", reactor=self.clock)
            self.ended(Kicked, "by ID")
        self.setUp()
        self.online.everyone.disconnect("everyone", reactor=self.clock)
        self.ended(Kicked, "everyone")

    def test_displaced(self) -> None:
        """
        Another login takes its place, and the reason knows which.
        """
        second: Any = login(self.realm, b"alice", mind=FakeMind(), connection=FakeConnection())
        third: Any = login(self.realm, b"alice", mind=FakeMind(), connection=FakeConnection())
        reason: Any = self.session.reason
        assert type(reason) is Displaced
        assert reason.by is tuple(self.realm.sessions)[-1]
        assert self.upper.seen == [reason, reason]
        assert self.lower.seen == []  # two others use the avatar
        second.logout()
        third.logout()
        assert [type(each) for each in self.lower.seen] == [LoggedOut] * 2

    def test_idle(self) -> None:
        """
        Its user has done nothing for too long.
        """
        self.clock.advance(60)
        self.ended(IdleTooLong)

    def test_evicted(self) -> None:
        """
        Its avatar must go.
        """
        self.cache.evict(b"alice")
        self.ended(Evicted)

    def test_evictedBecause(self) -> None:
        """
        Its avatar must go, and somebody says why.
        """
        self.cache.evict(b"alice", "the character was deleted")
        self.ended(Evicted, "the character was deleted")

    def test_closed(self) -> None:
        """
        The realm is closed; an idle avatar goes for the same reason.
        """
        self.realm.close(reactor=self.clock)
        assert self.ended(RealmClosed).mayReturn == 10
        cache: AvatarCache = AvatarCache(idleTimeout=None)
        realm = cache(self.lower(lambda avatarId: avatarkit.Avatar()))
        entered: Any = login(realm, b"alice")
        entered.logout()
        self.lower.seen.clear()
        realm.close(reactor=self.clock)
        assert [type(each) for each in self.lower.seen] == [RealmClosed] * 2

    def test_behind(self) -> None:
        """
        Its client does not keep up with what it is sent.
        """
        avatarkit.disconnect(self.session)
        assert self.ended(Kicked, "too far behind with what it was sent").mayReturn
        self.client.disconnect()

    def test_wrong(self) -> None:
        """
        What is neither an exception nor a text is refused, and ends nothing.
        """
        wrong: Any
        for wrong in (b"spam", 1, Kicked, KeyboardInterrupt()):
            for end in (self.session.logout, self.session.disconnect):
                error = self.assertRaises(TypeError, end, wrong)
                assert str(error).startswith("reason must be a SessionEnded, or the text of one")
            self.assertRaises(TypeError, self.realm.disconnect, b"alice", wrong)
        assert not self.session.ended

    def test_untellable(self) -> None:
        """
        A reason that no client can be told is refused, and ends nothing.
        """

        class Soon(Kicked):
            mayReturn: Any = "soon"

        longest = "x" * 2**16
        for wrong, why in (
            ("\ud800", "reason must have a text, and str() of a Kicked fails"),
            (longest + "x", "the text of a reason must be at most 65536 bytes, not 65537"),
            (Soon(), "mayReturn must be a number of seconds, not 'soon'"),
        ):
            assert str(self.assertRaises(TypeError, self.session.logout, wrong)) == why
        assert not self.session.ended
        self.session.logout(longest)
        assert str(self.session.reason) == longest

    def test_noText(self) -> None:
        """
        A reason that has no text to be told is refused, and ends nothing, logins in progress
        included.
        """

        class Untold(Kicked):
            def __str__(self) -> str:
                raise OSError

        cache: AvatarCache[Any] = AvatarCache()
        waiting: Deferred[None] = Deferred()
        realm = cache(lambda avatarId: waiting)
        login(realm, b"alice")
        (session,) = realm.sessions
        for end in (
            session.logout,
            session.disconnect,
            partial(realm.disconnect, b"alice"),
            partial(cache.evict, b"alice"),
        ):
            error = self.assertRaises(TypeError, end, Untold())
            assert str(error) == "reason must have a text, and str() of a Untold fails"
        assert not session.ended
        assert not waiting.called


class LoginTests(SynchronousTestCase):
    """
    Logins that end while they are in progress.
    """

    def begin(self, connection: Any = None) -> Deferred[Any]:
        """
        Begin a login that waits.
        """
        self.hook, self.watching = Deferred[Any](), Watching()

        class Slow(Block):
            def admit(self, session: Session) -> Any:
                return test.hook

        test = self
        realm = self.watching(Slow()(lambda avatarId: avatarkit.Avatar()))
        waiting: Any = login(realm, b"alice", mind=FakeMind(), connection=connection)
        (self.session,) = realm.sessions
        self.realm = realm
        return waiting  # type: ignore[no-any-return]  # it waits

    def test_told(self) -> None:
        """
        The login fails with a refusal that has the text of the reason; of those that say nothing
        to the client, its own; and a reason that is a refusal itself is what it fails with.
        """
        for reason, kind, text in (
            (None, LoginAbandoned, LoginAbandoned.text),
            (ClientLost(), LoginAbandoned, LoginAbandoned.text),
            (Kicked("spam"), LoginAbandoned, "spam"),
            ("spam", LoginAbandoned, "spam"),
            (LoginTimedOut(), LoginTimedOut, LoginTimedOut.text),
            (LoginRefused("no"), LoginRefused, "no"),
        ):
            waiting = self.begin()
            self.session.logout(reason)
            error = self.failureResultOf(waiting, kind).value
            assert str(error) == text
            assert error is not self.session.reason
            if isinstance(reason, Exception):
                assert self.session.reason is reason
                assert reason.__traceback__ is None

    def test_cancelled(self) -> None:
        """
        Whoever waits for the login cancels it.
        """
        waiting = self.begin()
        waiting.cancel()
        self.failureResultOf(waiting)
        assert type(self.session.reason) is LoggedOut

    def test_lost(self) -> None:
        """
        Its client leaves.
        """
        connection = FakeConnection()
        waiting = self.begin(connection)
        connection.disconnect()
        self.failureResultOf(waiting, LoginAbandoned)
        assert type(self.session.reason) is ClientLost

    def test_refused(self) -> None:
        """
        A hook refuses it, or fails: the reason is like what was raised, without the traceback.
        """
        for raised in (LoginRefused("no", avatarId=1), ValueError("x")):
            waiting = self.begin()
            self.hook.errback(raised)
            self.failureResultOf(waiting, type(raised))
            reason = self.session.reason
            assert type(reason) is type(raised)
            assert reason is not raised
            assert str(reason) == str(raised)
            assert reason.__traceback__ is None
            assert self.watching.seen == [reason]  # it was not attached yet

    def test_inner(self) -> None:
        """
        What is below learns the same reason, also in the middle of the login.
        """
        below: Watching = Watching()
        stack: Any

        class Slow(Block):
            def admit(self, session: Session) -> Deferred[None]:
                return Deferred()

        for stack in (PerConnection(lambda session: session.avatar), AvatarCache()):
            below.seen.clear()
            realm: Any = stack(below(Slow()(lambda avatarId: avatarkit.Avatar())))
            entering: Any = login(realm, b"alice")
            reason = Kicked("spam")
            realm.disconnect(b"alice", reason)
            self.failureResultOf(entering, LoginAbandoned)
            assert below.seen == [reason]

    def test_fromBelow(self) -> None:
        """
        If what is below ends an avatar's own session, those above end for the same reason, and so
        does an avatar that nobody uses.
        """
        reason = Kicked("corrupt")
        ends: Any = (Session.logout, Session.disconnect)
        clock = Clock()
        stacks: Any = (
            (partial(PerConnection, lambda session: session.avatar), True),
            (partial(AvatarCache, reactor=clock), True),
            (partial(AvatarCache, reactor=clock), False),
        )
        for end in ends:
            for stack, isUsed in stacks:
                below, above = Inner(), Watching()
                realm: Any = above(stack()(below(lambda avatarId: avatarkit.Avatar())))
                entered = login(realm, b"alice")
                if not isUsed:
                    entered.logout()
                    above.seen.clear()
                end(below.session, reason)
                assert below.seen == [reason] * 2
                assert above.seen == [reason] * 2 * isUsed


class Inner(Watching):
    """
    Knows the session that it is in.
    """

    def attached(self, session: Session) -> None:
        """
        Take note.
        """
        self.session = session


class KindTests(SynchronousTestCase):
    """
    The reasons.
    """

    KINDS = (
        LoggedOut,
        ClientLost,
        Displaced,
        Kicked,
        Evicted,
        IdleTooLong,
        Unresponsive,
        LoginTimedOut,
        RealmClosed,
    )

    def test_text(self) -> None:
        """
        Each has a text, or the one that it is given.
        """
        for kind in self.KINDS:
            assert str(kind()) == kind.text != ""
            assert str(kind("x")) == "x"

    def test_mayReturn(self) -> None:
        """
        Each says after how many seconds a client may return, if it may at all.
        """
        may = {kind for kind in self.KINDS if kind().mayReturn}
        assert may == {ClientLost, Evicted, Unresponsive, LoginTimedOut, RealmClosed}
        for kind in self.KINDS:
            assert kind(mayReturn=5).mayReturn == 5
            assert not kind(mayReturn=0).mayReturn
        wrong: Any = "soon"
        self.assertRaises(TypeError, Kicked, mayReturn=wrong)
        self.assertRaises(ValueError, Kicked, mayReturn=-1)

    def test_refusals(self) -> None:
        """
        Two of them refuse logins as well, and know whose.
        """
        for kind in (LoginTimedOut, RealmClosed):
            reason = kind(avatarId=b"alice")
            assert isinstance(reason, LoginRefused)
            assert reason.avatarId == b"alice"

    def test_copied(self) -> None:
        """
        A copy is the same, and what it was given.
        """
        by: Any = object()
        displaced = copy.copy(Displaced("x", by=by, mayReturn=3))
        assert (str(displaced), displaced.by, displaced.mayReturn) == ("x", by, 3)
