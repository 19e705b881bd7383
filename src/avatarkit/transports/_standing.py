"""
What stands, for one connection, for an object that all of them share and that has the portal.

A protocol may get at its portal through its factory, or through an object of either: by an
attribute, a method, or a property.  Each of these is looked at only when it is asked for, so that
nothing is lost that a factory changes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from itertools import chain
from types import (
    ClassMethodDescriptorType,
    FunctionType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

import attrs
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IProtocol
from twisted.web.resource import IResource

from ._portals import serversOwn

# Any in this module: an object has whatever attributes it has.

#: Where a stand-in has what it needs.
_INSIDE = "_avatarkitInside"

#: The special methods that are not passed on: what only pretends to be an object is none itself.
_OWN = {
    *("__new__", "__init__", "__del__", "__eq__", "__hash__"),
    *("__getattribute__", "__getattr__", "__setattr__", "__delattr__"),
}

#: What is most frequent, and leads nowhere.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, list, dict, set, type, FunctionType))

#: What a special method may be: one in Python, or one that is built in.
_METHODS = (FunctionType, WrapperDescriptorType, MethodDescriptorType)

#: What a class has that is bound in the usual way.
_BINDING = (*_METHODS, ClassMethodDescriptorType, classmethod, staticmethod, cached_property)


@attrs.frozen(eq=False)
class Exchange:
    """
    Puts the portal of a connection in the place of the server's.
    """

    old: Portal
    new: Portal

    def __call__(self, value: Any) -> Any:
        """
        Return what a connection has instead of something: the same, unless that is the portal, a
        method of it, a tuple with it, or an object that has it.
        """
        kind = type(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, Portal):
            return self.new if self._isOld(value) else value
        if kind is MethodType:
            return self._method(value)
        if issubclass(kind, tuple):
            return self._tuple(value) if any(map(self._isOld, value)) else value
        return self.standIn(value) if self._isIn(value) else value

    def leading(self, thing: Any) -> Any:
        """
        Return what a connection has instead of an object that leads to the portal: that has it, or
        has another object that has it; the same if it does not.
        """
        leads = any(self(value) is not value for _name, value in everything(thing))
        return self.standIn(thing) if leads else self(thing)

    def standIn(self, thing: Any) -> Any:
        """
        Return what stands for an object.
        """
        return _kindFor(thing.__class__)(thing, self)

    def _isOld(self, value: Any) -> bool:
        """
        Return whether something is the server's portal, or another connection's.
        """
        if not isinstance(value, Portal) or value is self.new:
            return False
        return serversOwn(value) is serversOwn(self.old)

    def _method(self, method: MethodType) -> Any:
        owner = method.__self__
        other = self(owner)
        if other is owner:
            return method
        rebound = MethodType(method.__func__, other)
        return getattr(other, method.__name__, rebound) if other is self.new else rebound

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        """
        Return the same kind of tuple, which may be a named one, and have attributes.
        """
        kind = type(value)
        other = tuple.__new__(kind, (self.new if self._isOld(each) else each for each in value))
        if _shapeOf(kind) is not None:
            vars(other).update(vars(value))
        return other

    def _isIn(self, thing: Any) -> bool:
        """
        Return whether an object has the portal itself, as an attribute.

        What has another connection's was made for that one, by a property or a method, and kept for
        all; but a protocol is that connection's own.  A resource serves the requests of many
        logins, so what it does cannot be watched by connections.
        """
        if _isStandIn(thing):
            whole, other, _kept = inside(thing)
            return other.new is not self.new and (self._isOld(other.new) or self._isIn(whole))
        has = [value for _name, value in attributesOf(thing) if self._isOld(value)]
        if not has or IResource.providedBy(thing):
            return False
        return any(value is self.old for value in has) or not IProtocol.providedBy(thing)


class Inside(NamedTuple):
    """
    What a stand-in has.

    @ivar kept: by the names of attributes, what they are and what stands for that, so that it is
        always the same.
    """

    thing: Any
    exchange: Exchange
    kept: dict[str, tuple[Any, Any]]


class StandIn:
    """
    An object, as one connection sees it: with the connection's own portal instead of the server's.

    Everything else is the object's, also what is set; its methods and properties see the portal as
    well, but class methods do not.  C{isinstance} and C{==} take it for the object; C{is} does not.

    A C{cached_property} is the same for all connections, unless it is a function, which may call
    the portal: each connection then has its own.
    """

    def __init__(self, thing: Any, exchange: Exchange) -> None:
        vars(self)[_INSIDE] = Inside(thing, exchange, {})

    @property  # type: ignore[misc]  # what isinstance looks at
    def __class__(self) -> Any:
        return inside(self).thing.__class__

    def __getattr__(self, name: str) -> Any:
        thing, exchange, kept = inside(self)
        made = _ofClass(thing.__class__, name)
        value = made.__get__(self) if isinstance(made, property) else getattr(thing, name)
        binds = _binds(type(made))  # type: ignore[arg-type]  # a class is hashable
        if binds and name not in getattr(thing, "__dict__", ()):
            value = made.__get__(self, thing.__class__)
        if isinstance(value, MethodType) and value.__self__ is thing:
            return MethodType(value.__func__, self)
        was, stands = kept.get(name, (None, None))
        if stands is not None and was is value:
            return stands
        if isinstance(made, cached_property) and isinstance(value, (FunctionType, partial)):
            stands = made.func(self)
        else:
            stands = exchange(value)
            if not _isStandIn(stands):
                return stands
        kept[name] = value, stands
        return stands

    def __setattr__(self, name: str, value: object) -> None:
        thing, exchange, _kept = inside(self)
        made = _ofClass(thing.__class__, name)
        if isinstance(made, property):
            made.__set__(self, value)
            return
        if value is exchange.new:
            value = exchange.old
        setattr(thing, name, inside(value).thing if _isStandIn(value) else value)

    def __delattr__(self, name: str) -> None:
        delattr(inside(self).thing, name)

    def __eq__(self, other: object) -> Any:
        return inside(self).thing == (inside(other).thing if _isStandIn(other) else other)

    def __hash__(self) -> int:
        return hash(inside(self).thing)


def inside(standIn: Any) -> Inside:
    """
    Return what a stand-in has.
    """
    found: Inside = object.__getattribute__(standIn, _INSIDE)
    return found


def _ofClass(kind: type, name: str) -> Any:
    """
    Return what a class has by a name, or one that it inherits from: not yet bound to anything.
    """
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


@lru_cache(maxsize=256)
def _binds(kind: type) -> bool:
    """
    Return whether what a class has is of a kind that makes methods, such as C{partialmethod}; but
    functions need no help, and what is built in takes no stand-in.
    """
    binds = hasattr(kind, "__get__") and not hasattr(kind, "__set__")
    return binds and not issubclass(kind, _BINDING)


def attributesOf(thing: Any) -> list[tuple[str, Any]]:
    """
    Return the attributes that an object has itself, but for those that lead nowhere, and its
    C{portal}, which may be its class's.
    """
    kind = type(thing)
    shape = _shapeOf(kind)  # type: ignore[arg-type]  # a class is hashable
    if shape is None:
        return []
    own = thing.__dict__ if shape.hasDict else {}
    found = [each for each in own.items() if type(each[1]) not in _PLAIN]
    if shape.slots:
        found += [(name, getattr(thing, name, None)) for name in shape.slots]
    if "portal" not in own:
        found.append(("portal", getattr(kind, "portal", None)))
    return found


def everything(thing: Any) -> Iterator[tuple[str, Any]]:
    """
    Return the attributes of an object, or of what it stands for, and its C{portal}, which may be a
    property.
    """
    while _isStandIn(thing):
        thing = inside(thing).thing
    return chain([("portal", getattr(thing, "portal", None))], attributesOf(thing))


class _Shape(NamedTuple):
    """
    Where the objects of a class have their attributes.
    """

    hasDict: bool
    slots: tuple[str, ...]


@lru_cache(maxsize=1024)
def _shapeOf(kind: type) -> _Shape | None:
    """
    Return where the objects of a class have their attributes; C{None} if they have none that
    matter, as classes, functions and most of what is built in.
    """
    if issubclass(kind, (type, FunctionType)):
        return None
    members = (vars(each).items() for each in kind.__mro__ if "__slots__" in vars(each))
    slots = (n for each in members for n, m in each if isinstance(m, MemberDescriptorType))
    shape = _Shape(kind.__dictoffset__ != 0, tuple(slots))
    return shape if any(shape) else None


def _isStandIn(thing: object) -> bool:
    return issubclass(type(thing), StandIn)


@lru_cache(maxsize=256)
def _kindFor(kind: type) -> type[StandIn]:
    """
    Return the kind of stand-in that has the special methods of a class, which Python looks for in
    the class alone: an object may be called, or iterated over.
    """
    names = {name for each in kind.__mro__[:-1] for name in vars(each)}
    special = [name for name in names - _OWN if name.startswith("__") and name.endswith("__")]
    methods = {
        name: _special(name) for name in special if isinstance(getattr(kind, name, None), _METHODS)
    }
    return type(kind.__name__, (StandIn,), methods)


def _special(name: str) -> Callable[..., Any]:
    def special(self: StandIn, *args: Any, **kwargs: Any) -> Any:
        return self.__getattr__(name)(*args, **kwargs)

    return special
