"""
Tests for what a client is told of a login that failed.
"""

from __future__ import annotations

import contextlib
import gc
from functools import partial
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.spread import pb
from twisted.spread.pb import CopiedFailure
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionLimit,
    LoginRefused,
    PerConnection,
    Realm,
    RealmFailed,
    Session,
    TooManyConnections,
    UnsupportedInterface,
)
from avatarkit.testing import login
from pb import Client, PBTestCase, refusal
from players import Player
from scripted import Boom, IOther, IThing, Script, Thing, frank, raises, waiting

SECRET = "postgres://app:secret@db"


class Leak(Exception):
    """
    What has a text that is not for the client.
    """


def leak(thing: object) -> Any:
    """
    Be a factory, hook or build that fails.
    """
    raise Leak(SECRET)


async def leakLater(thing: object) -> Any:
    """
    Be one that takes its time.
    """
    await Deferred.fromCoroutine(_pause())
    raise Leak(SECRET)


async def _pause() -> None:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0)


class Leaking(Block):
    """
    A block that fails.
    """

    def admit(self, session: Session) -> object:
        """
        Fail.
        """
        return leak(session)


class Closed(LoginRefused):
    """
    A refusal of one's own.
    """

    text = "we open at eight"


class Denied(pb.Error, UnauthorizedLogin):
    """
    A refusal that knows nothing of avatarkit.
    """


class Stubborn(pb.Error):
    """
    One that allows no subclass.
    """

    def __init_subclass__(cls) -> None:
        raise TypeError("there is only one")


class Shut(Block):
    """
    A block that refuses.
    """

    def admit(self, session: Session) -> object:
        """
        Refuse.
        """
        raise Closed(avatarId=session.avatarId)


class Nothing:
    """
    An avatar that provides no interface at all.
    """


class WireTests(PBTestCase):
    """
    What arrives at a real client.
    """

    def client(self) -> Client:
        """
        Connect a client that keeps every byte it receives.
        """
        client = super().client()
        buildProtocol = client.factory.buildProtocol

        def build(address: Any) -> Any:
            broker = buildProtocol(address)
            received = broker.dataReceived

            def dataReceived(data: bytes) -> None:
                self.wire += data
                received(data)

            broker.dataReceived = dataReceived
            return broker

        client.factory.buildProtocol = build
        return client

    async def refused(self, realm: Any) -> Failure:
        """
        Have a client refused, and return the failure that it gets.
        """
        self.wire = b""
        self.serve(realm)
        failure = await refusal(self.client().login())
        await self._close()
        self.clients.clear()
        for inside in (b".py", b"_frames", b"secret", b"Nothing", b"alice"):
            assert inside not in self.wire, (inside, self.wire)
        return failure

    def tearDown(self) -> Any:
        """
        Everything is closed.
        """

    async def test_faults(self) -> None:
        """
        Whatever fails, at once or later, the client gets the same words, and the log has what was
        raised, once.
        """
        for realm in (
            Realm(leak),
            Realm(leakLater),
            AvatarCache()(leak),
            AvatarCache()(leakLater),
            Leaking()(Player),
            PerConnection(leak)(Player),
            PerConnection(leakLater)(AvatarCache()(Player)),
        ):
            failure = await self.refused(realm)
            assert failure.check(RealmFailed)
            assert not failure.check(UnauthorizedLogin)
            assert failure.getErrorMessage() == "something went wrong on the server"
            (logged,) = self.flushLoggedErrors()
            assert logged.getErrorMessage() == SECRET
            assert logged.getTraceback().count("Leak") > 0

    async def test_unsupported(self) -> None:
        """
        An avatar that does not fit is a NotImplementedError to the client, whatever it is on the
        server, and is logged once with its details.
        """
        for factory in (lambda avatarId: Nothing(), self.unimplemented):
            failure = await self.refused(Realm(factory))
            assert failure.check(NotImplementedError)
            assert failure.check(UnsupportedInterface)
            assert failure.getErrorMessage() == "the interface is not supported"
            (logged,) = self.flushLoggedErrors()
            assert any(word in logged.getErrorMessage() for word in ("Nothing", "secret"))

    def unimplemented(self, avatarId: object) -> Any:
        """
        Be a factory that says more than it should.
        """
        raise NotImplementedError(SECRET)

    async def test_refusals(self) -> None:
        """
        A refusal arrives with its name and its text, and without a path; it is not logged.
        """
        closed: Realm = Realm(Player)
        closed.close()
        full = ConnectionLimit(1)(Player)
        login(full, b"alice")
        for realm, kind, text in (
            (closed, "RealmClosed", "the server is shutting down"),
            (full, "TooManyConnections", "too many connections"),
            (Shut()(Player), "Closed", "we open at eight"),
        ):
            failure = await self.refused(realm)
            name: Any = failure.type
            assert name.decode().rpartition(".")[2] == kind
            assert failure.getErrorMessage() == text
            assert failure.check(LoginRefused)
            assert failure.check(UnauthorizedLogin)
        assert self.flushLoggedErrors() == []

    async def test_others(self) -> None:
        """
        A refusal that is not ours, at once or later, arrives with its name and its text, and
        without a path.
        """
        for kind in (pb.Error, Denied, UnauthorizedLogin):
            for later in (False, True):
                failure = await self.refused(Realm(partial(self.refuse, kind, later)))
                assert failure.check(kind)
                assert failure.check(UnauthorizedLogin) or kind is pb.Error
                assert failure.getErrorMessage() == "no"
                name: Any = failure.type
                assert name.decode() == qual(kind)
        assert len(self.flushLoggedErrors(UnauthorizedLogin)) == 2  # Perspective Broker does

    def refuse(self, kind: Any, later: bool, avatarId: object) -> Any:
        """
        Be a factory that refuses.
        """

        async def pause() -> None:
            await _pause()
            raise kind("no")

        if later:
            return pause()
        raise kind("no")

    async def test_toldOtherwise(self) -> None:
        """
        A realm that does not hide faults lets the client read what was raised.
        """
        self.wire = b""
        self.serve(frank(Realm(leak)))
        failure = await refusal(self.client().login())
        await self._close()
        assert (failure.check(Leak), failure.getErrorMessage()) == (Leak, SECRET)
        assert len(self.flushLoggedErrors(Leak)) == 1  # Perspective Broker does


