"""
A server of Perspective Broker in memory, and an avatar that its clients share; and a
reason of somebody's own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, Kicked, Session, currentSession
from avatarkit.testing import MemoryPortal

# Any in this module: references, and what they are called with.


class Shared(Avatar):
    """
    An avatar that several sessions share.

    @ivar said: what has happened, in order.
    @ivar gates: what its methods wait for, by name.
    """

    def __init__(self, avatarId: object) -> None:
        self.said: list[Any] = []
        self.gates: dict[str, Deferred[Any]] = {}

    def gate(self, name: str) -> Deferred[Any]:
        """
        Return something to wait for.
        """
        return self.gates.setdefault(
            name, Deferred(lambda gate: self.said.append((name, "cancel")))
        )

    def perspective_name(self) -> str:
        """
        Say whose call it is.
        """
        session = currentSession()
        assert session is not None
        return session.id

    async def perspective_wait(self, name: str) -> list[str]:
        """
        Say whose call it is, before and after waiting.
        """
        before = currentSession()
        result = await self.gate(name)
        after = currentSession()
        assert before is not None
        assert after is not None
        return [before.id, after.id, result]

    def perspective_later(self, name: str) -> Deferred[Any]:
        """
        Wait, in Twisted's way.
        """
        return self.gate(name)

    async def perspective_fail(self, kind: str) -> None:
        """
        Fail, at once.
        """
        raise pb.Error("told") if kind == "told" else ValueError("not told")

    async def perspective_endLater(self, name: str) -> str:
        """
        Wait, end the session of the call, and go on.
        """
        await self.gate(name)
        session = currentSession()
        assert session is not None
        session.logout("enough")
        return "done"

    async def perspective_end(self, name: str) -> str:
        """
        End the session of the call, and go on.
        """
        session = currentSession()
        assert session is not None
        session.logout("enough")
        await self.gate(name)
        return "done"

    @inlineCallbacks
    def perspective_endOld(self, name: str) -> Any:
        """
        Do so in the old way.
        """
        session = currentSession()
        assert session is not None
        session.logout("enough")
        yield self.gate(name)
        return "done"

    def perspective_quit(self) -> str:
        """
        End the session of the call, at once.
        """
        session = currentSession()
        assert session is not None
        session.logout("enough")
        return "bye"

    @inlineCallbacks
    def perspective_inline(self, name: str) -> Any:
        """
        Wait, in the old way.
        """
        yield self.gate(name)
        self.said.append((name, "goes on"))

    def perspective_note(self, what: object) -> None:
        """
        Take note.
        """
        self.said.append(what)

    def logout(self) -> None:
        """
        Say whose logout it is, and why.
        """
        session = currentSession()
        assert session is not None
        self.said.append(("logout", type(session.reason).__name__))


class PerspectiveCase(SynchronousTestCase):
    """
    A server in memory, and clients.
    """

    def serve(self, realm: Any) -> Any:
        """
        Serve a realm, without watching connections.
        """
        self.realm = realm
        self.portal = MemoryPortal(realm, watched=False)
        return realm

    def logIn(self, name: str = "alice", mind: Any = None) -> tuple[Any, Session]:
        """
        Log in over a new connection; return what the client holds, and its session.
        """
        before = {*self.realm.sessions}
        self.client = self.portal.connect()
        login = self.client.login(name, mind=mind)
        self.portal.pump()
        (session,) = {*self.realm.sessions} - before
        return self.successResultOf(login), session

    def call(self, held: Any, *args: Any, **kw: Any) -> Deferred[Any]:
        """
        Call the server.
        """
        answer: Deferred[Any] = held.callRemote(*args, **kw)
        self.portal.pump()
        return answer

    def refused(self, answer: Deferred[Any], kind: type[Exception]) -> str:
        """
        Check that a call was refused; return what the client is told.
        """
        failure: Any = self.failureResultOf(answer)
        assert failure.type == f"avatarkit.errors.{kind.__name__}".encode()
        assert failure.traceback == "Traceback unavailable\n"
        return str(failure.getErrorMessage())


class Banned(Kicked):
    """
    A reason that is made of other things than its text.
    """

    def __init__(self, by: str, until: str) -> None:
        super().__init__(f"banned by {by} until {until}")
        self.by = by


def length(error: BaseException) -> int:
    """
    Return how long the traceback of an exception is.
    """
    traceback, length = error.__traceback__, 0
    while traceback is not None:
        traceback, length = traceback.tb_next, length + 1
    return length
