"""
Tests for L{avatarkit.ConnectionCounter}, L{avatarkit.ConnectionLimit} and
L{avatarkit.PerConnection}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail
from twisted.python.components import registerAdapter
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import (
    AvatarCache,
    ConnectionAware,
    ConnectionCounter,
    ConnectionLimit,
    IConnectionAware,
    PerConnection,
    Realm,
    Session,
    TooManyConnections,
    UnsupportedInterface,
)
from scripted import (
    Boom,
    Gate,
    IOther,
    IThing,
    Script,
    Thing,
    foreignSession,
    frank,
    opened,
    raises,
    slots,
    waiting,
)


@implementer(IConnectionAware)
class Told(Thing):
    """
    An avatar that records what it is told, and does what the test says.
    """

    def __init__(self, name: object) -> None:
        self.told: list[tuple[str, int]] = []
        self.connecting: Any = lambda: None
        self.disconnecting: Any = lambda: None

    def connect(self) -> object:
        """
        Record how many sessions the counter counts.
        """
        self.told.append(("connect", counter.connections(b"alice")))
        return self.connecting()

    def disconnect(self) -> object:
        """
        Record how many sessions the counter counts.
        """
        self.told.append(("disconnect", counter.connections(b"alice")))
        return self.disconnecting()


counter = ConnectionCounter()


class ConnectionCounterTests(SynchronousTestCase):
    """
    Counting sessions with a L{ConnectionCounter}.
    """

    def setUp(self) -> None:
        """
        Start with a counter that counts nobody.
        """
        global counter
        counter = ConnectionCounter()

    def test_counts(self) -> None:
        """
        The counter counts sessions by avatar ID and in total, and forgets an ID without sessions.
        """
        realm = counter(Thing_)
        first, second, bob = login(realm), login(realm), login(realm, b"bob")
        assert counter.connections(b"alice") == 2
        assert counter.connections(b"stranger") == 0
        assert counter.total == 3
        assert dict(counter) == {b"alice": 2, b"bob": 1}
        assert len(counter) == 2
        bob[2]()
        first[2]()
        assert dict(counter) == {b"alice": 1}
        self.assertRaises(KeyError, lambda: counter[b"bob"])
        second[2]()
        assert (dict(counter), counter.total) == ({}, 0)
        assert counter != ConnectionCounter()
        assert len({counter, ConnectionCounter()}) == 2

    def test_tells(self) -> None:
        """
        An avatar is told of each session; the count includes the session when C{connect} is called,
        and no longer when C{disconnect} is.
        """
        realm = counter(AvatarCache()(Told))
        first, second = login(realm), login(realm)
        first[2]()
        second[2]()
        expected = [("connect", 1), ("connect", 2), ("disconnect", 1), ("disconnect", 0)]
        assert first[1].told == expected

    def test_adapter(self) -> None:
        """
        An avatar that can be adapted to L{IConnectionAware} is told through the adapter.
        """

        class Plain(Thing):
            def __init__(self, name: object) -> None:
                self.told = Told(name)

        registerAdapter(lambda plain: plain.told, Plain, IConnectionAware)
        avatar, logout = login(counter(Plain))[1:]
        logout()
        assert avatar.told.told == [("connect", 1), ("disconnect", 0)]

    def test_refusal(self) -> None:
        """
        If an avatar's C{connect} fails, at once or later, the login is refused and not counted.
        """
        avatar = Told(b"alice")
        realm = frank(counter(lambda avatarId: avatar))

        def raising() -> object:
            raise Boom

        for connecting in (raising, lambda: fail(Boom())):
            avatar.connecting = connecting
            self.assertRaises(Boom, login, realm)
            assert (dict(counter), counter.total) == ({}, 0)
        gate: Deferred[None] = Deferred()
        avatar.connecting = lambda: gate
        pending = waiting(realm.requestAvatar(b"alice", None, IThing))
        assert dict(counter) == {b"alice": 1}
        gate.errback(Boom())
        self.failureResultOf(pending, Boom)
        assert (dict(counter), counter.total) == ({}, 0)
        assert [what for what, count in avatar.told] == ["connect"] * 3

    def test_waits(self) -> None:
        """
        A login waits for the avatar's C{connect}, and the end of the session for its C{disconnect}.
        """
        avatar, coming, going = Told(b"alice"), Gate(), Gate()
        avatar.connecting, avatar.disconnecting = lambda: coming.wait, lambda: going.wait
        realm = counter(lambda avatarId: avatar)
        pending = waiting(realm.requestAvatar(b"alice", None, IThing))
        self.assertNoResult(pending)
        coming.wait.callback(None)
        self.successResultOf(pending)[2]()
        closing = realm.close(timeout=None)
        self.assertNoResult(closing)
        assert dict(counter) == {}
        going.wait.callback(None)
        self.successResultOf(closing)

    def test_spans(self) -> None:
        """
        A counter in two realms counts the sessions of both.
        """
        login(counter(Thing_))
        login(counter(Thing_))
        assert counter.connections(b"alice") == 2

    def test_mixin(self) -> None:
        """
        L{ConnectionAware} keeps the count on an avatar that is not a Perspective Broker avatar and
        does not call C{super().__init__}.
        """

        class Mine(ConnectionAware, Thing):
            def __init__(self, name: object) -> None:
                pass

        realm = counter(AvatarCache()(Mine))
        avatar, logout = login(realm)[1:]
        verifyObject(IConnectionAware, avatar)
        login(realm)
        assert avatar.connections == 2
        logout()
        assert avatar.connections == 1


class ConnectionLimitTests(SynchronousTestCase):
    """
    Limiting sessions with a L{ConnectionLimit}.
    """

    def test_limit(self) -> None:
        """
        A login beyond the maximum is refused, until a session ends.
        """
        for limit, maximum in ((ConnectionLimit(), 1), (ConnectionLimit(3), 3)):
            realm = limit(Thing_)
            logins = [login(realm) for _ in range(maximum)]
            error = self.assertRaises(TooManyConnections, login, realm)
            assert (error.avatarId, error.maximum) == (b"alice", maximum)
            login(realm, b"bob")
            logins[0][2]()
            logins[0][2]()
            login(realm)
            self.assertRaises(TooManyConnections, login, realm)

    def test_simultaneous(self) -> None:
        """
        Simultaneous logins that are still in progress hold slots, and give them back if they fail.
        """
        gates: list[Gate] = []

        def factory(avatarId: object) -> object:
            gates.append(Gate())
            return gates[-1].wait

        realm = frank(ConnectionLimit(2)(factory))
        pending = [waiting(realm.requestAvatar(b"alice", None, IThing)) for _ in range(2)]
        for _ in range(10):
            self.assertRaises(TooManyConnections, login, realm)
        gates[0].wait.errback(Boom())
        self.failureResultOf(pending[0], Boom)
        pending.append(waiting(realm.requestAvatar(b"alice", None, IThing)))
        self.assertRaises(TooManyConnections, login, realm)
        gates[1].wait.callback(Thing())
        gates[2].wait.callback(Thing())
        assert [len(self.successResultOf(each)) for each in pending[1:]] == [3, 3]
        self.assertRaises(TooManyConnections, login, realm)

    def test_forgets(self) -> None:
        """
        A limit keeps nothing of sessions that have ended.
        """
        limit = ConnectionLimit(2)
        realm = limit(Thing_)
        for logout in [login(realm)[2] for _ in range(2)]:
            logout()
        assert slots(limit) == {}

    def test_badMaximum(self) -> None:
        """
        A maximum that is not an int of at least 1 is refused at construction.
        """
        bad: Any
        for bad in (0, -1):
            self.assertRaises(ValueError, ConnectionLimit, bad)
        for bad in (True, False, 1.0, "3", None):
            error = self.assertRaises(TypeError, ConnectionLimit, bad)
            assert "must be an int" in str(error)

    def test_spans(self) -> None:
        """
        A limit in two realms is one limit.
        """
        limit = ConnectionLimit()
        login(limit(Thing_))
        self.assertRaises(TooManyConnections, login, limit(Thing_))


class PerConnectionTests(SynchronousTestCase):
    """
    One avatar for each session, with a L{PerConnection}.
    """

    def test_alone(self) -> None:
        """
        Without a target, PerConnection builds an avatar from the session alone, also below blocks.
        """
        mind = object()
        realm = ConnectionLimit(1)(PerConnection(lambda session: Clock(session.mind, session)))
        avatar, logout = opened(realm.requestAvatar(b"alice", mind, IThing))[1:]
        assert (avatar.mind, avatar.below) == (mind, None)
        logout()
        logout()
        assert avatar.logouts == 1

    def test_shared(self) -> None:
        """
        Over a cache, each session has its own avatar, built from the one that they share.
        """
        script = Script()
        realm = PerConnection(lambda session: Clock(session.mind, session))(
            AvatarCache()(script.realm)
        )
        first, second = login(realm), login(realm)
        assert first[1] is not second[1]
        assert first[1].below is second[1].below
        first[2]()
        assert (first[1].logouts, second[1].logouts) == (1, 0)
        assert "let go" not in script.log
        self.successResultOf(realm.close())
        assert second[1].logouts == 1
        assert script.log[-2:] == ["release 0", "close"]

    def test_belowNeedsNoInterface(self) -> None:
        """
        The avatar that is built must provide what the client asks for, but the one below need not.
        """
        realm = frank(PerConnection(lambda session: Thing())(lambda avatarId: "greeter"))
        login(realm)
        realm = frank(
            PerConnection[Any, Any](lambda session: session.avatar)(lambda avatarId: "greeter")
        )
        self.assertRaises(UnsupportedInterface, login, realm)

    def test_inner(self) -> None:
        """
        Blocks below see an inner session with the same mind, which ends with the outer one, and the
        outer session waits for its end.
        """
        script, gate, mind = Script(), Gate(), object()
        script.acts["release 0"] = gate.deferred
        seen: list[Session] = []
        script.acts["attached 0"] = seen.append
        realm = PerConnection(lambda session: Clock(session.mind, session))(script.realm)
        logout = opened(realm.requestAvatar(b"alice", mind, IThing))[2]
        (inner,) = seen
        assert inner.mind is mind
        logout()
        closing = realm.close(timeout=None)
        self.assertNoResult(closing)
        gate.wait.callback(None)
        self.successResultOf(closing)

    def test_failures(self) -> None:
        """
        If the build fails, at once or later, the inner session is closed; if anything below fails,
        nothing is built.
        """
        script, gate = Script(), Gate()
        built: list[Session] = []
        for build in (raises, gate.deferred):
            realm = frank(PerConnection(build)(script.realm))
            if build is raises:
                self.assertRaises(Boom, login, realm)
            else:
                pending = waiting(realm.requestAvatar(b"alice", None, IThing))
                gate.wait.errback(Boom())
                self.failureResultOf(pending, Boom)
            assert script.log[-1] == "release 0"
            assert not script.realm.sessions
        script.acts["acquire"] = raises
        self.assertRaises(Boom, login, frank(PerConnection(built.append)(script.realm)))
        assert built == []

    def test_waits(self) -> None:
        """
        The build may wait, and so may the factory below.
        """
        below, build = Gate(), Gate()
        realm = PerConnection(build.coroutine)(lambda avatarId: below.wait)
        pending = waiting(realm.requestAvatar(b"alice", None, IThing))
        below.wait.callback("greeter")
        self.assertNoResult(pending)
        thing = Thing()
        build.wait.callback(thing)
        assert self.successResultOf(pending)[1] is thing

    def test_twoTargets(self) -> None:
        """
        One PerConnection serves several realms, and keeps them apart.
        """
        per = PerConnection(lambda session: Clock(None, session))
        one, two = per(lambda avatarId: "one"), per(lambda avatarId: "two")
        assert (login(one)[1].below, login(two)[1].below) == ("one", "two")
        assert login(Realm(per))[1].below is None

    def test_sameAvatar(self) -> None:
        """
        If what is built is the avatar below, its logout is called once, by what is below: at the
        end of the session, or when it is retired.
        """
        same = PerConnection[Any, Any](lambda session: session.avatar)

        async def later(session: Session) -> object:
            return session.avatar

        for per in (same, PerConnection[Any, Any](later)):
            avatar, logout = login(per(lambda avatarId: Clock(None, foreignSession())))[1:]
            logout()
            assert avatar.logouts == 1
            foreign = Foreign(Clock(None, foreignSession()))
            login(per(foreign))[2]()
            assert foreign.avatar.logouts == 1
            cache = AvatarCache()
            avatar, logout = login(per(cache(lambda avatarId: Clock(None, foreignSession()))))[1:]
            logout()
            assert avatar.logouts == 0
            self.successResultOf(cache.retire(b"alice"))
            assert avatar.logouts == 1
            assert per._borrowed == set()

    def test_sameAvatarThatFails(self) -> None:
        """
        Nothing is kept of a session that is refused after its avatar was built.
        """
        per = PerConnection[Any, Any](lambda session: session.avatar)
        script = Script({"attached 0": raises})
        realm = frank(script.blocks[0](per(lambda avatarId: Clock(None, foreignSession()))))
        self.assertRaises(Boom, login, realm)
        assert per._borrowed == set()

    def test_chosenInterface(self) -> None:
        """
        The interface that a realm of somebody else's chose stays chosen for its own avatar,
        whatever that provides, and for one that is built and provides it; it is known during the
        build.  Any other avatar is seen as its own interfaces say.
        """
        seen: list[object] = []

        def build(session: Session) -> object:
            seen.append(session.interface)
            return built if built is not None else session.avatar

        @implementer(IThing, IOther)
        class Both:
            pass

        built: Any = None
        per = PerConnection[Any, Any](build)
        foreign = Foreign(object())
        for realm in (per(foreign), per(AvatarCache()(foreign)), per(per(foreign))):
            for built, expected in ((None, IThing), (Both(), IThing), (Other(), IOther)):
                result = opened(realm.requestAvatar(b"alice", None, IOther, IThing))
                assert result[0] is expected
                assert result[1] is (foreign.avatar if built is None else built)
                result[2]()
        assert set(seen) == {IThing, None}
        built = "not for clients"
        login(PerConnection(lambda session: Thing())(per(foreign)))
        self.assertRaises(UnsupportedInterface, login, frank(per(foreign)))

    def test_notCallable(self) -> None:
        """
        Something that cannot be called is refused at construction.
        """
        build: Any = 3
        error = self.assertRaises(TypeError, PerConnection, build)
        assert "callable of a session" in str(error)


@implementer(IOther)
class Other:
    """
    An avatar for somebody else.
    """


@implementer(IRealm)
class Foreign:
    """
    A realm of somebody else's, whose avatar need not declare what it provides.
    """

    def __init__(self, avatar: Any) -> None:
        self.avatar = avatar

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Choose the last interface.
        """
        return interfaces[-1], self.avatar, getattr(self.avatar, "logout", lambda: None)


class Clock(Thing):
    """
    An avatar that is built for a session.
    """

    def __init__(self, mind: object, session: Session) -> None:
        self.mind, self.below, self.logouts = mind, session.avatar, 0

    def logout(self) -> None:
        """
        Count the logouts.
        """
        self.logouts += 1


def Thing_(avatarId: object) -> Thing:
    """
    Return an avatar that no block needs to tell anything.
    """
    return Thing()


def login(realm: Realm, avatarId: bytes = b"alice") -> Any:
    """
    Log in to a realm that does not wait.
    """
    return opened(realm.requestAvatar(avatarId, None, IThing))
