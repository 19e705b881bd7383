"""
Tests for who receives a push.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import MindGroup, MindRegistry
from avatarkit.testing import FakeMind
from minds import connect, login
from scripted import IThing, Thing, sessionOf


class AddressingTests(SynchronousTestCase):
    """
    Groups that are selected, reduced or made by hand.
    """

    def setUp(self) -> None:
        """
        Start with three users, the first of whom has two sessions.
        """
        self.online = MindRegistry(reactor=Clock())
        self.realm = self.online(lambda avatarId: Thing())
        self.minds = [FakeMind() for _ in range(4)]
        self.logouts = [
            login(self.realm, mind, name)
            for mind, name in zip(self.minds, ["alice", "alice", "bob", "carol"], strict=True)
        ]

    def told(self) -> list[int]:
        """
        Return how many pushes each mind has received.
        """
        return [len(mind.calls) for mind in self.minds]

    def test_select(self) -> None:
        """
        C{select} returns a live view of the sessions that satisfy a predicate.
        """
        rooms = {"alice": "lobby", "bob": "lobby", "carol": "bar"}
        lobby = self.online.select(lambda session: rooms.get(str(session.avatarId)) == "lobby")
        assert (len(lobby), len(list(lobby))) == (3, 3)
        lobby.callRemote("hello")
        assert self.told() == [1, 1, 1, 0]
        rooms["bob"], rooms["carol"] = "bar", "lobby"
        self.logouts[0]()
        assert [self.minds[n] in lobby for n in range(4)] == [False, True, False, True]
        lobby.callRemote("hello")
        assert self.told() == [1, 2, 1, 1]

    def test_selectNone(self) -> None:
        """
        The predicate is not called for sessions without a mind.
        """
        self.realm.requestAvatar("nobody", None, IThing)
        assert len(self.online.select(lambda session: session.mind is None)) == 0

    def test_excluding(self) -> None:
        """
        C{excluding} returns a live view without one mind.
        """
        others = self.online.everyone.excluding(self.minds[1])
        assert len(others) == 3
        others.callRemote("hello")
        assert self.told() == [1, 0, 1, 1]
        self.logouts[3]()
        others.excluding(self.minds[2]).callRemote("hello")
        assert self.told() == [2, 0, 1, 1]
        assert len(self.online.everyone.excluding(None)) == 3
        others.callRemote("hello", pbanswer=False)
        assert self.told() == [3, 0, 2, 1]

    def test_sameMind(self) -> None:
        """
        A reference that a client sends along counts as the mind that it logged in with; a reference
        from another connection does not.
        """
        one, other = connect(), connect()
        group = MindGroup([one, other])
        again = pb.RemoteReference(None, one.broker, 1, False)
        assert again in group
        assert list(group.excluding(again)) == [other]
        for stranger in (pb.RemoteReference(None, one.broker, 2, False), connect(), None, 3):
            assert stranger not in group
            assert len(group.excluding(stranger)) == 2

    def test_disconnect(self) -> None:
        """
        A selected group can be disconnected.
        """
        self.online.select(lambda session: session.avatarId == "alice").disconnect()
        assert list(self.online) == ["bob", "carol"]
        self.online.everyone.excluding(self.minds[2]).disconnect()
        assert list(self.online) == ["bob"]

    def test_groupOfTwoRegistries(self) -> None:
        """
        A group of minds from several registries finds the session of each mind, and refuses a mind
        that is in none.
        """
        elsewhere, stranger = FakeMind(), FakeMind()
        other = MindRegistry(reactor=Clock())
        login(other(lambda avatarId: Thing()), elsewhere)
        group = MindGroup([self.minds[2], elsewhere])
        self.assertRaises(TypeError, MindGroup([self.minds[2], stranger]).disconnect)
        assert "bob" in self.online
        self.successResultOf(group.disconnect())
        assert "bob" not in self.online
        assert len(other) == 0
        self.assertRaises(TypeError, group.disconnect)

    def test_onceFiled(self) -> None:
        """
        A mind with two sessions is found as long as one of them is open.
        """
        for newest in (False, True):
            mind = FakeMind()
            logins = [self.realm.requestAvatar("bob", mind, IThing) for _ in range(2)]
            sessions = [sessionOf(self.realm, each) for each in logins]
            sessions.pop(newest).logout()
            (left,) = sessions
            assert self.online._directory.addresseeOf(mind) == (mind, left, None)
            left.logout()
            assert self.online._directory.addresseeOf(mind) is None

    def test_sentAlong(self) -> None:
        """
        A group of references that clients have sent along finds their sessions.
        """
        mind = connect()
        login(self.realm, mind, "dave")
        again = pb.RemoteReference(None, mind.broker, 1, False)
        mind.broker.disconnected = 1
        MindGroup([again]).callRemote("hello", pbanswer=False)
        assert "dave" not in self.online
        login(self.realm, connect(luid=[]), "odd")
        assert "odd" in self.online
