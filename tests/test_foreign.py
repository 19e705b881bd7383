"""
Tests for realms as other applications have them: undeclared, half built, odd.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.cred.portal import Portal
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import AvatarCache, Block, ConnectionLimit, IAvatarSource, MindRegistry, Realm
from avatarkit.testing import MemoryPortal, checkRealm, login
from players import Player
from scripted import IThing, Script, ScriptedSource, Thing, frank, opened


class Undeclared:
    """
    A realm without a declaration, like C{twisted.conch.manhole_ssh.TerminalRealm}.
    """

    answer: Any = IThing

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Return an avatar.
        """
        if pb.IPerspective in interfaces:
            return pb.IPerspective, Player(avatarId), lambda: None
        if self.answer in interfaces:
            return self.answer, Thing(), lambda: None
        raise NotImplementedError


class CalledRealm(Undeclared):
    """
    One that can also be called.
    """

    def __call__(self) -> None:
        """
        Nobody does.
        """
        raise AssertionError


class Proxy:
    """
    What stands for a realm, and looks its attributes up when it is asked.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(Undeclared(), name)


class UndeclaredTests(SynchronousTestCase):
    """
    Realms that do not say that they are.
    """

    def test_stacked(self) -> None:
        """
        Whatever has a requestAvatar can be stacked on, as a portal takes it too.
        """
        for theirs in (Undeclared(), CalledRealm(), Proxy()):
            for realm in (Realm(theirs), ConnectionLimit(1)(theirs), AvatarCache()(theirs)):
                assert Portal(realm).realm is realm
                found = opened(realm.requestAvatar(b"alice", None, IThing))[:2]
                assert found[0] is IThing, theirs
                assert isinstance(found[1], Thing)

    def test_tested(self) -> None:
        """
        So can be tested what has one.
        """
        theirs = Undeclared()
        assert isinstance(login(theirs, b"alice", interface=IThing).avatar, Thing)
        checkRealm(Undeclared)
        portal = MemoryPortal(theirs)
        avatars: list[Any] = []
        portal.connect().login("alice").addCallback(avatars.append)
        portal.pump()
        names: list[Any] = []
        avatars[0].callRemote("name").addCallback(names.append)
        portal.pump()
        assert names == [b"alice"]

    def test_classes(self) -> None:
        """
        The class of such a realm is not taken for an avatar factory.
        """
        error = self.assertRaises(TypeError, Realm, Undeclared)
        assert str(error).endswith("is a class of IRealms; use an instance: Undeclared(...)")
        for wrong in (Undeclared, MindRegistry(), AvatarCache(), ConnectionLimit(), Thing()):
            self.assertRaises(TypeError, login, wrong, b"alice")
            self.assertRaises(TypeError, MemoryPortal, wrong)

    def test_factories(self) -> None:
        """
        A factory that makes up its attributes stays a factory.
        """
        made = Thing()
        assert login(Realm(Mock(return_value=made)), b"alice", interface=IThing).avatar is made

    def test_uncalled(self) -> None:
        """
        A block class without the call is told so with such a realm as well.
        """
        wrong: Any = Undeclared()
        error = self.assertRaises(TypeError, MindRegistry, wrong)
        assert "@MindRegistry(...)" in str(error)


class HalfBuiltTests(SynchronousTestCase):
    """
    Realms that are stacked on, or named, before they are ready for it.
    """

    def test_stacking(self) -> None:
        """
        Nobody asks for the name of a realm, source or hook while blocks are stacked on it.
        """

        class Dispatcher(Undeclared):
            def __init__(self) -> None:
                self.realm: Realm = ConnectionLimit(1)(self)
                self.users: dict[str, str] = {}

            def __repr__(self) -> str:
                return f"<Dispatcher for {list(self.users)}>"

        class Nameless:
            def __repr__(self) -> str:
                raise AssertionError

            def __call__(self, session: object) -> object:
                return Thing()

        @implementer(IAvatarSource)
        class Odd(ScriptedSource):
            acquire: Any = Nameless()

        class Blocking(Block):
            admit: Any = Nameless()

        assert "<Dispatcher for []>" in repr(Dispatcher().realm)
        realm: Realm = Blocking()(Odd(Script()))
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()

    def test_name(self) -> None:
        """
        The name of a realm over one of somebody else's does not grow with its sessions.
        """
        theirs = Undeclared()
        realm: Realm = Realm(theirs)
        name = repr(realm)
        for number in range(10):
            opened(realm.requestAvatar(number, None, IThing))
        assert repr(realm) == name
        assert repr(theirs) in name

    def test_brokenName(self) -> None:
        """
        A part that cannot say its name, or names the realm that it is part of, does no harm.
        """

        class Nameless(Undeclared):
            def __repr__(self) -> str:
                raise ValueError

        class Circular(Undeclared):
            def __init__(self) -> None:
                self.realm: Realm = Realm(self)

            def __repr__(self) -> str:
                return f"Circular({self.realm!r})"

        assert "Nameless" in repr(Realm(Nameless()))
        assert "<Realm: ...>" in repr(Circular().realm)

    def test_interfaces(self) -> None:
        """
        What is asked for, or returned, in place of an interface needs no __name__.
        """
        theirs = Undeclared()
        theirs.answer = "a thing"
        realm: Any = Realm(theirs)
        opened(realm.requestAvatar(b"alice", None, "a thing"))
        (session,) = realm.sessions
        assert repr(session) == "<Session of b'alice' as a thing, open>"
        realm = frank(Realm(lambda avatarId: Thing()))
        odd: Any = Odd()
        error = self.assertRaises(NotImplementedError, realm.requestAvatar, b"alice", None, odd)
        assert str(error).endswith("does not provide odd")


class Odd:
    """
    Something asked for that is no interface.
    """

    def providedBy(self, thing: object) -> bool:
        """
        Nothing provides it.
        """
        return False

    def __call__(self, thing: object, default: object) -> object:
        """
        Nor can be adapted to it.
        """
        return default

    def __repr__(self) -> str:
        return "odd"
