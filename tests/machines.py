"""
What the state machines share: who logs in, a block that acts on command, and how long they search.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from avatarkit import Block, Session
from model import Login
from scripted import Boom

NAMES = st.sampled_from(["alice", "bob", "carol"])
ACTS = st.sampled_from(["pass"] * 5 + ["raise", "wait", "wait"])

settings.register_profile(
    "default",
    max_examples=500,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "search", settings.get_profile("default"), max_examples=20000, derandomize=False
)

#: How thoroughly the machines search.
SEARCH = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class Scripted(Block):
    """
    A block that raises or waits on command.
    """

    def __init__(self, loginOf: Callable[[Session], Login]) -> None:
        self.loginOf = loginOf

    def act(self, session: Session, hook: str) -> object:
        """
        Do what the login has planned for this hook.
        """
        login = self.loginOf(session)
        act = login.acts[hook]
        if act == "raise":
            raise Boom
        if act == "wait":
            login.real.gate = Deferred()
            return login.real.gate
        return None

    def admit(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "admit")

    def release(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "release")

    def attached(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "attached")

    def detached(self, session: Session) -> object:
        """
        Do what is planned.
        """
        return self.act(session, "detached")
