"""
Tests of copies of exceptions, which several clients may be told without adding to the traceback of
one another.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from avatarkit import Displaced, LoginRefused, TooManyConnections
from avatarkit._tools.failures import twin
from perspectives import Banned, length

# Any in this module: attributes of exceptions.


class Named(LoginRefused):
    """
    A refusal that makes another text of its text.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no {name} here")


class Away(OSError):
    """
    An exception of the operating system's, with a constructor of its own.
    """

    def __init__(self, host: str) -> None:
        super().__init__(5, f"{host} is away")


class Careful(Exception):
    """
    An exception whose author has thought of copies.
    """

    def __init__(self, *, what: str) -> None:
        super().__init__(f"careful with {what}")
        self.what = what

    def __reduce__(self) -> Any:
        return _careful, (self.what,)


def _careful(what: str) -> Careful:
    return Careful(what=what + " again")


class Stubborn(Exception):
    """
    An exception that cannot be copied.
    """

    def __reduce__(self) -> Any:
        raise TypeError


class TwinTests(SynchronousTestCase):
    """
    Copies.
    """

    def test_same(self) -> None:
        """
        A copy has the class, the text and the attributes, whatever the constructor takes and makes
        of it.
        """
        errors: tuple[Any, ...] = (
            Banned("bob", "noon"),
            Named("alice"),
            Displaced("elsewhere", mayReturn=3),
            TooManyConnections(avatarId=b"alice", maximum=3),
            ValueError("x", 1),
            Away("the server"),
        )
        for error in errors:
            copied = twin(error)
            assert copied is not error
            assert type(copied) is type(error)
            assert (str(copied), copied.args) == (str(error), error.args)
            assert vars(copied) == vars(error)

    def test_builtIn(self) -> None:
        """
        What Python keeps besides is copied too.
        """
        found = twin(FileNotFoundError(2, "not found", "here"))
        assert (found.errno, found.strerror, found.filename) == (2, "not found", "here")
        assert twin(Away("x")).errno == 5
        assert twin(StopIteration(3)).value == 3
        assert twin(SystemExit(4)).code == 4
        assert twin(ImportError("no", name="x")).name == "x"
        assert twin(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")).reason == "bad"

    def test_own(self) -> None:
        """
        A class that says itself how it is copied is copied as it says, or not at all.
        """
        assert twin(Careful(what="glass")).what == "glass again"
        stubborn = Stubborn()
        assert twin(stubborn) is stubborn

    def test_traceback(self) -> None:
        """
        A copy has no traceback, and leaves that of the original alone.
        """
        error = Banned("bob", "noon")
        for _ in range(2):
            copied = twin(error)
            try:
                raise copied
            except Banned:
                assert length(copied) == 1
                assert twin(copied).__traceback__ is None
        assert length(error) == 0
