"""
The order of a realm's hooks, laid out once for all its sessions.

From the bottom: the realm notes the session; the blocks admit it, outermost first; the sources give
it an avatar; its interface is chosen, perhaps with an adapter; the blocks see it attached,
innermost first.
A source that has the sessions of clients that come back take over lost ones knows them before they
are admitted, except by the blocks on top of all, and is the first to know when they end.
A session goes up that list when it opens, and down when it closes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, takewhile
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from .._waiting.awaiting import awaited
from ..interfaces import IAvatarSource, IBlock
from .closing import Timed
from .session import Hook, Session
from .sources import logoutAspect

H = TypeVar("H", bound=Callable[..., object])


class Topmost(NamedTuple):
    """
    What a block has as C{mustBeOutermost} that must be on top of all others.

    @ivar rank: among such blocks, those with a higher one stand higher.
    @ivar why: what is wrong with a block around it.
    """

    rank: int
    why: str


@runtime_checkable
class Resuming(Protocol):
    """
    A source whose sessions may take over those that have lost their clients.

    What it does is awaited, like everything that a source does.
    """

    def claim(self, session: Session) -> object:
        """
        A login begins: find out which session it takes over.
        """

    def unclaim(self, session: Session) -> object:
        """
        The session is over, and whatever else it had is undone.
        """

    def proceed(self, session: Session) -> object:
        """
        The session has everything, and is about to be logged in.
        """

    def keep(self, session: Session) -> object:
        """
        The session has ended: wait as long as what it has is to be kept, however long that is.
        """


#: The methods that L{idle} has marked.
_idle: set[Callable[..., object]] = set()


def layPlan(
    noting: Hook, blocks: tuple[IBlock, ...], sources: tuple[IAvatarSource, ...]
) -> tuple[Hook, ...]:
    """
    Return the hooks of a realm, in order.

    @param noting: how the realm notes a session, and forgets it.
    """
    upper = len(list(takewhile(_mustBeOutermost, blocks)))
    admitting = [_hooks(block, "admit", "release") for block in blocks]
    resuming = [source for source in sources if isinstance(source, Resuming)]
    return (
        noting,
        *chain(*admitting[:upper]),
        *(Hook(source.claim, source.unclaim) for source in resuming),
        *chain(*admitting[upper:]),
        *map(_fromSource, sources),
        Hook(Session._chooseInterface, logoutAspect),
        *(hook for block in reversed(blocks) for hook in _hooks(block, "attached", "detached")),
        *(Hook(source.proceed, source.keep, timed=False) for source in resuming),
    )


def checkOutermost(blocks: Iterable[IBlock | None]) -> None:
    """
    Refuse a block in the middle that must be on top.

    @param blocks: from the top; C{None} for a source in between, which may not be around such a
        block either.
    """
    lowest = math.inf
    for block in blocks:
        place = _mustBeOutermost(block)
        rank = 0 if place is None else place.rank
        if place is not None and rank >= lowest:
            raise TypeError(
                f"{block!r} must be on top of all other blocks, {place.why}: stack it last"
            )
        lowest = min(lowest, rank)


def _mustBeOutermost(block: IBlock | None) -> Topmost | None:
    place: Topmost | None = getattr(block, "mustBeOutermost", None)
    return place


def idle(hook: H) -> H:
    """
    Mark a method of a base class that does nothing: a pair of these is left out of the plan.

    The function itself is marked, by being in a set, and not by an attribute, which
    C{functools.wraps} would copy to a hook that does something.
    """
    _idle.add(hook)
    return hook


def _hooks(block: IBlock, do: str, undo: str) -> tuple[Hook, ...]:
    """
    Return a block's hook, or nothing if the block does nothing there.
    """
    if not getattr(block, "hasHook", _always)(do):
        return ()
    hooks = getattr(block, do), getattr(block, undo)
    if all(getattr(each, "__func__", None) in _idle for each in hooks):
        return ()
    return (Hook(*hooks, decides=do == "admit"),)


def _always(hook: str) -> bool:
    return True


def _fromSource(source: IAvatarSource) -> Hook:
    """
    Return the hook of a source.
    """
    return Hook(_acquireFrom(source), source.release, timed=not isinstance(source, Timed))


def _acquireFrom(source: IAvatarSource) -> Callable[[Session], object]:
    """
    Return what has a session acquire its avatar from a source.
    """

    def acquire(session: Session) -> object:
        result = source.acquire(session)
        waiting = awaited(result)
        if waiting is None:
            session.avatar = result
            return None
        return waiting.addCallback(partial(setattr, session, "avatar"))

    vars(acquire)["__wrapped__"] = source.acquire  # whose name goes into the log
    return acquire
