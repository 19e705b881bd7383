"""
Blocks and a source together are a realm.

A L{Realm} lays out, once, in which order its hooks run (its C{plan}), and starts a L{Session} for
each login, which does the rest.
What can be stacked (the blocks, L{AvatarCache<avatarkit.AvatarCache>},
L{PerConnection<avatarkit.PerConnection>}) answers a L{Realm} when it is called with a target.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, TypeAlias

import attrs
from twisted.application.service import IService
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

from .._clients.minds import isDead
from .._tools.awaiting import awaited
from .._tools.checks import checkReactor, checkSeconds
from ..errors import LoginAbandoned, RealmClosed, UnsupportedInterface
from ..interfaces import IAvatarSource, IBlock
from .audit import Audited
from .closing import Closing, RealmService
from .session import Answer, Hook, Session, nameOf
from .sources import AvatarFactory, bottomSource


class Stackable:
    """
    What is called with a target and answers a realm.
    """

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        """
        Catch the slip that everyone makes with decorators: C{@Block} without the call.
        """
        if len(args) == 1 and isTarget(args[0]) and not _takesOne(cls):
            name = cls.__name__
            raise TypeError(f"{name} takes no target: write @{name}(...) above it, with the call")
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")
        return super().__new__(cls)

    def asSources(self) -> tuple[Any, ...]:
        """
        Answer the L{IAvatarSource}s that this is without a target.

        @raise TypeError: if it is none.
        """
        raise TypeError(f"{self!r} is no target: call it with one first")


def isTarget(thing: object) -> bool:
    """
    Answer whether something looks like what a block goes around.
    """
    return callable(thing) or IRealm.providedBy(thing) or IAvatarSource.providedBy(thing)


def _takesOne(cls: type) -> bool:
    """
    Answer whether a class can be called with a single positional argument.
    """
    initialize: Any = cls.__init__  # type: ignore[misc]  # it is only looked at
    if initialize is object.__init__:
        return False
    try:
        inspect.signature(initialize).bind("self", "argument")
    except TypeError:
        return False
    return True


@implementer(IBlock)
class Block(Stackable):
    """
    A block that does nothing yet: subclass it and say what it does at a login and a logout.

    Each hook may answer a Deferred or a coroutine, and may raise; see L{IBlock} for what is
    promised.  An instance may be stacked into several realms, and then spans them.

    @cvar needsMinds: whether the block is useless where there are no minds, which is below an
        L{AvatarCache<avatarkit.AvatarCache>}.
    """

    __slots__ = ()
    needsMinds: ClassVar[bool] = False

    def __call__(self, target: Target) -> Realm:
        """
        Answer a realm with this block on top.

        @param target: see L{Realm}.
        """
        return Realm(target, blocks=[self])

    def admit(self, session: Session) -> object:
        """
        A login begins: raise to refuse it.
        """

    def release(self, session: Session) -> object:
        """
        A session that was admitted has ended.
        """

    def attached(self, session: Session) -> object:
        """
        The session has its avatar: raise to refuse the login after all.
        """

    def detached(self, session: Session) -> object:
        """
        A session that was attached is ending.
        """


@implementer(IRealm)
@attrs.define(eq=False, init=False, repr=False)
class Realm:
    """
    Blocks stacked around a source: what a L{Portal<twisted.cred.portal.Portal>} asks for avatars.

    C{block(target)} is short for C{Realm(target, blocks=[block])}.

    @ivar blocks: the blocks, outermost first.
    @ivar sources: what a session gets its avatar from, and the
        L{PerConnection<avatarkit.PerConnection>} that makes another one of that, if there is one.
    @ivar plan: what is done and undone in each session, in order.
    @ivar sessions: those that have not ended.
    """

    blocks: tuple[Any, ...]
    sources: tuple[Any, ...]
    plan: tuple[Hook, ...]
    sessions: set[Session]
    _closing: Closing

    def __init__(self, target: Target, *, blocks: Iterable[Any] = ()) -> None:
        """
        @param target: a L{Realm} (the blocks go on top of its own), an avatar factory (any
            callable of one avatar ID: a class, a function, an async one), an L{IAvatarSource}, or
            any other provider of L{IRealm}.
        @param blocks: L{IBlock} providers, outermost first.
        @raise TypeError: if the target or a block is none, or a block is stacked twice.
        """
        if isinstance(target, Realm):
            self.blocks, self.sources = (*blocks, *target.blocks), target.sources
        elif isinstance(target, Stackable):
            self.blocks, self.sources = tuple(blocks), target.asSources()
        else:
            self.blocks, self.sources = tuple(blocks), (bottomSource(target),)
        _check(self.blocks)
        self.plan = (
            (self._enter, self._leave),
            *(hook for block in self.blocks for hook in _hook(block, "admit", "release")),
            *((_acquire(source), source.release) for source in self.sources),
            (Session.see, _nothing),
            *(hook for b in reversed(self.blocks) for hook in _hook(b, "attached", "detached")),
        )
        self.sessions = set()
        self._closing = Closing(self)
        for part in (*self.blocks, *self.sources):
            if isinstance(part, Audited):
                part.stacked(self)

    def __repr__(self) -> str:
        parts = (*self.blocks, *reversed(self.sources))
        return f"<Realm: {' over '.join(map(repr, parts))}>"

    @property
    def needsMinds(self) -> bool:
        """
        Whether something in here is useless below an L{AvatarCache<avatarkit.AvatarCache>}.
        """
        return any(getattr(part, "needsMinds", False) for part in (*self.blocks, *self.sources))

    def requestAvatar(
        self, avatarId: Hashable, mind: object, *interfaces: type[Interface]
    ) -> Answer | Deferred[Answer]:
        """
        Log in.

        @param avatarId: whose avatar; anything hashable.
        @param mind: the client, or C{None}.
        @param interfaces: what the avatar is to be seen through: the first one that fits.
        @return: C{(interface, aspect, logout)}; a Deferred of it if something has to wait.
        @raise UnsupportedInterface: if none of the interfaces fits, or there is none.
        @raise RealmClosed: after L{close}.
        @raise LoginAbandoned: if the mind is dead already.
        @raise TypeError: if the avatar ID cannot be hashed.
        """
        try:
            hash(avatarId)
        except TypeError:
            raise TypeError(f"an avatar ID has to be hashable, and {avatarId!r} is not") from None
        if not interfaces:
            raise UnsupportedInterface(
                f"the login of {avatarId!r} asks for no interface at all", avatarId=avatarId
            )
        if isDead(mind):
            raise LoginAbandoned(avatarId=avatarId)
        return Session(self, avatarId, mind, interfaces).open()

    def close(
        self, *, timeout: float | None = 30, reactor: IReactorTime | None = None
    ) -> Deferred[None]:
        """
        Refuse logins from now on, end those that are going on, log everybody out, and have the
        sources let go of their avatars.

        A source that other realms share is closed for them as well.

        @param timeout: after how many seconds to stop waiting for hooks that do not answer; what
            did not finish is then logged by name.  C{None}: wait for ever.
        @param reactor: what measures the time, the global reactor if not given.
        @return: a Deferred that fires with C{None} when all of that is done, or at the timeout.
        """
        checkSeconds("a timeout", timeout, orNone=True)
        checkReactor(reactor)
        return self._closing.close(timeout, reactor)

    def drain(self) -> Deferred[None]:
        """
        Refuse logins from now on, and let go of avatars as soon as they are not used, but log
        nobody out.

        @return: a Deferred that fires with C{None} when the last session has ended, and the last
            avatar is gone.
        """
        return self._closing.drain()

    def realms(self) -> Iterator[Realm]:
        """
        Answer this realm and those below it.
        """
        yield self
        for source in self.sources:
            below = getattr(source, "below", None)
            if isinstance(below, Realm):
                yield from below.realms()

    def placeOf(self, undo: Callable[[Session], object]) -> int:
        """
        Answer where in the plan something is undone.
        """
        return next(place for place, hook in enumerate(self.plan) if hook[1] == undo)

    def audit(self) -> list[str]:
        """
        Say what is inconsistent in this realm and those below it: a session whose mind is dead, a
        slot, count or group entry without a session, or the other way round, a cached avatar with
        a wrong number of users.  What a hook sees while it runs may be half done.

        @return: a sentence for each; nothing, if all is well.
        """
        found = []
        for realm in self.realms():
            for session in realm.sessions:
                alone = session.above is None and not session.ended
                if alone and isDead(session.mind):
                    found.append(f"the mind of {session!r} is dead")
            for part in (*realm.blocks, *realm.sources):
                if isinstance(part, Audited):
                    found.extend(part.audit())
        return found

    def service(
        self, *, timeout: float | None = 30, reactor: IReactorTime | None = None
    ) -> IService:
        """
        Answer a service that closes the realm when it is stopped, for C{setServiceParent}.

        @param timeout: see L{close}.
        @param reactor: see L{close}.
        """
        checkSeconds("a timeout", timeout, orNone=True)
        checkReactor(reactor)
        return RealmService(self, timeout, reactor)

    def _enter(self, session: Session) -> None:
        if self._closing.begun:
            raise RealmClosed(avatarId=session.avatarId)
        self.sessions.add(session)

    def _leave(self, session: Session) -> None:
        self.sessions.remove(session)


#: What can be stacked upon.
Target: TypeAlias = "Realm | IRealm | IAvatarSource | Stackable | AvatarFactory"


def _check(blocks: tuple[object, ...]) -> None:
    for index, block in enumerate(blocks):
        if not IBlock.providedBy(block):
            raise TypeError(f"{block!r} is no block: it does not provide IBlock")
        if any(block is other for other in blocks[:index]):
            raise TypeError(f"{block!r} is in this realm already: make another one")


def _hook(block: object, do: str, undo: str) -> tuple[Hook, ...]:
    """
    Answer a block's hook for a plan, or nothing if the block does nothing there.
    """
    hook = (getattr(block, do), getattr(block, undo))
    inherited = (getattr(Block, do), getattr(Block, undo))
    idle = tuple(getattr(each, "__func__", None) for each in hook) == inherited
    return () if idle else (hook,)


def _acquire(source: Any) -> Callable[[Session], object]:
    """
    Answer what has a session acquire its avatar from a source.
    """

    def acquire(session: Session) -> object:
        answer = source.acquire(session)
        waiting = awaited(answer)
        if waiting is None:
            session.avatar = answer
            return None
        return waiting.addCallback(partial(setattr, session, "avatar"))

    acquire.__qualname__ = nameOf(source.acquire)
    return acquire


def _nothing(session: Session) -> None:
    """
    Undo what needs no undoing.
    """
