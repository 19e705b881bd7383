"""
Tests for how a push finds the sessions of the minds that it is given, and the reactor of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import IMind, MindGroup, MindIsBehind, MindRegistry, Realm, Session
from avatarkit._clients.connections import attachedTo, detach
from avatarkit._push.addressees import Addressee
from avatarkit._push.lanes import lanesOf
from avatarkit._push.lines import Line, find, lineOf, reactorOf
from avatarkit.testing import FakeMind
from minds import Slow, connect
from scripted import IThing, Thing, sessionOf


@implementer(IMind)
class Bare:
    """
    A mind that takes no attributes.
    """

    __slots__ = ("fake",)
    disconnected = False
    backlog = 0

    def __init__(self) -> None:
        self.fake = FakeMind({"a": "done"})

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Deferred[Any] | None:
        """
        Call the fake.
        """
        answer: Deferred[Any] | None = self.fake.callRemote(name, *args, **kw)
        return answer

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Watch the fake.
        """
        self.fake.notifyOnDisconnect(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Watch it no longer.
        """
        self.fake.dontNotifyOnDisconnect(callback)


@implementer(IReactorTime)
class BareClock:
    """
    A reactor that takes no attributes.
    """

    __slots__ = ("clock",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def seconds(self) -> float:
        """
        Ask the clock.
        """
        return self.clock.seconds()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002  # it is called that
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """
        Ask the clock.
        """
        return self.clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        Ask the clock.
        """
        return self.clock.getDelayedCalls()


class Registries:
    """
    Two registries, one older than the other, and their realms.
    """

    def __init__(self, **bounds: Any) -> None:
        self.older, self.younger = (MindRegistry(reactor=Clock(), **bounds) for _ in range(2))
        self.realms = {each: each(lambda avatarId: Thing()) for each in (self.older, self.younger)}

    def file(self, registry: MindRegistry, mind: object) -> Session:
        """
        Log a mind in, and return the session.
        """
        return filed(self.realms[registry], mind)


def filed(realm: Realm, mind: object) -> Session:
    """
    Log a mind in, and return the session.
    """
    return sessionOf(realm, realm.requestAvatar(b"alice", mind, IThing))


class LineTests(SynchronousTestCase):
    """
    From a mind to its sessions.
    """

    def test_filed(self) -> None:
        """
        A connection knows a directory for as long as that has any session of its minds on file.
        """
        two, mind = Registries(), connect()
        other = pb.RemoteReference(None, mind.broker, 2, False)
        assert attachedTo(mind.broker, Line) is None
        sessions = [two.file(two.older, each) for each in (mind, other, mind)]
        line = lineOf(other)
        assert line is lineOf(mind)
        for left, session in zip((3, 2, 1), sessions, strict=True):
            assert line.directories == {two.older._directory: left}
            session.logout()
        assert line.directories == {}
        assert [*find([mind])] == [Addressee(mind)]

    def test_oldestFirst(self) -> None:
        """
        Of several directories the oldest one counts, whichever was the first to file the mind.
        """
        for younger in (False, True):
            two, mind = Registries(), FakeMind()
            order = [two.younger, two.older] if younger else [two.older, two.younger]
            sessions = {each: two.file(each, mind) for each in order}
            assert [*lineOf(mind).directories] == [two.older._directory, two.younger._directory]
            assert [to.session for to in find([mind])] == [sessions[two.older]]
            sessions[two.older].logout()
            assert [to.session for to in find([mind])] == [sessions[two.younger]]

    def test_boundedFirst(self) -> None:
        """
        One with bounds counts before one without, though that is older, unless it does not know
        the mind.
        """
        older, younger = MindRegistry(), MindRegistry(maximumPending=1)
        realms = [each(lambda avatarId: Thing()) for each in (older, younger)]
        mind = connect()
        other = pb.RemoteReference(None, mind.broker, 2, False)
        first, second = (filed(realm, mind) for realm in realms)
        third = filed(realms[0], other)
        bounds = younger._directory.bounds
        assert bounds is not None
        assert [*find([mind])] == [Addressee(mind, second, bounds)]
        assert [*find([other])] == [Addressee(other, third)]
        second.logout()
        assert [*find([mind])] == [Addressee(mind, first)]

    def test_reactor(self) -> None:
        """
        A group of no registry has the reactor of the directory that knows the first of its minds
        that is known at all, and not of another one of that connection.
        """
        two, one = Registries(), connect()
        other = pb.RemoteReference(None, one.broker, 2, False)
        two.file(two.older, one)
        two.file(two.younger, other)
        ours, theirs = two.older._directory.reactor, two.younger._directory.reactor
        for minds, reactor in (
            ([one, other], ours),
            ([other, one], theirs),
            ([FakeMind(), connect(), other], theirs),
            ([FakeMind(), connect()], None),
            ([], None),
        ):
            assert reactorOf(find(minds)) is reactor

    def test_bareMind(self) -> None:
        """
        A mind that takes no attributes is found, bounded and disconnected in any group, as long as
        one of its sessions is on file.
        """
        online = MindRegistry(reactor=Clock(), maximumPending=1)
        realm, mind = online(lambda avatarId: Thing()), Bare()
        verifyObject(IMind, mind)
        sessions = [filed(realm, mind) for _ in range(2)]
        assert [to.session for to in online.everyone._addressees()] == sessions
        group = MindGroup([mind])
        assert [to.session for to in find([mind])] == [sessions[1]]
        assert self.successResultOf(online[b"alice"].callRemote("a")) == [(True, "done")] * 2
        group.callRemote("b", pbanswer=False)
        assert [call.name for call in mind.fake.calls] == ["a", "a", "b"]
        online.everyone.callRemote("c")
        for late in (online.everyone, group):
            *_, (_, failure) = self.successResultOf(late.callRemote("d"))
            assert failure.check(MindIsBehind)
        for session in sessions:
            assert attachedTo(mind, Line) is not None
            session.logout()
            assert realm.audit() == []
        assert len(online) == 0
        assert attachedTo(mind, Line) is None
        self.assertRaises(TypeError, group.disconnect)

    def test_untouched(self) -> None:
        """
        Nothing is written on a mind that is somebody else's object.
        """

        class Watched(FakeMind):
            def __setattr__(self, name: str, value: object) -> None:
                written.append(name)
                super().__setattr__(name, value)

        written: list[str] = []
        mind = Watched()
        del written[:]
        realm = MindRegistry()(lambda avatarId: Thing())
        session = filed(realm, mind)
        assert [to.session for to in find([mind])] == [session]
        session.logout()
        assert [*find([mind])] == [Addressee(mind)]
        assert written == []

    def test_anything(self) -> None:
        """
        A mind, or its connection, may be anything at all.
        """
        for thing in (object(), 3, "mind", int, None):
            line = lineOf(thing)
            assert attachedTo(thing, Line) is line
            assert line.directories == {}
            detach(thing)
            assert attachedTo(thing, Line) is None

    def test_anyAttribute(self) -> None:
        """
        A mind that has an attribute of any name, as proxies do, is not taken for one that is filed.
        """

        class Proxy(FakeMind):
            def __getattr__(self, name: str) -> object:
                return name

        assert [*find([mind := Proxy()])] == [Addressee(mind)]
        assert reactorOf([Addressee(mind)]) is None


class LanesTests(SynchronousTestCase):
    """
    The lanes of a reactor.
    """

    def test_kept(self) -> None:
        """
        A reactor keeps its lanes; one that takes no attributes has new ones each time.
        """
        clock, bare = Clock(), BareClock(Clock())
        assert lanesOf(clock) is lanesOf(clock)
        assert lanesOf(clock) is not lanesOf(Clock())
        assert lanesOf(bare) is not lanesOf(bare)

    def test_bareClock(self) -> None:
        """
        With a reactor that takes no attributes everything arrives; what does not fit into a turn
        is sent later than what is pushed meanwhile.
        """
        clock = Clock()
        verifyObject(IReactorTime, bare := BareClock(clock))
        slow, other = Slow(clock), FakeMind()
        group = MindGroup([slow, other], reactor=bare)
        group.callRemote("first", pbanswer=False)
        MindGroup([other], reactor=bare).callRemote("second", pbanswer=False)
        clock.advance(0)
        assert [call.name for call in slow.calls] == ["first"]
        assert [call.name for call in other.calls] == ["second", "first"]
