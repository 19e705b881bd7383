"""
The examples do what they say.
"""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

import processes
from processes import EXAMPLES, enter, line


class ExamplesTests(SynchronousTestCase):
    """
    Each example is a whole program that ends by itself.
    """

    def test_quickstart(self) -> None:
        """
        The quickstart shares, counts, limits and pushes, and prints what it promises.
        """
        assert run("quickstart.py") == promised("quickstart.py")

    def test_endings(self) -> None:
        """
        A change of password and a ban end the sessions that they should, and those hear why.
        """
        assert run("endings.py") == promised("endings.py")

    def test_deadConnections(self) -> None:
        """
        A client whose cable is pulled is ended, its user gets in again, and one that answers stays.
        """
        assert run("dead_connections.py") == promised("dead_connections.py")

    def test_compare(self) -> None:
        """
        The table in the docs is what the comparison prints.
        """
        table = run("compare.py")
        assert "\n".join(table) in (EXAMPLES.parent / "why.md").read_text()
        assert all(row.endswith("| yes |") for row in table[2:])
        assert sum("**no**" in row for row in table) == 7

    def test_cachingRealm(self) -> None:
        """
        S1: both realms share an avatar among all logins.
        """
        assert run("caching_realm.py") == promised("caching_realm.py")

    def test_cachedState(self) -> None:
        """
        S2: both realms share a greeter among separate avatars.
        """
        assert run("cached_state.py") == promised("cached_state.py")

    def test_connectionAware(self) -> None:
        """
        S3: both avatars know how many clients they have.
        """
        assert run("connection_aware.py") == promised("connection_aware.py")

    def test_limit(self) -> None:
        """
        S4: both realms refuse the second login, and avatarkit's logs no error.
        """
        assert run("limit.py") == promised("limit.py")

    def test_web(self) -> None:
        """
        Browsers log in, come back, are refused and log out.
        """
        assert run("web.py") == promised("web.py")

    def test_remoteClock(self) -> None:
        """
        S5: both clocks tell the time until the logout.
        """
        assert run("remote_clock.py") == promised("remote_clock.py")

    def test_clientsOfAnAvatar(self) -> None:
        """
        S6: both avatars reach their clients, and avatarkit's carries on after one that fails.
        """
        assert run("clients_of_an_avatar.py") == promised("clients_of_an_avatar.py")

    def test_persistentPlayer(self) -> None:
        """
        A player is saved when the cache retires it, and loaded by the next run.
        """
        assert run("persistent_player.py") == promised("persistent_player.py")


class ChatTests(processes.ProcessTestCase):
    """
    The chat example: a server and any number of clients.
    """

    def setUp(self) -> None:
        """
        Start the server on a free port.
        """
        self.server = self.start(EXAMPLES / "chat_server.py", "0")
        self.port = line(self.server).removeprefix("listening on port ")

    def client(self, name: str) -> subprocess.Popen[str]:
        """
        Start a client, and wait until it has logged in.
        """
        client = self.start(EXAMPLES / "chat_client.py", self.port, name)
        assert line(client) == f"you are {name}"
        return client

    def test_chat(self) -> None:
        """
        Everyone else in the room hears what is said, and who comes and goes.
        """
        alice = self.client("alice")
        bob = self.client("bob")
        assert line(alice) == "bob is here"
        enter(bob, "hello")
        assert line(alice) == "bob: hello"
        enter(alice, "/who")
        assert line(alice) == "alice, bob"
        enter(alice, "/enter bar", "anybody?", "/who")
        assert line(bob) == "alice has left"
        assert line(alice) == "alice"
        enter(alice, "/enter lobby")
        assert line(bob) == "alice is here"
        assert alice.communicate("bye", timeout=20) == ("", "")
        assert line(bob) == "alice has left"
        assert bob.communicate("", timeout=20) == ("", "")
        assert (alice.returncode, bob.returncode) == (0, 0)

    def test_limit(self) -> None:
        """
        The fourth login under one name is refused.
        """
        for _ in range(3):
            self.client("alice")
        fourth = self.start(EXAMPLES / "chat_client.py", self.port, "alice")
        assert fourth.communicate("", timeout=20) == ("failed: too many connections\n", "")

    def test_interrupted(self) -> None:
        """
        Either signal ends the server without complaint, and its clients with it.
        """
        terminated = self.start(EXAMPLES / "chat_server.py", "0")
        line(terminated)
        client = self.client("alice")
        self.server.send_signal(signal.SIGINT)
        terminated.send_signal(signal.SIGTERM)
        for process in (self.server, terminated):
            assert process.communicate(timeout=20) == ("", "")
        assert client.wait(20) == 0


class FarewellTests(processes.ProcessTestCase):
    """
    The server that says why it sends its clients away, and its clients.
    """

    def serve(self, port: str = "0") -> subprocess.Popen[str]:
        """
        Start the server, and note its port.
        """
        server = self.start(EXAMPLES / "farewell_server.py", port)
        self.port = line(server).removeprefix("listening on port ")
        return server

    def client(self) -> subprocess.Popen[str]:
        """
        Start a client, and wait until it has logged in.
        """
        client = self.start(EXAMPLES / "farewell_client.py", self.port, "alice")
        assert line(client) == "you are alice"
        return client

    def test_returns(self) -> None:
        """
        A client of a server that is interrupted comes back when the server does.
        """
        server = self.serve()
        client = self.client()
        for number in (signal.SIGINT, signal.SIGTERM):
            server.send_signal(number)
            assert line(client) == "the server is shutting down; coming back"
            assert server.communicate(timeout=20) == ("", "")
            server = self.serve(self.port)
            assert line(client) == "you are alice"
        server.kill()
        assert client.communicate(timeout=20) == ("the connection was lost\n", "")

    def test_displaced(self) -> None:
        """
        A client whose user logs in elsewhere is told so, and does not come back.
        """
        self.serve()
        first = self.client()
        self.client()
        assert first.communicate(timeout=20) == ("logged in elsewhere\n", "")


