"""
Tools for testing your own realms, blocks and avatars.

They need neither a network nor a particular test runner, and leave nothing behind.
"""

from ._contracts import checkBlock, checkConnection, checkMind, checkRealm, checkSource
from ._fakeconnection import FakeConnection
from ._fakemind import Call, FakeMind
from ._login import Login, login
from ._portal import MemoryConnection, MemoryPortal

__all__ = [
    "Call",
    "FakeConnection",
    "FakeMind",
    "Login",
    "MemoryConnection",
    "MemoryPortal",
    "checkBlock",
    "checkConnection",
    "checkMind",
    "checkRealm",
    "checkSource",
    "login",
]
