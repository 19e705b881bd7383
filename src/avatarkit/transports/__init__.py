"""
Logins over every protocol that Twisted speaks, which end when their connection does.
"""

from ._addresses import peerHost
from ._holding import IPortalHolder
from ._idle import IdleLimit
from ._mail import IMAP4RefusalMixin
from ._throttle import ThrottledChecker
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