class ResumeTests(processes.ProcessTestCase):
    """
    The server that waits for lost clients, and a client that comes back.
    """

    def test_back(self) -> None:
        """
        A client that loses its connection is back where it was, and misses nothing.
        """
        server = self.start(EXAMPLES / "resume_server.py", "0")
        port = line(server).removeprefix("listening on port ")
        client = self.start(EXAMPLES / "resume_client.py", port, "alice")
        times: list[int] = []

        def said(what: str) -> None:
            while (heard := line(client)) != what:
                times.append(int(heard.removeprefix("time ")))

        said("new here")
        for often in (1, 2, 3):
            enter(client, "step")
            said(f"{often} steps")
            enter(client, "cut")
            said("the connection is lost")
            enter(client, "step")
            said("not connected")
            said("back")
        enter(client, "step")
        said("4 steps")
        assert times == [*range(times[0], times[0] + len(times))]
        assert len(times) > 10
        server.send_signal(signal.SIGINT)
        said("the server is shutting down")
        assert client.communicate(timeout=20) == ("", "")


class TutorialTests(processes.ProcessTestCase):
    """
    The tutorial's programs, as printed there.
    """

    def setUp(self) -> None:
        """
        Write the programs into an empty directory, and start the server.
        """
        self.text = (EXAMPLES.parent / "tutorial.md").read_text()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        for name in ("server.py", "client.py", "test_server.py"):
            (self.directory / name).write_text(
                self.block(f"This is the whole of `{name}`:", "python")
            )
        self.server = self.start(self.directory / "server.py", "0")
        self.port = line(self.server).removeprefix("listening on port ")

    def block(self, lead: str, kind: str) -> str:
        """
        Return the code block that follows a line of the tutorial.
        """
        _, behind = self.text.split(f"{lead}\n\n```{kind}\n")
        return behind.split("```\n")[0]

    def client(self, *credentials: str) -> subprocess.Popen[str]:
        """
        Start a client.
        """
        return self.start(self.directory / "client.py", *credentials, self.port)

    def test_chat(self) -> None:
        """
        Alice and bob see what the tutorial says.
        """
        alice = self.client("alice", "secret")
        aliceSees = [line(alice)]
        bob = self.client("bob", "secret")
        bobSees = [line(bob)]
        aliceSees.append(line(alice))
        enter(bob, "hello")
        bobSees.append(line(bob))
        aliceSees.append(line(alice))
        enter(alice, "/who")
        aliceSees.append(line(alice))
        enter(bob, "/enter bar", "anybody?")
        bobSees += [line(bob) for _ in range(3)]
        aliceSees.append(line(alice))
        enter(alice, "/who")
        aliceSees.append(line(alice))
        assert aliceSees == self.block("then alice sees:", "text").splitlines()
        assert bobSees == self.block("and bob sees:", "text").splitlines()

    def test_refused(self) -> None:
        """
        The third login of a user and a wrong password are refused, and the server goes on, and ends
        as the tutorial says.
        """
        alice = ("alice", "secret")
        first, second = self.client(*alice), self.client(*alice)
        assert (line(first), line(second)) == ("logged in as alice",) * 2
        refused = self.client(*alice).communicate("", timeout=20)
        assert refused == (self.block("A third client is refused, and exits:", "text"), "")
        wrong = self.client("bob", "guess").communicate("", timeout=20)
        assert wrong == ("refused: wrong name or password\n", "")
        assert second.communicate("", timeout=20) == ("", "")
        assert self.client(*alice).communicate("", timeout=20) == ("logged in as alice\n", "")
        self.server.send_signal(signal.SIGINT)
        printed, logged = self.server.communicate(timeout=20)
        assert printed == "everybody is logged out\n"
        assert (
            logged.count("[avatarkit._limit.limit.ConnectionLimit#info] a login of b'alice'") == 1
        )
        assert logged.count("Traceback") == logged.count("UnauthorizedLogin") == 1
        assert first.communicate(timeout=20) == (self.block("They know why:", "text"), "")
        assert first.returncode == 0

    def test_tests(self) -> None:
        """
        The tutorial's tests pass with both runners.
        """
        commands = self.block("Run them with pytest, or with Twisted's own trial:", "sh")
        summaries = ("8 passed", "PASSED (successes=8)")
        for command, passed in zip(commands.splitlines(), summaries, strict=True):
            python, *arguments = command.split()
            assert python == ".venv/bin/python"
            tests = subprocess.run(  # noqa: S603  # our own program
                [sys.executable, *arguments],
                cwd=self.directory,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert passed in tests.stdout, tests.stdout + tests.stderr


def promised(name: str) -> list[str]:
    """
    Return what an example's docstring says that it prints: the indented lines after the command.
    """
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    command, *printed = (each[4:] for each in docstring.splitlines() if each.startswith("    "))
    assert command == f"python docs/examples/{name}"
    assert printed
    return printed


def run(name: str) -> list[str]:
    """
    Run an example, which must succeed without complaint, and return the lines that it prints.
    """
    result = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()
