"""
Avatars that Perspective Broker cannot send.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.spread import pb
from zope.interface import implementer

from avatarkit import Block, ConnectionLimit, Realm, RealmFailed, Session
from perspectives import PerspectiveCase

# Any in this module: what Perspective Broker is given.


def realmOf(kind: Any) -> Realm[Any]:
    """
    Return a realm whose avatars are of one kind.
    """
    return Realm(lambda avatarId: kind())


class UnsentTests(PerspectiveCase):
    """
    Logins that fail when they are done.
    """

    def test_unsent(self) -> None:
        """
        The session of an avatar that cannot be sent ends with what it has raised, its slot is free
        again, and its client is told as little as if a hook had failed, which is logged.
        """

        @implementer(pb.IPerspective)
        class Nameless(pb.Jellyable):
            perspectiveMessageReceived = None

        class Unknown(Nameless):
            def processUniqueID(self) -> int:
                raise ValueError("secret")

        class Unsent(Nameless):
            def processUniqueID(self) -> int:
                return id(self)

            def jellyFor(self, jellier: Any) -> Any:
                raise ValueError("secret")

        reasons: list[object] = []

        class Noting(Block):
            def release(self, session: Session) -> None:
                reasons.append(session.reason)

        kinds = {Nameless: AttributeError, Unknown: ValueError, Unsent: ValueError}
        for kind, error in kinds.items():
            self.serve(ConnectionLimit(1)(Noting()(realmOf(kind))))
            for _ in range(2):
                login = self.portal.connect().login("alice")
                self.portal.pump()
                told = self.refused(login, RealmFailed)
                assert told == "something went wrong on the server"
                assert type(reasons.pop()) is error
                assert not self.realm.sessions
                assert [each.type for each in self.flushLoggedErrors()] == [error]
            assert reasons == []

    def test_unsentTold(self) -> None:
        """
        What it has raised for clients is told them, and so is everything, if the realm is to hide
        nothing.
        """

        @implementer(pb.IPerspective)
        class Unsent(pb.Referenceable):
            perspectiveMessageReceived = None

            def __init__(self, error: Exception) -> None:
                self.error = error

            def jellyFor(self, jellier: Any) -> Any:
                raise self.error

        for error, hides in ((pb.Error("told"), True), (ValueError("told"), False)):
            self.serve(realmOf(partial(Unsent, error))).hideFaults = hides
            login = self.portal.connect().login("alice")
            self.portal.pump()
            failure: Any = self.failureResultOf(login)
            assert failure.getErrorMessage() == "told"
            assert not self.realm.sessions
            self.flushLoggedErrors(ValueError)
