"""
Tests for L{avatarkit.testing}: the fakes are as bad as what they stand for, and each check catches
what is broken.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread import banana, pb
from twisted.spread.jelly import globalSecurity
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import (
    Avatar,
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    IAvatarSource,
    IBlock,
    IDisconnectableMind,
    IMind,
    LoginAbandoned,
    LoginRefused,
    MindRegistry,
    PerConnection,
    Realm,
    TooManyConnections,
    UnsupportedInterface,
    displaceOldest,
    displaceUnresponsive,
    everyone,
)
from avatarkit._clients.minds import PBMind
from avatarkit._realm.sources import Factory
from avatarkit.testing import (
    FakeMind,
    Login,
    MemoryPortal,
    checkBlock,
    checkMind,
    checkRealm,
    checkSource,
    login,
)
from scripted import Boom, IThing, Thing


class Client(pb.Referenceable):
    """
    A client.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def remote_notify(self, *args: Any) -> str:
        """
        Be told.
        """
        self.told.append(args)
        return "done"

    def remote_fail(self) -> None:
        """
        Fail.
        """
        raise Boom("on purpose")


class Player(Avatar):
    """
    An avatar.
    """

    def __init__(self, name: Any) -> None:
        self.name = name

    def perspective_name(self) -> Any:
        """
        Answer who it is.
        """
        return self.name

    def perspective_raise(self) -> None:
        """
        Refuse.
        """
        raise pb.Error("no")


def realMind() -> tuple[Any, Callable[[], object]]:
    """
    Answer a mind of Perspective Broker, connected in memory, and what drops its connection.
    """
    online = MindRegistry()
    portal = MemoryPortal(online(Player))
    connection = portal.connect()
    connection.avatar = connection.login(mind=Client())  # type: ignore[attr-defined]
    portal.pump()
    (mind,) = online.everyone
    return mind, connection.drop


def fakeMind() -> tuple[Any, Callable[[], object]]:
    """
    Answer a fake, and what has its client leave.
    """
    mind = FakeMind()
    return mind, mind.disconnect


class MindContractTests(SynchronousTestCase):
    """
    L{checkMind}, and the minds that pass it.
    """

    def test_fake(self) -> None:
        """
        L{FakeMind} passes.
        """
        checkMind(fakeMind)
        verifyObject(IDisconnectableMind, FakeMind())

    def test_real(self) -> None:
        """
        So does a mind of Perspective Broker, and the adapter that stands for it.
        """
        checkMind(realMind)
        verifyObject(IDisconnectableMind, PBMind(realMind()[0]))

    def broken(self, promise: str, make: Callable[[], Any] | None = None, **changes: Any) -> None:
        """
        See that a mind that is broken is caught.
        """
        kind: Any = type("Broken", (FakeMind,), changes)

        def makeBroken() -> Any:
            mind = kind()
            return mind, lambda: FakeMind.disconnect(mind)

        error = self.assertRaises(AssertionError, checkMind, make or makeBroken)
        assert promise in str(error), error

    def test_broken(self) -> None:
        """
        What breaks a promise is caught, and the sentence says which.
        """

        def answering(answer: Any) -> Any:
            return lambda self, name, /, *args, pbanswer=True, **kw: answer if pbanswer else None

        self.broken("pbanswer=False answers None", callRemote=lambda self, *args, **kw: 3)
        self.broken("can be adapted to IMind", lambda: (object(), None))

        minds: list[FakeMind] = []

        def together() -> Any:
            minds.append(FakeMind())
            return minds[-1], leave

        def leave() -> None:
            for mind in minds:
                mind.disconnect()

        self.broken("who is still there", together)
        half: Any = type("Half", (), {"disconnected": False})
        implementer(IMind)(half)
        self.broken("it has what its interface has", lambda: (half(), None))
        gone = property(lambda self: True, lambda self, value: None)
        self.broken("not disconnected when its client is there", disconnected=gone)
        self.broken("answers a Deferred", callRemote=answering(3))
        self.broken(
            "is disconnected when its client is gone",
            disconnected=property(lambda self: False, lambda self, value: None),
        )
        self.broken("is told that", dontNotifyOnDisconnect=lambda self, callback: None)
        self.broken(
            "is told that",
            notifyOnDisconnect=lambda self, callback: None,
            dontNotifyOnDisconnect=lambda self, callback: None,
        )

        def twice(self: Any, callback: Any) -> None:
            for _ in range(2):
                FakeMind.notifyOnDisconnect(self, callback)

        self.broken("is told that", notifyOnDisconnect=twice)
        self.broken("a call that waits fails", callRemote=answering(Deferred()))

        def quiet(self: Any, name: Any, /, *args: Any, **kw: Any) -> Any:
            return Deferred() if self.disconnected else FakeMind.callRemote(self, name, **kw)

        self.broken("raises DeadReferenceError", callRemote=quiet)


