"""
Tests for avatars that are seen through adapters.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.components import registerAdapter
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from avatarkit import AvatarCache, PerConnection, Realm, Session
from scripted import Boom, IOther, IThing, Script, frank, opened, raises, waiting


class IMail(Interface):
    """
    What an adapter makes of an avatar.
    """


class User:
    """
    An avatar that provides nothing itself.
    """

    def __init__(self, avatarId: object) -> None:
        self.log: list[str] = []
        self.gate: object = None

    def logout(self) -> None:
        """
        Write it down.
        """
        self.log.append("avatar")


@implementer(IMail)
class Mail:
    """
    An adapter with a logout.
    """

    def __init__(self, user: User) -> None:
        self.user = user

    def logout(self) -> object:
        """
        Write it down.
        """
        self.user.log.append("facet")
        return self.user.gate


@implementer(IThing)
class Plain:
    """
    An adapter with none.
    """

    def __init__(self, user: User) -> None:
        self.user = user


@implementer(IOther)
class Proxy:
    """
    An adapter that has everything that the avatar has.
    """

    def __init__(self, user: User) -> None:
        self._user = user

    def __getattr__(self, name: str) -> Any:
        return getattr(self._user, name)


for adapter, interface in ((Mail, IMail), (Plain, IThing), (Proxy, IOther)):
    registerAdapter(adapter, User, interface)


class FacetTests(SynchronousTestCase):
    """
    The logout of an adapter is called.
    """

    def login(self, realm: Realm, interface: type[Interface] = IMail) -> Any:
        """
        Log in.
        """
        return opened(frank(realm).requestAvatar(b"alice", None, interface))

    def test_logout(self) -> None:
        """
        The adapter is logged out once at the end of its session, before the avatar, which is logged
        out as well; an adapter without a logout, or with the avatar's own, changes nothing.
        """
        for interface, expected in (
            (IMail, ["facet", "avatar"]),
            (IThing, ["avatar"]),
            (IOther, ["avatar"]),
        ):
            users: list[User] = []

            def factory(avatarId: object, users: list[User] = users) -> User:
                users.append(User(avatarId))
                return users[-1]

            logout = self.login(Realm(factory), interface)[2]
            logout()
            logout()
            assert users[0].log == expected

    def test_cached(self) -> None:
        """
        Over a cache each session logs its own adapter out, and the avatar is when it is retired.
        """
        cache: AvatarCache[Any] = AvatarCache()
        realm = PerConnection[Any, Any](lambda session: session.avatar)(cache(User))
        for _ in range(2):
            self.login(realm)[2]()
        user = cache[b"alice"]
        assert user.log == ["facet", "facet"]
        self.successResultOf(cache.retire(b"alice"))
        assert user.log == ["facet", "facet", "avatar"]

    def test_waits(self) -> None:
        """
        The end of the session waits for it.
        """
        user, gate = User(b"alice"), Deferred[None]()
        user.gate = gate
        realm = Realm(lambda avatarId: user)
        self.login(realm)[2]()
        (session,) = realm.sessions
        closed = session.whenClosed()
        assert user.log == ["facet"]
        gate.callback(None)
        self.successResultOf(closed)
        assert user.log == ["facet", "avatar"]

    def test_fails(self) -> None:
        """
        An adapter whose logout fails is logged, and the avatar is logged out all the same.
        """
        user = User(b"alice")

        class Raising:
            @property
            def gate(self) -> object:
                raise Boom

        user.__dict__.pop("gate")
        user.__class__ = type("Odd", (User,), {"gate": Raising.gate})
        self.login(Realm(lambda avatarId: user))[2]()
        assert user.log == ["facet", "avatar"]
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_failedLogin(self) -> None:
        """
        A login that fails after the adapter was made logs it out; one that is ended before has
        none.
        """
        user = User(b"alice")
        script = Script({"attached 0": raises})
        realm = script.blocks[0](lambda avatarId: user)
        self.assertRaises(Boom, self.login, realm)
        assert user.log == ["facet", "avatar"]
        gate: Deferred[User] = Deferred()
        login = waiting(Realm(lambda avatarId: gate).requestAvatar(b"alice", None, IMail))
        login.cancel()
        login.addErrback(lambda failure: None)
        assert user.log == ["facet", "avatar"]

    def test_session(self) -> None:
        """
        During its logout the session still has the adapter, and the avatar.
        """
        seen: list[object] = []

        @implementer(IMail)
        class Facet:
            def logout(self) -> None:
                seen.extend([session.aspect is self, session.avatar is user])

        class Adaptable:
            def __conform__(self, interface: object) -> object:
                return Facet() if interface is IMail else None

        user = Adaptable()
        realm = Realm(lambda avatarId: user)
        logout = self.login(realm)[2]
        session: Session
        (session,) = realm.sessions
        logout()
        assert seen == [True, True]
