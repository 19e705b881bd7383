"""
Tests for a client that logs in several times with one mind, and is told once.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, AvatarCache, MindGroup, MindRegistry
from avatarkit.testing import FakeMind
from minds import connect, methods
from scripted import opened


class OncePerMindTests(SynchronousTestCase):
    """
    One mind with three sessions, of two avatar IDs, and another with one.
    """

    def stack(self, *, once: bool, makeMind: Any = FakeMind) -> None:
        """
        Log them all in.
        """
        self.online: MindRegistry[Any] = MindRegistry(oncePerMind=once, reactor=Clock())
        self.realm = self.online(AvatarCache()(lambda avatarId: Avatar()))
        self.shared, self.other = makeMind(), makeMind()
        self.logins = [
            opened(self.realm.requestAvatar(avatarId, mind, pb.IPerspective))
            for avatarId, mind in (
                (b"alice", self.shared),
                (b"alice", self.shared),
                (b"alice", self.other),
                (b"bob", self.shared),
            )
        ]

    def groups(self) -> dict[str, MindGroup]:
        """
        Return a group of each kind.
        """
        return {
            "everyone": self.online.everyone,
            "alice": self.online[b"alice"],
            "bob": self.online[b"bob"],
            "select": self.online.select(lambda session: session.avatarId != b"bob"),
            "excluding": self.online.everyone.excluding(self.other),
            "minds": self.logins[0][1].minds,
        }

    def told(self) -> dict[str, list[int]]:
        """
        Push to each group, and return how many results there are and what each mind got.
        """
        found = {}
        for name, group in self.groups().items():
            group.callRemote("note", pbanswer=False)
            found[name] = [self.got(mind) for mind in (self.shared, self.other)]
        return found

    def got(self, mind: Any) -> int:
        """
        Return how many calls a mind has got since one last asked.
        """
        if not isinstance(mind, FakeMind):
            return len(methods(mind))
        count = len(mind.calls)
        mind.calls.clear()
        return count

    def test_once(self) -> None:
        """
        It is in each group once, and gets each push once.
        """
        for makeMind in (FakeMind, connect):
            self.stack(once=True, makeMind=makeMind)
            assert self.told() == {
                "everyone": [1, 1],
                "alice": [1, 1],
                "bob": [1, 0],
                "select": [1, 1],
                "excluding": [1, 0],
                "minds": [1, 1],
            }
            sizes = {name: len(group) for name, group in self.groups().items()}
            del sizes["minds"]
            assert sizes == {"everyone": 2, "alice": 2, "bob": 1, "select": 2, "excluding": 1}
            for name in sizes:
                assert len(list(self.groups()[name])) == sizes[name]

    def test_leaving(self) -> None:
        """
        It is there until the last of its sessions has ended.
        """
        self.stack(once=True)
        sizes = []
        for _, _, logout in self.logins:
            logout()
            groups = self.groups()
            sizes.append([len(groups[name]) for name in ("everyone", "alice", "bob")])
            assert [len(list(groups[name])) for name in ("everyone", "alice", "bob")] == sizes[-1]
            assert self.realm.audit() == []
        assert sizes == [[2, 2, 1], [2, 1, 1], [1, 0, 1], [0, 0, 0]]
        distinct: Any = self.online._distinct
        assert (distinct._sessions, distinct._minds) == ({}, {})

    def test_default(self) -> None:
        """
        Otherwise it gets a push for each of its sessions.
        """
        self.stack(once=False)
        assert self.told() == {
            "everyone": [3, 1],
            "alice": [2, 1],
            "bob": [1, 0],
            "select": [2, 1],
            "excluding": [3, 0],
            "minds": [2, 1],
        }
