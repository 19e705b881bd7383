"""
What a realm can do with a mind, whatever kind of mind it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.python.components import registerAdapter
from twisted.spread.pb import RemoteReference
from zope.interface import implementer

from .interfaces import IMind

__all__ = ["PBMind", "mindOf"]


def mindOf(mind: object) -> Any:
    """
    Answer an L{IMind} for a mind, or C{None} if it cannot be adapted.
    """
    return None if mind is None else IMind(mind, None)


@implementer(IMind)
@attrs.frozen(eq=False)
class PBMind:
    """
    A L{RemoteReference}, which does not say itself whether it is dead.
    """

    reference: Any

    @property
    def disconnected(self) -> bool:
        """
        Whether the connection is lost.
        """
        return bool(self.reference.broker.disconnected)

    def callRemote(self, name: str, /, *args: Any, **kw: Any) -> Any:
        """
        Call the client.
        """
        return self.reference.callRemote(name, *args, **kw)

    def notifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Have a callback called.
        """
        self.reference.notifyOnDisconnect(callback)

    def dontNotifyOnDisconnect(self, callback: Callable[[Any], object]) -> None:
        """
        Take it back.
        """
        self.reference.dontNotifyOnDisconnect(callback)


registerAdapter(PBMind, RemoteReference, IMind)
