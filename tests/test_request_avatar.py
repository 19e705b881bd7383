"""
Tests for L{avatarkit.Realm.requestAvatar}: what a login asks for, and what it gets.
"""

from __future__ import annotations

import gc
from traceback import extract_tb
from typing import Any
from weakref import ref

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    LoginRefused,
    Realm,
    Session,
    UnsupportedInterface,
)
from scripted import IOther, IThing, Player, Script, frank, opened, slots


def raiser(error: Exception) -> Any:
    """
    Return a callable that raises an exception.
    """

    def way(session: Session) -> None:
        raise error

    return way


class RequestAvatarTests(SynchronousTestCase):
    """
    L{Realm.requestAvatar}: what a login asks for, and what it gets.
    """

    def test_firstThatFits(self) -> None:
        """
        The avatar is seen through the first of the interfaces that it provides.
        """
        realm = Realm(Player)
        assert opened(realm.requestAvatar(b"alice", None, IOther, IThing))[0] is IThing

    def test_adapter(self) -> None:
        """
        An avatar that can be adapted to an interface is seen through the adapter.
        """

        class Adaptable(Player):
            def __conform__(self, interface: object) -> object:
                return ("seen as other", self) if interface is IOther else None

        interface, aspect, _logout = opened(
            Realm(Adaptable).requestAvatar(b"alice", None, IOther, IThing)
        )
        assert interface is IOther
        assert aspect[0] == "seen as other"

    def test_storedRefusal(self) -> None:
        """
        A refusal that is raised for every login, or returned, keeps no session, and its traceback
        does not grow.
        """
        refusal = LoginRefused("not today")
        ways: Any = (raiser(refusal), lambda session: fail(refusal))
        for way in ways:
            refused: list[Any] = []

            class Refusing(Block):
                def admit(self, session: Session) -> object:
                    refused.append(ref(session))  # noqa: B023  # it is of this round
                    return way(session)  # noqa: B023

            realm = Refusing()(Player)
            sizes = set()
            for _ in range(3):
                self.assertRaises(LoginRefused, realm.requestAvatar, b"alice", None, IThing)
                sizes.add(len(extract_tb(refusal.__traceback__)))
            assert len(sizes) == 1
            gc.collect()
            refusal.__traceback__ = None
            assert [each() for each in refused] == [None] * 3

    def test_unsupported(self) -> None:
        """
        If the avatar fits no interface, the login raises UnsupportedInterface with the avatar ID
        and the interfaces, and leaves nothing behind, not even in a cache.
        """
        cache, counter, limit = AvatarCache(), ConnectionCounter(), ConnectionLimit()
        for factory in (Player, lambda avatarId: succeed(Player(avatarId)), lambda avatarId: None):
            realm = frank(limit(counter(Realm(factory))))
            error: Any = self.assertRaises(
                UnsupportedInterface, realm.requestAvatar, b"alice", None, IOther, IRealm
            )
            assert issubclass(UnsupportedInterface, NotImplementedError)
            assert error.avatarId == b"alice"
            assert error.interfaces == (IOther, IRealm)
            assert "b'alice'" in str(error)
            assert "IOther or IRealm" in str(error)
        assert (counter.total, slots(limit)) == (0, {})
        realm = frank(cache(Player))
        self.assertRaises(UnsupportedInterface, realm.requestAvatar, b"alice", None, IOther)
        assert dict(cache) == {}

    def test_noInterfaces(self) -> None:
        """
        A login that asks for no interface is refused before any hook runs.
        """
        script = Script()
        error = self.assertRaises(UnsupportedInterface, script.realm.requestAvatar, b"alice", None)
        assert error.avatarId == b"alice"
        assert script.log == []

    def test_unhashable(self) -> None:
        """
        An avatar ID that cannot be hashed is refused before any hook runs.
        """
        script = Script()
        error = self.assertRaises(TypeError, script.realm.requestAvatar, ["alice"], None, IThing)
        assert "['alice']" in str(error)
        assert script.log == []

    def test_logout(self) -> None:
        """
        If the avatar has a C{logout}, it is called at the end of the session, and may wait.
        """
        gate: Deferred[None] = Deferred()

        class Leaving(Player):
            def logout(self) -> object:
                left.append(self.name)
                return gate

        left: list[object] = []
        realm = Realm(Leaving)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        assert left == [b"alice"]
        closing = realm.close(timeout=None)
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)

    def test_portal(self) -> None:
        """
        A realm works in a portal, whether its factory waits or not.
        """
        gate: Deferred[None] = Deferred()

        async def slow(avatarId: object) -> object:
            await gate
            return Player(avatarId)

        checker: Any = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
        for realm in (Realm(Player), Realm(slow)):
            login = Portal(realm, [checker]).login(
                UsernamePassword(b"alice", b"secret"), None, IThing
            )
            if not login.called or login.paused:
                gate.callback(None)
            player: Any = self.successResultOf(login)[1]
            assert player.name == b"alice"
