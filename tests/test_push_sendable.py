"""
Tests for arguments of a push that Perspective Broker cannot send.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, MindGroup, MindRegistry
from avatarkit.testing import FakeMind, MemoryPortal
from logs import logged
from minds import Ours, connect, sentTo
from players import Client


class Colour(enum.IntEnum):
    """
    A number, for Python.
    """

    RED = 1


class Name(str):
    """
    A str, for Python.
    """

    __slots__ = ()


class Plain:
    """
    Nothing that Perspective Broker knows.
    """


class Full(pb.Copyable):
    """
    Something that can be sent, but for what is in it.
    """

    def __init__(self, inside: object) -> None:
        self.inside = inside


Point = namedtuple("Point", "x y")  # as people have it

UNSENDABLE: list[Any] = [
    Plain(),
    object(),
    Colour.RED,
    Name("x"),
    Point(1, 2),
    OrderedDict(),
    defaultdict(int),
    len,
    ValueError("x"),
    iter([]),
    complex(1, 2),
    bytearray(),
]

SENDABLE: list[Any] = [
    *(1, "two", b"three", None, True, 4.0, [5], (6,), {"seven": 7}, {8}),
    pb.Referenceable(),
    Ours(),
]


class SendableTests(SynchronousTestCase):
    """
    Groups of minds of Perspective Broker, and of fakes.
    """

    def groups(self) -> list[tuple[MindGroup, list[Any]]]:
        """
        Return groups of each kind, and their minds.
        """
        found: list[tuple[MindGroup, list[Any]]] = []
        for minds in (
            [connect()],
            [FakeMind()],
            [connect(), connect()],
            [FakeMind(), connect()],
        ):
            found.append((MindGroup(minds, reactor=Clock()), minds))
        return found

    def test_refused(self) -> None:
        """
        They are refused by the push itself, wherever they are in the arguments, before anything is
        sent to anybody; the error says what to do.
        """
        for group, minds in self.groups():
            for thing in UNSENDABLE:
                for args, kw in (((thing,), {}), (([1, {"a": thing}],), {}), ((), {"a": thing})):
                    for wishes in ({}, {"pbanswer": False}):
                        error = self.assertRaises(
                            TypeError, group.callRemote, "note", *args, **kw, **wishes
                        )
                        kind = type(thing).__qualname__
                        assert str(error) == (
                            f"Perspective Broker cannot send instances of {kind}: "
                            "make the class Copyable or Referenceable"
                        )
            for mind in minds:
                assert not (mind.calls if isinstance(mind, FakeMind) else sentTo(mind))

    def test_sent(self) -> None:
        """
        What can be sent is, also a class that the server's rules allow.
        """
        self.patch(jelly.globalSecurity, "allowedClasses", {Plain: 1})
        for group, minds in self.groups():
            for thing in [*SENDABLE, Plain()]:
                group.callRemote("note", thing)
            for mind in minds:
                if isinstance(mind, FakeMind):
                    assert len(mind.calls) == len(SENDABLE) + 1
                else:
                    assert len(mind.broker.waitingForAnswers) == len(SENDABLE) + 1

    def test_ownRules(self) -> None:
        """
        Each broker's own rules hold.
        """
        strict, lenient = connect(), connect()
        lenient.broker.security = jelly.SecurityOptions()
        lenient.broker.security.allowInstancesOf(Plain)
        MindGroup([lenient], reactor=Clock()).callRemote("note", Plain())
        assert b"Plain" in sentTo(lenient)
        group = MindGroup([lenient, strict], reactor=Clock())
        self.assertRaises(TypeError, group.callRemote, "note", Plain())
        assert (sentTo(lenient), sentTo(strict)) == (b"", b"")

    def test_inside(self) -> None:
        """
        What an object that can be sent has in it is found out when it is encoded: it is the result
        of each client, which is not sent anything; the broker's rules are as before.
        """
        for group, minds in self.groups():
            results = self.successResultOf(group.callRemote("note", Full([Plain()])))
            for success, failure in results:
                assert not success
                assert failure.check(TypeError)
                assert "cannot send instances of Plain" in failure.getErrorMessage()
            for mind in minds:
                if isinstance(mind, FakeMind):
                    assert mind.calls == []
                else:
                    assert (sentTo(mind), mind.broker.waitingForAnswers) == (b"", {})
                    assert mind.broker.security is jelly.globalSecurity
            with logged() as said:
                group.callRemote("note", Full(Plain()), pbanswer=False)
            assert len(said) == len(self.flushLoggedErrors(TypeError)) == len(minds)

    def test_otherMinds(self) -> None:
        """
        What minds of other kinds can be sent is not Perspective Broker's to say.
        """

        class Other:
            got: Any = None

            def callRemote(self, name: str, thing: object) -> None:
                self.got = thing

        other, thing = Other(), Plain()
        MindGroup([other], reactor=Clock()).callRemote("note", thing)
        assert other.got is thing

    def test_delivered(self) -> None:
        """
        Whatever a group sends, and a fake takes, arrives at a real client as something that is no
        Unpersistable; and what a fake refuses does not.
        """
        online: MindRegistry[Avatar] = MindRegistry(reactor=Clock())
        portal, avatars = MemoryPortal(online(lambda avatarId: Avatar())), list[Any]()
        client = Client()
        portal.connect().login("alice", mind=client).addCallback(avatars.append)
        portal.pump()
        (real,) = online.everyone
        for thing in [*SENDABLE[:-1], *UNSENDABLE]:
            client.told.clear()
            real.callRemote("notify", thing)
            portal.pump()
            arrived = not isinstance(client.told[0][0], jelly.Unpersistable)
            try:
                FakeMind().callRemote("notify", thing)
                taken = True
            except TypeError:
                taken = False
            assert arrived is taken, thing