class FakeMindTests(SynchronousTestCase):
    """
    L{FakeMind} beside the real thing.
    """

    def test_alike(self) -> None:
        """
        They cannot be compared, and hash to the same; they answer None without pbanswer, and raise
        the same when they are gone.
        """
        for make in (fakeMind, realMind):
            (one, leave), (other, _) = make(), make()
            self.assertRaises(TypeError, lambda one=one, other=other: one == other)
            assert hash(one) == hash(other) == 1
            assert [one].index(one) == 0
            assert one.callRemote("notify", pbanswer=False) is None
            leave()
            self.assertRaises(pb.DeadReferenceError, one.callRemote, "notify")
            self.assertRaises(AttributeError, one.notifyOnDisconnect, print)

    def test_answers(self) -> None:
        """
        It answers what it was told: a value, what a callable answers or raises, a Deferred's
        result, an exception; anything else waits.
        """
        later: Deferred[Any] = Deferred()
        mind = FakeMind(
            {
                "value": 3,
                "none": None,
                "call": lambda n, factor: n * factor,
                "later": later,
                "called": lambda: succeed("soon"),
                "raise": lambda: 1 / 0,
                "fail": Failure(Boom("x")),
            }
        )
        assert self.successResultOf(mind.callRemote("value")) == 3
        assert self.successResultOf(mind.callRemote(b"none")) is None
        assert self.successResultOf(mind.callRemote("call", 3, factor=4)) == 12
        assert self.successResultOf(mind.callRemote("called")) == "soon"
        waits = mind.callRemote("later")
        self.assertNoResult(waits)
        later.callback(7)
        assert self.successResultOf(waits) == 7
        assert self.failureResultOf(mind.callRemote("raise")).check(ZeroDivisionError)
        assert self.failureResultOf(mind.callRemote("fail")).check(Boom)
        waits = mind.callRemote("other")
        self.assertNoResult(waits)
        mind.calls[-1].answer.callback("told")
        assert self.successResultOf(waits) == "told"
        assert [call.name for call in mind.calls][:3] == ["value", "none", "call"]
        assert (mind.calls[2].args, mind.calls[2].kwargs) == ((3,), {"factor": 4})

    def test_failuresAreSent(self) -> None:
        """
        A failure comes as from a real client: its exception is not the client's.
        """
        fake = FakeMind({"fail": Boom("on purpose")})
        ours = self.failureResultOf(fake.callRemote("fail"))
        online = MindRegistry()
        portal = MemoryPortal(online(Player))
        client = portal.connect()
        kept = client.login(mind=Client())
        portal.pump()
        (real,) = online.everyone
        answer = real.callRemote("fail")
        portal.pump()
        theirs = self.failureResultOf(answer)
        self.flushLoggedErrors(Boom)
        assert self.successResultOf(kept) is not None
        for failure in (ours, theirs):
            assert isinstance(failure, pb.CopiedFailure)
            assert failure.check(Boom) is Boom
            assert not isinstance(failure.value, Boom)
        assert ours.value == theirs.value
        assert ours.type == theirs.type

    def test_unsendable(self) -> None:
        """
        What Perspective Broker could not send fails as it would there, and what it would send as
        nothing is refused.
        """
        mind = FakeMind()
        real, _ = realMind()
        unsendable: list[Any] = [Thing(), [Thing()], {"a": Thing()}, FakeMind()]
        for argument in (2**500, b"x" * (banana.SIZE_LIMIT + 1)):
            for each in (mind, real):
                self.assertRaises(banana.BananaError, each.callRemote, "a", argument)
        for each in unsendable:
            error = self.assertRaises(TypeError, mind.callRemote, "a", each)
            assert "does not send a" in str(error)
            self.assertRaises(TypeError, mind.callRemote, "a", x=each)
        other, _ = realMind()
        for each in (mind, real):
            self.failureResultOf(each.callRemote("a", other), AssertionError)
        for code in (Thing, len, self.test_unsendable, gc, lambda: 1):
            error = self.assertRaises(TypeError, mind.callRemote, "a", code)
            assert "clients refuse code" in str(error) or "does not send" in str(error)
        for keyword in ("self", "_name"):
            for one in (mind, real):
                call: Any = one.callRemote
                self.assertRaises(TypeError, partial(call, "a", **{keyword: 1}))
        assert mind.calls == []
        odd = FakeMind({"a": Thing(), "b": [1]})
        assert "does not send a Thing" in str(self.failureResultOf(odd.callRemote("a")).value)
        assert self.successResultOf(odd.callRemote("b")) is not odd.answers["b"]
        self.patch(globalSecurity, "allowedClasses", {Thing: 1})
        mind.callRemote("a", Thing())
        assert len(mind.calls) == 1

    def test_sendable(self) -> None:
        """
        What can be sent is taken as it is, and as it was when it was called.
        """
        mind, thing = FakeMind(), pb.Referenceable()
        said: list[Any] = [1, "two", b"three", None, {4: (5.0,)}, thing]
        mind.callRemote("a", said)
        said.append("more")
        (got,) = mind.calls[0].args
        assert got[:5] == [1, "two", b"three", None, {4: (5.0,)}]
        assert (len(got), got[5] is thing) == (6, True)

    def test_gone(self) -> None:
        """
        When it is gone what waited has failed, and what comes late is dropped.
        """
        mind = FakeMind()
        waits = mind.callRemote("a")
        mind.disconnect()
        assert self.failureResultOf(waits).check(pb.PBConnectionLost)
        mind.calls[0].answer.callback("late")
        mind.disconnect()
        leaving = FakeMind()
        leaving.answers = {"a": leaving.disconnect}
        assert self.failureResultOf(leaving.callRemote("a")).check(pb.PBConnectionLost)
        assert repr(mind) == "<FakeMind, disconnected, called 1 times>"

    def test_closing(self) -> None:
        """
        It goes when its connection is closed, and a stalled one when it is cut off.
        """
        mind, stalled = FakeMind(), FakeMind()
        stalled.stalled = True
        for each in (mind, stalled):
            each.loseConnection()
        assert (mind.disconnected, stalled.disconnected) == (True, False)
        stalled.abortConnection()
        assert (stalled.disconnected, stalled.closings) == (True, ["lose", "abort"])


