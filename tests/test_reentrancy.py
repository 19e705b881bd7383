"""
Users' code that calls back, raises where it should not, or does things twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.spread.pb import IPerspective
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    IMind,
    LoginAbandoned,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
    displaceOldest,
    displaceUnresponsive,
)
from avatarkit.testing import FakeMind
from pb import PBTestCase
from scripted import (
    Boom,
    Gate,
    IThing,
    Script,
    Thing,
    frank,
    garbageOf,
    opened,
    raises,
    slots,
    waiting,
)


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


def stuck(canceller: Any, name: object) -> Deferred[Any]:
    """
    Return a Deferred that never fires: a stuck factory.
    """
    return Deferred(canceller)


class MindTests(SynchronousTestCase):
    """
    What may go wrong with a mind.
    """

    def stuck(self, mind: object) -> tuple[Realm, ConnectionLimit, Deferred[Any]]:
        """
        Make a login wait.
        """
        limit = ConnectionLimit()
        realm = limit(AvatarCache()(lambda name: Deferred()))
        return realm, limit, waiting(realm.requestAvatar(b"alice", mind, IThing))

    def test_brokenAdapters(self) -> None:
        """
        If a mind's adapter raises when a callback is registered, the login is refused; if it raises
        when a callback is removed, that is logged.
        """

        class Odd(FakeMind):
            def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
                raise Boom

        limit = ConnectionLimit()
        realm = frank(limit(lambda name: Deferred()))
        login = waiting(realm.requestAvatar(b"alice", Odd(), IThing))
        self.failureResultOf(login, Boom)
        assert (slots(limit), realm.audit()) == ({}, [])

        class Sticky(FakeMind):
            def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
                raise Boom

        realm, limit, login = self.stuck(Sticky())
        (session,) = realm.sessions
        session.logout()
        self.failureResultOf(login, LoginAbandoned)
        assert slots(limit) == {}
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_severalLogins(self) -> None:
        """
        Several waiting logins over one connection all end with it, whatever their callbacks do to
        each other.
        """
        mind = FakeMind()
        realm = ConnectionLimit(9)(lambda name: Deferred())
        logins = [waiting(realm.requestAvatar(b"alice", mind, IThing)) for _ in range(3)]
        logins[0].addErrback(lambda failure: logins[1].cancel())
        mind.disconnect()
        self.successResultOf(logins[0])
        self.failureResultOf(logins[1], CancelledError)
        self.failureResultOf(logins[2], LoginAbandoned)
        assert len(realm.sessions) == 0

    def test_brokenCanceller(self) -> None:
        """
        If a canceller raises, what waits is given up and the error is logged, and the realm and all
        other logins end all the same.
        """

        def broken(waiting: Deferred[Any]) -> None:
            raise Boom

        def brokenLater(waiting: Deferred[Any]) -> None:
            waiting.errback(KeyError())
            raise Boom

        ends = ("disconnect", "logout", "close", "cancel")
        for end, canceller in product(ends, (broken, brokenLater)):
            mind, limit = FakeMind(), ConnectionLimit(2)
            realm = limit(partial(stuck, canceller))
            first = waiting(realm.requestAvatar(b"alice", mind, IThing))
            second = waiting(realm.requestAvatar(b"alice", mind, IThing))
            if end == "disconnect":
                mind.disconnect()
            elif end == "close":
                self.successResultOf(realm.close())
            else:
                for session in tuple(realm.sessions):
                    login: Any = session._login
                    session.logout() if end == "logout" else login.cancel()
            for login in (first, second):
                self.failureResultOf(login)
            assert (slots(limit), realm.audit(), len(realm.sessions)) == ({}, [], 0)
            assert len(self.flushLoggedErrors(Boom)) == 2


class RealMindTests(PBTestCase):
    """
    What may go wrong with a real connection.
    """

    async def test_raisingCallback(self) -> None:
        """
        If a foreign disconnect callback raises, a waiting login ends all the same.
        """
        asked: Deferred[Session] = Deferred()

        class Rude(Block):
            def admit(self, session: Session) -> Any:
                session.mind.notifyOnDisconnect(raises)
                asked.callback(session)
                return Deferred()

        limit = ConnectionLimit()
        self.serve(limit(Rude()(lambda name: Avatar())))
        client = self.client()
        client.login().addErrback(lambda failure: None)
        session = await asked
        client.disconnect()
        await session.whenClosed()
        assert slots(limit) == {}
        assert len(self.flushLoggedErrors(Boom)) == 1


class Saved(Thing):
    """
    An avatar that does something when it is saved.
    """

    act: Callable[[], object]

    def __init__(self, saved: list[bytes], name: bytes) -> None:
        self.name, self.saved = name, saved

    def logout(self) -> None:
        """
        Record the logout, and do what the test says.
        """
        self.saved.append(self.name)
        Saved.act()


class Below(Thing):
    """
    An avatar that records its end.
    """

    def __init__(self, order: list[str], name: bytes) -> None:
        self.order = order

    def logout(self) -> None:
        """
        Record the logout.
        """
        self.order.append("below")


class BelowTests(SynchronousTestCase):
    """
    Inner sessions that end at awkward times.
    """

    def test_endedWhileHandedRound(self) -> None:
        """
        If the first of several waiting logins ends the avatar that it gets, the others get a new
        one.
        """
        kick, cache = Kick(), AvatarCache()
        loads: list[Deferred[Any]] = []

        def factory(name: object) -> Deferred[Any]:
            loads.append(Deferred())
            return loads[-1]

        script = Script()
        realm = script.blocks[0](cache(kick(factory)))
        logins = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(3)]

        def end(session: Session) -> None:
            script.acts.clear()
            kick.seen[0].logout()
            assert realm.audit() == []

        script.acts["attached 0"] = end
        loads[0].callback(Thing())
        self.failureResultOf(logins[0], LoginAbandoned)
        assert realm.audit() == []
        new = Thing()
        loads[1].callback(new)
        for login in logins[1:]:
            assert self.successResultOf(login)[1] is new
        assert realm.audit() == []

    def test_endedTwice(self) -> None:
        """
        Ending an inner session repeatedly does not end it before its outer sessions.
        """
        for around in (PerConnection(lambda session: Thing()), AvatarCache()):
            kick, gate, order = Kick(), Gate(), list[str]()

            script = Script({"detached 0": gate.deferred})
            target: Realm = kick(partial(Below, order))
            realm = script.blocks[0](around(target))
            opened(realm.requestAvatar(b"alice", None, IThing))
            for _ in range(3):
                kick.seen[0].logout()
            assert order == []
            gate.wait.callback(None)
            assert order == ["below"]
            assert realm.audit() == []

    def test_closingTogether(self) -> None:
        """
        Avatars that retire each other, or close the realm, while the realm closes do not upset it.
        """
        names = [b"a", b"b", b"c"]
        for act in (
            lambda realm, cache: [cache.retire(name) for name in names],
            lambda realm, cache: realm.close(),
            lambda realm, cache: cache.close(),
        ):
            cache, saved = AvatarCache(), list[bytes]()
            realm = ConnectionCounter()(cache(partial(Saved, saved)))
            Saved.act = partial(act, realm, cache)
            for name in names:
                opened(realm.requestAvatar(name, None, IThing))[2]()
            self.successResultOf(realm.close())
            assert sorted(saved) == names

    def test_deadMindAbove(self) -> None:
        """
        The audit finds nothing while the outer session of a dead client is ending.
        """
        gate, mind = Gate(), FakeMind()
        script = Script({"detached 0": gate.deferred})
        realm = script.blocks[0](PerConnection(lambda session: Thing())(lambda name: Thing()))
        logout = opened(realm.requestAvatar(b"alice", mind, IThing))[2]
        mind.disconnect()
        logout()
        assert realm.audit() == []
        gate.wait.callback(None)

    def test_auditInside(self) -> None:
        """
        The audit finds nothing when a hook calls it.
        """
        found: list[str] = []

        class Auditing(Avatar):
            def connect(self) -> None:
                found.extend(realm.audit())

            def attached(self, mind: object) -> None:
                found.extend(realm.audit())

            def detached(self, mind: object) -> None:
                found.extend(realm.audit())

            def disconnect(self) -> None:
                found.extend(realm.audit())

        gate = Gate()
        realm = MindRegistry()(
            ConnectionLimit(3)(ConnectionCounter()(AvatarCache()(lambda name: gate.wait)))
        )
        logins = [
            waiting(realm.requestAvatar(b"alice", FakeMind(), IPerspective)) for _ in range(3)
        ]
        gate.wait.callback(Auditing())
        for login in logins:
            self.successResultOf(login)[2]()
        assert found == []


class OddTests(SynchronousTestCase):
    """
    Small things.
    """

    def test_belowOfTheirOwn(self) -> None:
        """
        A source may have an attribute of its own called C{below}.
        """
        script = Script()
        script.source.below = "stairs"  # type: ignore[attr-defined]
        opened(script.login())
        assert script.realm.audit() == []

    def test_closeWithoutTarget(self) -> None:
        """
        Closing a cache that was never stacked is done at once.
        """
        self.successResultOf(AvatarCache().close())

    def test_clocks(self) -> None:
        """
        A reactor that is not an IReactorTime is refused.
        """
        bad: Any = 5
        for make in (AvatarCache, ConnectionLimit, displaceOldest, displaceUnresponsive):
            make(reactor=Clock())
            error = self.assertRaises(TypeError, make, reactor=bad)
            assert "IReactorTime" in str(error)
        realm = Script().realm
        self.assertRaises(TypeError, realm.close, reactor=bad)
        self.assertRaises(TypeError, realm.service, reactor=bad)

    def test_noCycles(self) -> None:
        """
        If a cached avatar cannot be made, nothing is left for the garbage collector.
        """

        def factory(name: object) -> object:
            raise Boom

        realm = frank(AvatarCache()(factory))
        assert garbageOf(lambda: realm.requestAvatar(b"alice", None, IThing)) == 0

    def test_adapters(self) -> None:
        """
        A registered adapter is asked whether the client is gone before any hook runs.
        """

        class Phone:
            gone = True

        class Line(FakeMind):
            pass

        def dial(phone: Phone) -> FakeMind:
            line = Line()
            line.disconnected = phone.gone
            return line

        registerAdapter(dial, Phone, IMind)
        self.assertRaises(LoginAbandoned, Script().realm.requestAvatar, b"alice", Phone(), IThing)
