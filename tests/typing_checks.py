"""
What type checkers tell users of avatarkit.

    mypy --strict --warn-unused-ignores (with mypy_zope:plugin), and pyright with
    reportUnnecessaryTypeIgnoreComment: every "type: ignore" below is an error that must be there.
"""

# ruff: noqa: B018, D103, D101, D102, RUF100

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from typing_extensions import assert_type, override

import avatarkit
from avatarkit import (
    AvatarCache,
    Block,
    ConnectionCounter,
    ConnectionLimit,
    Holders,
    MindRegistry,
    PerConnection,
    Realm,
    Session,
)
from avatarkit.testing import Login, login


class Player(avatarkit.Avatar):
    def __init__(self, avatarId: bytes) -> None:
        self.name = avatarId.decode()


class Greeter(avatarkit.Avatar):
    def __init__(self, player: Player) -> None:
        self.player = player


def make(avatarId: bytes) -> Player:
    return Player(avatarId)


async def makeLater(avatarId: bytes) -> Player:
    return Player(avatarId)


def makeDeferred(avatarId: bytes) -> Deferred[Player]:
    return succeed(Player(avatarId))


def makeEither(avatarId: bytes) -> Player | Deferred[Player]:
    return Player(avatarId)


class TheirRealm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return None


# 1-5: factories of all kinds
assert_type(AvatarCache()(Player), Realm[Player])
assert_type(AvatarCache()(make), Realm[Player])
assert_type(AvatarCache()(makeLater), Realm[Player])
assert_type(AvatarCache()(makeDeferred), Realm[Player])
assert_type(AvatarCache()(makeEither), Realm[Player])

# 6-9: stacked
assert_type(ConnectionLimit(3)(AvatarCache()(Player)), Realm[Player])
assert_type(MindRegistry()(ConnectionCounter()(AvatarCache()(makeLater))), Realm[Player])
assert_type(Realm(makeLater), Realm[Player])
assert_type(
    Realm(AvatarCache()(Player), blocks=[ConnectionCounter(), MindRegistry()]), Realm[Player]
)
assert_type(ConnectionLimit(3)(lambda avatarId: Player(avatarId)), Realm[Player])


# 10: as decorators
@MindRegistry()
@ConnectionLimit(3)
@AvatarCache()
def realm(avatarId: bytes) -> Player:
    return Player(avatarId)


@AvatarCache()
async def realmLater(avatarId: bytes) -> Player:
    return Player(avatarId)


assert_type(realm, Realm[Player])
assert_type(realmLater, Realm[Player])

# 11: existing realms
assert_type(ConnectionLimit(3)(TheirRealm()), Realm[Any])


def around(foreign: IRealm) -> None:
    assert_type(ConnectionLimit(3)(foreign), Realm[Any])
    assert_type(AvatarCache()(foreign), Realm[Any])
    assert_type(Realm(foreign), Realm[Any])


# 12-13: the cache
cache = AvatarCache[Player]()
annotated: AvatarCache[Player] = AvatarCache(idleTimeout=60)
assert_type(cache[b"alice"], Player)
assert_type(annotated[b"alice"], Player)
assert_type(cache.get(b"alice"), Player | None)
assert_type(cache(Player), Realm[Player])
assert_type(cache.below, Realm[Player])
cache[b"a"].nmae  # type: ignore[attr-defined]
assert_type(AvatarCache()[b"alice"], Any)  # no type was given


# 14-16: PerConnection
def build(session: Session[Player]) -> Greeter:
    return Greeter(session.avatar)


async def buildLater(session: Session[Player]) -> Greeter:
    return Greeter(session.avatar)


def buildDeferred(session: Session[Player]) -> Deferred[Greeter]:
    return succeed(Greeter(session.avatar))


assert_type(PerConnection(build)(AvatarCache()(Player)), Realm[Greeter])
assert_type(PerConnection(buildLater)(AvatarCache()(makeLater)), Realm[Greeter])
assert_type(PerConnection(buildDeferred)(makeDeferred), Realm[Greeter])
assert_type(ConnectionLimit(1)(PerConnection(buildLater)), Realm[Greeter])
PerConnection(build)(Greeter)  # type: ignore[arg-type]
PerConnection(build)(Realm(lambda avatarId: 3))  # wrong, but not noticed: a Realm is an IRealm, too


# 17: sessions
def take(session: Session[Player], bare: Session) -> None:
    assert_type(session.avatar, Player)
    assert_type(session.realm, IRealm)
    assert_type(bare.avatar, Any)
    session.avatar.nmae  # type: ignore[attr-defined]
    session.avatr  # type: ignore[attr-defined]


for each in realm.sessions:
    assert_type(each, Session[Player])


# 18: blocks
class Watch(Block[Player]):
    @override
    def attached(self, session: Session[Player]) -> None:
        session.avatar.nmae  # type: ignore[attr-defined]

    @override
    def detatched(self, session: Session[Player]) -> None:  # type: ignore[misc]
        pass

    def release(self, session: Session[Greeter]) -> None:  # type: ignore[override]
        pass


class Bare(Block):
    def admit(self, session: Session) -> None:
        pass


assert_type(Watch()(Player), Realm[Player])
assert_type(Bare()(Player), Realm[Player])
assert_type(Watch()(lambda avatarId: 3), Realm[int])  # wrong, but not noticed

# 19: registry, limit
online = MindRegistry[Player]()
assert_type(online.sessions(b"alice"), tuple[Session[Player], ...])
online.select(lambda session: session.avatar.connections > 1)
online.select(lambda session: session.avatar.conections > 1)  # type: ignore[attr-defined]
limit = ConnectionLimit[Player](3)
assert_type(limit.sessions(b"alice"), tuple[Session[Player], ...])


def quota(session: Session[Player]) -> int | None:
    return 3


async def quotaLater(session: Session[Player]) -> int | None:
    return 3


assert_type(ConnectionLimit(quota=quota)(Player), Realm[Player])
assert_type(
    ConnectionLimit(quota=quotaLater, whenFull=avatarkit.displaceOldest())(Player), Realm[Player]
)


def newest(session: Session[Player], holders: Holders[Player]) -> tuple[Session[Player], ...]:
    assert_type(holders.excess, int)
    assert_type(holders[0], Session[Player])
    holders.surplus  # type: ignore[attr-defined]
    return holders[-holders.excess :]


async def newestLater(session: Session, holders: Holders) -> list[Session]:
    return list(holders[-holders.excess :])


assert_type(ConnectionLimit(3, whenFull=newest)(Player), Realm[Player])
assert_type(ConnectionLimit(3, whenFull=newestLater)(Player), Realm[Player])

# 20: testing.login
alice = login(realm, b"alice")
assert_type(alice.avatar, Player)
alice.avatar.nmae  # type: ignore[attr-defined]
alice.logot()  # type: ignore[attr-defined]


async def wait() -> None:
    assert_type(await login(realmLater, b"alice"), Login[Player])


login(realm, b"alice", interface=IRealm).avatar.anything
login(Realm(TheirRealm()), b"alice").avatar.anything
