"""
What observers are told, whoever comes and goes meanwhile, from outside and from inside of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Avatar, Presence
from avatarkit.testing import login

# Any in this module: what a login returns.

NAMES = ("alice", "bob")

#: Something that is done: what, and to whom.
STEPS = st.tuples(
    st.sampled_from(
        ["in", "in", "in", "out", "out", "finish", "finish", "time", "observe", "stop"]
    ),
    st.sampled_from(NAMES),
)

#: What one call of an observer does: steps, and whether it then waits.
ACTS = st.lists(st.tuples(st.lists(STEPS, max_size=2), st.booleans()), max_size=12)


class Ear:
    """
    An observer.

    @ivar heard: what it was told of each name.
    @ivar stopped: whether it has stopped.
    """

    def __init__(self, law: PresenceLawTests, *, already: bool) -> None:
        self.heard = dict.fromkeys(NAMES, "")
        self.law, self.already, self.stopped = law, already, False
        self.there = set(law.presence)
        self.stop = law.presence.observe(
            arrived=partial(self.told, "+"), departed=partial(self.told, "-"), already=already
        )

    def told(self, sign: str, name: str) -> Any:
        """
        Take note, and do what is next.
        """
        assert not self.stopped
        self.heard[name] += sign
        return self.law.act(name)


class PresenceLawTests(SynchronousTestCase):
    """
    Laws of what is told.
    """

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(st.lists(STEPS, max_size=25), ACTS, st.sampled_from([0, 2]))
    def test_alternates(self, steps: list[Any], acts: list[Any], linger: float) -> None:
        """
        Each observer is told of each name by turns that it has come and that it has gone, one call
        after the other, and in the end knows how it is; the others know nothing else.
        """
        self.begin(acts, linger)
        for step in steps:
            self.do(*step)
        self.acts.clear()
        while self.waits:
            self.do("finish", "")
        self.clock.advance(2)
        for ear in self.ears:
            for name, heard in ear.heard.items():
                assert heard == ("+-" * len(heard))[: len(heard)]
                knows = not ear.stopped and (ear.already or heard or name not in ear.there)
                assert not knows or heard.endswith("+") is (name in self.presence)
        assert self.realm.audit() == []
        assert self.presence._leaving == {}
        assert set(self.presence) == {name for name, there in self.logins.items() if there}
        self.end()

    def begin(self, acts: list[Any], linger: float) -> None:
        """
        Begin.
        """
        self.clock, self.acts = Clock(), list(acts)
        self.presence = Presence(linger, timeout=1000, reactor=self.clock)
        self.realm = self.presence(lambda avatarId: Avatar())
        self.logins: dict[str, list[Any]] = {name: [] for name in NAMES}
        self.waits: list[tuple[str, Deferred[None]]] = []
        self.ears: list[Ear] = []
        for _ in range(2):
            self.ears.append(Ear(self, already=False))

    def act(self, name: str) -> Deferred[None] | None:
        """
        Do what the next call of an observer does.
        """
        assert name not in [each for each, _ in self.waits], "two calls at once"
        if not self.acts:
            return None
        steps, waits = self.acts.pop(0)
        for step in steps:
            self.do(*step)
        if not waits:
            return None
        waiting: Deferred[None] = Deferred()
        self.waits.append((name, waiting))
        return waiting

    def do(self, what: str, name: str) -> None:
        """
        Do one thing.
        """
        if what == "in":
            self.logins[name].append(None)
            place = len(self.logins[name]) - 1
            entered: Any = login(self.realm, name)
            self.logins[name][place] = entered
        elif what == "out":
            there = [each for each in self.logins[name] if each is not None]
            if there:
                self.logins[name].remove(there[0])
                there[0].logout()
        elif what == "finish" and self.waits:
            self.waits.pop(0)[1].callback(None)
        elif what == "time":
            self.clock.advance(1)
        elif what == "observe" and len(self.ears) < 5:
            self.ears.append(Ear(self, already=name == "alice"))
        elif what == "stop":
            self.stopOne()

    def stopOne(self) -> None:
        """
        Stop an observer, if there are enough.
        """
        going = [each for each in self.ears if not each.stopped]
        if len(going) > 2:
            going[1].stop()
            going[1].stopped = True

    def end(self) -> None:
        """
        Close the realm: everybody departs, and no timer is left.
        """
        self.successResultOf(self.realm.close(reactor=self.clock))
        for ear in self.ears:
            assert ear.stopped or not any(heard.endswith("+") for heard in ear.heard.values())
        assert self.clock.getDelayedCalls() == []
