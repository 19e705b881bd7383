"""
Connections that a protocol has closed, and that are still there.

Twisted's TLS waits until the client closes as well, and TCP until the client has read what was
written.  Who does neither would keep the connection, and its session with it.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .._clients.connections import bufferedIn

#: After how many seconds it is looked whether a connection is still there, as long as the deadline
#: of a kick; and how often in a row nothing may have been written since the last look.
SECONDS, LOOKS = 5, 6

# Any in this module: transports are what reactors, or somebody's wrappers, make them.


@attrs.define(eq=False)
class Closing:
    """
    Sees to it that a connection closes.

    When all is written, only the client's side of TLS is missing: the connection below is then
    closed as TCP does it, which loses nothing of what the client is still reading.  Only one that
    takes nothing for half a minute is aborted.
    """

    _transport: Any
    _clock: IReactorTime
    _left: int = attrs.field(init=False)
    _same: int = attrs.field(default=0, init=False)
    _timer: IDelayedCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._left = bufferedIn(self._transport) or 0
        self._timer = self._clock.callLater(SECONDS, self._look)

    def cancel(self) -> None:
        """
        The connection is lost.
        """
        if self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        left = bufferedIn(self._transport) or 0
        self._same = self._same + 1 if left == self._left else 0
        self._left = left
        if not left:
            self._closeBelow()
        if self._same >= LOOKS:
            self._transport.abortConnection()
        else:
            self._timer = self._clock.callLater(SECONDS, self._look)

    def _closeBelow(self) -> None:
        below = self._transport
        while "_tempDataLen" not in vars(below):  # which wrappers pretend to have
            below = below.transport
        if below.producer is None:
            FileDescriptor.loseConnection(below)  # its own would be that of STARTTLS again
        else:  # more is to come, which the client may be waiting for
            self._same = 0
