"""
What the tests of limits share: a limit around a stack whose hooks a test can script.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import ConnectionLimit, Session
from scripted import IThing, Script, sessionOf, waiting


class LimitTestCase(SynchronousTestCase):
    """
    A test of a limit around a scripted stack.
    """

    def setUp(self) -> None:
        """
        Collect the log events.
        """
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def limited(self, *args: Any, **kw: Any) -> ConnectionLimit:
        """
        Make the limit and a realm with it.
        """
        self.limit = ConnectionLimit(*args, reactor=self.clock, **kw)
        self.script = Script()
        self.realm = self.limit(self.script.realm)
        self.realm.closeTimeout = None  # sessions take as long to close as a test says
        return self.limit

    def login(self, name: object = b"alice", mind: object = None) -> Any:
        """
        Log in without waiting, and return the session.
        """
        return sessionOf(self.realm, self.realm.requestAvatar(name, mind, IThing))

    def challenge(self, name: object = b"alice", mind: object = None) -> Deferred[Any]:
        """
        Start a login that must wait.
        """
        return waiting(self.realm.requestAvatar(name, mind, IThing))

    def winner(self, challenge: Deferred[Any]) -> Session:
        """
        Return the session of a login that had to wait and has succeeded.
        """
        return sessionOf(self.realm, self.successResultOf(challenge))

    def tearDown(self) -> None:
        """
        The audit finds nothing, and no turn is left over.
        """
        assert self.realm.audit() == []
        assert len(self.limit._turns) == 0
