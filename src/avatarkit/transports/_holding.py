"""
Where a protocol has its portal, and how to give it another one.

Twisted's protocols have it as an attribute (POP3, IMAP4, ESMTP, AMP), among the arguments for a
protocol that they are going to make (telnet), in their factory (SSH, IRC, WebSocket), or in an
object that they serve (Perspective Broker); or they are wrapped in another protocol (FTP).  Others
have it in an object among their attributes, or among those of their factory.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.python.components import registerAdapter
from twisted.spread import pb
from zope.interface import Interface, implementer

from .._tools.adapting import adapted
from ._standing import Exchange, everything


class IPortalHolder(Interface):
    """
    A protocol that has its portal where L{WatchingFactory<avatarkit.transports.WatchingFactory>}
    does not look for it.

    Implement it, or register an adapter from the protocol, with
    L{twisted.python.components.registerAdapter}.
    """

    def givePortal(old: Portal, new: Portal) -> bool:
        """
        Put one portal in the place of another.

        Called once, after the protocol was built and before its connection is made.

        @return: whether C{old} was there.
        """


# Any in the rest of this module: a protocol has whatever attributes it has.


def givePortal(protocol: Any, old: Portal, new: Portal) -> bool:
    """
    Put a portal in the place of another one, wherever a protocol has it.

    @return: whether it was found anywhere.
    """
    exchange = Exchange(old, new)
    holder = adapted(IPortalHolder, protocol)
    held = holder is not None and bool(holder.givePortal(old, new))
    found = held
    factory = getattr(protocol, "factory", None)
    standing = exchange.leading(factory)
    if standing is not factory:
        protocol.factory = standing
        found = True
    wrapped = getattr(protocol, "wrappedProtocol", None)
    if wrapped is not None:
        found = givePortal(wrapped, old, new) or found
    for name, value in tuple(everything(protocol)):
        other = value if _isItself(protocol, value) else exchange(value)
        if other is not value:
            setattr(protocol, name, other)
            found = True
    return found and (held or not _serves(protocol))


def _isItself(protocol: Any, value: Any) -> bool:
    """
    Return whether an attribute of a protocol is the protocol, or a method of it.
    """
    return value is protocol or (type(value) is MethodType and value.__self__ is protocol)


def _serves(protocol: Any) -> bool:
    """
    Return whether whoever logs in does so by an object that the protocol serves, so that it does
    not matter what else has the portal.
    """
    return isinstance(protocol, pb.Broker) and bool(protocol.localObjects)


@implementer(IPortalHolder)
@attrs.frozen(eq=False)
class _BrokerHolder:
    """
    Perspective Broker has its portal in the objects that it serves by a name, such as C{"root"}:
    Twisted's own, or somebody's with other methods and another login.
    """

    broker: Any

    def givePortal(self, old: Portal, new: Portal) -> bool:
        """
        Serve what stands for those that lead to the portal.
        """
        exchange, found = Exchange(old, new), False
        for name, local in tuple(self.broker.localObjects.items()):
            standing = exchange.leading(local.object)
            if standing is not local.object:
                self.broker.setNameForLocal(name, standing)
                found = True
        return found


registerAdapter(_BrokerHolder, pb.Broker, IPortalHolder)
