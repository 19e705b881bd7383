"""
Tests for avatar IDs that are bytes in one place and str in another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, ConnectionCounter, MindRegistry
from avatarkit._tools.kinds import otherKind
from avatarkit.testing import FakeMind
from logs import logged
from scripted import opened


class KindsTests(SynchronousTestCase):
    """
    A registry and a counter, and b"alice".
    """

    def setUp(self) -> None:
        """
        Log alice in.
        """
        self.online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        self.counter: ConnectionCounter[Any] = ConnectionCounter()
        self.login(self.online, b"alice")
        self.login(self.counter, b"alice")

    def login(self, block: Any, avatarId: Any) -> Callable[[], None]:
        """
        Log in to a realm of a block.
        """
        realm = block(lambda avatarId: Avatar())
        logout: Callable[[], None] = opened(
            realm.requestAvatar(avatarId, FakeMind(), pb.IPerspective)
        )[2]
        return logout

    def test_otherKind(self) -> None:
        """
        The other kind of a name is its UTF-8, or what that stands for; others have none.
        """
        assert [otherKind(each) for each in ("é", "é".encode(), b"\xff", "\ud800", 5, None)] == [
            *("é".encode(), "é"),
            *(None, None, None, None),
        ]

    def test_lookUps(self) -> None:
        """
        Every way to look somebody up says once that it was the wrong kind.
        """
        ways: list[tuple[type, Callable[[Any], object]]] = [
            (MindRegistry, lambda online: len(online["alice"])),
            (MindRegistry, lambda online: "alice" in online),
            (MindRegistry, lambda online: online.sessions("alice")),
            (MindRegistry, lambda online: online.disconnect("alice")),
            (ConnectionCounter, lambda counter: counter.connections("alice")),
            (ConnectionCounter, lambda counter: counter.get("alice")),
            (ConnectionCounter, lambda counter: "alice" in counter),
        ]
        for kind, look in ways:
            block = kind()
            logout = self.login(block, b"alice")
            with logged() as said:
                look(block)
                look(block)
            assert said == [
                "warn: 'alice' was looked up, who is not logged in; b'alice' is, which is another "
                "avatar ID"
            ]
            logout()

    def test_laterLookUp(self) -> None:
        """
        A group that was looked up before says so when it is used.
        """
        online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        group = online["alice"]
        self.login(online, b"alice")
        with logged() as said:
            group.callRemote("note")
        assert len(said) == 1

    def test_strangers(self) -> None:
        """
        Who is there, and who is not there as any kind, can be looked up without a word.
        """
        with logged() as said:
            for name in (b"alice", b"bob", "bob", b"\xff", None, 5, ()):
                assert (name in self.online) is (name == b"alice")
                assert self.counter.connections(name) == (name == b"alice")
        assert said == []

    def test_logins(self) -> None:
        """
        That one name is logged in as both kinds is said once by each block.
        """
        with logged() as said:
            for avatarId in (b"alice", b"bob", "alice", "alice", "bob", None, 5):
                self.login(self.online, avatarId)
        assert said == [
            "warn: 'alice' and b'alice' are both logged in, and are two avatar IDs: have all "
            "credentials checkers return the same kind"
        ]
        with logged() as said:
            self.login(self.counter, "alice")
        assert len(said) == 1
