"""
Tests for what is given as a factory, or as a class, by mistake.
"""

from __future__ import annotations

import functools
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import Avatar, AvatarCache, ConnectionCounter, PerConnection, Realm
from scripted import Boom, IThing, Thing, frank, opened


class Player(Thing):
    """
    An avatar.
    """

    def __init__(self, avatarId: object) -> None:
        self.avatarId = avatarId


class Fixed:
    """
    A factory of one thing.
    """

    def __init__(self, avatar: object) -> None:
        self.avatar = avatar

    def __call__(self, avatarId: object) -> object:
        """
        Return it.
        """
        return self.avatar


@implementer(IRealm)
class Old:
    """
    A realm of somebody else's, which needs minds.
    """

    error: type[Exception] | None = None

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Use the mind.
        """
        if self.error is not None:
            raise self.error
        mind.hello()
        return IThing, Player(avatarId), lambda: None


class FactoryTests(SynchronousTestCase):
    """
    A factory takes an avatar ID, and returns an avatar.
    """

    def test_signature(self) -> None:
        """
        What cannot be called with an avatar ID alone is refused while stacking, with its signature
        and what to do; if it looks like requestAvatar, that is to give the realm.
        """

        def two(avatarId: object, database: object) -> Player:
            return Player(avatarId)

        def asked(avatarId: object, mind: object, *interfaces: object) -> Player:
            return Player(avatarId)

        for block in (Realm, ConnectionCounter(), AvatarCache(), PerConnection(Player)):
            stack: Any = block
            for factory in (Old().requestAvatar, asked):
                error = self.assertRaises(TypeError, stack, factory)
                assert "requestAvatar of a realm, give the realm" in str(error)
                assert ", *interfaces" in str(error)
            for bad in (two, Avatar, lambda: Player(None)):
                error = self.assertRaises(TypeError, stack, bad)
                assert "called with an avatar ID alone: write a function" in str(error)

    def test_goodSignature(self) -> None:
        """
        Whatever can be called with one argument is taken, and what does not say how.
        """

        class Silent:
            @property
            def __signature__(self) -> Any:
                raise Boom

            def __call__(self, avatarId: object) -> Player:
                return Player(avatarId)

        def more(avatarId: object, *rest: object, **named: object) -> Player:
            return Player(avatarId)

        for factory in (Player, more, functools.partial(Player), Silent(), dict.fromkeys):
            stack: Any = Realm
            assert isinstance(stack(factory), Realm)

    def test_result(self) -> None:
        """
        A factory that returns what a realm does, at once or later, fails the login with a TypeError
        that says so.
        """

        def result(avatarId: object) -> Any:
            return IThing, Player(avatarId), lambda: None

        async def coroutine(avatarId: object) -> Any:
            return result(avatarId)

        for factory in (result, lambda avatarId: succeed(result(avatarId)), coroutine):
            for stack in (Realm, AvatarCache()):
                realm: Any = frank(stack(factory))
                error = self.assertRaises(TypeError, realm.requestAvatar, b"alice", None, IThing)
                assert "a factory returns the avatar alone" in str(error)
                assert realm.audit() == []

    def test_otherTuples(self) -> None:
        """
        Any other tuple may be an avatar.
        """
        for avatar in ((1, 2, 3), (IThing, 2), (Thing(),)):
            realm = frank(PerConnection(lambda session: Thing())(Fixed(avatar)))
            opened(realm.requestAvatar(b"alice", None, IThing))

    def test_subclass(self) -> None:
        """
        A class that became a realm when it was decorated cannot be subclassed, and says why.
        """
        realm: Any = AvatarCache()(Player)
        with self.assertRaises(TypeError) as raised:

            class Wizard(realm):  # type: ignore[misc]  # that is the mistake
                pass

        assert "is a realm, and cannot be subclassed" in str(raised.exception)
        assert "realm = block(Player)" in str(raised.exception)


class NoMindsTests(SynchronousTestCase):
    """
    A realm that needs minds, below a cache, where there are none.
    """

    def failed(self, mind: object, error: type[Exception] | None = None) -> list[str]:
        """
        Return what is logged while a login fails.
        """
        old = Old()
        old.error = error
        realm = frank(AvatarCache()(old))
        with capturedLogs() as events:
            self.assertRaises(error or AttributeError, realm.requestAvatar, b"alice", mind, IThing)
        return [formatEvent(event) for event in events]

    def test_logged(self) -> None:
        """
        If it fails for want of a mind, it is logged that there are none below a cache.
        """
        (line,) = self.failed(object())
        assert "the avatar of b'alice' with the mind None" in line
        assert "'NoneType' object has no attribute 'hello'" in line
        assert "do not put a cache around it" in line

    def test_notLogged(self) -> None:
        """
        If it fails otherwise, or the client had no mind either, nothing is.
        """
        assert self.failed(object(), Boom) == []
        assert self.failed(None) == []
