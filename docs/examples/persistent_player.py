"""
Players in a database: loaded at the first login, and saved when the cache retires them.

    python docs/examples/persistent_player.py

It runs a server twice, on the same temporary file, and exits.  It prints:

    loaded alice with 0 gold
    alice earns 5 and has 5
    alice earns 2 from another connection and has 7
    saved alice with 7 gold
    the server starts again
    loaded alice with 7 gold
    alice earns 1 and has 8
    saved alice with 8 gold
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pbdemo import Server
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import react

import avatarkit


class Store:
    """The database, with a row for each player."""

    def __init__(self, path: str) -> None:
        self.saved: DeferredQueue[str] = DeferredQueue()
        self.pool: Any = ConnectionPool(
            "sqlite3", path, check_same_thread=False, cp_min=1, cp_max=1
        )

    async def create(self) -> None:
        await self.pool.runOperation("CREATE TABLE IF NOT EXISTS players (name PRIMARY KEY, gold)")

    async def load(self, avatarId: bytes) -> "Player":
        name = avatarId.decode()
        rows = await self.pool.runQuery("SELECT gold FROM players WHERE name = ?", (name,))
        player = Player(self, name, rows[0][0] if rows else 0)
        print(f"loaded {name} with {player.gold} gold")
        return player

    async def save(self, name: str, gold: int) -> None:
        await self.pool.runOperation("REPLACE INTO players VALUES (?, ?)", (name, gold))
        print(f"saved {name} with {gold} gold")
        self.saved.put(name)


class Player(avatarkit.Avatar):
    def __init__(self, store: Store, name: str, gold: int) -> None:
        self.store, self.name, self.gold = store, name, gold

    def perspective_earn(self, gold: int) -> int:
        self.gold += gold
        return self.gold

    async def logout(self) -> None:
        await self.store.save(self.name, self.gold)


async def firstRun(store: Store) -> None:
    server = Server(avatarkit.AvatarCache(idleTimeout=0.05)(store.load), [])
    await server.start()
    first, second = await server.login(), await server.login()
    print(f"alice earns 5 and has {await first.ask('earn', 5)}")
    print(f"alice earns 2 from another connection and has {await second.ask('earn', 2)}")
    await server.stop()
    await store.saved.get()  # when the idle timeout has passed


async def secondRun(store: Store) -> None:
    realm = avatarkit.AvatarCache(idleTimeout=300)(store.load)
    server = Server(realm, [])
    await server.start()
    client = await server.login()
    print(f"alice earns 1 and has {await client.ask('earn', 1)}")
    await realm.close()  # saves everyone who is still there
    await server.stop()


async def main() -> None:
    with TemporaryDirectory() as directory:
        path = str(Path(directory) / "players.sqlite")
        for run in (firstRun, secondRun):
            store = Store(path)
            await store.create()
            await run(store)
            store.pool.close()
            if run is firstRun:
                print("the server starts again")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main()))
