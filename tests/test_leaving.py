"""
A client that leaves during its login leaves nothing behind.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from avatarkit import (
    Avatar,
    AvatarCache,
    ConnectionCounter,
    ConnectionLimit,
    IMind,
    LoginAbandoned,
    LoginRefused,
    MindRegistry,
    PerConnection,
    RealmClosed,
    Session,
)
from avatarkit._clients.minds import PBMind
from avatarkit.testing import FakeMind
from pb import PBTestCase, reactor, refusal
from scripted import OPENING, Gate, IThing, Script, Thing, frank, opened, slots, undoing, waiting


class Listening(FakeMind):
    """
    A mind that tells how many callbacks it holds.
    """

    @property
    def listeners(self) -> int:
        """
        Return how many.
        """
        return len(self._callbacks)


class Meddling(FakeMind):
    """
    A mind that does something when it is watched no longer.
    """

    def meddle(self) -> object:
        """
        Nothing, unless a test says so.
        """

    def dontNotifyOnDisconnect(self, callback: Any) -> None:
        """
        Do it.
        """
        super().dontNotifyOnDisconnect(callback)
        self.meddle()


class MindTests(SynchronousTestCase):
    """
    A session watches its mind while it waits.
    """

    def test_leaving(self) -> None:
        """
        If the client leaves while a hook waits, the hook is cancelled, what was done is undone, and
        the login fails with LoginAbandoned, which is a refusal.
        """
        for position, hook in enumerate(OPENING):
            gate, mind = Gate(), FakeMind()
            script = Script({hook: gate.coroutine})
            login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
            mind.disconnect()
            failure: Any = self.failureResultOf(login, LoginAbandoned)
            assert failure.check(LoginRefused)
            assert failure.value.avatarId == b"alice"
            assert gate.wait.called
            assert script.log == [*OPENING[: position + 1], *undoing(position)]

    def test_deadOnArrival(self) -> None:
        """
        A login with a mind that is already dead is refused before any hook runs.
        """
        script, mind = Script(), FakeMind()
        mind.disconnect()
        error = self.assertRaises(
            LoginAbandoned, script.realm.requestAvatar, b"alice", mind, IThing
        )
        assert error.avatarId == b"alice"
        assert script.log == []

    def test_dyingBeforeItIsWatched(self) -> None:
        """
        A mind that dies inside a hook, which then waits, ends the login.
        """
        gate, mind = Gate(), FakeMind()

        def dying(session: Session) -> object:
            mind.disconnect()
            return gate.wait

        script = Script({"acquire": dying})
        login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
        self.failureResultOf(login, LoginAbandoned)
        assert gate.wait.called
        assert script.log[-1] == "release 0"

    def test_deadButSilent(self) -> None:
        """
        A login whose last hook succeeds because its client leaves, before the session notices,
        fails all the same.
        """
        gate, mind = Gate(), FakeMind()
        mind.notifyOnDisconnect(lambda mind: gate.wait.callback(None))
        script = Script({"attached 0": gate.deferred})
        login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
        mind.disconnect()
        self.failureResultOf(login, LoginAbandoned)
        assert script.log == [*OPENING, *undoing(7)]

    def test_takenOff(self) -> None:
        """
        However a login ends, the callback is removed from the mind.
        """
        mind = Listening()
        for finish in (
            lambda gate, session, login: gate.wait.callback(None),
            lambda gate, session, login: gate.wait.errback(KeyError()),
            lambda gate, session, login: session.logout(),
            lambda gate, session, login: login.cancel(),
        ):
            gate = Gate()
            script = Script({"attached 0": gate.deferred})
            login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
            assert mind.listeners == 1
            (session,) = script.realm.sessions
            finish(gate, session, login)
            login.addErrback(Failure.trap, LoginAbandoned, KeyError, CancelledError)
            assert mind.listeners == 0

    def test_cancelledByTheMind(self) -> None:
        """
        A mind that cancels the login when it is watched no longer, since the session is open,
        comes too late.
        """
        gate, mind = Gate(), Meddling()
        script = Script({"attached 0": gate.deferred})
        login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
        mind.meddle = login.cancel  # type: ignore[method-assign]
        gate.wait.callback(None)
        opened(self.successResultOf(login))
        assert len(script.realm.sessions) == 1

    def test_finishedByTheMind(self) -> None:
        """
        A mind that finishes the hook that waits when it is watched no longer, since the session
        has ended, is no obstacle: the login fails, and everything is undone.
        """
        gate, mind = Gate(), Meddling()
        script = Script({"attached 0": gate.deferred})
        login = waiting(script.realm.requestAvatar(b"alice", mind, IThing))
        (session,) = script.realm.sessions
        mind.meddle = lambda: gate.wait.callback(None)  # type: ignore[method-assign]
        session.logout()
        self.failureResultOf(login, LoginAbandoned)
        self.successResultOf(session.whenClosed())
        assert script.log == [*OPENING, *undoing(7)]

    def test_synchronous(self) -> None:
        """
        A login that does not wait puts no callback on the mind.
        """
        mind = Listening()
        seen: list[int] = []
        script = Script({"attached 0": lambda session: seen.append(mind.listeners)})
        opened(script.realm.requestAvatar(b"alice", mind, IThing))
        assert [*seen, mind.listeners] == [0, 0]

    def test_afterwards(self) -> None:
        """
        If the client leaves after the login, the session stays open: logging out is up to the
        protocol.
        """
        script, mind = Script(), FakeMind()
        opened(script.realm.requestAvatar(b"alice", mind, IThing))
        mind.disconnect()
        assert script.log == list(OPENING)

    def test_otherMinds(self) -> None:
        """
        A mind without an adapter is not watched; a mind with a registered adapter is.
        """

        class Phone:
            def __init__(self) -> None:
                self.line = FakeMind()

        phone = Phone()
        for expected in (False, True):
            gate = Gate()
            script = Script({"acquire": gate.deferred})
            login = waiting(script.realm.requestAvatar(b"alice", phone, IThing))
            phone.line.disconnect()
            assert gate.wait.called is expected
            if expected:
                self.failureResultOf(login, LoginAbandoned)
            else:
                gate.wait.callback(Thing())
                self.successResultOf(login)
            phone = Phone()
            if not expected:
                registerAdapter(lambda phone: phone.line, Phone, IMind)

    def test_shared(self) -> None:
        """
        A client that leaves does not affect others that share its load; when the last one leaves,
        the load is cancelled.
        """
        gate = Gate()
        realm = AvatarCache()(lambda avatarId: gate.wait)
        minds = [FakeMind() for _ in range(3)]
        logins = [waiting(realm.requestAvatar(b"alice", mind, IThing)) for mind in minds]
        minds[0].disconnect()
        minds[1].disconnect()
        assert not gate.wait.called
        assert realm.audit() == []
        minds[2].disconnect()
        assert gate.wait.called
        for login in logins:
            self.failureResultOf(login, LoginAbandoned)
        assert realm.audit() == []

    def test_timeout(self) -> None:
        """
        A login can be given a timeout, like any Deferred.
        """
        clock, gate, limit = Clock(), Gate(), ConnectionLimit()
        realm = frank(limit(AvatarCache()(lambda avatarId: gate.wait)))
        login = waiting(realm.requestAvatar(b"alice", None, IThing))
        login.addTimeout(5, clock)
        clock.advance(5)
        assert self.failureResultOf(login).type.__name__ == "TimeoutError"
        assert gate.wait.called
        assert slots(limit) == {}


class RealMindTests(PBTestCase):
    """
    Real clients that leave.
    """

    def stack(self) -> None:
        """
        Serve a full stack whose factory waits.
        """
        self.loads: DeferredQueue[list[Deferred[Any]]] = DeferredQueue()
        self.cancelled: Deferred[None] = Deferred()

        def factory(avatarId: bytes) -> Deferred[Any]:
            load: Deferred[Any] = Deferred(lambda load: self.cancelled.callback(None))
            self.loads.put([load])
            return load

        self.online, self.counter = MindRegistry(), ConnectionCounter()
        self.limit, self.cache = ConnectionLimit(), AvatarCache()
        self.realm = self.online(self.limit(self.counter(self.cache(factory))))
        self.serve(self.realm)

    async def test_leaving(self) -> None:
        """
        A client that disconnects while its login waits leaves nothing behind and nothing in the
        server's log, and the next login succeeds.
        """
        self.stack()
        leaver = self.client()
        leaver.login().addErrback(lambda failure: None)
        await self.loads.get()
        assert slots(self.limit) == {b"alice": 1}
        (session,) = self.realm.sessions
        leaver.disconnect()
        await session.whenClosed()
        assert self.cancelled.called
        assert self.realm.audit() == []
        assert (len(self.realm.sessions), slots(self.limit), dict(self.cache)) == (0, {}, {})
        login = self.client().login()
        (load,) = await self.loads.get()
        load.callback(Avatar())
        await login
        assert self.realm.audit() == []
        assert self.flushLoggedErrors() == []

    async def test_deadOnArrival(self) -> None:
        """
        A client that leaves while its credentials are being checked is refused before any hook
        runs.
        """
        self.stack()
        checking: Deferred[bytes] = Deferred()
        asked: Deferred[None] = Deferred()

        def slowly(credentials: Any) -> Deferred[bytes]:
            asked.callback(None)
            return checking

        for checker in self.portal.checkers.values():
            checker.requestAvatarId = slowly
        leaver = self.client()
        leaver.login().addErrback(lambda failure: None)
        await asked
        leaver.disconnect()
        await self.connections[0]
        checking.callback(b"alice")
        assert self.loads.pending == []
        assert self.realm.audit() == []
        assert self.flushLoggedErrors() == []

    async def test_manyLogins(self) -> None:
        """
        A hundred waiting logins over one connection leave none of our callbacks on it.
        """
        self.stack()
        client = self.client()
        held = []
        for _ in range(100):
            login = client.login()
            self.loads.get().addCallback(
                lambda loads: reactor.callLater(0, loads[0].callback, Avatar())
            )
            await login
            (session,) = self.online.sessions(b"alice")
            held.append(len(session.mind.disconnectCallbacks))
            broker = session.mind.broker
            ours = [each for each in broker.disconnects if "_disconnected" in repr(each)]
            held.append(len(ours))
            client.avatars.clear()
            await session.whenClosed()
            await self.cache.retire(b"alice")
        assert set(held) == {0}

    async def test_idle(self) -> None:
        """
        By default, idle avatars are retired and realms are closed by the global reactor's clock.
        """
        retired: Deferred[None] = Deferred()

        class Player(Avatar):
            def logout(self) -> Deferred[None]:
                retired.callback(None)
                return Deferred()

        cache = AvatarCache(idleTimeout=0.001)
        realm = cache(lambda avatarId: Player())
        self.serve(realm)
        client = self.client()
        await client.login()
        assert list(cache) == [b"alice"]
        client.avatars.clear()
        await retired
        assert list(cache) == []
        await realm.close(timeout=0.001)
        assert (await refusal(self.client().login())).check(RealmClosed)

    async def test_adapter(self) -> None:
        """
        A real mind can be adapted to L{IMind}.
        """
        online = MindRegistry()
        self.serve(online(PerConnection(lambda session: Avatar())))
        client = self.client()
        await client.login()
        (session,) = online.sessions(b"alice")
        mind: Any = IMind(session.mind)
        assert isinstance(mind, PBMind)
        verifyObject(IMind, mind)
        assert mind.disconnected is False
        answer = mind.callRemote("hello", f=1)
        assert answer is not None
        assert await answer == "hello done"
        gone: Deferred[Any] = Deferred()
        mind.notifyOnDisconnect(gone.callback)
        mind.notifyOnDisconnect(print)
        mind.dontNotifyOnDisconnect(print)
        client.disconnect()
        assert await gone is session.mind
        assert mind.disconnected is True
        self.assertRaises(pb.DeadReferenceError, mind.callRemote, "hello")
