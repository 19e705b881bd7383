"""
Logins over every protocol that Twisted speaks, which end when their connection does.
"""

from ._cookies import CookieAuthSessionWrapper
from ._holding import IPortalHolder
from ._watching import WatchingFactory
from ._web import HTTPAuthSessionWrapper, logOut

__all__ = [
    "CookieAuthSessionWrapper",
    "HTTPAuthSessionWrapper",
    "IPortalHolder",
    "WatchingFactory",
    "logOut",
]
