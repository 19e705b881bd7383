"""
Logins over every protocol that Twisted speaks, which end when their connection does.
"""

from ._addresses import peerHost
from ._guessing.throttle import ThrottledChecker
from ._holding import IPortalHolder
from ._idle import IdleLimit
from ._mail import IMAP4RefusalMixin
from ._watching import WatchingFactory
from ._web.cookies import CookieAuthSessionWrapper
from ._web.wrapper import HTTPAuthSessionWrapper, logOut

__all__ = [
    "CookieAuthSessionWrapper",
    "HTTPAuthSessionWrapper",
    "IMAP4RefusalMixin",
    "IPortalHolder",
    "IdleLimit",
    "ThrottledChecker",
    "WatchingFactory",
    "logOut",
    "peerHost",
]