class LoginTests(SynchronousTestCase):
    """
    L{login}.
    """

    def test_sync(self) -> None:
        """
        A synchronous realm is logged in to in a line.
        """
        counter, mind = ConnectionCounter(), FakeMind()
        realm = counter(MindRegistry()(AvatarCache()(Player)))
        alice = login(realm, b"alice", mind=mind)
        assert isinstance(alice, Login)
        assert (alice.avatar.name, alice.interface) == (b"alice", pb.IPerspective)
        assert mind in alice.avatar.minds
        assert counter.total == 1
        assert alice.logout() is None
        assert counter.total == 0

    def test_interface(self) -> None:
        """
        Any interface can be asked for.
        """
        assert login(Realm(lambda name: Thing()), "a", interface=IThing).interface is IThing

    def test_async(self) -> None:
        """
        A realm that waits answers a Deferred.
        """
        loaded: Deferred[Any] = Deferred()
        waits = login(Realm(lambda name: loaded), b"alice")
        loaded.callback(Player(b"alice"))
        assert self.successResultOf(waits).avatar.name == b"alice"

    def test_refused(self) -> None:
        """
        One that fails shows the realm's reason, and the lines of the code that is tested.
        """

        def factory(name: Any) -> Any:
            raise Boom("here it is")

        realm = ConnectionLimit()(factory)
        error = self.assertRaises(Boom, login, realm, b"alice")
        frames = traceback.extract_tb(error.__traceback__)
        assert [frame.name for frame in frames][-1] == "factory"
        ours = [frame for frame in frames if "avatarkit" in frame.filename]
        assert [frame.name for frame in ours if "testing" not in frame.filename] == []
        limited = ConnectionLimit()(Player)
        login(limited, b"alice")
        self.assertRaises(TooManyConnections, login, limited, b"alice")
        self.assertRaises(UnsupportedInterface, login, limited, b"bob", interface=IThing)

    def test_refusedLater(self) -> None:
        """
        So does one that fails later.
        """
        loaded: Deferred[Any] = Deferred()
        waits = login(ConnectionLimit()(lambda name: loaded), b"alice")
        loaded.errback(Boom("late"))
        failure = self.failureResultOf(waits)
        assert failure.check(Boom)
        assert [name for name, *_ in failure.frames if name.startswith("_")] == []
        gate: Deferred[Any] = Deferred()

        async def factory(name: Any) -> Any:
            await gate
            raise Boom

        waits = login(PerConnection(lambda session: None)(factory), b"alice")
        gate.callback(None)
        frames = traceback.extract_tb(self.failureResultOf(waits, Boom).value.__traceback__)
        assert {frame.name for frame in frames} <= {"factory"}  # older Twisted keeps none at all
        mind = FakeMind()
        waits = login(ConnectionLimit()(lambda name: Deferred()), b"alice", mind=mind)
        mind.disconnect()
        self.failureResultOf(waits, LoginAbandoned)

    def test_overTheWire(self) -> None:
        """
        A reason that came over a network is what it was.
        """
        fake = FakeMind({"fail": Boom("x")})
        waits = login(Realm(lambda name: fake.callRemote("fail")), b"alice")
        assert self.failureResultOf(waits).check(Boom)

    def test_misuse(self) -> None:
        """
        What is no realm, or does not answer as one, is refused with a sentence.
        """
        error = self.assertRaises(TypeError, login, Player, b"alice")
        assert "is no realm" in str(error)

        @implementer(IRealm)
        class Odd:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return answers[avatarId]

        answers: dict[bytes, Any] = {b"a": 3, b"b": (1, 2), b"c": (1, 2, 3), b"d": succeed(None)}
        for avatarId in answers:
            if avatarId == b"d":
                self.failureResultOf(login(Odd(), avatarId), TypeError)
            else:
                error = self.assertRaises(TypeError, login, Odd(), avatarId)
                assert "answers (interface, avatar, logout)" in str(error)


