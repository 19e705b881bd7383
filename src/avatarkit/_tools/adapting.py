"""
Seeing an object through an interface.
"""

from __future__ import annotations

from typing import TypeVar

from zope.interface import Interface

I = TypeVar("I", bound=Interface)  # noqa: E741  # an interface, by the custom of zope.interface


def adapted(interface: type[I], thing: object) -> I | None:
    """
    Return an object as a provider of an interface, or C{None} if it cannot be one.

    An object that provides the interface itself is returned as it is, without the look-up of an
    adapter, which takes far longer.
    """
    if interface.providedBy(thing):
        return thing  # type: ignore[return-value]  # just looked
    found: I | None = interface(thing, None)
    return found
