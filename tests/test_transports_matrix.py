"""
A session ends with its connection, over every protocol and however its client leaves.
"""

from __future__ import annotations

import gc
from collections import Counter
from importlib.util import find_spec
from typing import NamedTuple

from twisted.internet import defer
from twisted.logger import LogLevel
from twisted.trial.unittest import TestCase

import protocols
from logs import logged
from needing import needsModule
from protocols import Row
from stages import STAGES, Scene, Stacked, Way, reactor, turns, within

ROWS: dict[str, Row] = {row.name: row for row in protocols.ROWS}

if find_spec("bcrypt") is not None:  # which comes with twisted[conch]
    import protocols_ssh

    ROWS.update({row.name: row for row in protocols_ssh.ROWS})


class Cell(NamedTuple):
    """
    A row, a realm, a way of leaving, and what the connection is.
    """

    row: str
    stage: str
    way: Way
    over: str


CELLS = [
    Cell(row.name, stage, way, over)
    for row in ROWS.values()
    for stage in STAGES
    for way in Way
    for over in ("TCP", "TLS", "STARTTLS")
    if over != "STARTTLS" or row.encrypted is not None
]


class MatrixCase(TestCase):
    """
    A test that goes through cells.
    """

    timeout = 60

    async def leftIn(self, cell: Cell, *, watched: bool = True) -> list[str]:
        """
        Return what is left in a cell, and what was logged there.
        """
        scene = Scene(STAGES[cell.stage](ROWS[cell.row], cell.way), watched=watched)
        with logged(LogLevel.warn) as said:
            async with scene:
                try:
                    await scene.call(cell.over)
                    left = await scene.leave()
                except defer.TimeoutError:
                    left = ["it took too long"]
        return [*left, *said, *map(repr, self.flushLoggedErrors())]

    async def go(self, stage: str, over: str) -> None:
        """
        Check that nothing is left in the cells of a realm and a kind of connection.
        """
        cells = [each for each in CELLS if each.stage == stage and each.over == over]
        left = {cell: found for cell in cells if (found := await self.leftIn(cell))}
        assert left == {}, f"{len(left)} of {len(cells)} cells leak"


class MatrixTests(MatrixCase):
    """
    All cells.
    """

    @needsModule("autobahn", "bcrypt")
    def test_cells(self) -> None:
        """
        There are fifteen rows, and four ways of leaving each, with three realms.
        """
        assert len(ROWS) == 15
        assert Counter(cell.over for cell in CELLS) == {
            "TCP": 15 * 4 * 3,
            "TLS": 15 * 4 * 3,
            "STARTTLS": 3 * 4 * 3,
        }

    async def test_blocksTCP(self) -> None:
        """
        Nothing is left with the four blocks, over TCP.
        """
        await self.go("four blocks", "TCP")

    async def test_blocksTLS(self) -> None:
        """
        Nothing is left with the four blocks, over TLS.
        """
        await self.go("four blocks", "TLS")

    async def test_blocksSTARTTLS(self) -> None:
        """
        Nothing is left with the four blocks, over STARTTLS.
        """
        await self.go("four blocks", "STARTTLS")

    async def test_perConnectionTCP(self) -> None:
        """
        Nothing is left with an avatar for each session, over TCP.
        """
        await self.go("PerConnection", "TCP")

    async def test_perConnectionTLS(self) -> None:
        """
        Nothing is left with an avatar for each session, over TLS.
        """
        await self.go("PerConnection", "TLS")

    async def test_perConnectionSTARTTLS(self) -> None:
        """
        Nothing is left with an avatar for each session, over STARTTLS.
        """
        await self.go("PerConnection", "STARTTLS")

    async def test_byHandTCP(self) -> None:
        """
        Nothing is left with a realm that is not avatarkit's, over TCP.
        """
        await self.go("a realm by hand", "TCP")

    async def test_byHandTLS(self) -> None:
        """
        Nothing is left with a realm that is not avatarkit's, over TLS.
        """
        await self.go("a realm by hand", "TLS")

    async def test_byHandSTARTTLS(self) -> None:
        """
        Nothing is left with a realm that is not avatarkit's, over STARTTLS.
        """
        await self.go("a realm by hand", "STARTTLS")


class BitingTests(MatrixCase):
    """
    The matrix, without what it is a test of.
    """

    async def test_unwatched(self) -> None:
        """
        Without a WatchingFactory all these cells leak, but for a plain login over most protocols.
        """
        rows = ("PB without a mind", "POP3", "AMP", "telnet", "a forgetful LineReceiver")
        cells = [Cell(row, stage, way, "TCP") for row in rows for stage in STAGES for way in Way]
        leak = [cell for cell in cells if await self.leftIn(cell, watched=False)]
        safe = {cell.row for cell in cells if cell not in leak}
        assert safe == {"PB without a mind", "POP3", "AMP"}
        assert {cell.way for cell in cells if cell not in leak} == {Way.LOGGED_IN}
        assert len(leak) == len(cells) - 3 * len(STAGES)