class MemoryPortalTests(SynchronousTestCase):
    """
    L{MemoryPortal}.
    """

    def setUp(self) -> None:
        """
        A realm with everything.
        """
        self.limit, self.online = ConnectionLimit(2), MindRegistry()
        self.realm = self.online(self.limit(ConnectionCounter()(AvatarCache()(self.make))))
        self.portal = MemoryPortal(self.realm)
        self.loading: Deferred[Any] | None = None

    def make(self, name: Any) -> Any:
        """
        Make an avatar, or wait.
        """
        return Player(name) if self.loading is None else self.loading

    def test_login(self) -> None:
        """
        Real clients log in, call, and are pushed to.
        """
        client, connection = Client(), self.portal.connect()
        login = connection.login("bob", mind=client)
        self.assertNoResult(login)
        self.portal.pump()
        avatar = self.successResultOf(login)
        name = avatar.callRemote("name")
        pushed = self.online.everyone.callRemote("notify", 1)
        self.portal.pump()
        assert self.successResultOf(name) == b"bob"
        assert self.successResultOf(pushed) == [(True, "done")]
        assert client.told == [(1,)]
        error = avatar.callRemote("raise")
        self.portal.pump()
        assert self.failureResultOf(error).check(pb.Error)
        connection.drop()
        assert (list(self.online), self.realm.audit(), connection.lost) == ([], [], True)
        self.portal.pump()

    def test_anonymous(self) -> None:
        """
        Without a name the login is anonymous; names may be bytes.
        """
        logins = [self.portal.connect().login(name) for name in (None, b"carol")]
        self.portal.pump()
        assert list(self.online) == [(), b"carol"]
        assert len([self.successResultOf(each) for each in logins]) == 2

    def test_refused(self) -> None:
        """
        A refusal reaches the client as it does in production.
        """
        logins = [self.portal.connect().login() for _ in range(3)]
        self.portal.pump()
        kept = [self.successResultOf(each) for each in logins[:2]]
        assert self.failureResultOf(logins[2]).check(TooManyConnections)
        assert len(kept) == 2

    def test_everyByte(self) -> None:
        """
        A connection can be lost at every byte of a login, and before the first one, which leaves
        nothing behind.
        """
        connection = self.portal.connect()
        connection.drop()
        assert (connection.lost, connection.delivered) == (True, 0)
        connection = self.portal.connect()
        kept = connection.login(mind=Client())
        self.portal.pump()
        assert self.successResultOf(kept) is not None
        connection.drop()
        total = connection.delivered
        assert total > 100
        for after in range(1, total):
            connection = self.portal.connect()
            lost = connection.login(mind=Client())
            connection.drop(after=after)
            self.portal.pump()
            assert (connection.delivered, connection.lost) == (after, True)
            self.failureResultOf(lost)
            assert (list(self.online), self.realm.audit()) == ([], [])
            assert not self.limit._slots.holders

    def test_leavesWhileWaiting(self) -> None:
        """
        A client that leaves while its login waits leaves nothing behind either.
        """
        self.loading = Deferred()
        connection = self.portal.connect()
        login = connection.login(mind=Client())
        self.portal.pump()
        self.assertNoResult(login)
        assert len(self.limit._slots.holders) == 1
        connection.drop()
        assert not self.limit._slots.holders
        self.failureResultOf(login, pb.PBConnectionLost)
        assert self.flushLoggedErrors() == []

    def test_stall(self) -> None:
        """
        What a client that does not read is sent waits on the server, as its backlog, until it
        reads again; the others are not affected.
        """
        clients = [Client(), Client()]
        connections = [self.portal.connect() for _ in clients]
        kept = [
            connection.login(mind=client)
            for connection, client in zip(connections, clients, strict=True)
        ]
        self.portal.pump()
        connections[0].stall()
        for n in range(3):
            self.online.everyone.callRemote("notify", n, pbanswer=False)
        self.portal.pump()
        assert [len(client.told) for client in clients] == [0, 3]
        stalled, reading = (PBMind(mind).backlog for mind in self.online.everyone)
        assert reading == 0
        assert stalled is not None
        assert stalled > 0
        connections[0].resume()
        self.portal.pump()
        assert [len(client.told) for client in clients] == [3, 3]
        assert len([self.successResultOf(each) for each in kept]) == 2

    def test_closing(self) -> None:
        """
        The server can close a connection politely, which a stalled client does not notice, and cut
        it off.
        """
        connections = [self.portal.connect() for _ in range(2)]
        kept = [connection.login(mind=Client()) for connection in connections]
        self.portal.pump()
        minds = [PBMind(mind) for mind in self.online.everyone]
        connections[0].stall()
        for mind in minds:
            mind.callRemote("notify", pbanswer=False)
            mind.loseConnection()
        self.portal.pump()
        assert [connection.lost for connection in connections] == [False, True]
        minds[0].abortConnection()
        self.portal.pump()
        assert connections[0].lost
        assert len([self.successResultOf(each) for each in kept]) == 2

    def test_clientCloses(self) -> None:
        """
        So can the client.
        """
        connection = self.portal.connect()
        kept = connection.login(mind=Client())
        self.portal.pump()
        connection.client.disconnect()
        self.portal.pump()
        assert connection.lost
        assert list(self.online) == []
        assert self.successResultOf(kept) is not None

    def test_afterClosing(self) -> None:
        """
        What has closed a connection reads nothing any more, and what is on its way is lost with one
        that was cut off.
        """
        for end in ("loseConnection", "abortConnection"):
            connection = self.portal.connect()
            login = connection.login(mind=Client())
            self.portal.pump()
            avatar = self.successResultOf(login)
            (mind,) = self.online.everyone
            connection.stall()
            before = connection.delivered
            name = avatar.callRemote("name")
            mind.callRemote("notify", pbanswer=False)
            getattr(mind.broker.transport, end)()
            self.portal.pump()
            assert connection.lost is (end == "abortConnection")
            assert (connection.delivered > before) is (end == "loseConnection")
            connection.resume()
            self.portal.pump()
            assert connection.lost
            why = self.failureResultOf(name, pb.PBConnectionLost).value.args[0]
            assert why.type is (ConnectionAborted if end == "abortConnection" else ConnectionDone)

    def test_fromInside(self) -> None:
        """
        A method that is called may pump, or drop its own connection.
        """

        class Asking(Avatar):
            def perspective_ask(self) -> str:
                self.minds.callRemote("notify")
                portal.pump()
                return "asked"

            def perspective_drop(self) -> str:
                connection.drop()
                return "dropped"

        portal = MemoryPortal(MindRegistry()(lambda name: Asking()))
        connection = portal.connect()
        login = connection.login(mind=Client())
        portal.pump()
        avatar = self.successResultOf(login)
        answers = [avatar.callRemote("ask") for _ in range(3)]
        portal.pump()
        assert [self.successResultOf(each) for each in answers] == ["asked"] * 3
        lost = [avatar.callRemote("drop"), avatar.callRemote("ask")]
        portal.pump()
        for each in lost:
            self.failureResultOf(each, pb.PBConnectionLost)
        assert connection.lost
        assert (connection._server.getPeer(), connection._server.getHost()) == (None, None)

    def test_garbage(self) -> None:
        """
        A protocol that fails loses its connection, and the log says so.
        """
        connection = self.portal.connect()
        connection._client.write(b"x" * 100)
        self.portal.pump()
        assert connection.lost
        assert len(self.flushLoggedErrors(banana.BananaError)) == 1

    def test_misuse(self) -> None:
        """
        What makes no sense is refused.
        """
        self.assertRaises(TypeError, MemoryPortal, Player)
        self.assertRaises(ValueError, self.portal.connect().drop, after=-1)

    def test_checkers(self) -> None:
        """
        Who may log in is up to the checkers, if there are any.
        """
        users: Any = {"alice": b"secret"}
        checker: Any = InMemoryUsernamePasswordDatabaseDontUse(**users)
        portal = MemoryPortal(self.realm, checkers=[checker])
        logins = [portal.connect().login(password=password) for password in ("secret", "guess")]
        portal.pump()
        assert self.successResultOf(logins[0]) is not None
        assert self.failureResultOf(logins[1]).check(UnauthorizedLogin)
        assert len(self.flushLoggedErrors(UnauthorizedLogin)) == 1


