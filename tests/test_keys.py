"""
Tests for what sessions are filed under: keys, and canonical avatar IDs.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    CanonicalId,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    LoginRefused,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
    TooManyConnections,
    canonicalName,
)
from avatarkit.testing import FakeMind, checkBlock, checkRealm, login
from capabilities import Capability, nameOf
from players import Player
from scripted import Boom, IThing, Thing, frank, opened


class KeyTests(SynchronousTestCase):
    """
    Counters and registries with a key.
    """

    def setUp(self) -> None:
        """
        Have all blocks by name.
        """
        self.online: MindRegistry[Any] = MindRegistry(key=nameOf, oncePerMind=True)
        self.counter: ConnectionCounter[Any] = ConnectionCounter(key=nameOf)
        self.limit: ConnectionLimit[Any] = ConnectionLimit(3, key=nameOf)
        self.cache: AvatarCache[Any] = AvatarCache(key=nameOf)
        realm = self.online(self.limit(self.counter(self.cache(Player))))
        self.realm: Any = realm

    def login(self, name: str = "alice", mind: Any = None) -> Any:
        """
        Log in.
        """
        return login(self.realm, Capability(name), mind=mind)

    def tearDown(self) -> None:
        """
        The books agree, and nothing is left when everybody has left.
        """
        assert self.realm.audit() == []
        for session in tuple(self.realm.sessions):
            session.logout()
        assert self.realm.audit() == []
        assert self.online._admitted == {}
        for keys in (self.online._keys, self.counter._keys):
            assert keys is not None
            assert keys._noted == {}
        assert (len(self.online), len(self.counter)) == (0, 0)

    def test_shared(self) -> None:
        """
        Logins of one user are one user's, though each has an avatar ID of its own.
        """
        mind = FakeMind()
        logins = [self.login(mind=each) for each in (mind, mind, None)]
        assert len({each.avatar for each in logins}) == len(self.cache) == 1
        assert (list(self.online), dict(self.counter)) == (["alice"], {"alice": 3})
        assert "alice" in self.online
        assert len(self.online.sessions("alice")) == 3
        assert len(self.online["alice"]) == len(self.online.everyone) == 1
        self.assertRaises(TooManyConnections, self.login)
        self.login("bob")
        logins[0].logout()
        assert (self.counter["alice"], len(self.online["alice"])) == (2, 1)
        self.online["alice"].callRemote("notify", pbanswer=False)
        assert [call.name for call in mind.calls] == ["notify"]

    def test_disconnect(self) -> None:
        """
        Whoever is disconnected by key is, logins in progress included, and nobody else.
        """
        realm = self.online(lambda avatarId: Deferred[Any]())
        waiting = login(realm, Capability("alice"))
        other = login(realm, Capability("bob"))
        self.login()
        closed = self.online.disconnect("alice")
        self.failureResultOf(waiting, LoginAbandoned)
        self.successResultOf(closed)
        self.assertNoResult(other)
        assert not self.realm.sessions
        self.successResultOf(self.online.disconnect("nobody"))
        other.cancel()
        self.failureResultOf(other)
        assert realm.audit() == []

    def test_badKeys(self) -> None:
        """
        A key that fails, cannot be hashed or must be waited for fails the login; one that is no
        function is refused at once.
        """
        bad: tuple[tuple[Any, type[Exception], str], ...] = (
            (lambda session: 1 / 0, ZeroDivisionError, "division"),
            (lambda session: [], TypeError, "a key must be hashable, which [] is not"),
            (lambda session: Deferred(), TypeError, "a key cannot be waited for"),
        )
        for make in (MindRegistry, ConnectionCounter, AvatarCache):
            for key, error, text in bad:
                realm = frank(make(key=key)(lambda avatarId: Thing()))
                caught = self.assertRaises(error, realm.requestAvatar, b"alice", None, IThing)
                assert text in str(caught)
                assert realm.audit() == []
            caught = self.assertRaises(TypeError, make, key="name")
            assert str(caught) == "key must be a callable of a session, not 'name'"

    def test_changingKey(self) -> None:
        """
        What the key was when the session came counts, also when it is another one later.
        """
        keys = iter("abcdef")
        counter: ConnectionCounter[Any] = ConnectionCounter(key=lambda session: next(keys))
        realm = counter(lambda avatarId: Thing())
        logout = opened(realm.requestAvatar(b"alice", None, IThing))[2]
        assert (dict(counter), realm.audit()) == ({"a": 1}, [])
        logout()
        assert (dict(counter), realm.audit()) == ({}, [])

    def test_failedConnect(self) -> None:
        """
        A login that an avatar refuses is not counted.
        """

        class Refusing(Player):
            def connect(self) -> None:
                super().connect()
                raise Boom

        counter: ConnectionCounter[Any] = ConnectionCounter(key=nameOf)
        self.assertRaises(Boom, login, counter(Refusing), Capability("alice"))
        assert dict(counter) == {}
        assert counter._keys is not None
        assert counter._keys._noted == {}

    def test_contract(self) -> None:
        """
        Blocks with a key keep what blocks promise.
        """
        checkBlock(lambda: ConnectionCounter(key=lambda session: 1))
        checkBlock(lambda: MindRegistry(key=lambda session: 1))


class CanonicalIdTests(SynchronousTestCase):
    """
    L{CanonicalId} and L{canonicalName}.
    """

    def test_everybody(self) -> None:
        """
        Everything below sees the canonical ID: blocks, cache, factory, and the realm's own books.
        """
        online: MindRegistry[Any] = MindRegistry()
        limit: ConnectionLimit[Any] = ConnectionLimit(2)
        cache: AvatarCache[Any] = AvatarCache()
        realm = CanonicalId()(online(limit(cache(Player))))
        first = login(realm, "Alice", mind=FakeMind())
        second = login(realm, b"aLICE")
        assert first.avatar is second.avatar
        assert first.avatar.name == b"alice"
        assert (list(online), list(cache)) == ([b"alice"], [b"alice"])
        assert len(limit.sessions(b"alice")) == len(tuple(realm._sessionsOf(b"alice"))) == 2
        error = self.assertRaises(TooManyConnections, login, realm, "ALICE")
        assert error.avatarId == b"alice"
        assert realm.audit() == []
        self.successResultOf(online.disconnect(b"alice"))
        assert not realm.sessions
        assert realm._roll._byId == {}
        assert realm.audit() == []

    def test_names(self) -> None:
        """
        Case, width, compatibility and composition are folded, and what is returned is canonical.
        """
        for name in ("Alice", "ALICE", "\uff21lice", b"Alice"):
            assert canonicalName(name) == b"alice"
            assert canonicalName(name, str) == "alice"
        assert canonicalName("Jose\u0301", str) == canonicalName("JOS\xc9", str) == "jos\xe9"
        assert canonicalName("Stra\xdfe", str) == "stra\xdfe"
        assert canonicalName(ANONYMOUS) is ANONYMOUS
        assert canonicalName(7) == 7
        for code in range(sys.maxunicode + 1):
            if unicodedata.category(chr(code)) != "Cs":
                once = canonicalName(chr(code), str)
                assert canonicalName(once, str) == once

    def test_badNames(self) -> None:
        """
        A name that is not UTF-8, or cannot be encoded, is refused.
        """
        realm = CanonicalId()(Player)
        for name in (b"\xff", "\ud800"):
            error = self.assertRaises(LoginRefused, login, realm, name)
            assert str(error) == "a user name must be text in UTF-8"
            assert error.avatarId == name
        assert realm.audit() == []
        wrong: Any = int
        self.assertRaises(TypeError, canonicalName, "alice", wrong)

    def test_own(self) -> None:
        """
        A function of the session may say who it is, now or later; it may refuse, and fail.
        """
        guests = iter((1, 2))

        async def whoIs(session: Session) -> object:
            if session.avatarId == ANONYMOUS:
                return ("guest", next(guests))
            raise LoginRefused("who?")

        realm = CanonicalId(whoIs)(Player)
        for number in (1, 2):
            assert login(realm, ANONYMOUS).avatar.name == ("guest", number)
        self.assertRaises(LoginRefused, login, realm, b"alice")
        later: Deferred[Any] = Deferred()
        waiting = login(CanonicalId(lambda session: later)(Player), b"alice")
        later.callback("bob")
        assert self.successResultOf(waiting).avatar.name == "bob"
        bad: Any = CanonicalId(lambda session: [])  # type: ignore[arg-type, return-value]
        unhashable = frank(bad(lambda avatarId: Thing()))
        error = self.assertRaises(TypeError, unhashable.requestAvatar, b"alice", None, IThing)
        assert str(error) == "an avatar ID must be hashable, which [] is not"
        assert unhashable.audit() == []

    def test_cancelled(self) -> None:
        """
        A login that is cancelled while its ID is looked up leaves nothing.
        """
        realm = CanonicalId(lambda session: Deferred())(Player)
        waiting = login(realm, b"alice")
        assert len(tuple(realm._sessionsOf(b"alice"))) == 1
        waiting.cancel()
        self.failureResultOf(waiting)
        assert (len(realm.sessions), realm._roll._byId) == (0, {})

    def test_onTop(self) -> None:
        """
        It must be on top: nothing else is stacked around it, however that is written.
        """
        low = CanonicalId()(Player)
        for stack in (
            lambda: ConnectionLimit(3)(low),
            lambda: Realm(low, blocks=[ConnectionLimit(3)]),
            lambda: Realm(Player, blocks=[ConnectionLimit(3), CanonicalId()]),
            lambda: CanonicalId()(low),
            lambda: AvatarCache()(low),
            lambda: CanonicalId()(AvatarCache()(low)),
            lambda: PerConnection(lambda session: session.avatar)(low),
        ):
            error = self.assertRaises(TypeError, stack)
            assert "must be on top of all other blocks" in str(error)
        assert Realm(low).blocks == low.blocks
        error = self.assertRaises(TypeError, CanonicalId, "alice")
        assert str(error) == "canonical must be a callable of a session, not 'alice'"

    def test_guard(self) -> None:
        """
        A block of one's own cannot change whose session it is under the others' feet.
        """
        realm = ConnectionLimit(1)(Player)
        login(realm, b"alice")
        (session,) = realm.sessions
        error = self.assertRaises(AttributeError, setattr, session, "avatarId", b"bob")
        assert "stack a CanonicalId on top" in str(error)
        self.assertRaises(AttributeError, setattr, session, "mind", FakeMind())
        assert (session.avatarId, session.mind) == (b"alice", None)
        self.assertRaises(TooManyConnections, login, realm, b"alice")

    def test_contract(self) -> None:
        """
        A realm with one keeps what realms promise.
        """
        checkRealm(lambda: CanonicalId()(AvatarCache()(Player)))
