"""
Which sessions each mind has.

Minds are kept by identity and never compared: the minds of two Perspective Broker connections
cannot be (C{==} raises C{TypeError}), and the hash of a mind is no better than 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from itertools import count

import attrs
from twisted.internet.interfaces import IReactorTime

from .._clients.minds import identityOf
from .._push.addressees import Addressee
from .._push.bounds import Bounds
from .._push.lines import lineOf
from .._realm.session import Session

_ages = count()


@attrs.define(eq=False)
class MindDirectory:
    """
    The sessions of minds: a L{Directory<avatarkit._push.lines.Directory>}.

    @ivar reactor: what measures the time of pushes, the global reactor if C{None}.
    @ivar bounds: how far the clients may be behind, if that is bounded.
    @ivar age: the smaller, the older.
    @ivar _sessions: the session of each mind, or several.
    """

    reactor: IReactorTime | None
    bounds: Bounds | None
    age: int = attrs.field(factory=partial(next, _ages), init=False)
    _sessions: dict[Hashable, Session | tuple[Session, ...]] = attrs.field(factory=dict, init=False)

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Return whom a push to a mind goes to, if the mind is filed here: the session of C{avatar},
        if it has one, or else the one that it has logged in last.
        """
        sessions = _several(self._sessions.get(identityOf(mind), ()))
        if not sessions:
            return None
        session = next((each for each in sessions if each.avatar is avatar), sessions[-1])
        return Addressee(mind, session, self.bounds)

    def file(self, session: Session) -> None:
        """
        File a session by its mind.
        """
        key = identityOf(session.mind)
        others = self._sessions.get(key)
        self._sessions[key] = session if others is None else (*_several(others), session)
        lineOf(session.mind).filed(self)

    def unfile(self, session: Session) -> None:
        """
        Take a session off the file.
        """
        key = identityOf(session.mind)
        known = self._sessions.pop(key)
        if known is not session:
            left = tuple(each for each in _several(known) if each is not session)
            self._sessions[key] = left if len(left) > 1 else left[0]
        lineOf(session.mind).unfiled(self)
        if self.bounds is not None:
            self.bounds.forget(session.mind)


def _several(sessions: Session | tuple[Session, ...]) -> tuple[Session, ...]:
    """
    Return the sessions of a mind as a tuple: nearly always there is one.
    """
    return sessions if isinstance(sessions, tuple) else (sessions,)
