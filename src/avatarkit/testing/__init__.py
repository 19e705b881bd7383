"""
Tools for testing your own realms, blocks and avatars.

They need neither a network nor a particular test runner, and leave nothing behind.
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
