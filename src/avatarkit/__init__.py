"""
avatarkit: realms for L{twisted.cred}, stacked from blocks around an avatar factory.
"""

from ._avatars import Avatar, ConnectionAware, MindAware
from ._bounds import disconnect, skip
from ._cache import AvatarCache
from ._counter import ConnectionCounter
from ._groups import MindGroup
from ._limit import ConnectionLimit, everyone
from ._minds import MindRegistry
from ._perconnection import PerConnection
from ._policies import displaceOldest, displaceUnresponsive, refuse
from ._realm import Block, Realm
from ._session import Session
from .errors import (
    LoginAbandoned,
    LoginRefused,
    MindIsBehind,
    RealmClosed,
    TooManyConnections,
    UnsupportedInterface,
)
from .interfaces import (
    IAvatarSource,
    IBlock,
    IConnectionAware,
    IDisconnectableMind,
    IMind,
    IMindAware,
)

__all__ = [
    "Avatar",
    "AvatarCache",
    "Block",
    "ConnectionAware",
    "ConnectionCounter",
    "ConnectionLimit",
    "IAvatarSource",
    "IBlock",
    "IConnectionAware",
    "IDisconnectableMind",
    "IMind",
    "IMindAware",
    "LoginAbandoned",
    "LoginRefused",
    "MindAware",
    "MindGroup",
    "MindIsBehind",
    "MindRegistry",
    "PerConnection",
    "Realm",
    "RealmClosed",
    "Session",
    "TooManyConnections",
    "UnsupportedInterface",
    "disconnect",
    "displaceOldest",
    "displaceUnresponsive",
    "everyone",
    "refuse",
    "skip",
]