class RealmTests(SynchronousTestCase):
    """
    What L{Realm.requestAvatar} raises.
    """

    def test_cause(self) -> None:
        """
        Code on the server finds what was raised, at once or later, as the cause.
        """
        gate: Deferred[Any] = Deferred()
        error = self.assertRaises(RealmFailed, Realm(leak).requestAvatar, b"alice", None, IThing)
        pending = waiting(Realm(lambda avatarId: gate).requestAvatar(b"alice", None, IThing))
        gate.errback(Leak(SECRET))
        later = self.failureResultOf(pending, RealmFailed).value
        for told in (error, later):
            assert (told.avatarId, type(told.__cause__)) == (b"alice", Leak)
        assert len(self.flushLoggedErrors(Leak)) == 2

    def test_noGarbage(self) -> None:
        """
        A login that fails leaves nothing for the garbage collector.
        """
        realms: tuple[Realm, ...] = (
            Realm(raises),
            AvatarCache()(lambda avatarId: fail(Boom())),
            PerConnection(raises)(lambda avatarId: Thing()),
        )
        for realm in realms:
            assert self.garbageOf(realm) == []

    def garbageOf(self, realm: Realm) -> list[object]:
        """
        Return what only the garbage collector frees of a login that fails.  The log may keep some
        of it, which is no garbage.
        """
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with contextlib.suppress(RealmFailed):
                realm.requestAvatar(b"in vain", None, IThing)
            self.flushLoggedErrors(Boom)
            gc.collect()
            return [
                each
                for each in gc.garbage  # some of which the log has kept of other tests until now
                if getattr(each, "avatarId", None) == b"in vain" or type(each) is Boom
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    def test_interfaces(self) -> None:
        """
        What is not supported is said on the server, too, without the details in the text.
        """
        error = self.assertRaises(
            UnsupportedInterface, Realm(Player).requestAvatar, b"alice", None, IOther
        )
        assert (error.avatarId, error.interfaces) == (b"alice", (IOther,))
        assert str(error) == "the interface is not supported"
        assert "IOther" in str(error.__cause__)
        assert len(self.flushLoggedErrors(UnsupportedInterface)) == 1

    def test_written(self) -> None:
        """
        What was written for a client, by whomever, is told as it is, and so is a cancellation to
        whoever cancelled.
        """
        for written in (pb.Error("no"), UnauthorizedLogin("no"), TooManyConnections()):
            script = Script({"admit 1": partial(self.answer, Failure(written))})
            script.realm.hideFaults = True
            error = self.assertRaises(type(written), script.login)
            assert error is written
            again = self.assertRaises(type(written), script.login)
            assert again is written
        pending = waiting(Realm(lambda avatarId: Deferred()).requestAvatar(b"a", None, IThing))
        pending.cancel()
        self.failureResultOf(pending, CancelledError)

    def test_noSubclass(self) -> None:
        """
        What allows no subclass is told all the same.
        """
        script = Script({"admit 1": partial(self.answer, Failure(Stubborn("no")))})
        script.realm.hideFaults = True
        assert type(self.assertRaises(Stubborn, script.login)) is Stubborn

    def test_afar(self) -> None:
        """
        A failure that came over the network is hidden like one from here, unless it is a refusal.
        """
        for remote, told in ((Leak(SECRET), RealmFailed), (TooManyConnections(), None)):
            failure: Any = CopiedFailure.__new__(CopiedFailure)
            failure.__dict__.update(Failure(remote).__dict__)
            failure._parents, failure.value = Failure(remote).parents, str(remote)
            failure.type = f"remote.{type(remote).__name__}"
            realm: Realm = Realm(partial(self.answer, failure))
            found = self.failureResultOf(waiting(realm.requestAvatar(b"alice", None, IThing)))
            assert (found is failure) if told is None else found.check(told)
        assert len(self.flushLoggedErrors()) == 1

    def answer(self, failure: Failure, avatarId: object) -> Any:
        """
        Be a factory that fails.
        """
        return fail(failure)

    def test_stacked(self) -> None:
        """
        The outermost realm decides, and a realm that is stacked on does as the one below it does.
        """
        assert Realm(Player).hideFaults
        assert not Realm(frank(Realm(Player))).hideFaults
        assert not ConnectionLimit()(frank(Realm(Player))).hideFaults
        assert AvatarCache()(frank(Realm(Player))).hideFaults
        for wrong in ("no", 1, 0):
            self.assertRaises(TypeError, setattr, Realm(Player), "hideFaults", wrong)

    def test_login(self) -> None:
        """
        A test that logs in with login() sees what was raised, and nothing is logged.
        """
        self.assertRaises(Leak, login, Realm(leak), b"alice")
        gate: Deferred[Any] = Deferred()
        pending = login(Realm(lambda avatarId: gate), b"alice")
        gate.errback(Leak(SECRET))
        self.failureResultOf(pending, Leak)
