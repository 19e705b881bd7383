"""
Tests for what blocks can be stacked on: L{avatarkit.Realm} and L{avatarkit.Block}.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, ClassVar

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.spread.pb import CopiedFailure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, directlyProvides, implementer
from zope.interface.verify import verifyClass, verifyObject

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    IAvatarSource,
    IBlock,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
)
from avatarkit._realm.sources import RealmSource
from scripted import Boom, IOther, IThing, Player, Script, frank, opened, raises, waiting


class Seen(Block):
    """
    A block that keeps the sessions it sees.
    """

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def attached(self, session: Session) -> None:
        """
        Keep the session.
        """
        self.sessions.append(session)


class TargetTests(SynchronousTestCase):
    """
    Each kind of target.
    """

    def test_factories(self) -> None:
        """
        A class, a function or any other callable of one avatar ID is an avatar factory.
        """

        class Callable_:
            def __call__(self, avatarId: object) -> object:
                return Player(avatarId)

        for factory in (
            Player,
            lambda avatarId: Player(avatarId),
            Callable_(),
            Callable_().__call__,
        ):
            realm = Seen()(factory)
            assert opened(realm.requestAvatar(b"alice", None, IThing))[1].name == b"alice"

    def test_asyncFactories(self) -> None:
        """
        A factory may be an async function, or return a Deferred.
        """
        gate: Deferred[None] = Deferred()

        async def coroutine(avatarId: object) -> object:
            await gate
            return Player(avatarId)

        def deferred(avatarId: object) -> object:
            return gate.addCallback(lambda ignored: Player(avatarId))

        for factory in (coroutine, deferred):
            gate = Deferred()
            login = waiting(Seen()(factory).requestAvatar(b"alice", None, IThing))
            self.assertNoResult(login)
            gate.callback(None)
            assert self.successResultOf(login)[1].name == b"alice"

    def test_source(self) -> None:
        """
        An IAvatarSource is asked for an avatar, and told when the session no longer needs it.
        """
        script = Script()
        opened(Seen()(script.realm.sources[0]).requestAvatar(b"alice", None, IThing))[2]()
        assert script.log == ["acquire", "let go"]

    def test_realm(self) -> None:
        """
        Stacking on one of avatarkit's realms puts the block on top, and one session runs all
        blocks.
        """
        inner, outer = Seen(), Seen()
        below = inner(Player)
        realm = outer(below)
        assert realm.blocks == (outer, inner)
        assert realm.sources == below.sources
        opened(realm.requestAvatar(b"alice", None, IThing))
        assert inner.sessions == outer.sessions
        assert below.blocks == (inner,)

    def test_nothingElse(self) -> None:
        """
        Any other target raises a TypeError that says what a target must be.
        """
        for target in (None, 3, "realm", [Player], object()):
            error = self.assertRaises(TypeError, Seen(), target)
            assert "avatar factory" in str(error)
            assert repr(target) in str(error)

    def test_classes(self) -> None:
        """
        A class of realms, sources or blocks is not taken for an avatar factory.
        """
        for target in (
            OldRealm,
            Realm,
            ConnectionLimit,
            AvatarCache,
            type(Script().realm.sources[0]),
        ):
            error = self.assertRaises(TypeError, Seen(), target)
            assert f"use an instance: {target.__name__}(...)" in str(error)

    def test_uncalledBlock(self) -> None:
        """
        A block or cache without a target is not taken for an avatar factory.
        """
        for target in (Seen(), ConnectionLimit(2), AvatarCache()):
            error = self.assertRaises(TypeError, Seen(), target)
            assert "call it with one first" in str(error)

        class Foreign:
            def __call__(self, target: object) -> object:
                return target

        foreign = Foreign()
        directlyProvides(foreign, IBlock)
        error = self.assertRaises(TypeError, Seen(), foreign)
        assert "gives no avatars" in str(error)

    def test_missingCall(self) -> None:
        """
        Decorating with a class instead of an instance raises a TypeError that says how to write it.
        """

        class Bare(Block):
            pass

        for block in (AvatarCache, ConnectionCounter, ConnectionLimit, MindRegistry, Bare, Seen):
            for target in (Player, lambda avatarId: Player(avatarId)):
                error = self.assertRaises(TypeError, block, target)
                assert f"@{block.__name__}(" in str(error)
        for realm in (OldRealm(), Script().realm, Script().realm.sources[0]):
            for block in (ConnectionCounter, ConnectionLimit):
                error = self.assertRaises(TypeError, block, realm)
                assert f"@{block.__name__}(...)" in str(error)

    def test_misplacedArguments(self) -> None:
        """
        A block without arguments refuses any, and a block with an argument may take a callable.
        """

        class Bare(Block):
            pass

        class Told(Block):
            def __init__(self, tell: object) -> None:
                self.tell = tell

        self.assertRaises(TypeError, Bare, 3)
        self.assertRaises(TypeError, Bare, tell=print)
        assert Told(print).tell is print

    def test_twice(self) -> None:
        """
        A block can be in two realms, but not twice in one.
        """

        @attrs.define
        class Equal(Block):
            name: str

        Equal("one")(Equal("one")(Player))
        block = Seen()
        realm = block(Player)
        error = self.assertRaises(TypeError, block, realm)
        assert "make another one" in str(error)
        assert block(Player).blocks == (block,)

    def test_blocks(self) -> None:
        """
        A realm can be built with any provider of IBlock, and with nothing else.
        """

        @implementer(IBlock)
        class Foreign:
            def admit(self, session: Session) -> None:
                log.append("admit")

            def release(self, session: Session) -> None:
                log.append("release")

            def attached(self, session: Session) -> None:
                log.append("attached")

            def detached(self, session: Session) -> None:
                log.append("detached")

        log: list[str] = []
        realm = Realm(Player, blocks=[Foreign()])
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        assert log == ["admit", "attached", "detached", "release"]
        error = self.assertRaises(TypeError, Realm, Player, blocks=[print])
        assert "does not provide IBlock" in str(error)

    def test_idleHooks(self) -> None:
        """
        A hook that a block does not define takes no place in the plan of a session, but one that is
        set on an instance runs.
        """
        assert len(Seen()(Player)._plan) == len(Realm(Player)._plan) + 1

        class Teachable(Block):
            pass

        taught: Any = Teachable()
        taught.admit = raises
        self.assertRaises(Boom, frank(taught(Player)).requestAvatar, b"alice", None, IThing)

    def test_wrappedHooks(self) -> None:
        """
        A hook that is made of a base class's by C{functools.wraps} is called.
        """
        called: list[str] = []

        def traced(hook: Any) -> Any:
            @wraps(hook)
            def call(*args: object) -> object:
                called.append(hook.__name__)
                return hook(*args)

            return call

        class Traced(Block):
            admit, release = traced(Block.admit), traced(Block.release)
            attached, detached = traced(Block.attached), traced(Block.detached)

        opened(Traced()(Player).requestAvatar(b"alice", None, IThing))[2]()
        assert called == ["admit", "attached", "detached", "release"]

    def test_interfaces(self) -> None:
        """
        Every class provides the interfaces that it declares.
        """
        verifyObject(IRealm, Realm(Player))
        verifyClass(IBlock, Block)
        for source in (
            Realm(Player).sources[0],
            Realm(OldRealm()).sources[0],
            PerConnection(Player),
        ):
            verifyObject(IAvatarSource, source)
        verifyObject(IAvatarSource, AvatarCache())
        verifyObject(IAvatarSource, PerConnection(Player)(Player).sources[0])

    def test_repr(self) -> None:
        """
        The repr of a realm names its parts from the outside in.
        """
        realm = ConnectionLimit(3)(AvatarCache()(OldRealm()))
        assert repr(realm).startswith("<Realm: ConnectionLimit(3) over AvatarCache(<Realm: ")
        assert "OldRealm" in repr(realm)
        assert repr(AvatarCache()) == "AvatarCache()"


class MisspeltTests(SynchronousTestCase):
    """
    A class of blocks whose only hook is misspelt.
    """

    def test_refused(self) -> None:
        """
        A class that overrides no hook, and has a method with nearly the name of one, is refused
        when it is made, with both names.
        """
        for name, meant in {
            "admitt": "admit",
            "_admit": "admit",
            "releaze": "release",
            "released": "release",
            "attach": "attached",
            "Attached": "attached",
            "attached_": "attached",
            "detach": "detached",
            "detatched": "detached",
        }.items():
            error = self.assertRaises(TypeError, type, "Slip", (Block,), {name: method})
            assert str(error) == (
                f"Slip overrides no hook of a block, but has a method {name!r}: "
                f"did you mean {meant!r}?"
            )

    def test_attrs(self) -> None:
        """
        That goes for classes of attrs as well.
        """
        with self.assertRaises(TypeError) as caught:

            @attrs.define(eq=False)
            class Slip(Block):
                name: str

                def attach(self, session: Session) -> None:
                    pass

        assert "did you mean 'attached'?" in str(caught.exception)

    def test_otherMethods(self) -> None:
        """
        A class that overrides any of the hooks may have other methods, whatever they are called.
        """
        for hook in ("admit", "release", "attached", "detached"):
            names = {hook: method, "attach": method, "released": method, "_admit": method}
            assert type("Fine", (Block,), names)()(Player).blocks

        @attrs.define(eq=False)
        class Slotted(Block):
            name: str

            def attached(self, session: Session) -> None:
                pass

            def attach(self) -> None:
                pass

        assert Slotted("it")(Player).blocks
        assert not hasattr(Slotted("it"), "__dict__")

    def test_inherited(self) -> None:
        """
        The hook may come from a base class or from a mixin.
        """

        class Mixin:
            def attached(self, session: Session) -> None:
                pass

        for bases in ((ConnectionLimit,), (Seen,), (Mixin, Block)):
            kind = type("Fine", bases, {"attach": method})
            assert issubclass(kind, Block)

    def test_noMethods(self) -> None:
        """
        A class without such a name is not refused, nor one where the name is not a method's.
        """
        for names in ({}, {"permit": method}, {"attach": 3, "released": None}):
            assert type("Fine", (Block,), names)()(Player).blocks

        @attrs.define(eq=False)
        class Slotted(Block):
            attach: bool = False

        assert Slotted(True).attach

    def test_arguments(self) -> None:
        """
        The arguments of a class are passed on to its other bases.
        """

        class Named:
            name: ClassVar[str]

            def __init_subclass__(cls, *, name: str) -> None:
                cls.name = name

        class Fine(Block, Named, name="it"):
            pass

        assert Fine.name == "it"


def method(*args: object) -> None:
    """
    Be a method of a block.
    """


@implementer(IRealm)
class OldRealm:
    """
    A hand-written realm.
    """

    def __init__(self) -> None:
        self.logins: list[tuple[object, ...]] = []
        self.logouts = 0
        self.wrap: Any = lambda result: result

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: type[Interface]) -> Any:
        """
        Return the last interface, and an avatar that does not declare it.
        """
        self.logins.append((avatarId, mind, *interfaces))
        return self.wrap((interfaces[-1], f"avatar {len(self.logins)}", self.logout))

    def logout(self) -> None:
        """
        Count the logouts.
        """
        self.logouts += 1


class ForeignRealmTests(SynchronousTestCase):
    """
    A stack around a realm that is not avatarkit's.
    """

    def test_login(self) -> None:
        """
        The realm gets what the login asks for, its interface and avatar are used, and its logout is
        called once.
        """
        old, mind = OldRealm(), object()
        realm = Seen()(old)
        interface, aspect, logout = opened(realm.requestAvatar(b"alice", mind, IThing, IOther))
        assert old.logins == [(b"alice", mind, IThing, IOther)]
        assert (interface, aspect) == (IOther, "avatar 1")
        logout()
        logout()
        assert old.logouts == 1
        (source,) = realm.sources
        assert isinstance(source, RealmSource)
        assert source._logouts == {}

    def test_later(self) -> None:
        """
        The realm may return a Deferred, or, against the rules, a coroutine.
        """
        gate: Deferred[None]

        async def coroutine(result: object) -> object:
            await gate
            return result

        def deferred(result: object) -> object:
            return gate.addCallback(lambda ignored: result)

        for wrap in (coroutine, deferred):
            gate = Deferred()
            old = OldRealm()
            old.wrap = wrap
            login = waiting(Seen()(old).requestAvatar(b"alice", None, IThing))
            gate.callback(None)
            assert self.successResultOf(login)[:2] == (IThing, "avatar 1")

    def test_failures(self) -> None:
        """
        However the realm fails, the login fails with the same exception, and no logout is called.
        """

        def raising(result: object) -> object:
            raise Boom

        for wrap in (raising, lambda result: fail(Boom()), lambda result: Failure(Boom())):
            old = OldRealm()
            old.wrap = wrap
            self.assertRaises(Boom, frank(Seen()(old)).requestAvatar, b"alice", None, IThing)
            assert old.logouts == 0

    def test_nonsense(self) -> None:
        """
        If the realm returns anything else, a TypeError shows what it returned.
        """
        for nonsense in (None, (IThing, "avatar"), "abc"):
            old = OldRealm()
            old.wrap = lambda result, nonsense=nonsense: nonsense
            realm = frank(Realm(old))
            error = self.assertRaises(TypeError, realm.requestAvatar, b"alice", None, IThing)
            assert repr(nonsense) in str(error)

    def test_alreadyFailedAfar(self) -> None:
        """
        A failure that came over the network, and cannot be raised, is returned in a Deferred.
        """
        failure: Any = CopiedFailure.__new__(CopiedFailure)
        failure.__dict__.update(Failure(Boom()).__dict__)
        failure.value, failure.type = "far away", "remote.Boom"
        realm = frank(Realm(lambda name: fail(failure)))
        login = waiting(realm.requestAvatar(b"alice", None, IThing))
        assert self.failureResultOf(login) is failure

    def test_otherInterface(self) -> None:
        """
        An interface that was not asked for is used, too: the realm knows its avatars.
        """
        old = OldRealm()
        old.wrap = lambda result: (IOther, *result[1:])
        assert opened(Realm(old).requestAvatar(b"alice", None, IThing))[0] is IOther
        realm = PerConnection[Any, Any](lambda session: session.avatar)(AvatarCache()(old))
        results = [opened(realm.requestAvatar(b"alice", None, IThing))[:2] for _ in range(2)]
        assert results == [(IOther, "avatar 2")] * 2

    def test_belowCache(self) -> None:
        """
        Below a cache, the realm is asked once, without a mind, for what the first login asks for;
        later logins get the same avatar if they ask for its interface, and otherwise another one.
        """
        old, cache = OldRealm(), AvatarCache()
        realm = frank(cache(old))
        first = opened(realm.requestAvatar(b"alice", object(), IThing, IOther))
        second = opened(realm.requestAvatar(b"alice", object(), IOther))
        assert old.logins == [(b"alice", None, IThing, IOther)]
        assert first[:2] == second[:2] == (IOther, "avatar 1")
        third = opened(realm.requestAvatar(b"alice", object(), IThing))
        assert old.logins[1:] == [(b"alice", None, IThing)]
        assert third[:2] == (IThing, "avatar 2")
        assert dict(cache) == {b"alice": "avatar 1"}
        self.successResultOf(realm.close())
        assert old.logouts == 2

    def test_close(self) -> None:
        """
        Closing the stack logs out of the realm.
        """
        old = OldRealm()
        realm = Realm(old)
        opened(realm.requestAvatar(b"alice", None, IThing))
        self.successResultOf(realm.close())
        assert old.logouts == 1
