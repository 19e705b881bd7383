"""
avatarkit: realms for L{twisted.cred}, stacked from blocks around an avatar factory.
"""

from ._avatars.cache import AvatarCache
from ._avatars.perconnection import PerConnection
from ._limit.allowances import everyone
from ._limit.calllimit import CallLimit
from ._limit.limit import ConnectionLimit
from ._limit.policies import Holders, displaceOldest, displaceUnresponsive, refuse
from ._liveness.farewell import Farewell
from ._liveness.heartbeat import Heartbeat
from ._liveness.logintimeout import LoginTimeout
from ._liveness.receiver import SessionEndedReceiver
from ._liveness.resume import Resume
from ._liveness.resuming import ResumingClient
from ._online.bases import Avatar, ConnectionAware, MindAware, PresenceAware
from ._online.canonical import CanonicalId, canonicalName
from ._online.counter import ConnectionCounter
from ._online.presence import Presence
from ._online.registry import MindRegistry
from ._push.bounds import disconnect, skip
from ._push.groups import MindGroup
from ._realm.block import Block
from ._realm.realm import Realm
from ._realm.session import Session, currentSession
from .errors import (
    ClientLost,
    Displaced,
    Evicted,
    IdleTooLong,
    Kicked,
    LoggedOut,
    LoginAbandoned,
    LoginRefused,
    LoginTimedOut,
    LoginWaitsForItself,
    MindIsBehind,
    RealmClosed,
    RealmFailed,
    SessionEnded,
    TooManyAttempts,
    TooManyCalls,
    TooManyConnections,
    TooManyLogins,
    TooManyWaiting,
    Unresponsive,
    UnsupportedInterface,
    UnwatchableMind,
)
from .interfaces import (
    IAvatarSource,
    IBlock,
    IConnection,
    IConnectionAware,
    IDisconnectableMind,
    IMind,
    IMindAware,
    IPresenceAware,
)

__all__ = [
    "Avatar",
    "AvatarCache",
    "Block",
    "CallLimit",
    "CanonicalId",
    "ClientLost",
    "ConnectionAware",
    "ConnectionCounter",
    "ConnectionLimit",
    "Displaced",
    "Evicted",
    "Farewell",
    "Heartbeat",
    "Holders",
    "IAvatarSource",
    "IBlock",
    "IConnection",
    "IConnectionAware",
    "IDisconnectableMind",
    "IMind",
    "IMindAware",
    "IPresenceAware",
    "IdleTooLong",
    "Kicked",
    "LoggedOut",
    "LoginAbandoned",
    "LoginRefused",
    "LoginTimedOut",
    "LoginTimeout",
    "LoginWaitsForItself",
    "MindAware",
    "MindGroup",
    "MindIsBehind",
    "MindRegistry",
    "PerConnection",
    "Presence",
    "PresenceAware",
    "Realm",
    "RealmClosed",
    "RealmFailed",
    "Resume",
    "ResumingClient",
    "Session",
    "SessionEnded",
    "SessionEndedReceiver",
    "TooManyAttempts",
    "TooManyCalls",
    "TooManyConnections",
    "TooManyLogins",
    "TooManyWaiting",
    "Unresponsive",
    "UnsupportedInterface",
    "UnwatchableMind",
    "canonicalName",
    "currentSession",
    "disconnect",
    "displaceOldest",
    "displaceUnresponsive",
    "everyone",
    "refuse",
    "skip",
]
