"""
Tests for minds that are none: a client may send whatever it likes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, IMind, MindGroup, MindRegistry
from avatarkit.testing import FakeMind, MemoryPortal
from logs import logged
from players import Client
from scripted import opened, sessionOf


class NoCall:
    """
    What a client may have sent as a copy.
    """

    callRemote = 5


JUNK: list[Any] = ["x", b"x", 5, 1.5, True, [], ["x"], {"x": 1}, (), NoCall(), object()]


class JunkMindTests(SynchronousTestCase):
    """
    One client with a mind, and one with something else.
    """

    def setUp(self) -> None:
        """
        Start with a registry and a client with a mind.
        """
        self.online: MindRegistry[Avatar] = MindRegistry(reactor=Clock())
        self.realm = self.online(lambda avatarId: Avatar())
        self.mind = FakeMind({"note": "noted", "notify": "notified"})
        opened(self.realm.requestAvatar(b"good", self.mind, pb.IPerspective))

    def test_withoutMind(self) -> None:
        """
        A mind that cannot be called is like none: its session is online and in no group, and its
        avatar is not told.
        """
        for junk in JUNK:
            result = self.realm.requestAvatar(b"bad", junk, pb.IPerspective)
            session = sessionOf(self.realm, result)
            assert self.online.sessions(b"bad") == (session,)
            assert [len(self.online[b"bad"]), len(self.online.everyone)] == [0, 1]
            assert list(self.online.select(lambda session: True)) == [self.mind]
            assert len(session.avatar.minds) == 0
            assert self.realm.audit() == []
            pushed = self.online.everyone.callRemote("note")
            assert self.successResultOf(pushed) == [(True, "noted")]
            opened(result)[2]()
            assert list(self.online) == [b"good"]
            assert self.realm.audit() == []
        assert not self.flushLoggedErrors()

    def test_logged(self) -> None:
        """
        It is said once for each session, in short, and never again, however much is pushed.
        """
        with logged() as said:
            self.realm.requestAvatar(b"bad", "x" * 10_000, pb.IPerspective)
            for _ in range(10):
                self.online.everyone.callRemote("note", pbanswer=False)
                self.online[b"bad"].callRemote("note", pbanswer=False)
        (line,) = said
        assert line.startswith("info: b'bad' logs in with a mind that cannot be called, 'xxx")
        assert len(line) < 250

    def test_remote(self) -> None:
        """
        A client of Perspective Broker that sends a number is served, and others are pushed to.
        """
        portal = MemoryPortal(self.realm)
        avatars: list[Any] = []
        portal.connect().login("bad", mind=5).addCallback(avatars.append)
        portal.connect().login("bob", mind=Client()).addCallback(avatars.append)
        portal.pump()
        results: list[Any] = []
        self.online.everyone.callRemote("notify", 1).addCallback(results.extend)
        portal.pump()
        assert len(avatars) == len(results) == 2
        assert list(self.online) == [b"good", b"bad", b"bob"]

    def test_adapted(self) -> None:
        """
        A mind without a C{callRemote} that can be adapted to IMind is in its groups.
        """

        class Socket:
            line = FakeMind({"note": "adapted"})

        registerAdapter(lambda socket: socket.line, Socket, IMind)
        with logged() as said:
            result = self.realm.requestAvatar(b"line", Socket(), pb.IPerspective)
        pushed = self.online[b"line"].callRemote("note")
        assert (self.successResultOf(pushed), said) == ([(True, "adapted")], [])
        opened(result)[2]()
        assert self.realm.audit() == []

    def test_noAttributes(self) -> None:
        """
        A mind that takes no attributes is found through its registry.
        """

        class Closed:
            __slots__ = ()

            def callRemote(self, name: str) -> str:
                return name

        result = self.realm.requestAvatar(b"closed", Closed(), pb.IPerspective)
        pushed = self.online[b"closed"].callRemote("note")
        assert self.successResultOf(pushed) == [(True, "note")]
        opened(result)[2]()
        assert self.realm.audit() == []

    def test_ownGroup(self) -> None:
        """
        In a group of one's own, its result is a TypeError that says what it is; if nobody waits
        for that, a line is logged, without a traceback.
        """
        for junk in JUNK:
            group = MindGroup([junk, self.mind], reactor=Clock())
            (success, failure), good = self.successResultOf(group.callRemote("note"))
            assert (success, failure.check(TypeError), good) == (False, TypeError, (True, "noted"))
            assert "is no client: it has no callRemote" in failure.getErrorMessage()
        with logged() as said:
            MindGroup(["x"], reactor=Clock()).callRemote("note", pbanswer=False)
        assert said == [
            "warn: a push was left out: 'x' is no client: it has no callRemote, and no adapter to "
            "IMind"
        ]
