"""
Tests for caches whose avatars are not one for each avatar ID: for a key, or for an ID and an
interface.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import AvatarCache, ConnectionLimit, LoginRefused, PerConnection, Session
from capabilities import Capability, nameOf
from saved import Player
from scripted import Boom, IOther, IThing, Thing, frank, opened, waiting


def made(build: Any, session: Session) -> Any:
    """
    Build an avatar that does not depend on the session.
    """
    return build()


class KeyTests(SynchronousTestCase):
    """
    A cache with a key.
    """

    def setUp(self) -> None:
        """
        Have a cache by name.
        """
        Player.made = []
        Player.saving = lambda player: None
        self.clock = Clock()
        self.cache: AvatarCache[Any] = AvatarCache(key=nameOf, reactor=self.clock)
        self.realm = ConnectionLimit(9, key=nameOf)(self.cache(Player))

    def login(self, name: str = "alice") -> Any:
        """
        Log in.
        """
        return opened(self.realm.requestAvatar(Capability(name), None, IThing))

    def tearDown(self) -> None:
        """
        The books agree.
        """
        assert self.realm.audit() == []

    def test_shared(self) -> None:
        """
        IDs that are other objects at each login share an avatar if their keys are equal; it is made
        for the first of them.
        """
        results = [self.login() for _ in range(3)]
        assert len({result[1] for result in results}) == len(self.cache) == 1
        assert isinstance(Player.made[0].name, Capability)
        for result in results:
            result[2]()
        assert self.login()[1] is Player.made[0]
        assert self.login("bob")[1] is Player.made[1]

    def test_names(self) -> None:
        """
        The mapping, retire and evict speak of keys.
        """
        player, logout = self.login()[1:]
        assert dict(self.cache) == {"alice": player}
        assert self.successResultOf(self.cache.retire("alice")) is False
        logout()
        assert self.successResultOf(self.cache.retire("alice")) is True
        self.login()
        assert self.successResultOf(self.cache.evict("alice")) is True
        assert [each.saved for each in Player.made] == [1, 1]

    def test_changed(self) -> None:
        """
        A key that would be another one at the end of the session changes nothing.
        """
        logout = self.login()[2]
        (session,) = self.realm.sessions
        avatarId: Any = session.avatarId
        capability = Capability("bob")
        capability.__dict__, before = {"name": "mallory"}, avatarId.name
        avatarId.name = "mallory"
        assert self.realm.audit() == []
        logout()
        assert (list(self.cache), before) == (["alice"], "alice")
        assert self.successResultOf(self.cache.retire("alice")) is True

    def test_anonymous(self) -> None:
        """
        Anonymous logins share no avatar, and no key is asked for.
        """
        cache: AvatarCache[Any] = AvatarCache(key=nameOf)
        realm = cache(Player)
        results = [opened(realm.requestAvatar(ANONYMOUS, None, IThing)) for _ in range(2)]
        assert results[0][1] is not results[1][1]

    def test_bad(self) -> None:
        """
        What cannot be called is refused at construction, and a login whose key fails or cannot be
        hashed fails and leaves nothing behind.
        """
        key: Any = "name"
        error = self.assertRaises(TypeError, AvatarCache, key=key)
        assert "callable of a session" in str(error)

        def raising(session: Session) -> str:
            raise Boom

        bad: Any
        for bad, expected in ((lambda session: [], TypeError), (raising, Boom)):
            realm = frank(AvatarCache(key=bad)(Player))
            self.assertRaises(expected, realm.requestAvatar, b"alice", None, IThing)
            assert (len(realm.sessions), realm.audit(), Player.made) == (0, [], [])


@implementer(IThing)
class Terminal:
    """
    An avatar of the one sort.
    """


@implementer(IOther)
class Page:
    """
    An avatar of the other sort.
    """


@implementer(IRealm)
class Foreign:
    """
    A realm of somebody else's, with another avatar for each interface, perhaps later.

    @ivar waits: what the next login waits for, for each interface.
    @ivar logouts: the avatars that were logged out.
    """

    makers: ClassVar[dict[Any, Any]] = {IThing: Terminal, IOther: Page}

    def __init__(self) -> None:
        self.waits: dict[Any, Deferred[Any]] = {}
        self.logouts: list[object] = []
        self.asked: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Choose the first one that there is.
        """
        self.asked.append(interfaces)
        chosen = next((each for each in self.makers if each in interfaces), None)
        if chosen is None:
            raise NotImplementedError(interfaces)
        avatar = self.makers[chosen]()
        result = chosen, avatar, lambda: self.logouts.append(avatar)
        wait = self.waits.pop(chosen, None)
        return result if wait is None else wait.addCallback(lambda ignored: result)