class AgainTests(MatrixCase):
    """
    Two logins over one connection.
    """

    ROWS = [row for row in ROWS.values() if row.again is not None]  # read only

    #: What refuses a second login, and what does not look at it while the first one goes on.
    LATER = ("IMAP4", "ESMTP")
    AT_ONCE = ("FTP",)

    def test_rows(self) -> None:
        """
        These protocols let a client log in again.
        """
        assert {row.name for row in self.ROWS} == {
            *("PB with a mind", "PB without a mind", "PB with a junk mind"),
            *("FTP", "IRC", "POP3", "IMAP4", "ESMTP"),
        }

    async def leftOf(self, row: Row, stage: str, way: Way, over: str) -> list[str]:
        """
        Return what is left if a client logs in twice, and leaves.
        """
        scene = Scene(STAGES[stage](row, way))
        async with scene:
            caller = await scene.call(over)
            if callable(row.again):
                row.again(caller)
            else:
                caller.transport.write(row.again)
            one = self.LATER if way is Way.LOGGED_IN else self.AT_ONCE
            if row.name not in one:
                await scene.stage.until(lambda: scene.stage.asked == 2)
            await turns(10)
            assert scene.stage.asked == (1 if row.name in one else 2)
            left = await scene.leave()
        # Unhandled errors of Twisted's: a second login over IRC fails, and FTP may resume a
        # transport that it has no longer.
        if row.name == "FTP" or (row.name == "IRC" and way is Way.LOGGED_IN):
            gc.collect()
            self.flushLoggedErrors(AttributeError)
        return [*left, *map(repr, self.flushLoggedErrors())]

    async def test_again(self) -> None:
        """
        Nothing is left of either, logged in or in the middle of it.
        """
        cells = [
            (row, stage, way, over)
            for row in self.ROWS
            for stage in STAGES
            for way in Way
            for over in ("TCP", "TLS")
        ]
        assert len(cells) == 8 * 3 * 4 * 2
        left = {cell: found for cell in cells if (found := await self.leftOf(*cell))}
        assert left == {}, f"{len(left)} of {len(cells)} leak"


class KickTests(MatrixCase):
    """
    Sessions that the server ends, and connections that it closes.
    """

    async def kick(self, row: str, way: Way, over: str, stalled: bool, byName: bool) -> list[str]:
        """
        Kick a client, and return what is left, and whether its connection is.
        """
        stage = Stacked(ROWS[row], way)
        scene = Scene(stage)
        async with scene:
            caller = await scene.call(over)
            (session,) = stage.realm.sessions
            connection = session.connection
            if stalled:
                caller.transport.pauseProducing()
                connection.transport.write(bytes(2**24))
                await turns()
            began, deadline = reactor.seconds(), 0.05 if stalled else 5
            if byName:
                kicked = stage.online.disconnect(b"alice", timeout=deadline)
            else:
                kicked = session.disconnect(timeout=deadline)
            await within(kicked)
            await within(scene.gone)
            took = reactor.seconds() - began
            left = [*stage.left(), *map(repr, scene.watching.protocols)]
            if took > 2 or (stalled and took < deadline / 2):
                left.append(f"it took {took} seconds")
            if not connection.disconnected:
                left.append("the connection is not closed")
        return [*left, *map(repr, self.flushLoggedErrors())]

    async def go(self, stage: str, over: str) -> None:
        """
        Kick the client of each row after its login and during it, reading or not.
        """
        cells = [
            (row, way, over, stalled, stage == "by name")
            for row in ROWS
            for way in (Way.LOGGED_IN, Way.NEVER)
            for stalled in (False, True)
            if stage != "by name" or way is Way.LOGGED_IN  # who logs in is not online yet
        ]
        assert len(cells) == (2 if stage == "by name" else 4) * len(ROWS)
        left = {cell: found for cell in cells if (found := await self.kick(*cell))}
        assert left == {}, f"{len(left)} of {len(cells)} leak"

    async def test_TCP(self) -> None:
        """
        A kick closes the connection by its deadline, over TCP.
        """
        await self.go("by session", "TCP")

    async def test_TLS(self) -> None:
        """
        And over TLS.
        """
        await self.go("by session", "TLS")

    async def test_byName(self) -> None:
        """
        And the same with the name of the user.
        """
        await self.go("by name", "TCP")
