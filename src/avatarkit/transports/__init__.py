"""
Logins over every protocol that Twisted speaks, which end when their connection does.
"""

from ._holding import IPortalHolder
from ._watching import WatchingFactory

__all__ = [
    "IPortalHolder",
    "WatchingFactory",
]
