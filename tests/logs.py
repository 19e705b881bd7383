"""
What is said in the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher


@contextmanager
def logged(least: LogLevel = LogLevel.info) -> Iterator[list[str]]:
    """
    Collect what avatarkit says, of at least a level, while the block runs.
    """
    said: list[str] = []

    def observe(event: LogEvent) -> None:
        ours = event.get("log_namespace", "").startswith("avatarkit.")
        if ours and event["log_level"] >= least:
            said.append(f"{event['log_level'].name}: {formatEvent(event)}")

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        yield said
    finally:
        globalLogPublisher.removeObserver(observer)
