"""
Counting what there is of each key, without keeping those of which there is nothing.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TypeVar

K = TypeVar("K")


def countDown(counts: MutableMapping[K, int], key: K) -> None:
    """
    Count one less of a key, and forget it with the last one.
    """
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
