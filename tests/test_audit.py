"""
Tests for L{avatarkit.Realm.audit}: it finds every kind of inconsistency.
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    ConnectionAware,
    ConnectionCounter,
    ConnectionLimit,
    MindAware,
    MindRegistry,
    PerConnection,
    Session,
)
from avatarkit.testing import FakeMind
from scripted import IThing, Thing, foreignSession, opened, waiting


class Slow(ConnectionAware, MindAware, Thing):
    """
    An avatar with one hook that waits.
    """

    def __init__(self, slow: str, gate: Deferred[None], session: Session) -> None:
        self.slow, self.gate = slow, gate

    def wait(self, hook: str) -> object:
        """
        Wait, if this hook is the one.
        """
        return self.gate if hook == self.slow else None

    def connect(self) -> object:
        """
        Wait, if this hook is the one.
        """
        return self.wait("connecting")

    def disconnect(self) -> object:
        """
        Wait, if this hook is the one.
        """
        return self.wait("disconnecting")

    def attached(self, mind: object) -> object:
        """
        Wait, if this hook is the one.
        """
        return self.wait("attaching")

    def detached(self, mind: object) -> object:
        """
        Wait, if this hook is the one.
        """
        return self.wait("detaching")


class AuditTests(SynchronousTestCase):
    """
    What L{Realm.audit} finds, and what it does not.
    """

    def setUp(self) -> None:
        """
        Start with a full stack in which the audit finds nothing.
        """
        self.online, self.limit = MindRegistry(), ConnectionLimit(9)
        self.counter, self.cache = ConnectionCounter(), AvatarCache()
        self.realm = self.online(self.limit(self.counter(self.cache(lambda avatarId: Thing()))))
        self.mind = FakeMind()
        self.login = opened(self.realm.requestAvatar(b"alice", self.mind, IThing))
        opened(self.realm.requestAvatar(b"bob", None, IThing))[2]()
        (self.session,) = self.realm.sessions
        assert self.realm.audit() == []

    def found(self) -> str:
        """
        Return the only sentence of the audit.
        """
        (sentence,) = self.realm.audit()
        return sentence

    def test_deadMind(self) -> None:
        """
        The audit finds a session whose mind is dead.
        """
        self.mind.disconnect()
        assert self.found() == "the mind of <Session of b'alice' as IThing, open> is dead"

    def test_slot(self) -> None:
        """
        The audit finds a slot without a session, a session without a slot, and a slot under a wrong
        key.
        """
        ghost = foreignSession()
        self.limit._slots.take(ghost, b"alice")
        assert self.found() == (
            "<Session of b'ghost' as IThing, open> has a slot of ConnectionLimit(9) and should not"
        )
        self.limit._slots.give(ghost)
        self.limit._slots.give(self.session)
        assert "has no slot of ConnectionLimit" in self.found()
        self.limit._slots.take(self.session, b"alice")
        self.limit._slots.otherKeys[ghost] = b"bob"
        assert self.found() == "ConnectionLimit(9) does not know which slot is whose"
        del self.limit._slots.otherKeys[ghost]
        self.limit._slots.otherKeys[self.session] = b"bob"
        assert self.found() == "ConnectionLimit(9) does not know which slot is whose"

    def test_count(self) -> None:
        """
        The audit finds a count without a session, and a wrong total.
        """
        self.counter._counts[b"ghost"] = 1
        assert self.found() == (
            "ConnectionCounter() counts 1 sessions of b'ghost', and there are 0"
        )
        del self.counter._counts[b"ghost"]
        self.counter._total = 5
        assert self.found() == "ConnectionCounter() counts 5 sessions in all, and there are 1"

    def test_group(self) -> None:
        """
        The audit finds a session on file that it does not know, one that is not on file, one too
        many among everyone, and a wrong count of sessions without a mind.
        """
        ghost = foreignSession()
        self.online._file(ghost)
        assert "<Session of b'ghost' as IThing, open> is on the file" in self.found()
        self.online._unfile(ghost)
        self.online._unfile(self.session)
        assert "is not on the file" in self.found()
        self.online._file(self.session)
        self.online._reachable[ghost] = None
        assert self.found() == "everyone in MindRegistry() is not everyone"
        del self.online._reachable[ghost]
        self.online._mindless[b"ghost"] = 1
        assert self.found() == "MindRegistry() miscounts the sessions without a mind"

    def test_users(self) -> None:
        """
        The audit finds an avatar with a user that is not one, an avatar that is wrongly idle, and
        one that is wrongly not.
        """
        ghost = foreignSession()
        self.cache._kept.ready[b"alice"].users[ghost] = None
        assert self.found().startswith("<Session of b'ghost' as IThing, open> uses an avatar of")
        del self.cache._kept.ready[b"alice"].users[ghost]
        self.cache._kept.idle[self.cache._kept.ready[b"alice"]] = None
        assert "is wrongly idle" in self.found()
        self.cache._kept.idle.clear()
        assert "b'bob' in AvatarCache" in self.found()

    def test_waiting(self) -> None:
        """
        The audit finds a login that waits for an avatar which does not know of it.
        """
        cache = AvatarCache()
        realm = cache(lambda avatarId: Deferred())
        waiting(realm.requestAvatar(b"alice", None, IThing)).addErrback(lambda failure: None)
        assert realm.audit() == []
        cache._kept.unready[b"alice"].waiting.clear()
        (sentence,) = realm.audit()
        assert sentence.startswith("<Session of b'alice', opening> waits for an avatar")

    def test_below(self) -> None:
        """
        The audit finds what is wrong below a cache, and below a PerConnection.
        """
        for around in (AvatarCache(), PerConnection(lambda session: Thing())):
            limit = ConnectionLimit()
            target = limit(lambda avatarId: Thing())
            realm = around(target)
            opened(realm.requestAvatar(b"alice", None, IThing))
            assert realm.audit() == []
            limit._slots.give(*limit.sessions(b"alice"))
            (sentence,) = realm.audit()
            assert "has no slot" in sentence

    def test_spanning(self) -> None:
        """
        The audit counts the sessions of every realm that a block spans.
        """
        other = self.counter(lambda avatarId: Thing())
        opened(other.requestAvatar(b"alice", None, IThing))
        assert dict(self.counter) == {b"alice": 2}
        assert self.realm.audit() == other.audit() == []

    def test_inTheMiddle(self) -> None:
        """
        The audit finds nothing while a login waits, or a session closes, at any step.
        """
        for hook in ("attaching", "connecting", "detaching", "disconnecting"):
            gate: Deferred[None] = Deferred()
            source = PerConnection(partial(Slow, hook, gate))
            realm = MindRegistry()(ConnectionCounter()(source))
            result = realm.requestAvatar(b"alice", FakeMind(), IThing)
            if isinstance(result, tuple):
                result[2]()
            assert realm.audit() == []
            gate.callback(None)
            assert realm.audit() == []
