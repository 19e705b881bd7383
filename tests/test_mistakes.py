"""
Tests for mistakes of people who are new to this: each is said, and as early as it can be known.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    MindRegistry,
    PerConnection,
    Realm,
    RealmFailed,
    Session,
)
from scripted import OPENING, Act, IThing, Player, Script, frank, opened, slots, undoing, waiting


class Hours(Block):
    """
    A block that takes one argument, like a decorator without the call.
    """

    def __init__(self, hour: object, *, first: int = 8) -> None:
        self.hour = hour


@implementer(ICredentialsChecker)
class Anybody:
    """
    A credentials checker.
    """

    credentialInterfaces = (IAnonymous,)

    def requestAvatarId(self, credentials: object) -> Any:
        """
        Let anybody in.
        """
        return succeed(b"alice")


@implementer(IAnonymous)
class Credentials:
    """
    Nobody's.
    """


class StackingTests(SynchronousTestCase):
    """
    What is put in the wrong place.
    """

    def test_oneBlock(self) -> None:
        """
        One block in place of a list of blocks is a TypeError, also if it is an empty collection.
        """
        wrong: Any
        for wrong in (
            MindRegistry(),
            ConnectionCounter(),
            ConnectionLimit(),
            AvatarCache(),
            "x",
            3,
        ):
            error = self.assertRaises(TypeError, Realm, Player, blocks=wrong)
            assert "blocks=[...]" in str(error)
        self.assertRaises(TypeError, Realm, Player, blocks={"limit": ConnectionLimit()})
        limit = ConnectionLimit()
        assert Realm(Player, blocks=iter([limit])).blocks == (limit,)

    def test_inAPortal(self) -> None:
        """
        A block in the place of a realm says so as soon as a portal asks it for an avatar, and how
        to write it; to hasattr it has no requestAvatar.
        """

        @Hours
        def realm(avatarId: object) -> Player:
            raise AssertionError

        for block in (
            realm,
            MindRegistry(),
            ConnectionLimit(2),
            AvatarCache(),
            PerConnection(Player),
        ):
            assert not hasattr(block, "requestAvatar")
            portal = Portal(block, [Anybody()])  # type: ignore[arg-type]  # it is none
            error = self.assertRaises(AttributeError, portal.login, Credentials(), None, IThing)
            assert "is not a realm" in str(error)
            assert f"@{type(block).__name__}(...)" in str(error)
        wrong: Any = realm
        error = self.assertRaises(AttributeError, lambda: wrong.nothing)
        assert str(error) == "'Hours' object has no attribute 'nothing'"

    def test_application(self) -> None:
        """
        The service of a realm, where twistd wants an application, says what to write.
        """
        service: Any = Realm(Player).service()
        error = self.assertRaises(TypeError, service.getComponent, IThing, None)
        assert "setServiceParent(application)" in str(error)


class AdmitTests(SynchronousTestCase):
    """
    An C{admit} that returns C{False}.
    """

    def test_false(self) -> None:
        """
        It refuses the login, at once or later, with a TypeError that names it, and is not undone.
        """
        gate: Deferred[object] = Deferred()
        for answer in (False, succeed(False), gate):
            script = Script({"admit 1": partial(self.answer, answer)})
            if answer is gate:
                login = waiting(script.login())
                gate.callback(False)
                error = self.failureResultOf(login, TypeError).value
            else:
                error = self.assertRaises(TypeError, script.login)
            assert str(error) == (
                "ScriptedBlock.admit returned False: to refuse a login, raise LoginRefused"
            )
            assert script.log == [*OPENING[:2], *undoing(1)]

    def answer(self, answer: object, session: Session) -> object:
        """
        Be a hook.
        """
        return answer

    def test_others(self) -> None:
        """
        What else a hook returns means nothing, nor does False from one that does not decide.
        """
        acts: dict[str, Act] = dict.fromkeys(
            (*OPENING[:3], *OPENING[4:]), partial(self.answer, True)
        )
        acts["attached 1"] = partial(self.answer, False)
        script = Script(acts)
        opened(script.login())[2]()
        assert script.log == [*OPENING, *undoing(7)]

    def test_client(self) -> None:
        """
        The client is refused, and the limit around it has its slot back.
        """

        class Closed(Block):
            def admit(self, session: Session) -> object:
                return False

        limit = ConnectionLimit(1)
        realm = limit(Closed()(Player))
        self.assertRaises(RealmFailed, realm.requestAvatar, b"alice", None, IThing)
        assert (slots(limit), len(self.flushLoggedErrors(TypeError))) == ({}, 1)
        frank(realm)
        self.assertRaises(TypeError, realm.requestAvatar, b"alice", None, IThing)
