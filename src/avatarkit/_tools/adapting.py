"""
Seeing an object through an interface.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Interface


def adapted(interface: type[Interface], thing: object) -> Any:
    """
    Answer an object as a provider of an interface, or C{None} if it cannot be one.

    One that provides it itself is taken as it is, without looking for an adapter, which is what
    costs time.
    """
    return thing if interface.providedBy(thing) else interface(thing, None)
