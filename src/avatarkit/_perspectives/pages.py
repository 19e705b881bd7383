"""
What a web server renders for a session, instead of the avatar itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.web.http import UNAUTHORIZED
from twisted.web.resource import IResource
from zope.interface import implementer

from ..errors import TooManyCalls
from .calls import CURRENT, Call, Held, Proxy, ending

T = TypeVar("T")

#: The attribute of a request that says for which session it is counted as a call: Twisted renders a
#: C{HEAD} that a resource does not know once more.
_COUNTED = "_avatarkitCounted"

# Any in this module: requests, and what resources have.

#: Of RFC 6585, which Twisted does not know.
TOO_MANY_REQUESTS = 429


@implementer(IResource)
class Page(Proxy):
    """
    A resource as one session sees it: the avatar, or what is found below it.

    A request of a session that has ended is a 401, and one too many is a 429.
    """

    def __init__(self, session: Held, resource: Any) -> None:
        self._avatarkitSession, self._avatarkitResource = session, resource

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self._avatarkitResource, name)

    def __repr__(self) -> str:
        return f"<Page of {self._avatarkitSession!r}>"

    @property
    def isLeaf(self) -> Any:
        """
        Whether nothing is below it.
        """
        return self._avatarkitResource.isLeaf

    def getChildWithDefault(self, name: bytes, request: Any) -> Any:
        """
        Return what is below, for this session.
        """
        session = self._avatarkitSession
        if session.ended:
            return self
        find = self._avatarkitResource.getChildWithDefault
        return Page(session, _running(session, find, name, request))

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Put something below the resource.
        """
        self._avatarkitResource.putChild(path, child)

    def render(self, request: Any) -> Any:
        """
        Render it, unless the session has ended, or calls too often.
        """
        session = self._avatarkitSession
        if not session.ended and getattr(request, _COUNTED, None) is not session:
            setattr(request, _COUNTED, session)
            try:
                session._called(request.method.decode("ascii", "replace"))
            except TooManyCalls as refusal:
                return _say(request, TOO_MANY_REQUESTS, refusal)
        if session.ended:
            return _say(request, UNAUTHORIZED, ending(session))
        return _running(session, self._avatarkitResource.render, request)


def pageOf(session: Held) -> Page:
    """
    Return what a login for L{IResource} returns.
    """
    return Page(session, session.aspect)


def _running(session: Held, act: Callable[..., T], *args: Any) -> T:
    """
    Do something for a request of a session.
    """
    token = CURRENT.set(Call(session, isOver=True))
    try:
        return act(*args)
    finally:
        CURRENT.reset(token)


def _say(request: Any, code: int, why: Exception) -> bytes:
    """
    Say why there is no page.
    """
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return str(why).encode()
