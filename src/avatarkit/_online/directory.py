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

from .._clients.connections import connectionOf, detach
from .._clients.minds import identityOf
from .._push.addressees import Addressee
from .._push.bounds import Bounds
from .._push.lines import lineOf
from .._realm.session import Session

_ages = count()


@attrs.define(eq=False)
class Sharing:
    """
    The sessions that share a mind, oldest first.

    @ivar _avatars: the sessions, and the C{id} of each one's avatar.
    @ivar _byAvatar: those of each avatar.
    """

    _avatars: dict[Session, int] = attrs.field(factory=dict, init=False)
    _byAvatar: dict[int, dict[Session, None]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._avatars)

    def add(self, session: Session) -> None:
        """
        One more session has the mind.
        """
        key = self._avatars[session] = id(session.avatar)
        self._byAvatar.setdefault(key, {})[session] = None

    def remove(self, session: Session) -> None:
        """
        A session no longer has it.
        """
        key = self._avatars.pop(session)
        del self._byAvatar[key][session]
        if not self._byAvatar[key]:
            del self._byAvatar[key]

    def find(self, avatar: object = None) -> Session:
        """
        Return the oldest session of an avatar, or else the newest of all.
        """
        its = self._byAvatar.get(id(avatar))
        return next(iter(its)) if its else next(reversed(self._avatars))


@attrs.define(eq=False)
class MindDirectory:
    """
    The sessions of minds: a L{Directory<avatarkit._push.lines.Directory>}.

    @ivar reactor: what measures the time of pushes, the global reactor if C{None}.
    @ivar bounds: how far the clients may be behind, if that is bounded.
    @ivar oncePerMind: whether a mind is pushed to once, however many sessions it has.
    @ivar age: the smaller, the older.
    @ivar _sessions: the session of each mind; nearly always there is one.
    """

    reactor: IReactorTime | None
    bounds: Bounds | None
    oncePerMind: bool
    age: int = attrs.field(factory=partial(next, _ages), init=False)
    _sessions: dict[Hashable, Session | Sharing] = attrs.field(factory=dict, init=False)

    def addresseeOf(self, mind: object, avatar: object = None) -> Addressee | None:
        """
        Return whom a push to a mind goes to, if the mind is filed here: the session of C{avatar},
        if it has one, or else the one that it has logged in last.
        """
        known = self._sessions.get(identityOf(mind))
        if known is None:
            return None
        session = known.find(avatar) if isinstance(known, Sharing) else known
        return Addressee(mind, session, self.bounds)

    def file(self, session: Session) -> None:
        """
        File a session by its mind.
        """
        key = identityOf(session.mind)
        known = self._sessions.get(key)
        if known is None:
            self._sessions[key] = session
        elif isinstance(known, Sharing):
            known.add(session)
        else:
            sharing = self._sessions[key] = Sharing()
            sharing.add(known)
            sharing.add(session)
        lineOf(session.mind).filed(self)

    def unfile(self, session: Session) -> None:
        """
        Take a session off the file.
        """
        key = identityOf(session.mind)
        known = self._sessions[key]
        if isinstance(known, Sharing):
            known.remove(session)
        if known is session or not known:
            del self._sessions[key]
        line = lineOf(session.mind)
        line.unfiled(self)
        if not line.directories:
            detach(connectionOf(session.mind))
        if self.bounds is not None:
            self.bounds.forget(session.mind)
