"""
What people test their own realms, blocks and avatars with.

Nothing in here needs a network or a test runner, or leaves anything behind.
"""

from ._contracts import checkBlock, checkMind, checkRealm, checkSource
from ._fakemind import Call, FakeMind
from ._login import Login, login
from ._portal import MemoryConnection, MemoryPortal

__all__ = [
    "Call",
    "FakeMind",
    "Login",
    "MemoryConnection",
    "MemoryPortal",
    "checkBlock",
    "checkMind",
    "checkRealm",
    "checkSource",
    "login",
]
