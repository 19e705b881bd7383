"""
Tests for avatars that take too long to retire.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, Block, ConnectionLimit, PerConnection, RealmClosed, Session
from saved import Player
from scripted import Gate, IThing, Script, Thing, opened, waiting


class Kick(Block):
    """
    A block that can end the sessions that it saw.
    """

    def __init__(self) -> None:
        self.seen: list[Session] = []

    def attached(self, session: Session) -> None:
        """
        See.
        """
        self.seen.append(session)


class DeadlineTests(SynchronousTestCase):
    """
    Retiring has a deadline.
    """

    def setUp(self) -> None:
        """
        Have a cache whose avatars hang when they are logged out.
        """
        self.gates: list[Deferred[None]] = []
        Player.made = []
        Player.saving = lambda player: self.hang()
        self.clock = Clock()
        self.cache: AvatarCache[Any] = AvatarCache(idleTimeout=0, reactor=self.clock)
        self.realm: Any = ConnectionLimit(3)(self.cache(Player))

    def hang(self) -> Deferred[None]:
        """
        Wait for the test.
        """
        self.gates.append(Deferred())
        return self.gates[-1]

    def login(self, avatarId: bytes = b"alice") -> Any:
        """
        Log in.
        """
        return self.realm.requestAvatar(avatarId, None, IThing)

    def test_givenUp(self) -> None:
        """
        A login waits for a logout that hangs until the deadline of a minute, and then goes on with
        a new avatar; what is given up is logged by name.
        """
        opened(self.login())[2]()
        second = waiting(self.login())
        self.clock.advance(59)
        self.assertNoResult(second)
        with capturedLogs() as events:
            self.clock.advance(1)
        assert self.successResultOf(second)[1] is Player.made[1] is self.cache[b"alice"]
        (event,) = events
        assert formatEvent(event) == (
            "the avatar of b'alice' is given up: it was to retire, and FactorySource.release "
            "(Player) did not finish in 60 seconds"
        )

    def test_audited(self) -> None:
        """
        An avatar that was given up is mentioned by the audit until its logout has finished.
        """
        opened(self.login())[2]()
        self.clock.advance(60)
        assert dict(self.cache) == {}
        assert self.realm.audit() == [
            f"the avatar of b'alice' in {self.cache!r} was given up: "
            "FactorySource.release (Player) has not finished"
        ]
        other = opened(self.login())
        assert len(self.realm.audit()) == 1
        self.gates[0].callback(None)
        assert self.realm.audit() == []
        assert self.cache[b"alice"] is other[1]

    def test_inTime(self) -> None:
        """
        A logout that finishes in time, or at once, leaves no deadline behind.
        """
        opened(self.login())[2]()
        assert len(self.clock.getDelayedCalls()) == 1
        self.gates[0].callback(None)
        assert self.clock.getDelayedCalls() == []
        Player.saving = lambda player: None
        opened(self.login())[2]()
        assert self.clock.getDelayedCalls() == []

    def test_forEver(self) -> None:
        """
        Without a deadline a login waits as long as it takes.
        """
        cache = AvatarCache(idleTimeout=0, retireTimeout=None, reactor=self.clock)
        self.realm = cache(Player)
        opened(self.login())[2]()
        second = waiting(self.login())
        assert self.clock.getDelayedCalls() == []
        self.gates[0].callback(None)
        self.successResultOf(second)

    def test_others(self) -> None:
        """
        Retiring an avatar, closing the cache and closing the realm end when the avatar is given up;
        who waits for it then is refused, since no more avatars are loaded.
        """
        cache = AvatarCache(reactor=self.clock)
        self.realm = cache(Player)
        opened(self.login())[2]()
        retiring = cache.retire(b"alice")
        late = waiting(self.login())
        ends = [cache.close(), self.realm.close(timeout=None)]
        self.clock.advance(59)
        for end in (retiring, *ends):
            self.assertNoResult(end)
        self.clock.advance(1)
        assert self.successResultOf(retiring) is True
        assert [self.successResultOf(each) for each in ends] == [None, None]
        self.failureResultOf(late, RealmClosed)
        self.gates[0].callback(None)
        assert self.realm.audit() == []

    def test_closeGivenUp(self) -> None:
        """
        When a realm that closes waits no longer, nothing measures any more how long its avatars
        take, in caches further down either.
        """
        below: AvatarCache[Any] = AvatarCache(idleTimeout=0, reactor=self.clock)
        cache: AvatarCache[Any] = AvatarCache(reactor=self.clock)
        own = PerConnection(lambda session: Thing())
        self.realm = own(cache(own(below(Player))))
        opened(self.login())
        logout = opened(self.login(b"bob"))[2]
        logout()
        self.successResultOf(cache.retire(b"bob"))
        closing = self.realm.close(timeout=5, reactor=self.clock)
        assert len(self.gates) == 2
        assert len(self.clock.getDelayedCalls()) == 3
        self.clock.advance(5)
        self.successResultOf(closing)
        assert self.clock.getDelayedCalls() == []
        for gate in self.gates:
            gate.callback(None)
        assert self.realm.audit() == []

    def test_loadGivenUp(self) -> None:
        """
        A factory that does not mind being cancelled is given up as well.
        """
        ends: Deferred[object] = Deferred()

        async def factory(avatarId: object) -> object:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return await ends

        factories: list[Any] = [factory, Player]
        self.realm = AvatarCache(reactor=self.clock)(lambda avatarId: factories.pop(0)(avatarId))
        first = waiting(self.login())
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second = waiting(self.login())
        self.clock.advance(60)
        assert self.successResultOf(second)[1] is Player.made[0]
        (sentence,) = self.realm.audit()
        assert sentence.endswith("was given up: FactorySource.acquire (NoneType) has not finished")
        ends.callback(None)
        assert self.realm.audit() == []

    def test_cancelledAfterwards(self) -> None:
        """
        Logins that have waited for an avatar that was given up wait for the next one, and give that
        up when they are cancelled.
        """
        load: Deferred[Any] = Deferred()
        factories: list[Any] = [Player, lambda avatarId: load]
        self.realm = AvatarCache(idleTimeout=0, reactor=self.clock)(
            lambda avatarId: factories.pop(0)(avatarId)
        )
        opened(self.login())[2]()
        logins = [waiting(self.login()) for _ in range(2)]
        self.clock.advance(60)
        for login in logins:
            assert not load.called
            login.cancel()
            self.failureResultOf(login, CancelledError)
        assert load.called
        self.gates[0].callback(None)
        assert self.realm.audit() == []

    def test_usersThatHang(self) -> None:
        """
        An avatar that was ended below while sessions used it is given up if those do not end; when
        they do after all it is logged out.
        """
        kick, gate, above = Kick(), Gate(), Script()
        above.acts["detached 0"] = gate.deferred
        cache = AvatarCache(reactor=self.clock)
        self.realm = above.blocks[0](cache(kick(Player)))
        first = opened(self.login())[1]
        kick.seen[0].logout()
        late = waiting(self.login())
        self.clock.advance(60)
        above.acts = {}
        second = self.successResultOf(late)[1]
        assert self.realm.audit() == [
            f"the avatar of b'alice' in {cache!r} was given up: "
            "ScriptedBlock.detached (Player) has not finished"
        ]
        assert (first.saved, cache[b"alice"]) == (0, second)
        gate.wait.callback(None)
        assert first.saved == 1
        self.gates[0].callback(None)
        assert (self.realm.audit(), second.saved) == ([], 0)

    def test_innerUsersThatHang(self) -> None:
        """
        The same goes if the sessions that use it are those of a realm below; there is no hurry
        until somebody waits.
        """
        kick, gate, above = Kick(), Gate(), Script()
        above.acts["detached 0"] = gate.deferred
        cache = AvatarCache(reactor=self.clock)
        own = PerConnection(lambda session: Thing())
        self.realm = above.blocks[0](own(cache(kick(Player))))
        opened(self.login())
        kick.seen[0].logout()
        self.clock.advance(60)
        assert self.realm.audit() == []
        above.acts = {}
        late = waiting(self.login())
        self.clock.advance(60)
        self.successResultOf(late)
        (sentence,) = self.realm.audit()
        assert "was given up: <Session of b'alice' as Interface, open> (Player)" in sentence
        gate.wait.callback(None)
        self.gates[0].callback(None)
        assert self.realm.audit() == []

    def test_givenUpTwice(self) -> None:
        """
        Several avatars of one ID may be given up, one after the other.
        """
        for _ in range(3):
            opened(self.login())[2]()
            self.clock.advance(60)
        assert len(self.realm.audit()) == len(self.gates) == 3
        for gate in self.gates:
            gate.callback(None)
        assert self.realm.audit() == []

    def test_loginWhenGone(self) -> None:
        """
        Who is told that an avatar is gone may log in at once, and shares the avatar with those who
        have waited for it.
        """
        cache = AvatarCache(reactor=self.clock)
        self.realm = cache(Player)
        opened(self.login())[2]()
        logins: list[Any] = []
        cache.retire(b"alice").addCallback(lambda retired: logins.append(self.login()))
        late = waiting(self.login())
        self.gates[0].callback(None)
        assert self.successResultOf(late)[1] is opened(logins[0])[1]
        assert len(Player.made) == 2
