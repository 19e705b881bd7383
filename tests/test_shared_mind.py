"""
Tests for many sessions that share one mind.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, ConnectionCounter, MindRegistry, Realm
from avatarkit.testing import FakeMind
from minds import connect
from scripted import opened


def steps(act: Callable[[], object]) -> int:
    """
    Return how many calls of functions something makes, and how often it goes on in a generator.
    """
    count = 0

    def profile(frame: Any, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # what is left over from others is not part of it
    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


class SharedMindTests(SynchronousTestCase):
    """
    Many sessions of one mind.
    """

    def cost(self, number: int, makeMind: Callable[[], Any], avatar: Any) -> list[int]:
        """
        Return how many steps a login, a push to an avatar's clients and two logouts take when as
        many sessions share the mind.
        """
        online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        realm: Realm[Any] = online(ConnectionCounter()(avatar))
        mind = makeMind()

        def login() -> Any:
            return opened(realm.requestAvatar(b"alice", mind, pb.IPerspective))

        logins = [login() for _ in range(number)]
        middle = logins[number // 2]
        assert len(online.everyone) == number
        middle[1].minds.callRemote("note", pbanswer=False)  # what is done the first time is done
        return [
            steps(login),
            steps(lambda: middle[1].minds.callRemote("note", pbanswer=False)),
            steps(logins[0][2]),
            steps(middle[2]),
        ]

    def test_constant(self) -> None:
        """
        A login, a logout and a push to one avatar cost the same with 10 sessions and with 1,000.
        """
        for makeMind in (FakeMind, connect):
            few = self.cost(10, makeMind, lambda avatarId: Avatar())
            assert self.cost(1000, makeMind, lambda avatarId: Avatar()) == few

    def test_waiting(self) -> None:
        """
        So do logins that wait, each of which watches the connection.
        """

        def cost(number: int) -> list[int]:
            loading = [Deferred[Any]() for _ in range(number + 1)]
            realm: Realm[Any] = Realm(lambda n: loading[n])
            mind = connect()
            for n in range(number):
                realm.requestAvatar(n, mind, pb.IPerspective)
            assert len(mind.broker.disconnects) == 1
            return [
                steps(lambda: realm.requestAvatar(number, mind, pb.IPerspective)),
                steps(lambda: loading[number // 2].callback(Avatar())),
            ]

        assert cost(1000) == cost(10)

    def test_eachAvatar(self) -> None:
        """
        A push through the minds of an avatar goes to the session of that avatar; a push to a mind
        alone to the one that it logged in with last.
        """
        online: MindRegistry[Avatar] = MindRegistry(reactor=Clock())
        realm = online(lambda avatarId: Avatar())
        mind = FakeMind()
        logins = [opened(realm.requestAvatar(n, mind, pb.IPerspective)) for n in range(4)]
        for left in ([0, 1, 2, 3], [0, 2, 3], [0, 2], [2]):
            for gone in {0, 1, 2, 3} - {*left}:
                logins[gone][2]()
            for n in left:
                (to,) = logins[n][1].minds._addressees()
                assert to.session is not None
                assert to.session.avatarId == n
            to = online._directory.addresseeOf(mind)
            assert to is not None
            assert to.session is not None
            assert to.session.avatarId == left[-1]
        logins[2][2]()
        assert online._directory.addresseeOf(mind) is None
        assert not online._directory._sessions
