"""
Tests for clients that fall behind.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

import avatarkit
from avatarkit import Avatar, MindGroup, MindIsBehind, MindRegistry, Session, disconnect
from avatarkit._clients.connections import bufferedIn
from avatarkit._push.lanes import SLICE
from avatarkit.testing import FakeMind
from minds import Slow, connect, login, methods
from scripted import Boom, Thing, opened


class BoundsTests(SynchronousTestCase):
    """
    The bounds of a registry.
    """

    def stack(self, **bounds: Any) -> None:
        """
        Make a registry with bounds, and two clients.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock, **bounds)
        self.avatars = [Avatar(), Avatar()]
        realm = self.online(self.avatars.__getitem__)
        self.minds = [FakeMind(), FakeMind()]
        for n, mind in enumerate(self.minds):
            opened(realm.requestAvatar(n, mind, pb.IPerspective))

    def push(self, **kw: Any) -> list[int]:
        """
        Push to everyone, and return how many pushes each client has received.
        """
        self.pushed = self.online.everyone.callRemote("tick", **kw)
        return [len(mind.calls) for mind in self.minds]

    def test_pending(self) -> None:
        """
        A client with too many unanswered pushes is left out until it answers.
        """
        self.stack(maximumPending=2)
        assert [self.push(), self.push()] == [[1, 1], [2, 2]]
        for call in self.minds[1].calls:
            call.answer.callback(1)
        assert self.push() == [2, 3]
        self.minds[1].calls[2].answer.callback(1)
        first, second = self.successResultOf(self.pushed)
        assert second == (True, 1)
        behind = first[1].value
        assert isinstance(behind, MindIsBehind)
        assert (behind.avatarId, behind.pending, behind.backlog) == (0, 2, 0)
        assert str(behind) == "0 bytes and 2 answers are outstanding"
        self.minds[0].calls[0].answer.callback(1)
        assert self.push() == [3, 4]
        assert self.push() == [3, 5]
        assert list(self.online) == [0, 1]

    def test_pendingAfterTimeout(self) -> None:
        """
        An answer that a push no longer waits for still counts as pending.
        """
        self.stack(maximumPending=1)
        self.push(pbtimeout=1)
        self.clock.advance(1)
        assert self.push() == [1, 1]
        self.minds[0].calls[0].answer.errback(Boom())
        assert self.push() == [2, 1]

    def test_leftOut(self) -> None:
        """
        C{whenBehind} is not called for a client that a push leaves out because of its timeout.
        """
        told: list[Any] = []
        self.stack(maximumBacklog=5, whenBehind=told.append)
        self.minds[0].backlog = 6
        group = MindGroup([Slow(self.clock), self.minds[0]], reactor=self.clock)
        pushed = group.callRemote("tick", pbtimeout=SLICE)
        self.clock.pump([0, 0])
        assert len(self.successResultOf(pushed)) == 2
        assert told == []

    def test_noAnswersNoPending(self) -> None:
        """
        Pushes that ask for no answer do not count as pending.
        """
        self.stack(maximumPending=1)
        for n in (1, 2, 3):
            assert self.push(pbanswer=False) == [n, n]

    def test_backlog(self) -> None:
        """
        A client with too many bytes in its backlog is left out until it reads again.
        """
        self.stack(maximumBacklog=1000)
        self.minds[0].backlog = 1000
        assert self.push() == [1, 1]
        self.minds[0].backlog = 1001
        assert self.push() == [1, 2]
        self.minds[1].calls[1].answer.callback(1)
        behind = self.successResultOf(self.pushed)[0][1].value
        assert (behind.backlog, behind.pending) == (1001, 1)
        self.minds[0].backlog = 0
        assert self.push() == [2, 3]

    def test_everyWay(self) -> None:
        """
        The bounds apply to every group that the client is in.
        """
        self.stack(maximumBacklog=1000)
        self.minds[0].backlog = 1001
        mind = self.minds[0]
        selected = self.online.select(lambda session: session.mind is mind)
        for group in (self.online[0], self.avatars[0].minds, MindGroup([mind]), selected):
            ((_, failure),) = self.successResultOf(group.callRemote("tick"))
            assert failure.check(MindIsBehind)
            group.callRemote("tick", pbanswer=False)
        assert mind.calls == []

    def test_twoRegistries(self) -> None:
        """
        In a hand-made group, the bounds of any registry that the client is in apply.
        """
        free = MindRegistry()
        self.stack(maximumBacklog=5)
        mind = FakeMind()
        login(free(self.online(lambda avatarId: Thing())), mind)
        mind.backlog = 6
        MindGroup([mind], reactor=self.clock).callRemote("tick")
        assert mind.calls == []

    def test_relogin(self) -> None:
        """
        Logging in again does not clear the answers that a client owes, and no ended session is kept
        because of them.
        """
        self.stack(maximumPending=1)
        mind, gone = connect(), list[Any]()
        for name in "abc":
            avatar = Avatar()
            realm = self.online({name: avatar}.__getitem__)
            logout = opened(realm.requestAvatar(name, mind, pb.IPerspective))[2]
            self.online[name].callRemote("tick", pbtimeout=1)
            self.clock.advance(1)
            logout()
            gone.append(ref(avatar))
            del avatar, realm, logout
        gc.collect()
        assert len(mind.broker.waitingForAnswers) == 1
        assert [each() for each in gone] == [None] * 3

    def test_pushingWhenBehind(self) -> None:
        """
        C{whenBehind} may push to everyone.
        """
        told: list[Session] = []

        def tell(session: Session) -> None:
            told.append(session)
            self.online.everyone.callRemote("isBehind", session.avatarId, pbanswer=False)

        self.stack(maximumBacklog=5, whenBehind=tell)
        self.minds[0].backlog = 6
        self.push()
        assert [call.name for call in self.minds[1].calls] == ["tick", "isBehind"]
        assert len(told) == 1

    def test_endedWhileTold(self) -> None:
        """
        A client that logs out during a push still owes its answer until it gives it or disconnects.
        """
        self.stack(maximumPending=5)

        def leave() -> Deferred[None]:
            self.online.sessions(0)[0].logout()
            return Deferred()

        self.minds[0].answers = {"tick": leave}
        self.push()
        assert self.online._bounds is not None
        assert len(self.online._bounds._pending) == 2
        self.minds[0].disconnect()
        self.minds[1].calls[0].answer.callback(1)
        assert self.online._bounds._pending == {}

    def test_unknownBacklog(self) -> None:
        """
        A mind with an unknown backlog is not behind.
        """
        self.stack(maximumBacklog=1)

        class Plain:
            calls = 0

            def callRemote(self, name: str, *args: Any, **kw: Any) -> Any:
                self.calls += 1

        plain, real = Plain(), connect()
        realm = self.online(lambda avatarId: Thing())
        login(realm, plain, "plain")
        login(realm, real, "real")
        self.push()
        self.push()
        assert plain.calls == 2
        assert methods(real) == [b"tick", b"tick"]

    def test_disconnect(self) -> None:
        """
        With C{whenBehind=disconnect}, the session of a client that is behind ends, and its
        connection is closed.
        """
        self.stack(maximumPending=1, whenBehind=disconnect)
        self.push()
        self.minds[1].calls[0].answer.callback(1)
        assert self.push() == [1, 2]
        assert list(self.online) == [1]
        assert [len(avatar.minds) for avatar in self.avatars] == [0, 1]
        self.minds[1].calls[1].answer.callback(2)
        first, second = self.successResultOf(self.pushed)
        assert (first[1].type, second) == (MindIsBehind, (True, 2))

    def test_whenBehind(self) -> None:
        """
        C{whenBehind} may be any callable, is called once until the client has caught up, and does
        no harm if it raises.
        """
        told: list[Any] = []

        def failing(session: Session) -> None:
            told.append(session.avatarId)
            raise Boom

        self.stack(maximumBacklog=5, whenBehind=failing)
        self.minds[0].backlog = 6
        assert self.push() == [0, 1]
        assert self.push(pbanswer=False) == [0, 2]
        assert told == [0]
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert self.online._bounds is not None
        (session,) = self.online.sessions(0)
        assert self.online._bounds._behind == {id(self.minds[0]): self.minds[0]}
        self.minds[0].backlog = 5
        assert self.push() == [1, 3]
        assert self.online._bounds._behind == {}
        avatarkit.skip(session)
        assert not session.ended

    def test_log(self) -> None:
        """
        It is logged when a client falls behind, but not for every push.
        """
        events: list[Any] = []
        observe: Any = events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.stack(maximumBacklog=5)
        for backlog in (6, 7, 0, 8):
            self.minds[0].backlog = backlog
            self.push()
        behind = [each for each in events if "backlog" in each]
        assert [each["backlog"] for each in behind] == [6, 8]
        assert {each["avatarId"] for each in behind} == {0}

    def test_forgotten(self) -> None:
        """
        Nothing is kept of clients that have left, even if their answers come later.
        """
        self.stack(maximumPending=1)
        self.push()
        first = self.pushed
        self.push()
        bounds = self.online._bounds
        assert bounds is not None
        assert len(bounds._pending) == len(bounds._behind) == 2
        for n in (0, 1):
            self.online.disconnect(n)
        assert (bounds._pending, bounds._behind) == ({}, {})
        for mind in self.minds:
            mind.calls[0].answer.callback(1)
        assert bounds._pending == {}
        assert len(self.successResultOf(first)) == 2

    def test_buffered(self) -> None:
        """
        The backlog of Twisted's own transports is known, also below another transport; that of
        others is not.
        """

        class Tcp:
            dataBuffer, offset, _tempDataLen = b"12345", 2, 4

        class Tls:
            transport = Tcp()

        assert [bufferedIn(each) for each in (Tcp(), Tls())] == [7, 7]
        assert [bufferedIn(each) for each in (StringTransport(), None)] == [None, None]
