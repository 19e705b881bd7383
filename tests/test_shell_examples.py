"""
The examples for SSH, SFTP and telnet do what they say, as real clients see it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import TestCase

from needing import needs, needsModule
from realclients import Client, until

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

#: What OpenSSH must not ask, and where it must not look.
QUIETLY = [
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "PasswordAuthentication=no", "-o", "IdentitiesOnly=yes"),
]


class ExampleCase(TestCase):
    """
    An example, and clients of it, all in processes of their own.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Have a directory.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def start(self, *argv: str | Path, typed: Iterable[tuple[bytes, bytes]] = ()) -> Client:
        """
        Start a program.
        """
        program = Client([str(each) for each in argv], {}, typed)
        self.addCleanup(program.kill)
        return program

    async def says(self, program: Client, text: bytes) -> None:
        """
        Wait until a program has printed something.
        """
        await until(lambda: text in program.output, lambda: f"no {text!r} in {program.output!r}")

    async def output(self, *argv: str | Path) -> bytes:
        """
        Run a program to its end, and return what it has printed.
        """
        program = self.start(*argv)
        await program.whenEnded
        return program.output

    async def serve(self, name: str, *arguments: str | Path) -> str:
        """
        Start an example, and return its port.
        """
        self.server = self.start(sys.executable, EXAMPLES / name, *arguments)
        await self.says(self.server, b"\n")
        first = self.server.output.decode().splitlines()[0]
        return first.removeprefix("listening on port ")

    async def interrupt(self) -> bytes:
        """
        Interrupt the server, and return all that it has printed; a complaint is an error.
        """
        self.server.signal(signal.SIGINT)
        await self.server.whenEnded
        assert b"Traceback" not in self.server.output, self.server.output
        return self.server.output


@needs("sftp", "ssh", "ssh-keygen")
@needsModule("bcrypt", "cryptography")
class SSHExampleTests(ExampleCase):
    """
    C{ssh_and_sftp.py}.
    """

    async def connect(self) -> None:
        """
        Start the server, with a key of alice's.
        """
        self.key = self.directory / "key"
        await self.output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        self.port = await self.serve("ssh_and_sftp.py", "0", "--key", f"{self.key}.pub")

    def ssh(self, *arguments: str) -> list[str | Path]:
        """
        Return the command that logs alice in with her key.
        """
        to = ["-i", str(self.key), "-p", self.port, "alice@127.0.0.1"]
        return ["ssh", *QUIETLY, *to, *arguments]

    async def test_notes(self) -> None:
        """
        What a command writes, SFTP reads, and the other way round.
        """
        await self.connect()
        assert await self.output(*self.ssh("note", "a", "hello", "there")) == b""
        (self.directory / "sent").write_text("from a file")
        batch = self.directory / "batch"
        lines = ["get a got", "put sent b", "ls", "rm a", "-get nothere", "-mkdir d"]
        batch.write_text("\n".join(f"{line}\n" for line in [f"lcd {self.directory}", *lines]))
        to: list[str | Path] = ["-i", self.key, "-P", self.port, "-b", batch, "alice@127.0.0.1"]
        printed = await self.output("sftp", *QUIETLY, *to)
        assert (self.directory / "got").read_text() == "hello there", printed
        assert b'File "/nothere" not found' in printed
        assert b'mkdir "/d": Operation unsupported' in printed
        assert await self.output(*self.ssh("notes")) == b"b: from a file\n"
        await self.interrupt()

    async def test_shell(self) -> None:
        """
        A terminal has a shell, which ends with C{bye}.
        """
        await self.connect()
        shell = self.start(*self.ssh("-tt"), typed=[(b"$ ", b"who\rbye\r")])
        await shell.whenEnded
        assert b"alice 1" in shell.output
        await self.interrupt()

    async def test_channels(self) -> None:
        """
        The channels of one connection are one session; a third connection is refused.
        """
        await self.connect()
        socket = ["-S", str(self.directory / "socket")]
        master = self.start(*self.ssh("-M", "-N", *socket))
        await until(lambda: (self.directory / "socket").exists(), lambda: str(master.output))
        for _ in range(3):
            assert await self.output(*self.ssh(*socket, "who")) == b"alice 1\n"
        assert await self.output(*self.ssh("who")) == b"alice 2\n"
        second = self.start(*self.ssh("-tt"))
        await self.says(second, b"$ ")
        assert b"Permission denied" in await self.output(*self.ssh("who"))
        await master.kill()
        assert await self.output(*self.ssh("who")) == b"alice 2\n"
        await self.interrupt()

    async def test_byeAll(self) -> None:
        """
        C{bye all} ends all connections of a user.
        """
        await self.connect()
        first = self.start(*self.ssh("-tt"))
        await self.says(first, b"$ ")
        second = self.start(*self.ssh("-tt"), typed=[(b"$ ", b"bye all\r")])
        await second.whenEnded
        await first.whenEnded
        assert await self.output(*self.ssh("who")) == b"alice 1\n"
        await self.interrupt()


@needs("telnet")
class TelnetExampleTests(ExampleCase):
    """
    C{telnet.py}.
    """

    async def test_telnet(self) -> None:
        """
        Users are counted, killed clients no longer; C{bye all} ends the others.
        """
        port = await self.serve("telnet.py", "0")

        async def login(count: int) -> Client:
            typed = [(b"Username:", b"alice\n"), (b"Password:", b"secret\n")]
            client = self.start("telnet", "127.0.0.1", port, typed=typed)
            await self.says(client, b"welcome, from %d places" % count)
            return client

        first, second = await login(1), await login(2)
        await first.kill()
        third = await login(2)
        third.type(b"who\nbye all\n")
        await second.whenEnded
        await third.whenEnded
        assert b"alice 2" in third.output
        await self.interrupt()


del ExampleCase  # which has no tests
