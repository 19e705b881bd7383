"""
The example servers do what they say, as their clients see it.
"""

from __future__ import annotations

import ftplib
import imaplib
import os
import poplib
import signal
import smtplib
import socket
import subprocess
from base64 import b64encode
from contextlib import closing
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import processes
import realclients
from needing import needs, needsModule
from processes import EXAMPLES, line


class ServerCase(processes.ProcessTestCase):
    """
    A server in a process of its own.
    """

    def serve(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """
        Start an example.
        """
        return self.start(EXAMPLES / name, *arguments)

    def portOf(self, server: subprocess.Popen[str]) -> int:
        """
        Return the port that a server prints.
        """
        return int(line(server).rpartition(" ")[2])

    def ends(self, server: subprocess.Popen[str]) -> str:
        """
        Interrupt a server, and return what it has still printed.
        """
        server.send_signal(signal.SIGINT)
        printed, logged = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "Traceback" not in logged, logged
        return printed


class FTPServerTests(ServerCase):
    """
    The FTP server.
    """

    def test_files(self) -> None:
        """
        A user has files, and two sessions; the user goes when both have left.
        """
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        server = self.serve("ftp_server.py", str(directory), "0")
        port = self.portOf(server)

        def login() -> ftplib.FTP:
            client = ftplib.FTP()  # noqa: S321  # it is what is tested
            self.addCleanup(client.close)
            client.connect("127.0.0.1", port, timeout=20)
            client.login("alice", "secret")
            return client

        first, second = login(), login()
        first.storbinary("STOR hello", BytesIO(b"hello"))
        assert second.nlst(".") == ["hello"]
        assert (directory / "alice" / "hello").read_bytes() == b"hello"
        self.assertRaises(ftplib.error_perm, login)
        first.close()
        second.quit()
        third = login()
        assert third.nlst(".") == ["hello"]
        third.close()
        assert "alice has left" in self.ends(server)


class MailServerTests(ServerCase):
    """
    The mail server.
    """

    def test_mail(self) -> None:
        """
        Mail that is submitted over SMTP can be read over POP3 and over IMAP4; one limit covers all
        three.
        """
        server = self.serve("mail_server.py")
        pop3, imap4, smtp = (self.portOf(server) for _ in range(3))
        reader = poplib.POP3("127.0.0.1", pop3, timeout=20)
        reader.user("bob")
        reader.pass_("secret")
        assert reader.stat()[0] == 0
        with smtplib.SMTP("127.0.0.1", smtp, timeout=20) as sender:
            sender.login("alice", "secret")
            text = "Subject: hi\r\n\r\nhello\r\n"
            sender.sendmail("alice@example.org", ["bob@example.org"], text)
            self.assertRaises(
                smtplib.SMTPRecipientsRefused, sender.sendmail, "a@b", ["carol@example.org"], ""
            )
        assert b"hello" in b"".join(reader.retr(1)[1])
        mailbox = imaplib.IMAP4("127.0.0.1", imap4, timeout=20)
        mailbox.login("bob", "secret")
        assert mailbox.select("INBOX", readonly=True) == ("OK", [b"1"])
        found = mailbox.fetch("1", "(BODY[TEXT])")[1][0]
        assert isinstance(found, tuple)
        assert b"hello" in found[1]
        third = imaplib.IMAP4("127.0.0.1", imap4, timeout=20)
        third.login("bob", "secret")
        fourth = imaplib.IMAP4("127.0.0.1", imap4, timeout=20)
        error = self.assertRaises(imaplib.IMAP4.error, fourth.login, "bob", "secret")
        assert "[LIMIT] too many connections" in str(error)
        for each in (mailbox, third, fourth):
            each.shutdown()
        reader.close()
        self.ends(server)


class IRCGatewayTests(ServerCase):
    """
    The IRC server.
    """

    def test_displaced(self) -> None:
        """
        A user who logs in again takes the place of the session that was there.
        """
        server = self.serve("irc_gateway.py", "0")
        port = self.portOf(server)

        def login() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            client.sendall(b"PASS secret\r\nNICK alice\r\nUSER alice 0 * :alice\r\n")
            greeting = b""
            while b" 004 " not in greeting:
                received = client.recv(4096)
                assert received, greeting
                greeting += received
            return client

        with closing(login()) as first:
            with closing(login()):
                while first.recv(4096):
                    pass
            with closing(login()):
                pass
        self.ends(server)


@needsModule("autobahn", "websockets")
class WebSocketChatTests(ServerCase):
    """
    The chat over WebSocket.
    """

    def test_chat(self) -> None:
        """
        Everybody hears what is said; a wrong password closes the socket.
        """
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        server = self.serve("websocket_chat.py", "0")
        url = f"ws://127.0.0.1:{self.portOf(server)}"
        with connect(url) as alice, connect(url) as bob, connect(url) as mallory:
            alice.send("alice secret")
            assert alice.recv(20) == "welcome alice"
            bob.send("bob secret")
            assert bob.recv(20) == "welcome bob"
            bob.send("hello")
            assert (alice.recv(20), bob.recv(20)) == ("bob: hello", "bob: hello")
            mallory.send("alice guess")
            self.assertRaises(ConnectionClosed, mallory.recv, 20)
        self.ends(server)


@needs("ssh")
@needsModule("bcrypt", "cryptography")
class SeveralProtocolsTests(ServerCase):
    """
    One user over three protocols.
    """

    def page(self, port: int) -> tuple[int, bytes]:
        """
        Return what a new browser sees.
        """
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        self.addCleanup(connection.close)
        authorization = "Basic " + b64encode(b"alice:secret").decode()
        connection.request("GET", "/", headers={"Authorization": authorization})
        response = connection.getresponse()
        return response.status, response.read()

    def ssh(self, port: int) -> subprocess.Popen[str]:
        """
        Start an SSH client.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        asked = Path(directory.name) / "password"
        asked.write_text("#!/bin/sh\necho secret\n")
        asked.chmod(0o700)
        client = subprocess.Popen(  # noqa: S603  # our own command
            ["ssh", *realclients.QUIETLY, "-N", "-v", "-p", str(port), "alice@127.0.0.1"],  # noqa: S607
            env={
                **os.environ,
                "SSH_ASKPASS": str(asked),
                "SSH_ASKPASS_REQUIRE": "force",
                "DISPLAY": ":0",
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        assert client.stderr is not None
        self.addCleanup(client.stderr.close)
        return client

    def test_limit(self) -> None:
        """
        Sessions of all three count together, and one that leaves makes room for any other.
        """
        server = self.serve("several_protocols.py")
        broker, ssh, web = (self.portOf(server) for _ in range(3))
        shell = self.ssh(ssh)
        assert shell.stderr is not None
        assert any("Authenticated" in each for each in shell.stderr)
        client = self.start(Path(__file__).parent / "client.py", str(broker))
        assert line(client) == "in"
        assert self.page(web) == (200, b"alice is here 3 times")
        assert self.page(web)[0] == 503
        shell.kill()
        shell.wait(20)
        for _ in range(1000):  # until the server has noticed
            status, _shown = self.page(web)
            if status == 200:
                break
        assert status == 200
        self.ends(server)


del ServerCase  # which has no tests
