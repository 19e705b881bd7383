"""
Checks of passwords that can be given up: a checker may ignore being cancelled, and whatever it says
later must let nobody in.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from .._realm.entrance import TELLABLE
from .._tools.saying import say
from .._waiting.awaiting import awaited
from .._waiting.shielding import Wait

# Any in this module: credentials, and what a checker makes of them.

_log = Logger()


@implementer(ICredentialsChecker)
@attrs.frozen(eq=False)
class CancellableChecker:
    """
    A checker whose checks fail at once when they are cancelled.
    """

    checker: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.checker, name)

    @property
    def credentialInterfaces(self) -> Any:
        """
        What the checker takes.
        """
        return self.checker.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Check credentials.
        """
        result = self.checker.requestAvatarId(credentials)
        waiting = awaited(result)
        if waiting is None:
            return result

        def giveUp(check: Deferred[Any]) -> None:  # which then fails
            failure = wait.giveUp(self._late)
            if failure is not None:
                self._late(failure)

        check: Deferred[Any] = Deferred(giveUp)
        wait: Wait[Any] = Wait(waiting, check.callback)
        waiting.addBoth(wait.arrived)
        return check

    def _late(self, result: object) -> None:
        """
        Log a failure that has nothing to do with who asked.
        """
        if isinstance(result, Failure) and not result.check(*TELLABLE):
            say(
                _log.failure,
                "{checker} failed after its check was given up",
                failure=result,
                checker=safe_repr(self.checker),
            )
