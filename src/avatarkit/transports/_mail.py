"""
What mail clients are told of a login that is refused.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from ..errors import (
    LoginTimedOut,
    RealmClosed,
    TooManyAttempts,
    TooManyConnections,
    TooManyLogins,
)

#: The response codes of RFC 5530 for refusals that are not about the password.
_CODES = (
    ((TooManyConnections, TooManyLogins, TooManyAttempts), b"LIMIT"),
    ((RealmClosed, LoginTimedOut), b"UNAVAILABLE"),
)


class IMAP4RefusalMixin:
    """
    Tells a client that a limit is full, to which C{IMAP4Server} says the same as to a wrong
    password: C{class MyServer(IMAP4RefusalMixin, IMAP4Server)}.

    The answer to a login that is refused by a limit, or because too many attempts wait, is
    C{NO [LIMIT]}, and to one that is refused because the realm is closed, or has taken too long,
    C{NO [UNAVAILABLE]}, as RFC 5530 has them.
    """

    # These names are what Python makes of the private methods of IMAP4Server, whose texts are
    # fixed.  Any: they are not annotated.

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """
        Refuse a class in which this would do nothing.

        @raise TypeError: if it does not come before C{IMAP4Server}.
        """
        from twisted.mail.imap4 import IMAP4Server  # only who needs it has it imported

        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if IMAP4Server not in order[order.index(IMAP4RefusalMixin) :]:
            raise TypeError(
                f"write class {cls.__name__}(IMAP4RefusalMixin, IMAP4Server), in this order: "
                "otherwise the mixin does nothing"
            )

    def _IMAP4Server__ebLogin(self, failure: Failure, tag: bytes) -> Any:
        """
        The command LOGIN has failed.
        """
        if not self._refused(failure, tag):
            super()._IMAP4Server__ebLogin(failure, tag)  # type: ignore[misc]

    def _IMAP4Server__ebAuthResp(self, failure: Failure, tag: bytes) -> Any:
        """
        The command AUTHENTICATE has failed.
        """
        if not self._refused(failure, tag):
            super()._IMAP4Server__ebAuthResp(failure, tag)  # type: ignore[misc]

    def _refused(self, failure: Failure, tag: bytes) -> bool:
        """
        Say so if a limit has refused a login; return whether it has.
        """
        for refusals, code in _CODES:
            if failure.check(*refusals):
                text = " ".join(str(failure.value).split()).encode("ascii", "replace")
                self.sendNegativeResponse(tag, b"[" + code + b"] " + text)  # type: ignore[attr-defined]
                return True
        return False
