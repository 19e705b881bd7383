"""
Tests for avatars that are not told what they should be: each says so as early as it can be known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionAware,
    ConnectionCounter,
    MindAware,
    MindRegistry,
    PerConnection,
    Realm,
)
from avatarkit.testing import FakeMind
from logs import logged
from scripted import frank, opened, waiting


def login(realm: Any, mind: Any = None) -> tuple[Any, Callable[[], None]]:
    """
    Log in, and return the avatar and its logout.
    """
    result = opened(frank(realm).requestAvatar(b"alice", mind, pb.IPerspective))
    return result[1], result[2]


class _Whole(Avatar):
    """
    Every method calls super().
    """

    def connect(self) -> object:
        return super().connect()

    def disconnect(self) -> object:
        return super().disconnect()

    def attached(self, mind: Any) -> object:
        return super().attached(mind)

    def detached(self, mind: Any) -> object:
        return super().detached(mind)


class _Half(Avatar):
    """
    Two are overridden.
    """

    def connect(self) -> object:
        return super().connect()

    def attached(self, mind: Any) -> object:
        return super().attached(mind)


class _Own(Avatar):
    """
    None calls super().
    """

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def attached(self, mind: Any) -> None:
        pass

    def detached(self, mind: Any) -> None:
        pass


def make(kind: Callable[[], Any], avatarId: object) -> Any:
    """
    Make an avatar.
    """
    return kind()


class SuperTests(SynchronousTestCase):
    """
    Overriding a method of L{Avatar} without a call of super().
    """

    def setUp(self) -> None:
        """
        Start with a stack.
        """
        self.online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        self.counter: ConnectionCounter[Any] = ConnectionCounter()

    def stack(self, factory: Any) -> Realm[Any]:
        """
        Stack the blocks around a cache of avatars.
        """
        return self.online(self.counter(AvatarCache()(factory)))

    def test_connect(self) -> None:
        """
        A connect() that does not call super() refuses the first login.
        """

        class Mine(Avatar):
            def connect(self) -> None:
                pass

        realm = self.stack(lambda avatarId: Mine())
        error = self.assertRaises(TypeError, login, realm)
        assert str(error) == f"{Mine.__qualname__}.connect() must call super().connect()"
        assert (realm.audit(), dict(self.counter)) == ([], {})

    def test_attached(self) -> None:
        """
        So does an attached() that does not.
        """

        class Mine(Avatar):
            def attached(self, mind: Any) -> None:
                pass

        realm = self.stack(lambda avatarId: Mine())
        error = self.assertRaises(TypeError, login, realm, FakeMind())
        assert str(error) == f"{Mine.__qualname__}.attached() must call super().attached(mind)"
        assert (realm.audit(), list(self.online), dict(self.counter)) == ([], [], {})
        login(realm)

    def test_later(self) -> None:
        """
        One that waits first refuses it when it is done.
        """
        gate: Deferred[None] = Deferred()

        class Mine(Avatar):
            def connect(self) -> object:
                return gate

        realm = self.stack(lambda avatarId: Mine())
        refused = waiting(frank(realm).requestAvatar(b"alice", None, pb.IPerspective))
        gate.callback(None)
        self.failureResultOf(refused, TypeError)

    def test_halves(self) -> None:
        """
        If only the opposite calls super(), the first logout says so; the books are right.
        """

        class Mine(Avatar):
            def connect(self) -> None:
                pass

            def disconnect(self) -> object:
                return super().disconnect()

            def attached(self, mind: Any) -> None:
                pass

            def detached(self, mind: Any) -> object:
                return super().detached(mind)

        realm = self.stack(lambda avatarId: Mine())
        login(realm, FakeMind())[1]()
        assert [str(each.value) for each in self.flushLoggedErrors(TypeError)] == [
            f"{Mine.__qualname__}.attached() must call super().attached(mind)",
            f"{Mine.__qualname__}.connect() must call super().connect()",
        ]
        assert (realm.audit(), list(self.online), dict(self.counter)) == ([], [], {})

    def test_detached(self) -> None:
        """
        A detached() that does not call super() is found out when it keeps a mind that no session
        has.
        """

        class Mine(Avatar):
            def detached(self, mind: Any) -> None:
                pass

        realm, mind = self.stack(lambda avatarId: Mine()), FakeMind()
        logouts = [login(realm, mind)[1] for _ in range(2)]
        logouts[0]()
        assert self.flushLoggedErrors() == []
        logouts[1]()
        (failure,) = self.flushLoggedErrors(TypeError)
        assert str(failure.value) == (
            f"{Mine.__qualname__}.detached() must call super().detached(mind)"
        )

    def test_disconnect(self) -> None:
        """
        A disconnect() that does not call super() is found out at the first logout, and each time.
        """

        class Mine(Avatar):
            def disconnect(self) -> None:
                pass

        for block in (AvatarCache(), Block[Any]()):
            realm: Realm[Any] = self.counter(block(lambda avatarId: Mine()))
            for logout in [login(realm)[1] for _ in range(2)]:
                logout()
                (failure,) = self.flushLoggedErrors(TypeError)
                assert str(failure.value) == (
                    f"{Mine.__qualname__}.disconnect() must call super().disconnect()"
                )
            assert (realm.audit(), dict(self.counter)) == ([], {})

    def test_disconnectsAtOnce(self) -> None:
        """
        Of several that wait, those that have called super() by the time they are done are told
        from those that have not.
        """
        gates: list[Deferred[bool]] = []

        class Mine(Avatar):
            def disconnect(self) -> object:
                def arrived(calls: bool) -> object:
                    return super(Mine, self).disconnect() if calls else None

                gates.append(Deferred())
                return gates[-1].addCallback(arrived)

        realm = self.counter(AvatarCache()(lambda avatarId: Mine()))
        logins = [login(realm) for _ in range(4)]
        for _, logout in logins:
            logout()
        for gate, calls in zip(gates, (True, False, True, True), strict=True):
            gate.callback(calls)
            assert len(self.flushLoggedErrors(TypeError)) == (not calls)
        assert logins[0][0].connections == 1
        assert "_ahead" not in vars(logins[0][0])

    def test_disconnectRaises(self) -> None:
        """
        A disconnect() that raises after its call is reported as what it raised, and no other.
        """

        class Mine(Avatar):
            def disconnect(self) -> None:
                super().disconnect()
                raise LookupError

        login(self.counter(AvatarCache()(lambda avatarId: Mine())))[1]()
        assert len(self.flushLoggedErrors(LookupError)) == 1
        assert self.flushLoggedErrors() == []

    def test_right(self) -> None:
        """
        With super(), or without in all of them, nothing is amiss, however many log in and out.
        """
        for kind in (_Whole, _Half, _Own):
            realm, mind = self.stack(partial(make, kind)), FakeMind()
            logins = [login(realm, each) for each in (mind, mind, FakeMind(), None)]
            avatar = logins[0][0]
            if kind is not _Own:
                assert (avatar.connections, len(avatar.minds)) == (4, 3)
            for _, logout in logins:
                logout()
            assert len(avatar.minds) == 0
            assert realm.audit() == []

    def test_byHand(self) -> None:
        """
        Somebody who tells an avatar themselves is told by it what is wrong.
        """
        error = self.assertRaises(TypeError, Avatar().detached, FakeMind())
        assert str(error) == "Avatar.attached() must call super().attached(mind)"


class UntoldTests(SynchronousTestCase):
    """
    Avatars that nobody tells.
    """

    def test_noRegistry(self) -> None:
        """
        A push through the minds of an avatar that no registry has told anything says so, once for
        each class.
        """

        class Mine(Avatar):
            pass

        realm = Realm(lambda avatarId: Mine())
        with logged() as said:
            for _ in range(2):
                avatar, _ = login(realm, FakeMind())
                for _ in range(2):
                    avatar.minds.callRemote("note", pbanswer=False)
                    avatar.minds.excluding(None).callRemote("note", pbanswer=False)
        (line,) = said
        assert line.startswith(
            f"warn: a push through the minds of a {Mine.__qualname__} went to nobody, since no "
            "MindRegistry has told it of a client"
        )

    def test_tooEarly(self) -> None:
        """
        So does a push in an avatar's __init__.
        """

        class Mine(Avatar):
            def __init__(self) -> None:
                self.minds.callRemote("note", pbanswer=False)

        online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        with logged() as said:
            login(online(lambda avatarId: Mine()), FakeMind())
        (line,) = said
        assert "push in attached(mind)" in line
        assert "not in __init__, which is too early" in line

    def test_told(self) -> None:
        """
        Where there is a registry nothing is said: while somebody is there, when they have left,
        and if their sessions have no mind.
        """

        class Mine(Avatar):
            pass

        class Mindless(Avatar):
            pass

        online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        with logged() as said:
            avatar, logout = login(online(lambda avatarId: Mine()), FakeMind())
            avatar.minds.callRemote("note", pbanswer=False)
            logout()
            avatar.minds.callRemote("note", pbanswer=False)
            for _ in range(2):
                avatar, _ = login(online(lambda avatarId: Mindless()))
            avatar.minds.callRemote("note", pbanswer=False)
            assert len(Mine().minds) == 0
        assert said == []

    def test_noCounter(self) -> None:
        """
        Reading the connections of an avatar that no counter has told anything says so, once for
        each class.
        """

        class Mine(Avatar):
            pass

        avatar, _ = login(Realm(lambda avatarId: Mine()))
        with logged() as said:
            assert [avatar.connections for _ in range(3)] == [0, 0, 0]
            assert Mine.connections == 0
        (line,) = said
        assert line.startswith(
            f"warn: the connections of a {Mine.__qualname__} are 0, since no ConnectionCounter"
        )

    def test_counted(self) -> None:
        """
        Where there is a counter nothing is said, also when the last one has left.
        """

        class Mine(ConnectionAware, pb.Avatar):
            pass

        with logged() as said:
            avatar, logout = login(ConnectionCounter()(lambda avatarId: Mine()))
            assert avatar.connections == 1
            logout()
            assert avatar.connections == 0
        assert said == []

    def test_notAware(self) -> None:
        """
        An avatar that has the methods and does not say that it is to be told is mentioned once for
        each class.
        """

        class Theirs(pb.Avatar):
            def attached(self, mind: Any) -> None:
                raise AssertionError

            def connect(self) -> None:
                raise AssertionError

            def disconnect(self) -> None:
                raise AssertionError

        class Other(pb.Avatar):
            attached = None

            def connect(self) -> None:
                raise AssertionError

        online: MindRegistry[Any] = MindRegistry(reactor=Clock())
        counter: ConnectionCounter[Any] = ConnectionCounter()
        with logged() as said:
            for kind in (Theirs, Theirs, Other):
                for block in (online, counter):
                    login(block(partial(make, kind)), FakeMind())[1]()
        name = Theirs.__qualname__
        assert said == [
            f"warn: a {name} has attached(), which is not called: it must be an "
            "avatarkit.MindAware, or @implementer(IMindAware)",
            f"warn: a {name} has connect() and disconnect(), which are not called: it must be an "
            "avatarkit.ConnectionAware, or @implementer(IConnectionAware)",
        ]

    def test_counterBelowCache(self) -> None:
        """
        A cache says which counters count avatars below it, also further down; it counts them all
        the same.
        """
        counter: ConnectionCounter[Any] = ConnectionCounter()
        below = counter(lambda avatarId: Avatar())
        for target in (below, PerConnection(lambda session: session.avatar)(below)):
            with logged() as said:
                realm = AvatarCache()(target)
            assert said == [
                "warn: ConnectionCounter() is below a cache, where it counts avatars, each of "
                "which has one connection: stack it above the cache to count logins"
            ]
        login(realm)
        login(realm)
        assert counter.total == 1
        with logged() as said:
            ConnectionCounter()(AvatarCache()(lambda avatarId: MindAware()))
        assert said == []
