"""
Tests for L{avatarkit.testing.checkMind}: our minds pass, and broken ones are caught.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from avatarkit import IDisconnectableMind, IMind
from avatarkit._clients.minds import PBMind
from avatarkit.testing import FakeMind, checkMind
from minds import fakeMind, realMind


class MindContractTests(SynchronousTestCase):
    """
    L{checkMind} and the minds that it is given.
    """

    def test_fake(self) -> None:
        """
        L{FakeMind} passes.
        """
        checkMind(fakeMind)
        verifyObject(IDisconnectableMind, FakeMind())

    def test_real(self) -> None:
        """
        A real mind of Perspective Broker passes, and its adapter is an L{IDisconnectableMind}.
        """
        checkMind(realMind)
        verifyObject(IDisconnectableMind, PBMind(realMind()[0]))

    def broken(self, promise: str, make: Callable[[], Any] | None = None, **changes: Any) -> None:
        """
        Check that a broken mind is caught.
        """
        kind: Any = type("Broken", (FakeMind,), changes)

        def makeBroken() -> Any:
            mind = kind()
            return mind, lambda: FakeMind.disconnect(mind)

        error = self.assertRaises(AssertionError, checkMind, make or makeBroken)
        assert promise in str(error), error
        assert str(error).startswith("a promise is broken: ")

    def test_broken(self) -> None:
        """
        A mind that breaks a promise is caught, and the sentence says which.
        """

        def returning(result: Any) -> Any:
            return lambda self, name, /, *args, pbanswer=True, **kw: result if pbanswer else None

        self.broken("pbanswer=False returns None", callRemote=lambda self, *args, **kw: 3)
        self.broken("can be adapted to IMind", lambda: (object(), None))

        minds: list[FakeMind] = []

        def together() -> Any:
            minds.append(FakeMind())
            return minds[-1], leave

        def leave() -> None:
            for mind in minds:
                mind.disconnect()

        self.broken("that of a client that is still there", together)
        half: Any = type("Half", (), {"disconnected": False})
        implementer(IMind)(half)
        self.broken("it implements IMind: ", lambda: (half(), None))
        gone = property(lambda self: True, lambda self, value: None)
        self.broken("not disconnected while its client is there", disconnected=gone)
        self.broken("returns a Deferred", callRemote=returning(3))
        self.broken(
            "is disconnected when its client is gone",
            disconnected=property(lambda self: False, lambda self, value: None),
        )
        self.broken(
            "calls ['first', 'last'], not ['first', 'one that was taken back', 'last']",
            dontNotifyOnDisconnect=lambda self, callback: None,
        )
        self.broken(
            "a mind whose client leaves calls ['first', 'last'], not []",
            notifyOnDisconnect=lambda self, callback: None,
            dontNotifyOnDisconnect=lambda self, callback: None,
        )

        def twice(self: Any, callback: Any) -> None:
            for _ in range(2):
                FakeMind.notifyOnDisconnect(self, callback)

        self.broken(
            "a mind whose client leaves calls ['first', 'last'], not ", notifyOnDisconnect=twice
        )
        self.broken("a call that waits for its answer fails", callRemote=returning(Deferred()))

        def quiet(self: Any, name: Any, /, *args: Any, **kw: Any) -> Any:
            return Deferred() if self.disconnected else FakeMind.callRemote(self, name, **kw)

        self.broken("raises DeadReferenceError", callRemote=quiet)

    def test_sentence(self) -> None:
        """
        If a call does not raise C{DeadReferenceError}, the sentence says that it must.
        """

        class Deaf(FakeMind):
            def callRemote(self, name: Any, /, *args: Any, **kw: Any) -> Any:
                return None if self.disconnected else super().callRemote(name, *args, **kw)

        def deaf() -> Any:
            mind = Deaf()
            return mind, mind.disconnect

        error = self.assertRaises(AssertionError, checkMind, deaf)
        assert str(error) == (
            "a promise is broken: callRemote raises DeadReferenceError when the client is gone"
        )
