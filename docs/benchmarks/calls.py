"""
What a client's call costs: of an avatar of avatarkit, and of one by hand.

    python docs/benchmarks/calls.py

A broker in memory is given messages as it would read them from a connection; it calls the avatar's
method, which does nothing, and no answer is asked for.  The avatars take turns in one process.
Times and ratios are medians of the rounds, and the spread is the lowest and the highest ratio.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

from logins import Player, makeMind
from timing import timed
from twisted.internet.testing import StringTransport
from twisted.spread import pb

import avatarkit


def look(avatar: object) -> None:
    """Do nothing, for a client."""


async def wait(avatar: object) -> None:
    """Do nothing, as a coroutine."""


class Looked(Player):
    """An avatar with methods."""

    perspective_look, perspective_wait = look, wait


class LookedByHand(pb.Avatar):
    """The same by hand, without coroutines, which Perspective Broker does not await."""

    perspective_look = look

    def perspective_wait(self) -> None:
        pass


def calls(avatar: Any, message: bytes) -> Callable[[], object]:
    """Return what gives a broker one message for an avatar that it has sent."""
    broker: Any = pb.Broker(isClient=False)
    broker.makeConnection(StringTransport())
    if not isinstance(avatar, pb.Jellyable):
        avatar = pb.AsReferenceable(avatar, "perspective")  # as the portal's root does
    _, number = broker.serialize(avatar)
    nothing = broker.serialize(()), broker.serialize({})
    return lambda: broker.proto_message(1, number, message, False, *nothing)


def avatarOf(*blocks: Any) -> Any:
    """Return what a client gets from the four blocks, and from others around them."""
    realm: Any = avatarkit.AvatarCache()(lambda avatarId: Looked())
    realm = avatarkit.MindRegistry()(avatarkit.ConnectionCounter()(realm))
    for block in blocks:
        realm = block(realm)
    return realm.requestAvatar(b"alice", makeMind(), pb.IPerspective)[1]


def main(rounds: int) -> None:
    """Print the table."""
    print("<!-- calls -->")
    print("| a call | by hand | avatarkit | ratio | spread |")
    print("|---|---|---|---|---|")
    limit = avatarkit.CallLimit(rate=10**9, burst=10**9)
    for name, message, blocks in (
        ("of a method", b"look", ()),
        ("of a method, with a `CallLimit`", b"look", (limit,)),
        ("of a coroutine", b"wait", ()),
    ):
        hand, ours = calls(LookedByHand(), message), calls(avatarOf(*blocks), message)
        took = [(timed(hand, 5000), timed(ours, 5000)) for _ in range(rounds)]
        ratios = sorted(each[1] / each[0] for each in took)
        times = [statistics.median(each[way] for each in took) * 1e6 for way in (0, 1)]
        print(
            f"| {name} | {times[0]:.2f} us | {times[1]:.2f} us | {statistics.median(ratios):.2f} "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=11)
    main(options.parse_args().rounds)
