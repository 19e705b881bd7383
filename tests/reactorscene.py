"""
Clients that leave a server in a process with a reactor of its own.

    python tests/reactorscene.py REACTOR

It prints what is left for each protocol and each way of leaving: a list that is empty.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.application.reactors import installReactor
from twisted.internet.defer import Deferred

NAMES = ("FTP", "PB without a mind", "a careful LineReceiver")


async def main(reactor: Any) -> None:
    """
    Play the scenes.
    """
    import protocols
    from stages import Scene, Stacked, Way

    for row in protocols.ROWS:
        for way in Way:
            if row.name in NAMES:
                async with Scene(Stacked(row, way)) as scene:
                    await scene.call("TLS" if way is Way.LOGGED_IN else "TCP")
                    left = await scene.leave()
                say(f"{type(reactor).__name__}: {left}")


def say(word: str) -> None:
    """
    Print a line.
    """
    print(word, flush=True)  # noqa: T201  # this is what it is for


if __name__ == "__main__":
    installReactor(sys.argv[1])
    from twisted.internet import task

    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
