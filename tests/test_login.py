"""
Tests for L{avatarkit.testing.login}.
"""

from __future__ import annotations

import traceback
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    LoginAbandoned,
    MindRegistry,
    PerConnection,
    Realm,
    TooManyConnections,
    UnsupportedInterface,
)
from avatarkit.testing import FakeMind, Login, login
from players import Player
from scripted import Boom, IThing, Thing


class LoginTests(SynchronousTestCase):
    """
    L{login} and what it returns.
    """

    def test_sync(self) -> None:
        """
        If the realm does not wait, C{login} returns a L{Login}.
        """
        counter, mind = ConnectionCounter(), FakeMind()
        realm = counter(MindRegistry()(AvatarCache()(Player)))
        alice = login(realm, b"alice", mind=mind)
        assert isinstance(alice, Login)
        assert (alice.avatar.name, alice.interface) == (b"alice", pb.IPerspective)
        assert mind in alice.avatar.minds
        assert counter.total == 1
        assert alice.logout() is None
        assert counter.total == 0

    def test_interface(self) -> None:
        """
        A login can ask for any interface.
        """
        assert login(Realm(lambda name: Thing()), "a", interface=IThing).interface is IThing

    def test_async(self) -> None:
        """
        If the realm waits, C{login} returns a Deferred of a L{Login}.
        """
        loaded: Deferred[Any] = Deferred()
        waits = login(Realm(lambda name: loaded), b"alice")
        loaded.callback(Player(b"alice"))
        assert self.successResultOf(waits).avatar.name == b"alice"

    def test_refused(self) -> None:
        """
        A refused login raises the realm's exception, with a traceback of the tested code only.
        """

        def factory(name: Any) -> Any:
            raise Boom("here it is")

        realm = ConnectionLimit()(factory)
        error = self.assertRaises(Boom, login, realm, b"alice")
        frames = traceback.extract_tb(error.__traceback__)
        assert [frame.name for frame in frames][-1] == "factory"
        ours = [frame for frame in frames if "avatarkit" in frame.filename]
        assert [frame.name for frame in ours if "testing" not in frame.filename] == []
        limited = ConnectionLimit()(Player)
        login(limited, b"alice")
        self.assertRaises(TooManyConnections, login, limited, b"alice")
        self.assertRaises(UnsupportedInterface, login, limited, b"bob", interface=IThing)

    def test_refusedLater(self) -> None:
        """
        A login that fails later has its failure trimmed in the same way.
        """
        loaded: Deferred[Any] = Deferred()
        waits = login(ConnectionLimit()(lambda name: loaded), b"alice")
        loaded.errback(Boom("late"))
        failure = self.failureResultOf(waits)
        assert failure.check(Boom)
        assert [name for name, *_ in failure.frames if name.startswith("_")] == []
        gate: Deferred[Any] = Deferred()

        async def factory(name: Any) -> Any:
            await gate
            raise Boom

        waits = login(PerConnection(lambda session: None)(factory), b"alice")
        gate.callback(None)
        frames = traceback.extract_tb(self.failureResultOf(waits, Boom).value.__traceback__)
        assert {frame.name for frame in frames} <= {"factory"}  # older Twisted keeps none at all
        mind = FakeMind()
        waits = login(ConnectionLimit()(lambda name: Deferred()), b"alice", mind=mind)
        mind.disconnect()
        self.failureResultOf(waits, LoginAbandoned)

    def test_overTheWire(self) -> None:
        """
        A failure that came over a network is passed on unchanged.
        """
        fake = FakeMind({"fail": Boom("x")})
        waits = login(Realm(lambda name: fake.callRemote("fail")), b"alice")
        assert self.failureResultOf(waits).check(Boom)

    def test_misuse(self) -> None:
        """
        Something that is not a realm, or returns what no realm does, raises a C{TypeError}.
        """
        error = self.assertRaises(TypeError, login, Player, b"alice")
        assert "is not a realm" in str(error)

        @implementer(IRealm)
        class Odd:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return results[avatarId]

        results: dict[bytes, Any] = {b"a": 3, b"b": (1, 2), b"c": (1, 2, 3), b"d": succeed(None)}
        for avatarId in results:
            if avatarId == b"d":
                self.failureResultOf(login(Odd(), avatarId), TypeError)
            else:
                error = self.assertRaises(TypeError, login, Odd(), avatarId)
                assert "must return (interface, avatar, logout)" in str(error)
