"""
Tests for what reaches the logins of a user that are still in progress.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Block, LoginAbandoned, MindRegistry, PerConnection, Realm, Session
from avatarkit.testing import FakeMind
from scripted import OPENING, Gate, IThing, Script, Thing, opened, waiting


class DisconnectTests(SynchronousTestCase):
    """
    L{MindRegistry.disconnect<avatarkit.MindRegistry.disconnect>}.
    """

    def setUp(self) -> None:
        """
        Start with nobody.
        """
        self.clock = Clock()
        self.online = MindRegistry(reactor=self.clock)

    def disconnect(self, avatarId: object = b"alice") -> Deferred[None]:
        """
        Disconnect somebody.
        """
        return self.online.disconnect(avatarId, reactor=self.clock)

    def ask(self, realm: Any, avatarId: object = b"alice") -> tuple[FakeMind, Any]:
        """
        Log in, and return the mind too.
        """
        mind = FakeMind()
        return mind, realm.requestAvatar(avatarId, mind, IThing)

    def test_loginInProgress(self) -> None:
        """
        A login that waits, wherever it waits, fails and its connection is closed; those of others
        go on.
        """
        for hook in OPENING:
            gates = {b"alice": Gate(), b"bob": Gate()}

            def wait(session: Session, gates: dict[Any, Gate] = gates) -> object:
                return gates[session.avatarId].wait

            script = Script({hook: wait})
            realm = Realm(script.realm, blocks=[self.online])
            mind, login = self.ask(realm)
            other, others = self.ask(realm, b"bob")
            assert self.successResultOf(self.disconnect()) is None
            self.failureResultOf(login, LoginAbandoned)
            assert (mind.closings, other.closings) == (["lose"], []), hook
            for gate in gates.values():
                if not gate.wait.called:
                    gate.wait.callback(Thing())
            assert list(self.online) == [b"bob"], hook
            opened(self.successResultOf(others))[2]()

    def test_together(self) -> None:
        """
        Sessions and logins in progress of one ID end together, oldest first, and the Deferred fires
        when the last of them is closed.
        """
        gate, ended = Gate(), list[Session]()

        class Slow(Block):
            def admit(self, session: Session) -> object:
                return Deferred() if len(realm.sessions) > 2 else None

            def release(self, session: Session) -> object:
                ended.append(session)
                return gate.wait

        realm = Realm(lambda avatarId: Thing(), blocks=[self.online, Slow()])
        minds = [self.ask(realm)[0] for _ in range(2)]
        late, login = self.ask(realm)
        sessions = list(realm.sessions)
        closed = self.disconnect()
        assert ended == sessions[:2]
        self.failureResultOf(login, LoginAbandoned)
        self.assertNoResult(closed)
        gate.wait.callback(None)
        assert self.successResultOf(closed) is None
        assert [mind.closings for mind in (*minds, late)] == [["lose"]] * 3
        assert (list(realm.sessions), list(realm._sessionsOf(b"alice"))) == ([], [])

    def test_ending(self) -> None:
        """
        A session that has logged out, and is only taking its time, keeps its connection.
        """
        script = Script({"release 0": Gate().deferred})
        realm = Realm(script.realm, blocks=[self.online])
        realm.reactor = self.clock
        mind, login = self.ask(realm)
        opened(login)[2]()
        assert self.successResultOf(self.disconnect()) is None
        assert (len(realm.sessions), mind.closings) == (1, [])

    def test_spanning(self) -> None:
        """
        A registry that spans several realms, or is below a PerConnection, reaches the logins of all
        of them.
        """
        realms = [
            self.online(lambda avatarId: Deferred()),
            PerConnection(lambda session: Thing())(self.online(lambda avatarId: Deferred())),
        ]
        logins = [self.ask(realm) for realm in realms]
        self.successResultOf(self.disconnect())
        for (mind, login), realm in zip(logins, realms, strict=True):
            self.failureResultOf(waiting(login), LoginAbandoned)
            assert (mind.closings, len(realm.sessions)) == (["lose"], 0)


class RollTests(SynchronousTestCase):
    """
    The sessions of a realm, by avatar ID.
    """

    def test_byId(self) -> None:
        """
        It knows the sessions of each ID, oldest first, until they have ended.
        """
        realm: Realm = Realm(lambda avatarId: Thing())
        logouts = [
            opened(realm.requestAvatar(name, None, IThing))[2]
            for name in (b"alice", b"bob", b"alice", b"alice")
        ]
        first, bob, second, third = realm.sessions
        assert list(realm._sessionsOf(b"alice")) == [first, second, third]
        assert list(realm._sessionsOf(b"bob")) == [bob]
        logouts[2]()
        assert list(realm._sessionsOf(b"alice")) == [first, third]
        for logout in logouts:
            logout()
        assert not realm.sessions
        assert realm._roll._byId == {}
