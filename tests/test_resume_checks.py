"""
What a L{Resume} is given, where it stands, and what it keeps secret.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import AvatarCache, MindRegistry, PerConnection, Realm, Resume
from avatarkit._liveness.claims import Claim
from logs import logged
from returning import comer, ticketOf
from scripted import IThing, Thing

# Any in this module: what is inside a part of a realm.


def thing(avatarId: object) -> Thing:
    """
    Make an avatar.
    """
    return Thing()


class ClaimTests(SynchronousTestCase):
    """
    What is kept secret.
    """

    def test_secret(self) -> None:
        """
        No token is in the text of what holds it.
        """
        assert repr(Claim(b"secret", 3)) == "<Claim of 3>"
        clock, mind = Clock(), comer()
        resume = Resume[Any](reactor=clock)
        realm = resume(lambda avatarId: Thing())
        realm.requestAvatar(b"alice", mind, IThing)
        comebacks: Any = resume._comebacks
        (stay,) = comebacks._stays.values()
        digest = sha256(ticketOf(mind)).digest()
        assert [*comebacks._tickets._stays] == stay.good == [digest]
        for each in (resume, realm, comebacks, stay, comebacks._tickets, *realm.sessions):
            for secret in (ticketOf(mind), digest):
                assert repr(secret) not in repr(each)
        assert len(ticketOf(mind)) == 32


class ChecksTests(SynchronousTestCase):
    """
    What a L{Resume} is given.
    """

    def test_arguments(self) -> None:
        """
        Arguments that make no sense are refused.
        """
        wrong: list[tuple[type[Exception], dict[str, Any]]] = [
            *((TypeError, {"window": each}) for each in (None, "60", Thing)),
            *((ValueError, {"window": each}) for each in (0, -1, float("inf"))),
            *((TypeError, {name: "1"}) for name in ("backlog", "maximumLost", "timeout", "hold")),
            *((ValueError, {name: 0}) for name in ("backlog", "maximumLost")),
            *((ValueError, {"timeout": -1}), (TypeError, {"reactor": 5})),
        ]
        for error, arguments in wrong:
            with self.assertRaises(error) as raised:
                Resume(**arguments)
            (name,) = arguments
            assert name in str(raised.exception) or "Resume" in str(raised.exception)

    def test_repr(self) -> None:
        """
        It says what it is.
        """
        assert repr(Resume()) == "Resume(60)"
        assert repr(Resume(5, hold=False)) == "Resume(5, hold=False)"
        assert Resume().waiting == 0

    def test_place(self) -> None:
        """
        It is around what makes avatars, below what sees clients, and has one target.
        """
        resume = Resume[Any]()
        realm = resume(thing)
        assert resume.below is not realm
        build = PerConnection[Any, Any](lambda session: session.avatar)
        wrong: list[tuple[Callable[[], object], str]] = [
            (lambda: resume(thing), "already has a target"),
            (lambda: Realm(Resume()), "call it with one first"),
            (lambda: Resume()(MindRegistry()(thing)), "stack it above that"),
            (lambda: AvatarCache()(realm), "stack it above the cache"),
            (lambda: build(realm), "stack it around this"),
            (lambda: Resume(Thing), "with the call"),  # type: ignore[arg-type]  # that is the slip
        ]
        for stack, why in wrong:
            with self.assertRaises(TypeError) as raised:
                stack()
            assert why in str(raised.exception)

    def test_closedLate(self) -> None:
        """
        A realm whose avatars do not go says so when its time is up, and waits no longer.
        """

        class Slow(Thing):
            def logout(self) -> Deferred[None]:
                return Deferred()

        clock = Clock()
        realm = Resume[Any](reactor=clock)(AvatarCache[Any](reactor=clock)(lambda avatarId: Slow()))
        realm.reactor = clock
        realm.requestAvatar(b"alice", comer(), IThing)
        closed = realm.close(timeout=1, reactor=clock)
        with logged() as said:
            clock.advance(1)
        self.successResultOf(closed)
        assert any("Resume(60) was not closed in 1 seconds" in each for each in said)
        assert clock.getDelayedCalls() == []
