"""
Things that a test needs and a machine may not have.

A test that misses one is skipped, with the reason; where C{AVATARKIT_CLIENTS} is C{required}, as
the project's own checks have it, it fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from shutil import which
from typing import TypeVar
from unittest import skip

T = TypeVar("T")

REQUIRED = os.environ.get("AVATARKIT_CLIENTS") == "required"


def needs(*programs: str) -> Callable[[T], T]:
    """
    Decorate a test, or a class of tests, that runs some programs.
    """
    return _needing([each for each in programs if which(each) is None])


def needsModule(*modules: str) -> Callable[[T], T]:
    """
    Decorate a test, or a class of tests, that imports some modules.
    """
    return _needing([each for each in modules if find_spec(each) is None])


def _needing(missing: list[str]) -> Callable[[T], T]:
    if not missing:
        return lambda test: test
    reason = f"this machine has no {' and no '.join(missing)}"
    if REQUIRED:
        raise RuntimeError(reason)
    return skip(reason)  # type: ignore[return-value]  # it takes tests and classes of tests
