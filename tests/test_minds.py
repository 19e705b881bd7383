"""
Tests for L{avatarkit.MindRegistry}, L{avatarkit.MindGroup} and the avatar base classes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    IConnectionAware,
    IMind,
    IMindAware,
    MindAware,
    MindGroup,
    MindRegistry,
    Realm,
)
from avatarkit._online.bases import MindBag
from avatarkit.testing import FakeMind
from scripted import Boom, IThing, Thing, frank, opened, sessionOf, waiting


class MindRegistryTests(SynchronousTestCase):
    """
    Who is online.
    """

    def setUp(self) -> None:
        """
        Start with a registry around a cache.
        """
        self.registry = MindRegistry(reactor=Clock())
        self.realm = self.registry(AvatarCache()(lambda avatarId: Thing()))

    def test_groups(self) -> None:
        """
        The group of an avatar ID is a live view: empty without sessions, and right when minds come
        and go, although minds cannot be compared.
        """
        alice, everyone = self.registry[b"alice"], self.registry.everyone
        assert (len(alice), list(alice), len(everyone)) == (0, [], 0)
        minds = [FakeMind() for _ in range(3)]
        logins = [login(self.realm, mind) for mind in minds]
        bob = FakeMind()
        login(self.realm, bob, b"bob")
        assert same(alice, minds)
        assert same(everyone, [*minds, bob])
        assert [minds[1] in alice, bob in alice, bob in everyone] == [True, False, True]
        logins[1][2]()
        assert same(alice, [minds[0], minds[2]])
        assert minds[1] not in alice
        logins[0][2]()
        logins[2][2]()
        assert (len(alice), list(alice), len(everyone)) == (0, [], 1)
        assert minds[1] not in alice

    def test_online(self) -> None:
        """
        Iteration, C{len} and C{in} cover the avatar IDs that are online.
        """
        first, second = login(self.realm, FakeMind()), login(self.realm, FakeMind())
        login(self.realm, FakeMind(), b"bob")
        assert (list(self.registry), len(self.registry)) == ([b"alice", b"bob"], 2)
        first[2]()
        assert b"alice" in self.registry
        second[2]()
        assert (list(self.registry), b"alice" in self.registry) == ([b"bob"], False)

    def test_sessions(self) -> None:
        """
        The registry returns the sessions of an avatar ID, oldest first, and none for a stranger.
        """
        logins = [login(self.realm, FakeMind()) for _ in range(2)]
        sessions = self.registry.sessions(b"alice")
        assert [session.logout for session in sessions] == [each[2] for each in logins]
        logins[0][2]()
        assert self.registry.sessions(b"alice") == sessions[1:]
        assert self.registry.sessions(b"stranger") == ()

    def test_noMind(self) -> None:
        """
        A session without a mind is online, but in no group.
        """
        logout = login(self.realm, None)[2]
        assert len(self.registry.sessions(b"alice")) == 1
        assert list(self.registry) == [b"alice"]
        for group in (self.registry[b"alice"], self.registry.everyone):
            assert (len(group), list(group)) == (0, [])
        mind = FakeMind()
        login(self.realm, mind)
        for group in (self.registry[b"alice"], self.registry.everyone):
            assert same(group, [mind])
        logout()
        assert same(self.registry.everyone, [mind])

    def test_counting(self) -> None:
        """
        The size of a group is known without iterating over it.
        """

        class Blind(dict[Any, None]):
            def __iter__(self) -> Any:
                raise Boom

        online = MindRegistry(reactor=Clock())
        realm = online(lambda avatarId: Thing())
        minds = (FakeMind(), None, FakeMind(), None)
        sessions = [sessionOf(realm, login(realm, mind)) for mind in minds]
        group = online[b"alice"]
        online._online[b"alice"] = Blind(online._online[b"alice"])
        for session in sessions:
            count = len(group)
            session.logout()
            assert count - len(group) == (session.mind is not None)
        assert (len(group), dict(online._mindless)) == (0, {})

    def test_sameMind(self) -> None:
        """
        A mind that has logged in twice is in the group twice, and after a logout once.
        """
        mind = FakeMind()
        first = login(self.realm, mind)
        login(self.realm, mind)
        self.registry[b"alice"].callRemote("hello")
        assert [call.name for call in mind.calls] == ["hello", "hello"]
        first[2]()
        assert same(self.registry[b"alice"], [mind])

    def test_push(self) -> None:
        """
        A push reaches every client with its arguments, and its Deferred fires with what each client
        answered.
        """
        minds = [FakeMind(), FakeMind()]
        for mind in minds:
            login(self.realm, mind)
        pushed = self.registry[b"alice"].callRemote("notify", 1, name="noon", f=2)
        calls = [mind.calls[0] for mind in minds]
        assert [(call.name, call.args, call.kwargs) for call in calls] == [
            ("notify", (1,), {"name": "noon", "f": 2})
        ] * 2
        calls[1].answer.callback("second")
        self.assertNoResult(pushed)
        calls[0].answer.errback(Boom())
        (first, second) = self.successResultOf(pushed)
        assert (first[0], first[1].check(Boom)) == (False, Boom)
        assert second == (True, "second")

    def test_deadMind(self) -> None:
        """
        A mind that is dead, or dies during the push, is a failure in the result, and the others get
        the push.
        """
        dead, dying, alive = FakeMind(), FakeMind(), FakeMind()
        for mind in (dead, dying, alive):
            login(self.realm, mind)
        dead.disconnect()
        pushed = self.registry.everyone.callRemote("hello")
        dying.disconnect()
        alive.calls[0].answer.callback(7)
        results = self.successResultOf(pushed)
        assert [success for success, result in results] == [False, False, True]
        assert results[0][1].check(pb.DeadReferenceError)
        assert results[1][1].check(pb.PBConnectionLost)

    def test_leavingDuringPush(self) -> None:
        """
        A client that is logged out by another during a push is left out, and the rest get the push.
        """

        class Leaver(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                logins[1][2]()
                return "left"

        minds = [Leaver(), FakeMind(), FakeMind()]
        logins = [login(self.realm, mind) for mind in minds]
        pushed = self.registry.everyone.callRemote("hello")
        minds[2].calls[0].answer.callback("here")
        left, gone, here = self.successResultOf(pushed)
        assert [left, here] == [(True, "left"), (True, "here")]
        assert gone[1].check(pb.DeadReferenceError)
        assert minds[1].calls == []

    def test_emptyPush(self) -> None:
        """
        The Deferred of a push to nobody fires at once with an empty list.
        """
        assert self.successResultOf(self.registry[b"nobody"].callRemote("hello")) == []

    def test_groupOfMyOwn(self) -> None:
        """
        Any collection of minds can be a group, which changes with the collection.
        """
        room: dict[str, FakeMind] = {}
        group = MindGroup(room.values())
        assert repr(group) == "<MindGroup of 0>"
        room["alice"] = FakeMind()
        group.callRemote("hello")
        assert room["alice"].calls[0].name == "hello"
        assert repr(group) == "<MindGroup of 1>"


@implementer(IMindAware)
class Told(Thing):
    """
    An avatar that records what it is told, and does what the test says.
    """

    def __init__(self, name: object) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.attaching: Any = lambda: None
        self.detaching: Any = lambda: None

    def attached(self, mind: Any) -> object:
        """
        Record how many minds the registry has.
        """
        self.told.append(("attached", id(mind), len(registry[b"alice"])))
        return self.attaching()

    def detached(self, mind: Any) -> object:
        """
        Record how many minds the registry has.
        """
        self.told.append(("detached", id(mind), len(registry[b"alice"])))
        return self.detaching()


registry = MindRegistry(reactor=Clock())


class MindAwareTests(SynchronousTestCase):
    """
    Telling avatars of their minds.
    """

    def setUp(self) -> None:
        """
        Start with an empty registry.
        """
        global registry
        registry = MindRegistry(reactor=Clock())

    def test_tells(self) -> None:
        """
        An avatar is told of each mind when it is filed and when it is no longer, but not of None.
        """
        realm = registry(AvatarCache()(Told))
        mind = FakeMind()
        _interface, avatar, logout = login(realm, mind)
        login(realm, None)[2]()
        logout()
        assert avatar.told == [("attached", id(mind), 1), ("detached", id(mind), 0)]

    def test_adapter(self) -> None:
        """
        An avatar that can be adapted to L{IMindAware} is told through the adapter.
        """

        class Plain(Thing):
            def __init__(self, name: object) -> None:
                self.told = Told(name)

        registerAdapter(lambda plain: plain.told, Plain, IMindAware)
        avatar, logout = login(registry(Plain), FakeMind())[1:]
        logout()
        assert [what for what, *_ in avatar.told.told] == ["attached", "detached"]

    def test_refusal(self) -> None:
        """
        If an avatar's C{attached} fails, at once or later, the login is refused and not online.
        """
        avatar, gate = Told(b"alice"), Deferred[None]()
        realm = frank(registry(lambda avatarId: avatar))

        def raising() -> object:
            raise Boom

        for attaching in (raising, lambda: fail(Boom())):
            avatar.attaching = attaching
            self.assertRaises(Boom, login, realm, FakeMind())
        avatar.attaching = lambda: gate
        pending = waiting(realm.requestAvatar(b"alice", FakeMind(), IThing))
        assert len(registry) == 1
        gate.errback(Boom())
        self.failureResultOf(pending, Boom)
        assert (len(registry), len(registry.everyone)) == (0, 0)
        assert [what for what, *_ in avatar.told] == ["attached"] * 3

    def test_waits(self) -> None:
        """
        The end of a session waits for the avatar's C{detached}.
        """
        avatar, gate = Told(b"alice"), Deferred[None]()
        avatar.detaching = lambda: gate
        realm = registry(lambda avatarId: avatar)
        login(realm, FakeMind())
        closing = realm.close(timeout=None)
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)


class AvatarTests(SynchronousTestCase):
    """
    L{Avatar} and L{MindAware}.
    """

    def test_avatar(self) -> None:
        """
        An L{Avatar} counts its connections and keeps its minds even if a subclass does not call
        C{super().__init__}, and provides what Perspective Broker asks for.
        """

        class SimpleAvatar(Avatar):
            def __init__(self, name: object) -> None:
                self.name = name

        realm = MindRegistry(reactor=Clock())(ConnectionCounter()(AvatarCache()(SimpleAvatar)))
        minds = [FakeMind(), FakeMind()]
        logins = [opened(realm.requestAvatar(b"alice", m, pb.IPerspective)) for m in minds]
        avatar = logins[0][2].__self__.avatar
        for interface in (IConnectionAware, IMindAware, pb.IPerspective):
            verifyObject(interface, avatar)
        assert avatar.connections == 2
        assert same(avatar.minds, minds)
        assert minds[0] in avatar.minds
        group = avatar.minds
        avatar.minds.callRemote("hello")
        assert [mind.calls[0].name for mind in minds] == ["hello", "hello"]
        logins[0][2]()
        assert avatar.connections == 1
        assert same(group, minds[1:])
        assert minds[0] not in group

    def test_fresh(self) -> None:
        """
        An avatar that has had no client has no connections, and an empty group of its own.
        """
        first, second = Avatar(), Avatar()
        assert (first.connections, len(first.minds)) == (0, 0)
        first.attached(FakeMind())
        assert (len(first.minds), len(second.minds)) == (1, 0)

    def test_mindAware(self) -> None:
        """
        L{MindAware} keeps the minds of an avatar that is not a Perspective Broker avatar.
        """

        class Mine(MindAware, Thing):
            def __init__(self, name: object) -> None:
                pass

        mind = FakeMind()
        avatar = login(MindRegistry(reactor=Clock())(Mine), mind)[1]
        verifyObject(IMindAware, avatar)
        assert same(avatar.minds, [mind])

    def test_bag(self) -> None:
        """
        A mind that is added three times to a bag is there three times, and gone when it is removed
        as often; one that is not there cannot be removed.
        """
        bag, one, two = MindBag(), FakeMind(), FakeMind()
        for mind in (one, two, one, one):
            bag.add(mind)
        for times in (3, 2):
            assert (len(bag), same(bag, [one] * times + [two])) == (times + 1, True)
            bag.remove(one)
        assert same(bag, [one, two])
        assert (len(bag), bag._again) == (2, {})
        bag.remove(one)
        assert same(bag, [two])
        self.assertRaises(KeyError, bag.remove, one)
        assert len(bag) == 1


class FakeMindTests(SynchronousTestCase):
    """
    L{FakeMind} behaves as badly as a real mind.
    """

    def test_interface(self) -> None:
        """
        A fake mind provides L{IMind}.
        """
        verifyObject(IMind, FakeMind())

    def test_incomparable(self) -> None:
        """
        Two fake minds cannot be compared, and all have the same hash.
        """
        mind = FakeMind()
        assert mind == mind  # what a list does first
        self.assertRaises(TypeError, lambda: mind == FakeMind())
        self.assertRaises(TypeError, lambda: [FakeMind()].remove(mind))
        assert hash(mind) == hash(FakeMind()) == 1

    def test_disconnect(self) -> None:
        """
        When the client leaves, waiting calls fail, the callbacks are called with the mind, and
        every further use raises.
        """
        mind, called = FakeMind(), list[Any]()
        answered, waited = mind.callRemote("a"), mind.callRemote("b")
        mind.calls[0].answer.callback(1)
        mind.notifyOnDisconnect(called.append)
        mind.notifyOnDisconnect(print)
        mind.dontNotifyOnDisconnect(print)
        mind.disconnect()
        assert self.successResultOf(answered) == 1
        self.failureResultOf(waited, pb.PBConnectionLost)
        assert called[0] is mind
        assert len(called) == 1
        self.assertRaises(pb.DeadReferenceError, mind.callRemote, "c")
        self.assertRaises(AttributeError, mind.notifyOnDisconnect, print)
        self.assertRaises(AttributeError, mind.dontNotifyOnDisconnect, print)

    def test_raisingCallback(self) -> None:
        """
        A callback that raises is logged, and the later ones are not called.
        """
        mind, called = FakeMind(), list[Any]()

        def raising(mind: object) -> None:
            raise Boom

        mind.notifyOnDisconnect(raising)
        mind.notifyOnDisconnect(called.append)
        mind.disconnect()
        assert len(self.flushLoggedErrors(Boom)) == 1
        assert called == []


def same(minds: Any, expected: list[Any]) -> bool:
    """
    Compare minds by identity, since they cannot be compared otherwise.
    """
    assert len(minds) == len(expected)
    return [id(each) for each in minds] == [id(each) for each in expected]


def login(realm: Realm, mind: object, avatarId: bytes = b"alice") -> Any:
    """
    Log in to a realm that does not wait.
    """
    return opened(realm.requestAvatar(avatarId, mind, IThing))
