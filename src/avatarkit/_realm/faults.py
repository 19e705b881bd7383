"""
What a client may read of a login that failed.

A refusal was written for it.  Anything else, such as what a database says of its password, goes to
the log, and the client learns no more than that there was a fault.
"""

from __future__ import annotations

from collections.abc import Hashable

from twisted.cred.error import LoginFailed, Unauthorized
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from .._tools.saying import say
from ..errors import RealmFailed, UnsupportedInterface

#: What a client may read, or whoever has cancelled a login.
_TELLABLE = (pb.Error, LoginFailed, Unauthorized, CancelledError)

_log = Logger()


def isFault(reason: BaseException | Failure) -> bool:
    """
    Return whether a login failed for a reason that is none of the client's business.

    @param reason: what was raised; a Failure if it came over the network.
    """
    if isinstance(reason, Failure):
        return bool(reason.check(NotImplementedError)) or not reason.check(*_TELLABLE)
    return isinstance(reason, NotImplementedError) or not isinstance(reason, _TELLABLE)


def hidden(failure: Failure, avatarId: Hashable) -> Exception:
    """
    Log why a login failed, and return what its client gets instead.
    """
    say(_log.failure, "a login of {avatarId!r} failed", failure=failure, avatarId=avatarId)
    told: RealmFailed | UnsupportedInterface = RealmFailed(avatarId=avatarId)
    if failure.check(NotImplementedError):
        interfaces = getattr(failure.value, "interfaces", ())
        told = UnsupportedInterface(avatarId=avatarId, interfaces=interfaces)
    if isinstance(failure.value, BaseException):  # it did not come over the network
        told.__cause__ = failure.value
    return told
