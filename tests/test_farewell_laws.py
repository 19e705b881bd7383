"""
What clients hear, whatever is pushed to them and whoever is sent away meanwhile.
"""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from avatarkit import MindGroup, Session
from avatarkit.testing import FakeMind
from farewells import FarewellTestCase, Hearing

CLIENTS = range(3)

#: What is done next: something to do, and the clients that it is done to.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "kick", "log out", "turn", "from inside"]),
        st.lists(st.sampled_from(CLIENTS), min_size=1, max_size=4),
    ),
    max_size=25,
)


class FarewellLawTests(FarewellTestCase):
    """
    Laws of what is heard.
    """

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(STEPS, st.lists(st.booleans(), min_size=len(CLIENTS), max_size=len(CLIENTS)))
    def test_order(self, steps: list[tuple[str, list[int]]], slow: list[bool]) -> None:
        """
        Each client hears everything that was pushed before its session has ended, in that order,
        then why it has, and nothing else; and then its connection is closed, if it is to be.
        """
        self.setUp()
        self.minds = [Hearing(self.clock if each else None) for each in slow]
        self.sessions: list[Session] = [
            self.enter(mind, number) for number, mind in enumerate(self.minds)
        ]
        self.expected: list[list[str]] = [[] for _ in CLIENTS]
        self.pushes = 0
        self.play(steps)
        while self.clock.getDelayedCalls():
            self.clock.advance(1)
        for mind, session, expected in zip(self.minds, self.sessions, self.expected, strict=True):
            assert mind.heard == expected
            assert session.ended == ("sessionEnded" in expected)
            assert session not in self.realm.sessions or not session.ended
        assert self.realm.audit() == []

    def play(self, steps: list[tuple[str, list[int]]]) -> None:
        """
        Do one thing after the other; what comes after C{"from inside"} is done inside of a push.
        """
        for place, (what, clients) in enumerate(steps):
            if what == "from inside":
                rest = FakeMind({"go": partial(self.play, steps[place + 1 :])})
                MindGroup([rest], reactor=self.clock).callRemote("go", pbanswer=False)
                return
            self.do(what, clients)

    def do(self, what: str, clients: list[int]) -> None:
        """
        Do something to some clients.
        """
        if what == "turn":
            self.turn()
        elif what == "push":
            self.push(clients)
        else:
            for client in clients:
                self.end(client, what)

    def push(self, clients: list[int]) -> None:
        """
        Push to some clients, to one of them several times perhaps.
        """
        self.pushes += 1
        name = f"news{self.pushes}"
        for client in clients:
            if not self.sessions[client].ended:
                self.expected[client].append(name)
        minds = [mind for client in clients for mind in self.online[client]]
        MindGroup(minds, reactor=self.clock).callRemote(name, pbanswer=False)

    def end(self, client: int, how: str) -> None:
        """
        End the session of a client.
        """
        session = self.sessions[client]
        if not session.ended:
            self.expected[client].append("sessionEnded")
        if how == "kick":
            if "lose" not in self.expected[client]:
                self.expected[client].append("lose")
            session.disconnect("spam", reactor=self.clock)
        else:
            session.logout("spam")
