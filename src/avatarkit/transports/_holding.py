"""
Where a protocol has its portal, and how to give it another one.

Twisted's protocols have it as an attribute (POP3, IMAP4, ESMTP, AMP), among the arguments for a
protocol that they are going to make (telnet), in their factory (SSH, IRC, WebSocket), or in an
object that they serve (Perspective Broker); or they are wrapped in another protocol (FTP).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MemberDescriptorType, MethodType
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.python.components import registerAdapter
from twisted.spread import pb
from zope.interface import Interface, implementer

from .._tools.adapting import adapted


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
    found = _replace(protocol, _attributes(protocol), old, new)
    factory = getattr(protocol, "factory", None)
    if factory is not None and any(value is old for _name, value in _attributes(factory)):
        protocol.factory = FactoryWithPortal(factory, old, new)
        found = True
    holder = adapted(IPortalHolder, protocol)
    if holder is not None:
        found = bool(holder.givePortal(old, new)) or found
    wrapped = getattr(protocol, "wrappedProtocol", None)
    if wrapped is not None:
        found = givePortal(wrapped, old, new) or found
    return found or _replace(protocol, _slots(protocol), old, new)


def _replace(thing: Any, attributes: Iterable[tuple[str, Any]], old: Portal, new: Portal) -> bool:
    """
    Put a portal in the place of another one among the attributes of an object.
    """
    found = False
    for name, value in attributes:
        if value is old:
            setattr(thing, name, new)
            found = True
        elif type(value) is tuple and any(each is old for each in value):
            setattr(thing, name, tuple(new if each is old else each for each in value))
            found = True
    return found


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    """
    Return the attributes of an object, and its C{portal}, which may be one of its class.
    """
    own = getattr(thing, "__dict__", {})
    return [("portal", getattr(thing, "portal", None)), *own.items()]


def _slots(thing: Any) -> Iterator[tuple[str, Any]]:
    """
    Return the attributes of an object that have slots.
    """
    kinds = (vars(kind) for kind in type(thing).__mro__)
    members = (each for members in kinds if "__slots__" in members for each in members.items())
    for name, member in members:
        if isinstance(member, MemberDescriptorType):
            yield name, getattr(thing, name, None)


class FactoryWithPortal:
    """
    A factory, as one of its protocols sees it: with a portal of the protocol's own.

    Everything else is the factory's, also what is set; its methods see the portal as well.
    C{isinstance} takes it for the factory; C{is} does not.
    """

    def __init__(self, factory: Any, old: Portal, new: Portal) -> None:
        vars(self).update(_factory=factory, _old=old, _new=new)

    @property  # type: ignore[misc]  # what isinstance looks at
    def __class__(self) -> Any:
        return type(self._factory)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._factory, name)
        if value is self._old:
            return self._new
        if isinstance(value, MethodType) and value.__self__ is self._factory:
            return MethodType(value.__func__, self)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._factory, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._factory, name)


@implementer(IPortalHolder)
@attrs.frozen(eq=False)
class _BrokerHolder:
    """
    Perspective Broker has its portal in the object that it serves as C{"root"}.
    """

    broker: Any

    def givePortal(self, old: Portal, new: Portal) -> bool:
        """
        Serve another root.
        """
        root = getattr(self.broker.factory, "root", None)
        if getattr(root, "portal", None) is not old:
            return False
        self.broker.setNameForLocal("root", pb.IPBRoot(new).rootObject(self.broker))
        return True


registerAdapter(_BrokerHolder, pb.Broker, IPortalHolder)
