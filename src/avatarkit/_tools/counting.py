"""
Counting by key, without keeping the keys whose count is zero.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TypeVar

K = TypeVar("K")


def countDown(counts: MutableMapping[K, int], key: K) -> None:
    """
    Subtract one from the count of a key, and drop the key at zero.
    """
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