@implementer(IRealm)
class Foreign:
    """
    A realm by hand.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Answer an avatar.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError
        return pb.IPerspective, Player(avatarId), lambda: None


@implementer(IRealm)
class Later(Foreign):
    """
    One that answers Deferreds.
    """

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Answer a Deferred of an avatar.
        """
        return maybeDeferred(super().requestAvatar, avatarId, mind, *interfaces)


class ContractTests(SynchronousTestCase):
    """
    The other checks: ours pass, and each catches what is broken.
    """

    def test_blocks(self) -> None:
        """
        Every block passes.
        """
        for make in (
            Block,
            ConnectionCounter,
            ConnectionLimit,
            lambda: ConnectionLimit(2, key=everyone),
            lambda: ConnectionLimit(whenFull=displaceOldest(flapping=99)),
            lambda: ConnectionLimit(quota=lambda session: 1),
            MindRegistry,
            lambda: MindRegistry(maximumPending=1),
        ):
            checkBlock(make)

    def test_sources(self) -> None:
        """
        So does every source.
        """
        for make in (
            lambda: Player,
            lambda: Factory(Player),
            lambda: AvatarCache()(Player),
            lambda: AvatarCache(maximumIdle=0)(ConnectionLimit()(Player)),
            lambda: PerConnection(lambda shared: Player(shared))(AvatarCache()(Player)),
            Foreign,
            lambda: AvatarCache()(Foreign()),
        ):
            checkSource(make)
        checkSource(lambda: lambda avatarId: Thing(), interface=IThing)

    def test_realms(self) -> None:
        """
        So does every realm.
        """
        for make in (
            lambda: Realm(Player),
            lambda: MindRegistry()(ConnectionLimit()(ConnectionCounter()(AvatarCache()(Player)))),
            lambda: ConnectionLimit(whenFull=displaceUnresponsive())(Player),
            lambda: PerConnection(Player)(AvatarCache()(Player)),
            Foreign,
            Later,
        ):
            checkRealm(make)
        checkRealm(lambda: Realm(lambda name: Thing()), avatarId="bob", interface=IThing)

    def brokenBlock(self, promise: str, **changes: Any) -> None:
        """
        See that a block that is broken is caught.
        """
        before = list(globalLogPublisher._observers)
        kind: Any = type("Broken", (Block,), changes)
        error = self.assertRaises(AssertionError, checkBlock, kind)
        assert promise in str(error), error
        assert str(error).count("a promise is broken") == 1
        self.flushLoggedErrors()
        assert list(globalLogPublisher._observers) == before

    def test_brokenBlocks(self) -> None:
        """
        A block that keeps sessions, goes wrong, does not finish, or lets nobody in a second time is
        caught.
        """
        self.brokenBlock("nothing is kept", kept=[], attached=lambda self, s: self.kept.append(s))
        self.brokenBlock("goes well", release=lambda self, session: 1 / 0)
        self.brokenBlock("the session is closed", detached=lambda self, session: Deferred())
        self.brokenBlock("goes well", detached=lambda self, session: session.mind.calls)
        self.brokenBlock("answered at once", attached=lambda self, session: Deferred())

        def bye(self: Any, session: Any) -> None:
            if session.mind is not None:
                session.mind.callRemote("bye", pbanswer=False)

        self.brokenBlock("a client that leaves while its login waits goes well", detached=bye)

        def once(self: Any, session: Any) -> None:
            if getattr(self, "taken", False):
                raise LoginRefused
            self.taken = True

        self.brokenBlock("the next login gets in", admit=once)

        def byName(self: Any, session: Any) -> None:
            self.names = getattr(self, "names", set()) | {session.avatarId}

        def remove(self: Any, session: Any) -> None:
            self.names.remove(session.avatarId)

        self.brokenBlock("goes well", attached=byName, detached=remove)

        def late(self: Any, session: Any) -> None:
            self.taken = False

        self.brokenBlock("the next login gets in", admit=once, detached=late)
        error = self.assertRaises(AssertionError, checkBlock, Thing)
        assert "provides IBlock" in str(error)

        half: Any = type("Half", (), {})
        implementer(IBlock)(half)
        error = self.assertRaises(AssertionError, checkBlock, half)
        assert "it has what its interface has" in str(error)

    def test_sharedBlock(self) -> None:
        """
        A block that takes one realm's session for another's is caught.
        """

        class Last(Block):
            sessions = 0
            realm: Any = None

            def attached(self, session: Any) -> None:
                self.realm, self.sessions = session.realm, self.sessions + 1

            def detached(self, session: Any) -> None:
                self.sessions -= 1
                if self.sessions == 0 and self.realm is not session.realm:
                    raise Boom
                assert session.realm is self.realm

        error = self.assertRaises(AssertionError, checkBlock, Last)
        assert "two realms that share it" in str(error)
        self.flushLoggedErrors()

        class First(Block):
            def __init__(self) -> None:
                self.realm: Any = None
                self.sessions: list[Any] = []

            def attached(self, session: Any) -> None:
                self.realm = self.realm or session.realm
                self.sessions.append(session)

            def detached(self, session: Any) -> None:
                if session.realm is self.realm:
                    self.sessions.remove(session)

        error = self.assertRaises(AssertionError, checkBlock, First)
        assert "after two realms that share it are used at a time nothing is kept" in str(error)

    def test_leaking(self) -> None:
        """
        A block that loses slots now and then, keeps minds, or raises what is no refusal, is caught;
        one that refuses in the way of cred is not.
        """

        class Leaking(Block):
            maximum, taken = 10, 0

            def admit(self, session: Any) -> None:
                if self.taken >= self.maximum:
                    raise UnauthorizedLogin
                self.taken += 1

            def detached(self, session: Any) -> None:
                self.taken -= 1

        self.brokenBlock("a block below refuses the next login gets in", **vars(Leaking))
        self.brokenBlock("of the mind", seen=[], admit=lambda self, s: self.seen.append(s.mind))
        self.brokenBlock(
            "of the avatar", all=[], attached=lambda self, s: self.all.append(s.avatar)
        )
        self.brokenBlock("goes well: AttributeError", admit=lambda self, s: s.mind.calls)

        class Right(Leaking):
            maximum = 1

            def detached(self, session: Any) -> None:
                pass

            def release(self, session: Any) -> None:
                self.taken -= 1

        checkBlock(Right)

    def test_rarely(self) -> None:
        """
        A block that goes wrong now and then, miscounts, or does not hear of a login that fails late
        is caught, and it is said after what.
        """

        def thirtieth(self: Any, session: Any) -> None:
            self.logins += 1
            if self.logins == 30:
                raise LoginRefused

        self.brokenBlock("after a logout the next login gets in", logins=0, admit=thirtieth)

        class Miscounting(ConnectionCounter):
            def detached(self, session: Any) -> None:
                pass

        error = self.assertRaises(AssertionError, checkBlock, Miscounting)
        assert 'after a logout everything agrees: ["Miscounting' in str(error)

        def unless(self: Any, session: Any) -> None:
            if session.loggedIn or session.mind.disconnected:
                self.kept.remove(session)

        self.brokenBlock(
            "after a login that a block above refuses, when it has its avatar nothing is kept",
            kept=[],
            attached=lambda self, session: self.kept.append(session),
            detached=unless,
        )

    def brokenSource(self, promise: str, **changes: Any) -> None:
        """
        See that a source that is broken is caught.
        """

        @implementer(IAvatarSource)
        class Broken:
            def acquire(self, session: Any) -> Any:
                return Player(session.avatarId)

            def release(self, session: Any) -> Any:
                return None

            def close(self) -> Any:
                return None

        for name, change in changes.items():
            setattr(Broken, name, change)
        error = self.assertRaises(AssertionError, checkSource, Broken)
        assert promise in str(error), error
        self.flushLoggedErrors()

    def test_brokenSources(self) -> None:
        """
        A source that keeps sessions, goes wrong, or does not close is caught.
        """
        kept: list[Any] = []
        self.brokenSource("nothing is kept", release=lambda self, session: kept.append(session))
        kept.clear()
        self.brokenSource("goes well", release=lambda self, session: 1 / 0)

        def keep(self: Any, session: Any) -> None:
            if session.mind is None:
                kept.append(session)

        self.brokenSource("a login without a mind nothing is kept of the session", release=keep)
        kept.clear()
        self.brokenSource("the session is closed", release=lambda self, session: Deferred())
        self.brokenSource("lets go of its avatars", close=lambda self: Deferred())
        self.brokenSource("closing it goes well", close=lambda self: 1 / 0)
        self.brokenSource("it has what its interface has", close=None)
        error = self.assertRaises(AssertionError, checkSource, lambda: 3)
        assert "it can be stacked" in str(error)

    def brokenRealm(self, promise: str, answer: Any, audit: bool = False) -> None:
        """
        See that a realm that is broken is caught.
        """

        @implementer(IRealm)
        class Broken:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return answer(avatarId, interfaces)

        error = self.assertRaises(AssertionError, checkRealm, Broken)
        assert promise in str(error), error
        self.flushLoggedErrors()

    def test_brokenRealms(self) -> None:
        """
        A realm that does not answer as one is caught.
        """

        async def coroutine() -> Any:
            raise Boom

        started: list[Any] = []

        def asynchronous(avatarId: Any, interfaces: Any) -> Any:
            started.append(coroutine())
            return started[-1]

        perspective = pb.IPerspective
        player = Player(b"alice")
        self.brokenRealm("answers (interface", asynchronous)
        started.pop().close()
        self.brokenRealm("answers (interface", lambda name, interfaces: (perspective, player))
        self.brokenRealm("answered", lambda name, interfaces: Deferred())
        self.brokenRealm("one that was asked for", lambda name, interfaces: (IThing, player, list))
        self.brokenRealm("the avatar provides", lambda n, interfaces: (perspective, Thing(), list))
        self.brokenRealm("NotImplementedError", lambda n, interfaces: (perspective, player, list))
        error = self.assertRaises(AssertionError, checkRealm, Thing)
        assert "provides IRealm" in str(error)

    def test_oneInterface(self) -> None:
        """
        So is one that looks at the first interface only, cannot have a second login beside the
        first (to refuse it is right), or lets nobody in any more after a login that failed.
        """

        @implementer(IRealm)
        class Broken(Foreign):
            online = 0
            failed = False

            def __init__(self, how: str) -> None:
                self.how = how

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                if self.failed or self.online:
                    raise Boom
                try:
                    seen = interfaces[:1] if self.how == "first" else interfaces
                    seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *seen)
                except NotImplementedError:
                    self.failed = self.how == "failed"
                    raise
                self.online = self.how == "alone"
                return seenAs, avatar, self.logout

            def logout(self) -> None:
                self.online = 0

        for how, promise in (
            ("first", "a login that asks for several interfaces, and one beside it goes well"),
            ("alone", "a login that asks for several interfaces, and one beside it goes well"),
            ("failed", "a login after one that failed goes well"),
        ):
            error = self.assertRaises(AssertionError, checkRealm, partial(Broken, how))
            assert promise in str(error)
        checkRealm(partial(Broken, "right"))
        checkRealm(lambda: ConnectionLimit(1)(Player))

    def test_brokenLogouts(self) -> None:
        """
        So is one that leaves something of a login, or fails when it is logged out twice.
        """

        class Keeping(Block):
            def detached(self, session: Any) -> Any:
                return Deferred()

        error = self.assertRaises(AssertionError, checkRealm, lambda: Keeping()(Player))
        assert str(error).endswith("after a logout nothing is left of the login's mind")

        class Miscounting(ConnectionCounter):
            def detached(self, session: Any) -> Any:
                pass

        error = self.assertRaises(AssertionError, checkRealm, lambda: Miscounting()(Player))
        assert str(error).endswith("after a logout nothing is left of the login")

        class KeepingFailed(ConnectionLimit):
            def release(self, session: Any) -> None:
                if session.loggedIn:
                    super().release(session)

        error = self.assertRaises(AssertionError, checkRealm, lambda: KeepingFailed(9)(Player))
        assert str(error).endswith("after a login that failed nothing is left of it")

        @implementer(IRealm)
        class Once(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, [None].pop

        error = self.assertRaises(AssertionError, checkRealm, Once)
        assert "a login and two logouts goes well" in str(error)

        @implementer(IRealm)
        class Logging(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seenAs, avatar, _ = super().requestAvatar(avatarId, mind, *interfaces)
                return seenAs, avatar, lambda: Logger().failure("no", failure=Failure(Boom()))

        error = self.assertRaises(AssertionError, checkRealm, Logging)
        assert "a login and two logouts goes well" in str(error)
        assert len(self.flushLoggedErrors(Boom)) > 0

        @implementer(IRealm)
        class KeepingMinds(Foreign):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                minds.append(mind)
                return super().requestAvatar(avatarId, mind, *interfaces)

        minds: list[Any] = []
        error = self.assertRaises(AssertionError, checkRealm, KeepingMinds)
        assert "after a logout nothing is left" in str(error)
