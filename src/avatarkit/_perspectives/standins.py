"""
What a login returns: the avatar, or what stands before it.
"""

from __future__ import annotations

from twisted.spread.pb import IPerspective
from zope.interface import Interface

from .calls import Held
from .perspective import perspectiveOf

#: The interface of a web server's avatars, which is not imported for those who have none.
_RESOURCE = "twisted.web.resource.IResource"


def standInFor(session: Held, interface: type[Interface]) -> object:
    """
    Return what the client of a session gets, whose avatar is seen through an interface.
    """
    if interface is IPerspective:
        return perspectiveOf(session)
    if getattr(interface, "__identifier__", None) == _RESOURCE:
        from .pages import pageOf

        return pageOf(session)
    return session.aspect