class InterfacesTests(SynchronousTestCase):
    """
    Over a realm that chooses interfaces, there is an avatar for each ID and interface.
    """

    def setUp(self) -> None:
        """
        Have a cache over such a realm.
        """
        self.clock, self.foreign = Clock(), Foreign()
        self.cache: AvatarCache[Any] = AvatarCache(reactor=self.clock)
        self.realm = ConnectionLimit(9)(self.cache(self.foreign))

    def login(self, *interfaces: Any) -> Any:
        """
        Log in.
        """
        return frank(self.realm).requestAvatar(b"alice", None, *interfaces)

    def tearDown(self) -> None:
        """
        The books agree.
        """
        assert self.realm.audit() == []

    def test_each(self) -> None:
        """
        Logins for one interface share an avatar, those for another have another one, and one that
        asks for several gets one that is there.
        """
        thing, other = opened(self.login(IThing)), opened(self.login(IOther))
        assert (type(thing[1]), type(other[1])) == (Terminal, Page)
        assert opened(self.login(IThing))[:2] == thing[:2]
        assert opened(self.login(IOther))[:2] == other[:2]
        assert opened(self.login(IOther, IThing))[:2] == thing[:2]
        assert len(self.foreign.asked) == 2

    def test_mapping(self) -> None:
        """
        The cache shows the oldest avatar of each ID, and counts IDs.
        """
        for interface in (IThing, IOther):
            opened(self.login(interface))
        (terminal,) = self.cache.values()
        assert (list(self.cache), len(self.cache), type(terminal)) == ([b"alice"], 1, Terminal)
        self.assertRaises(KeyError, lambda: self.cache[b"bob"])

    def test_retireAndEvict(self) -> None:
        """
        All avatars of the ID that are idle are retired, and all of them are evicted.
        """
        for interface in (IThing, IOther, IOther):
            result = opened(self.login(interface))
        assert self.successResultOf(self.cache.retire(b"alice")) is False
        (logout,) = [result[2]]
        logout()
        assert self.successResultOf(self.cache.evict(b"alice")) is True
        assert {type(each) for each in self.foreign.logouts} == {Terminal, Page}
        assert (dict(self.cache), len(self.realm.sessions)) == ({}, 0)
        for interface in (IThing, IOther):
            opened(self.login(interface))[2]()
        assert self.successResultOf(self.cache.retire(b"alice")) is True
        assert len(self.foreign.logouts) == 4
        assert self.cache._kept.groups == {}

    def test_whileLoading(self) -> None:
        """
        A login for another interface waits until it is known what the first one becomes, and then
        has an avatar of its own; those for both share.
        """
        for hit in (True, False):
            self.setUp()
            wait = self.foreign.waits[IThing] = Deferred()
            thing = waiting(self.login(IThing))
            others = [waiting(self.login(IOther)) for _ in range(2)]
            same = waiting(self.login(IOther, IThing))
            wait.callback(None) if hit else wait.errback(Boom())
            pages = [self.successResultOf(each)[1] for each in others]
            assert type(pages[0]) is Page
            assert pages[0] is pages[1]
            if hit:
                assert self.successResultOf(same)[1] is self.successResultOf(thing)[1]
            else:
                self.failureResultOf(thing, Boom)
                assert self.successResultOf(same)[1] is pages[0]
            assert len(self.foreign.asked) == 2

    def test_unsupported(self) -> None:
        """
        A login for an interface that there is not fails alone.
        """
        wait = self.foreign.waits[IThing] = Deferred()
        thing = waiting(self.login(IThing))
        none = waiting(self.login(IRealm))
        wait.callback(None)
        self.failureResultOf(none, NotImplementedError)
        self.successResultOf(thing)

    def test_reroutedAndCancelled(self) -> None:
        """
        A login that was sent on to another load can be cancelled, which gives that up.
        """
        wait = self.foreign.waits[IThing] = Deferred()
        slow = self.foreign.waits[IOther] = Deferred()
        thing, other = waiting(self.login(IThing)), waiting(self.login(IOther))
        wait.callback(None)
        self.successResultOf(thing)
        self.assertNoResult(other)
        other.cancel()
        self.failureResultOf(other, CancelledError)
        assert slow.called

    def test_retiring(self) -> None:
        """
        A login waits for the avatar of its own interface to be gone, and for no other.
        """
        gates: list[Deferred[None]] = []

        def logout() -> Deferred[None]:
            gates.append(Deferred())
            return gates[-1]

        class Slow(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return (*super().requestAvatar(avatarId, mind, *interfaces)[:2], logout)

        self.cache = AvatarCache(idleTimeout=0, reactor=self.clock)
        self.realm = self.cache(Slow())
        opened(self.login(IThing))[2]()
        late = waiting(self.login(IThing))
        opened(self.login(IOther))
        self.assertNoResult(late)
        self.clock.advance(60)
        assert type(self.successResultOf(late)[1]) is Terminal
        assert len(self.realm.audit()) == 1
        gates[0].callback(None)
        self.assertNoResult(self.cache.close())

    def test_builtBelow(self) -> None:
        """
        An avatar that is built below the cache counts for the interface that was chosen if it
        provides that one, and otherwise for whatever it can be adapted to.
        """

        class Both(Thing):
            def __conform__(self, interface: Any) -> object:
                return self if interface is IOther else None

        class Neither:
            def __conform__(self, interface: Any) -> object:
                return self

        for build, one in ((Both, False), (Neither, True)):
            per = PerConnection[Any, Any](partial(made, build))
            self.realm = AvatarCache()(per(self.foreign))
            first = opened(self.login(IThing))[1]
            assert (opened(self.login(IOther))[1] is first) is one

    def test_factory(self) -> None:
        """
        Over a factory there is one avatar for all interfaces, and one that does not fit refuses its
        own login alone.
        """
        self.realm = frank(AvatarCache()(lambda avatarId: Thing()))
        thing = opened(self.login(IThing))
        self.assertRaises(NotImplementedError, self.login, IOther)
        assert opened(self.login(IOther, IThing))[1] is thing[1]

    def test_refused(self) -> None:
        """
        A refusal of the realm is its own for each that waits.
        """
        wait = self.foreign.waits[IThing] = Deferred()
        logins = [waiting(self.login(IThing)) for _ in range(2)]
        wait.errback(LoginRefused("no"))
        errors = [self.failureResultOf(each, LoginRefused).value for each in logins]
        assert errors[0] is not errors[1]
