"""
Tests for ending all sessions of a user but one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    LoginRefused,
    MindRegistry,
    Session,
    currentSession,
)
from avatarkit.testing import FakeConnection, FakeMind, login
from avatarkit.transports import WatchingFactory
from pb import PBTestCase, reactor, refusal

# Any in this module: what PB returns, and wrong arguments.


class Slow(Block):
    """
    Lets the first login in, and has others wait.

    @ivar gate: what they wait for.
    @ivar here: fires when one waits.
    """

    def __init__(self) -> None:
        self.gate: Deferred[None] | None = None
        self.here: Deferred[None] = Deferred()

    def admit(self, session: Session) -> object:
        """
        Let it in, or have it wait.
        """
        if self.gate is not None:
            self.here.callback(None)
        return self.gate


class Owner(Avatar):
    """
    A user who can end their other sessions, through a registry or a realm.
    """

    ends: Any

    def perspective_alone(self) -> str:
        """
        Stay alone.
        """
        self.ends.disconnect(b"alice", "the password was changed", excluding=currentSession())
        return "done"


class OtherSessionsPBTests(PBTestCase):
    """
    Over Perspective Broker.
    """

    def listen(self, factory: Any) -> Any:
        """
        Listen, and watch the connections.
        """
        return super().listen(WatchingFactory(factory, self.portal))

    async def alone(self, *, byRealm: bool) -> None:
        """
        Log in three times, the last time slowly, and end the others from the first.
        """
        online, slow = MindRegistry(), Slow()
        realm = online(slow(AvatarCache()(lambda avatarId: Owner())))
        Owner.ends = realm if byRealm else online
        self.serve(realm)
        home, work, thief = (self.client() for _ in range(3))
        held = await home.login()
        await work.login(mind=False)
        slow.gate = Deferred()
        late = refusal(thief.login())
        await slow.here
        assert len(realm.sessions) == 3
        assert await held.callRemote("alone") == "done"
        await work.closed
        slow.gate.callback(None)
        await late
        await thief.closed
        assert await held.callRemote("alone") == "done"
        assert [each.avatarId for each in realm.sessions] == [b"alice"]

    async def test_registry(self) -> None:
        """
        A registry ends all others, those without a mind and logins that wait too; the one that
        asked for it stays, and gets its answer.
        """
        await self.alone(byRealm=False)

    async def test_realm(self) -> None:
        """
        So does a realm.
        """
        await self.alone(byRealm=True)

    async def test_checked(self) -> None:
        """
        A login that began before a password was changed is refused by a block that compares the
        times, also if its old password is found right only after that.
        """
        changed: dict[object, float] = {}

        class Outdated(Block):
            def admit(self, session: Session) -> None:
                if session.since <= changed.get(session.avatarId, -1):
                    raise LoginRefused("the password was changed")

        realm = Outdated()(lambda avatarId: Avatar())
        self.serve(realm)
        checked, checking = Deferred[None](), Deferred[None]()
        checker: Any = next(iter(self.portal.checkers.values()))
        check = checker.requestAvatarId

        def slowly(credentials: Any) -> Any:
            checking.callback(None)
            return checked.addCallback(lambda ignored: check(credentials))

        checker.requestAvatarId = slowly
        thief = self.client()
        late = refusal(thief.login())
        await checking
        changed[b"alice"] = reactor.seconds()
        checked.callback(None)
        assert (await late).getErrorMessage() == "the password was changed"
        assert not realm.sessions
        checker.requestAvatarId = check
        await self.client().login()


class OtherSessionsTests(SynchronousTestCase):
    """
    The session that stays.
    """

    def setUp(self) -> None:
        """
        Log in twice over one connection, and once over another.
        """
        self.clock = Clock()
        self.online: MindRegistry = MindRegistry(key=lambda session: session.avatarId)
        self.realm = self.online(lambda avatarId: Avatar())
        self.one, self.other = FakeConnection(), FakeConnection()
        for cable in (self.one, self.one, self.other):
            login(self.realm, b"alice", mind=FakeMind(), connection=cable)
        self.sessions = list(self.realm.sessions)

    def test_sharedConnection(self) -> None:
        """
        A session that shares the connection of the one that stays is logged out, and the connection
        is not closed.
        """
        mine, shared, _other = self.sessions
        for ends in (self.online, self.realm):
            closed: Any = ends.disconnect(b"alice", "go", excluding=mine, reactor=self.clock)
            assert self.successResultOf(closed) is None
        assert list(self.realm.sessions) == [mine]
        assert (str(shared.reason), shared.ended) == ("go", True)
        assert (self.one.disconnected, self.other.disconnected) == (False, True)

    def test_sharedMind(self) -> None:
        """
        The same is true of one whose connection is known by its mind alone.
        """
        mind, other = FakeMind(), FakeMind()
        for each in (mind, mind, other, None, None):
            login(self.realm, b"bob", mind=each)
        *_, mine, _same, _other, _mindless, _nobody = self.realm.sessions
        self.online.disconnect(b"bob", excluding=mine, reactor=self.clock)
        assert [each for each in self.realm.sessions if each.avatarId == b"bob"] == [mine]
        assert (mind.closings, other.closings) == ([], ["lose"])

    def test_nobody(self) -> None:
        """
        None excludes nobody, and so does a session of somebody else.
        """
        login(self.realm, b"bob")
        *_, bob = self.realm.sessions
        self.online.disconnect(b"alice", excluding=bob, reactor=self.clock)
        assert list(self.realm.sessions) == [bob]
        self.realm.disconnect(b"bob", excluding=None, reactor=self.clock)
        assert not self.realm.sessions

    def test_noSession(self) -> None:
        """
        Anything but a session is refused, and nobody is disconnected then.
        """
        wrong: Any
        for wrong in (b"alice", self.sessions[0].mind, [self.sessions[0]]):
            for ends in (self.online, self.realm):
                self.assertRaises(TypeError, ends.disconnect, b"alice", excluding=wrong)
        assert list(self.realm.sessions) == self.sessions
