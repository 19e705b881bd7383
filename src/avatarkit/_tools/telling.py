"""
What Perspective Broker sends to a client when an exception reaches that client.

By default it sends a copy of the whole failure, which has in it, whatever C{unsafeTracebacks} says,
the path of each file and the name of each function that the exception passed through.
An object that can jelly itself decides what is sent.
"""

from __future__ import annotations

from typing import Any

from twisted.spread.pb import CopyableFailure, Jellyable


class Told(Exception, Jellyable):
    """
    An exception that was written for the client, which receives its name and its text and nothing
    else.
    """

    def jellyFor(self, jellier: Any) -> Any:  # Any: Twisted does not say what goes to the wire
        """
        Return what is sent: a failure without a traceback.
        """
        return jellier.jelly(CopyableFailure(self))
