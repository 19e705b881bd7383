"""
Tests for how many logins may be in progress.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, ConnectionLimit, Realm, TooManyLogins
from avatarkit.testing import FakeMind, login
from pb import PBTestCase, refusal
from players import Player
from scripted import Boom, IThing, Script, Thing, frank, opened, waiting


class CeilingTests(SynchronousTestCase):
    """
    L{Realm.maximumWaiting}.
    """

    def setUp(self) -> None:
        """
        Have a realm that waits for each avatar.
        """
        self.loading: list[Deferred[Any]] = []
        self.realm = frank(Realm(self.load))
        self.realm.maximumWaiting = 2

    def load(self, avatarId: object) -> Deferred[Any]:
        """
        Make an avatar, later.
        """
        self.loading.append(Deferred())
        return self.loading[-1]

    def ask(self, mind: object = None) -> Deferred[Any]:
        """
        Log in.
        """
        return waiting(self.realm.requestAvatar(b"alice", mind, IThing))

    def assertFull(self, full: bool = True) -> None:
        """
        See whether there is room for one more.
        """
        if full:
            asked = len(self.loading)
            error = self.assertRaises(TooManyLogins, self.ask)
            assert (error.avatarId, error.maximum) == (b"alice", 2)
            assert str(error) == "too many logins are in progress"
            assert len(self.loading) == asked  # nothing was begun
        assert (self.realm._roll.waiting >= 2) is full

    def test_refused(self) -> None:
        """
        A login that comes while as many are in progress as may be is refused before anything is
        begun for it; what has succeeded, failed, or been left makes room.
        """
        mind = FakeMind()
        logins = [self.ask(), self.ask(mind)]
        self.assertFull()
        self.loading[0].callback(Thing())
        opened(self.successResultOf(logins[0]))
        self.assertFull(False)
        logins.append(self.ask())
        self.assertFull()
        self.loading[2].errback(Boom())
        self.failureResultOf(logins[2], Boom)
        self.assertFull(False)
        logins.append(self.ask())
        self.assertFull()
        mind.disconnect()
        self.failureResultOf(logins[1])
        self.assertFull(False)
        logins[3].cancel()
        self.failureResultOf(logins[3], CancelledError)
        assert self.realm._roll.waiting == 0

    def test_undoing(self) -> None:
        """
        A login that was cancelled, or has failed, counts until it is undone.
        """
        gate: Deferred[None] = Deferred()
        script = Script({"acquire": lambda session: Deferred(), "release 1": lambda session: gate})
        self.realm = script.realm
        self.realm.maximumWaiting = 2
        logins = [waiting(script.login()) for _ in range(2)]
        logins[0].cancel()
        self.failureResultOf(logins[0], CancelledError)
        next(iter(self.realm.sessions)).logout()
        self.assertRaises(TooManyLogins, script.login)
        gate.callback(None)
        assert self.realm._roll.waiting == 1
        logins[1].cancel()
        self.failureResultOf(logins[1], CancelledError)
        assert (self.realm._roll.waiting, len(self.realm.sessions)) == (0, 0)

    def test_atOnce(self) -> None:
        """
        Logins that need not wait are never in progress: any number of them get in.
        """
        realm: Realm = Realm(lambda avatarId: Thing())
        realm.maximumWaiting = 1
        for _ in range(3):
            login(realm, b"alice", interface=IThing)
        assert (len(realm.sessions), realm._roll.waiting) == (3, 0)

    def test_fromInside(self) -> None:
        """
        A factory that logs in to its own realm is counted right.
        """

        def factory(avatarId: Any) -> Any:
            if not avatarId:
                return Thing()
            below = waiting(realm.requestAvatar(avatarId - 1, None, IThing))
            return below.addCallback(lambda result: result[1])

        def later(avatarId: Any) -> Any:
            return gate if not avatarId else factory(avatarId)

        gate: Deferred[Any] = Deferred()
        realm: Realm = Realm(later)
        pending = waiting(realm.requestAvatar(5, None, IThing))
        assert realm._roll.waiting == 6
        gate.callback(Thing())
        self.successResultOf(pending)
        assert realm._roll.waiting == 0

    def test_default(self) -> None:
        """
        There is a ceiling out of the box, it is inherited by what is stacked on the realm, and can
        be set at any time.
        """
        realm: Realm = Realm(self.load)
        assert realm.maximumWaiting == 10_000
        realm.maximumWaiting = None
        stacked: Realm = ConnectionLimit(9)(realm)
        assert stacked.maximumWaiting is None
        assert AvatarCache()(realm).maximumWaiting == 10_000
        for wrong in ("2", 2.5, True):
            self.assertRaises(TypeError, setattr, realm, "maximumWaiting", wrong)
        self.assertRaises(ValueError, setattr, realm, "maximumWaiting", 0)

    def test_flood(self) -> None:
        """
        Of any number of logins no more are begun than may be.
        """
        self.realm.maximumWaiting = 100
        refused = 0
        for _ in range(1000):
            try:
                self.ask()
            except TooManyLogins:
                refused += 1
        assert (refused, len(self.loading), len(self.realm.sessions)) == (900, 100, 100)


class WireTests(PBTestCase):
    """
    The same, to a real client.
    """

    async def test_refused(self) -> None:
        """
        The client can tell that it should come again later.
        """
        loading: list[Deferred[Any]] = []

        def load(avatarId: object) -> Any:
            loading.append(Deferred())
            return loading[-1]

        realm: Realm = Realm(load)
        realm.maximumWaiting = 1
        self.serve(realm)
        client = self.client()
        first, second = client.login(), client.login("bob")
        failure = await refusal(second)
        assert failure.check(TooManyLogins)
        loading[0].callback(Player(b"alice"))
        await first
