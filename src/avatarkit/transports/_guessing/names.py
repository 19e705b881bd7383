"""
Whom credentials are for, and whether the same ones have been tried before.

No password is kept, and no long name: what a client sends may have megabytes.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from hashlib import blake2b
from typing import Any

import attrs

from ..._online.canonical import canonicalName
from ...errors import LoginRefused

#: A longer name is not kept as it is.
LONGEST_NAME = 256

# Any in this module: credentials are whatever a checker takes.


def nameIn(credentials: Any) -> Hashable:
    """
    Return whom credentials are for, however that is written; C{None} if they do not say.
    """
    name = getattr(credentials, "username", None)
    if not isinstance(name, (bytes, str)):
        return None
    if len(name) > LONGEST_NAME:
        return blake2b(_bytesOf(name), digest_size=16).digest()
    try:
        return canonicalName(name)
    except LoginRefused:  # it is not text
        return name


@attrs.frozen(eq=False, repr=False)
class Marks:
    """
    By which the same name and password are known again.
    """

    _secret: bytes = attrs.field(factory=lambda: os.urandom(16), init=False)

    def of(self, credentials: Any) -> bytes | None:
        """
        Return what is the same for the same name and password, and tells nothing of them; C{None}
        if there are none.
        """
        name, password = (getattr(credentials, each, None) for each in ("username", "password"))
        if not isinstance(name, (bytes, str)) or not isinstance(password, (bytes, str)):
            return None
        mark = blake2b(_bytesOf(name), key=self._secret, digest_size=16).digest()
        return blake2b(mark + _bytesOf(password), key=self._secret, digest_size=8).digest()


def _bytesOf(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
