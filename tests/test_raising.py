"""
Tests for sessions amid things of somebody else's that raise whatever can be raised: adapters of
minds, cancellers, sources, observers of the log.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Block, ConnectionLimit, MindRegistry, Realm, RealmClosed, Session
from avatarkit.testing import FakeMind
from scripted import (
    CLOSING,
    Boom,
    IThing,
    Script,
    ScriptedSource,
    Thing,
    frank,
    opened,
    raises,
    slots,
    undoing,
    waiting,
)


class Cut(BaseException):
    """
    What is no C{Exception}, like C{SystemExit}.
    """


#: What a thing of somebody else's may raise.
RAISED = (Boom, Cut)


class Moody(FakeMind):
    """
    A mind that raises when it is looked at, watched or let go.

    @ivar mood: what it raises, by what it is asked.
    @ivar left: whether its client is gone.
    @ivar aborted: how often its connection was closed by force.
    """

    def __init__(self, **mood: type[BaseException]) -> None:
        self.mood: dict[str, type[BaseException]] = {}
        self.left, self.aborted = False, 0
        super().__init__()
        self.mood = mood

    def ask(self, what: str) -> None:
        """
        Raise, if in the mood.
        """
        if what in self.mood:
            raise self.mood[what]

    @property
    def disconnected(self) -> bool:
        """
        Whether it is gone.
        """
        self.ask("disconnected")
        return self.left

    @disconnected.setter
    def disconnected(self, value: bool) -> None:
        """
        It is not, in the beginning.
        """

    def notifyOnDisconnect(self, callback: Any) -> None:
        """
        Be watched.
        """
        self.ask("notify")
        super().notifyOnDisconnect(callback)

    def dontNotifyOnDisconnect(self, callback: Any) -> None:
        """
        Be let go.
        """
        self.ask("dontNotify")
        super().dontNotifyOnDisconnect(callback)

    def loseConnection(self) -> None:
        """
        Be closed.
        """
        self.ask("lose")

    def abortConnection(self) -> None:
        """
        Be closed by force.
        """
        self.aborted += 1


class Clinging(FakeMind):
    """
    A mind that takes no callback back.
    """

    def dontNotifyOnDisconnect(self, callback: Any) -> None:
        """
        Raise.
        """
        raise Boom


class MindTests(SynchronousTestCase):
    """
    A login through an L{IMind<avatarkit.IMind>} that raises.
    """

    def setUp(self) -> None:
        """
        Have a login that waits.
        """
        self.limit = ConnectionLimit(1)
        self.loading: list[Deferred[Thing]] = []
        self.online = MindRegistry()
        self.realm = frank(Realm(self.load, blocks=[self.online, self.limit]))

    def load(self, avatarId: object) -> Deferred[Thing]:
        """
        Make an avatar, later.
        """
        self.loading.append(Deferred())
        return self.loading[-1]

    def ask(self, mind: object) -> Any:
        """
        Log in.
        """
        return self.realm.requestAvatar(b"alice", mind, IThing)

    def over(self) -> bool:
        """
        Return whether nothing is left of the login.
        """
        return not self.realm.sessions and slots(self.limit) == {} and self.realm.audit() == []

    def test_whenTheLoginGoesOn(self) -> None:
        """
        A mind that cannot say whether its client is there when the login goes on fails the login,
        which keeps no slot.
        """
        for raised in RAISED:
            mind = Moody()
            login = waiting(self.ask(mind))
            mind.mood["disconnected"] = raised
            self.loading.pop().callback(Thing())
            self.failureResultOf(login, raised)
            assert self.over(), raised
            self.flushLoggedErrors(raised)  # it could not be let go either

    def test_whenItIsWatched(self) -> None:
        """
        A mind that cannot be watched fails the login that waits.
        """
        for raised in RAISED:
            self.failureResultOf(waiting(self.ask(Moody(notify=raised))), raised)
            self.loading.pop()
            assert self.over(), raised

    def test_whenItIsLetGo(self) -> None:
        """
        A mind that cannot be let go is logged, and the login succeeds.
        """
        for raised in RAISED:
            login = waiting(self.ask(Moody(dontNotify=raised)))
            self.loading.pop().callback(Thing())
            opened(self.successResultOf(login))[2]()
            assert self.over(), raised
            assert len(self.flushLoggedErrors(raised)) == 1

    def test_whenItIsKicked(self) -> None:
        """
        A mind whose connection cannot be closed is logged, and the others are disconnected.
        """
        self.limit.maximum = 2
        clock = Clock()
        for raised in RAISED:
            minds = [Moody(lose=raised), FakeMind()]
            for mind in minds:
                self.ask(mind)
                self.loading.pop().callback(Thing())
            self.successResultOf(self.online.disconnect(b"alice", reactor=clock))
            assert self.over(), raised
            assert minds[1].closings == ["lose"]
            assert len(self.flushLoggedErrors(raised)) == 1

    def test_whenItIsKickedAndCannotSayWhetherItIsThere(self) -> None:
        """
        A session whose mind cannot say whether its client is there is closed all the same, and the
        log has it.
        """
        for raised in RAISED:
            clock, mind = Clock(), Moody()
            self.ask(mind)
            self.loading.pop().callback(Thing())
            mind.mood = {"disconnected": raised}
            self.successResultOf(self.online.disconnect(b"alice", reactor=clock))
            assert self.over(), raised
            assert len(self.flushLoggedErrors(raised)) == 1, raised
            assert clock.getDelayedCalls() == []

    def test_whenItsConnectionIsCut(self) -> None:
        """
        A client that does not leave is cut off in time, whatever its mind raises when it is watched
        or let go; the log has it, and nothing is raised in the reactor.
        """
        for mood, raised in product(({"notify"}, {"dontNotify"}), RAISED):
            clock, mind = Clock(), Moody()
            mind.stalled = True
            login = self.ask(mind)
            self.loading.pop().callback(Thing())
            self.successResultOf(login)
            mind.mood = dict.fromkeys(mood, raised)
            self.successResultOf(self.online.disconnect(b"alice", reactor=clock))
            clock.advance(5)
            assert mind.aborted == 1, (mood, raised)
            assert len(self.flushLoggedErrors(raised)) == 1, (mood, raised)
            assert clock.getDelayedCalls() == []

    def test_whenItsConnectionIsCutInVain(self) -> None:
        """
        A client that left although nobody could watch it is not cut off, nor is one whose mind
        cannot say whether it has.
        """
        for mood, errors in (({}, 1), ({"disconnected": Boom}, 2)):
            clock, mind = Clock(), Moody()
            login = self.ask(mind)
            self.loading.pop().callback(Thing())
            self.successResultOf(login)
            mind.mood = {"notify": Boom}
            self.successResultOf(self.online.disconnect(b"alice", reactor=clock))
            mind.mood, mind.left = dict(mood), True
            clock.advance(5)
            assert mind.aborted == 0, mood
            assert len(self.flushLoggedErrors(Boom)) == errors, mood

    def test_whenItsCallbackCannotBeTakenBack(self) -> None:
        """
        A mind that could not be let go in time still says that its client is gone, once that is cut
        off, and that is no mistake.
        """
        clock, mind = Clock(), Clinging()
        mind.stalled = True
        login = self.ask(mind)
        self.loading.pop().callback(Thing())
        self.successResultOf(login)
        self.flushLoggedErrors(Boom)
        self.successResultOf(self.online.disconnect(b"alice", reactor=clock))
        clock.advance(5)
        assert mind.closings == ["lose", "abort"]
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_whenItIsAudited(self) -> None:
        """
        The audit says of a mind that it cannot be asked, and goes on.
        """
        for raised in RAISED:
            mind = Moody()
            login = self.ask(mind)
            self.loading.pop().callback(Thing())
            mind.mood["disconnected"] = raised
            (found,) = self.realm.audit()
            assert found == f"the mind of {self.onlySession()!r} cannot say whether it is dead"
            opened(self.successResultOf(login))[2]()

    def onlySession(self) -> Session:
        """
        Return the one session that there is.
        """
        (session,) = self.realm.sessions
        return session


class CancellerTests(SynchronousTestCase):
    """
    A hook whose canceller raises.
    """

    def raising(
        self, raised: type[BaseException], chained: bool, session: Session
    ) -> Deferred[object]:
        """
        Return what a hook waits for, perhaps by way of another Deferred.
        """

        def canceller(cancelled: object) -> None:
            raise raised

        inner: Deferred[object] = Deferred(canceller)
        if not chained:
            return inner
        outer: Deferred[object] = Deferred()
        outer.addCallback(lambda ignored: inner)
        outer.callback(None)
        return outer

    def test_close(self) -> None:
        """
        It does not keep close() from ending the other sessions, and is logged by name.
        """
        for raised in RAISED:
            for chained in (False, True):
                script = Script()
                how = (raised, chained)
                script.acts["admit 1"] = partial(self.raising, *how)
                logins = [waiting(script.login()) for _ in range(3)]
                self.successResultOf(script.realm.close(timeout=None))
                for login in logins:
                    self.failureResultOf(login, RealmClosed)
                assert not script.realm.sessions, how
                assert len(self.flushLoggedErrors(raised)) == 3

    def test_cancelling(self) -> None:
        """
        Who cancels a login does not get what it raises.
        """
        for raised in RAISED:
            script = Script({"attached 0": partial(self.raising, raised, True)})
            login = waiting(script.login())
            login.cancel()
            self.failureResultOf(login, CancelledError)
            assert not script.realm.sessions
            assert len(self.flushLoggedErrors(raised)) == 1


class ObserverTests(SynchronousTestCase):
    """
    An observer of the log that raises what Twisted does not catch.
    """

    def setUp(self) -> None:
        """
        Observe.
        """
        self.told = 0
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: dict[str, Any]) -> None:
        """
        Raise.
        """
        if "avatarId" in event or "source" in event:
            self.told += 1
            raise Cut

    def test_logout(self) -> None:
        """
        It does not keep a session from being undone to the end.
        """
        script = Script(dict.fromkeys(CLOSING, raises))
        opened(script.login())[2]()
        assert script.log[7:] == undoing(7)
        assert (self.told, len(script.realm.sessions)) == (7, 0)
        self.flushLoggedErrors()

    def test_deadline(self) -> None:
        """
        It does not keep close() from firing when time has run out.
        """
        clock = Clock()
        script = Script({"release 1": lambda session: Deferred()})
        script.realm.reactor = clock
        opened(script.login())
        closing = script.realm.close(timeout=1, reactor=clock)
        clock.advance(1)
        assert self.successResultOf(closing) is None
        assert self.told == 1
        self.flushLoggedErrors()


class Nameless(ScriptedSource):
    """
    A source without a name, which never closes.
    """

    def __repr__(self) -> str:
        raise Boom

    def close(self) -> Any:
        """
        Never be done.
        """
        return Deferred()


class NameTests(SynchronousTestCase):
    """
    Things whose names raise.
    """

    def test_source(self) -> None:
        """
        A source that cannot say its name does not keep close() from firing.
        """
        clock = Clock()
        realm: Realm = Realm(Nameless(Script()))
        closing = realm.close(timeout=1, reactor=clock)
        clock.advance(1)
        assert self.successResultOf(closing) is None

    def test_hook(self) -> None:
        """
        Nor does a hook without a name keep a session from being undone.
        """

        class Hooked:
            def __repr__(self) -> str:
                raise Boom

            def __call__(self, session: Session) -> object:
                raise Boom

        class Blocking(Block):
            detached = Hooked()

        realm: Realm = Realm(lambda avatarId: Thing(), blocks=[Blocking()])
        opened(realm.requestAvatar(b"alice", None, IThing))[2]()
        assert not realm.sessions
        assert len(self.flushLoggedErrors(Boom)) == 1
