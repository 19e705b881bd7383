"""
The type of an avatar, for type checkers.

Each of these stands for C{Any} where nothing is said, so that a bare C{Session} is a
C{Session[Any]}.  Only type checkers are told: Python itself has had defaults of type variables
since 3.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import TypeVar

    # The default is Any, so that code that names no avatar type passes strict checks too.
    A = TypeVar("A", default=Any)
    B = TypeVar("B", default=Any)
    A_co = TypeVar("A_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    A = TypeVar("A")
    B = TypeVar("B")
    A_co = TypeVar("A_co", covariant=True)
