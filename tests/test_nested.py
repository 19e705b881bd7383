"""
Sessions that depend on inner sessions: below a L{PerConnection} and below an L{AvatarCache}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    PerConnection,
    Realm,
    RealmClosed,
    Session,
    UnsupportedInterface,
)
from scripted import Boom, Gate, IThing, Script, Thing, frank, opened, raises, slots, waiting


class Kick(Block):
    """
    A block that keeps the sessions it sees, so that a test can end them.
    """

    def __init__(self) -> None:
        self.seen: list[Session] = []

    def attached(self, session: Session) -> None:
        """
        Keep the session.
        """
        self.seen.append(session)


class Shared(Thing):
    """
    An avatar that counts its logouts, and may wait to be saved.
    """

    saving: Any = None

    def __init__(self, name: object) -> None:
        self.logouts = 0

    def logout(self) -> object:
        """
        Count a logout.
        """
        self.logouts += 1
        return self.saving


def own(session: Session) -> Thing:
    """
    Build an avatar for a session.
    """
    return Thing()


class UndoTests(SynchronousTestCase):
    """
    The outer session ends first, and waits for the inner one.
    """

    def test_cancelled(self) -> None:
        """
        A login that is ended while its inner session opens undoes nothing until the inner session
        is undone.
        """
        for end in ("cancel", "logout"):
            load, undo = Gate(), Gate()
            below = Script({"acquire": load.deferred, "release 2": undo.deferred})
            above = Script()
            realm = above.blocks[0](PerConnection(own)(below.realm))
            login = waiting(realm.requestAvatar(b"alice", None, IThing))
            (session,) = realm.sessions
            closed = session.whenClosed()
            login.addErrback(lambda failure: None)
            login.cancel() if end == "cancel" else session.logout()
            assert below.log[-1] == "release 2"
            assert above.log == ["admit 0"]
            self.assertNoResult(closed)
            undo.wait.callback(None)
            assert below.log[-1] == "release 0"
            assert above.log == ["admit 0", "release 0"]
            self.successResultOf(closed)

    def test_anonymous(self) -> None:
        """
        An anonymous login below a cache has no mind, and is undone before the outer login, too.
        """
        load, undo = Gate(), Gate()
        below = Script({"acquire": load.deferred, "release 2": undo.deferred})
        limit = ConnectionLimit()
        realm = limit(AvatarCache()(below.realm))
        login = waiting(realm.requestAvatar(ANONYMOUS, object(), IThing))
        source: Any = realm.sources[0]
        (inner,) = source.below.sessions
        assert inner.mind is None
        login.cancel()
        self.failureResultOf(login, CancelledError)
        assert slots(limit) == {ANONYMOUS: 1}
        undo.wait.callback(None)
        assert slots(limit) == {}

    def test_released(self) -> None:
        """
        A session waits at its end for the end of its inner session, and keeps nothing of it.
        """
        undo = Gate()
        below = Script({"release 2": undo.deferred})
        realm = PerConnection(own)(below.realm)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        (session,) = realm.sessions
        closed = session.whenClosed()
        self.assertNoResult(closed)
        undo.wait.callback(None)
        self.successResultOf(closed)
        source: Any = realm.sources[0]
        assert source._inner == {}

    def test_builtLogout(self) -> None:
        """
        A session waits at its end for the logout of the avatar that was built for it, before its
        inner session ends.
        """
        gate, below = Gate(), Script()

        class Slow(Thing):
            def logout(self) -> object:
                return gate.wait

        realm = PerConnection(lambda session: Slow())(below.realm)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        assert "release 0" not in below.log
        gate.wait.callback(None)
        assert "release 0" in below.log

    def test_failedLoginIsNotKept(self) -> None:
        """
        A cache below does not keep an avatar that no login has succeeded with, wherever the logins
        failed.
        """
        script = Script({"attached 0": raises})
        for build, error in (
            (raises, Boom),
            (lambda session: "no", UnsupportedInterface),
            (own, Boom),
        ):
            cache = AvatarCache()
            realm = frank(script.blocks[0](PerConnection(build)(cache(Shared))))
            self.assertRaises(error, realm.requestAvatar, b"alice", None, IThing)
            assert dict(cache) == {}
        script.acts = {}
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        assert list(cache) == [b"alice"]


class EndedBelowTests(SynchronousTestCase):
    """
    A block below ends the session that it sees, which is not the client's session.
    """

    def test_perConnection(self) -> None:
        """
        Ending the inner session ends the outer one first.
        """
        kick, above = Kick(), Script()
        order: list[str] = []

        class Own(Thing):
            def logout(self) -> None:
                order.append("own")

        class Below(Thing):
            def logout(self) -> None:
                order.append("below")

        realm = above.blocks[0](
            PerConnection(lambda session: Own())(kick(lambda avatarId: Below()))
        )
        opened(realm.requestAvatar(b"alice", None, IThing))
        kick.seen[0].logout()
        kick.seen[0].logout()
        assert above.log == ["admit 0", "attached 0", "detached 0", "release 0"]
        assert order == ["own", "below"]
        assert (len(realm.sessions), realm.audit()) == (0, [])

    def test_cache(self) -> None:
        """
        All sessions that use the avatar end first; meanwhile, a new login waits, and gets a new
        avatar.
        """
        kick, cache, gate = Kick(), AvatarCache(), Gate()
        above = Script({"detached 0": gate.deferred})
        realm = above.blocks[0](cache(kick(Shared)))
        first = opened(realm.requestAvatar(b"alice", None, IThing))[1]
        opened(realm.requestAvatar(b"alice", None, IThing))
        opened(realm.requestAvatar(b"bob", None, IThing))
        kick.seen[0].logout()
        assert (list(cache), first.logouts, realm.audit()) == ([b"bob"], 0, [])
        late = waiting(realm.requestAvatar(b"alice", None, IThing))
        self.assertNoResult(late)
        gate.wait.callback(None)
        assert first.logouts == 1
        second = self.successResultOf(late)[1]
        assert cache[b"alice"] is second is not first
        assert realm.audit() == []

    def test_idle(self) -> None:
        """
        An idle avatar whose inner session is ended is retired, as if by the cache.
        """
        kick, cache = Kick(), AvatarCache()
        realm = cache(kick(Shared))
        first = opened(realm.requestAvatar(b"alice", None, IThing))
        first[2]()
        kick.seen[0].logout()
        assert (dict(cache), first[1].logouts, realm.audit()) == ({}, 1, [])
        assert opened(realm.requestAvatar(b"alice", None, IThing))[1] is not first[1]

    def test_closedMeanwhile(self) -> None:
        """
        A login that waits for an avatar to be gone is refused when the cache is closed through
        another realm.
        """
        cache = AvatarCache(idleTimeout=0)
        base = cache(Shared)
        gate = Gate()
        Shared.saving = gate.wait
        self.addCleanup(setattr, Shared, "saving", None)
        realm, other = ConnectionCounter()(base), ConnectionLimit()(base)
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        late = waiting(other.requestAvatar(b"alice", None, IThing))
        closing = realm.close(timeout=None)
        gate.wait.callback(None)
        failure: Any = self.failureResultOf(late, RealmClosed)
        assert failure.value.avatarId == b"alice"
        self.successResultOf(closing)


class AdapterTests(SynchronousTestCase):
    """
    Avatars whose adaptation fails.
    """

    def test_raising(self) -> None:
        """
        An avatar that raises while it is adapted refuses the login, and is neither counted nor
        filed.
        """

        class Odd(Thing):
            def __conform__(self, interface: object) -> object:
                if interface is IThing:
                    return self
                raise Boom

        for block in (ConnectionCounter(), MindRegistry()):
            realm: Realm = frank(block(lambda avatarId: Odd()))
            self.assertRaises(Boom, realm.requestAvatar, b"alice", object(), IThing)
            assert (len(block), realm.audit()) == (0, [])


class OddAnswersTests(SynchronousTestCase):
    """
    Unusual things that hooks may return or raise.
    """

    def test_awaitable(self) -> None:
        """
        Anything awaitable that a hook returns is awaited.
        """
        gate: Deferred[None] = Deferred()

        class Awaitable:
            def __await__(self) -> Any:
                yield from gate.__await__()
                raise Boom

        script = Script({"admit 1": lambda session: Awaitable()})
        login = waiting(script.login())
        gate.callback(None)
        self.failureResultOf(login, Boom)

    def test_exits(self) -> None:
        """
        An exception that is not an C{Exception} does not keep anything from being undone.
        """

        def exiting(session: object) -> object:
            raise SystemExit

        for hook in ("admit 2", "attached 0"):
            script = Script({hook: exiting})
            self.assertRaises(SystemExit, script.login)
            assert script.log[-1] == "release 0"
        script = Script({"detached 1": exiting})
        opened(script.login())[2]()
        assert script.log[-1] == "release 0"
        assert len(self.flushLoggedErrors(SystemExit)) == 1
