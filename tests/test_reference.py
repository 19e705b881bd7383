"""
The API reference, as it is built: see contributing.md.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path
from types import FunctionType

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

import avatarkit
import avatarkit.testing
import avatarkit.transports
from pages import Element, inventoryOf, leadsSomewhere, read

HTML = Path(os.environ.get("AVATARKIT_HTML", "")).resolve()

MODULES = (avatarkit, avatarkit.testing, avatarkit.transports)
PUBLIC: dict[str, object] = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
}


def made() -> Iterator[tuple[str, type]]:
    """
    Return the public classes that have a constructor.
    """
    for name, each in PUBLIC.items():
        if isinstance(each, type) and each.__init__ is not object.__init__:  # type: ignore[misc]
            yield name, each


def parametersOf(cls: type) -> list[Parameter]:
    """
    Return what a constructor takes, with the values of defaults that attrs makes.
    """
    parameters = []
    for each in inspect.signature(cls.__init__).parameters.values():  # type: ignore[misc]
        if each.default is attrs.NOTHING:
            field = next(field for field in attrs.fields(cls) if field.alias == each.name)
            each = each.replace(default=field.default.factory())
        parameters.append(each)
    return parameters


def parse(text: str) -> list[tuple[str, object, str]]:
    """
    Return the parameters in a text such as C{(self, *, timeout=5)}: name, kind, and default.
    """
    function = ast.parse(f"def function{text.rstrip(':')}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    assert given.vararg is given.kwarg is None
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    return [
        (each.arg, kind, "" if default is None else ast.unparse(default))
        for kind, group, values in (
            (Parameter.POSITIONAL_ONLY, given.posonlyargs, defaults),
            (Parameter.POSITIONAL_OR_KEYWORD, given.args, defaults[len(given.posonlyargs) :]),
            (Parameter.KEYWORD_ONLY, given.kwonlyargs, given.kw_defaults),
        )
        for each, default in zip(group, values, strict=False)
    ]


def agree(text: str, parameters: list[Parameter]) -> bool:
    """
    Return whether a text shows parameters as they are.
    """
    shown = parse(text)
    return [each[:2] for each in shown] == [(each.name, each.kind) for each in parameters] and all(
        default in looksOf(each) for (_, _, default), each in zip(shown, parameters, strict=True)
    )


def looksOf(parameter: Parameter) -> set[str]:
    """
    Return how the default of a parameter may look: like the value, or the name of a function.
    """
    value = parameter.default
    if value is parameter.empty:
        return {""}
    return {repr(value), str(value), getattr(value, "__name__", repr(value))}


class ReferenceTests(SynchronousTestCase):
    """
    The pages of the reference.
    """

    if "AVATARKIT_HTML" not in os.environ:
        skip = "AVATARKIT_HTML does not say where the pages of the documentation are"

    def setUp(self) -> None:
        """
        Read what other projects can link to.
        """
        self.inventory = inventoryOf(HTML)

    def placeOf(self, name: str) -> Element:
        """
        Return what the reference says about a name: the contents of its page, or a part of one.
        """
        entry = self.inventory[name]
        page = read(entry.path)
        place = page.anchors[entry.anchor].parent if entry.anchor else next(page.root.all("main"))
        assert place is not None
        return place

    def test_visible(self) -> None:
        """
        Every public name has a place, which is not hidden as private.
        """
        for name in PUBLIC:
            place = self.placeOf(name)
            heading = next(place.all("h1"), None) or next(place.all("div", "functionHeader"))
            assert name.rpartition(".")[2] in heading.text
            assert not heading.isPrivate

    def test_listed(self) -> None:
        """
        Every public name is listed on the page of its module, and is not hidden there as private.
        """
        for module in MODULES:
            page = read(self.inventory[module.__name__].path)
            rows = [row for table in page.root.all("table") for row in table.all("tr")]
            listed = [link.text for row in rows if not row.isPrivate for link in row.all("a")]
            assert {*module.__all__} <= {*listed}

    def test_roomsAreHidden(self) -> None:
        """
        What is private is hidden in the list of modules, and in that of all names.
        """
        for index in ("moduleIndex.html", "nameIndex.html"):
            links = read(HTML / "api" / index).links()
            private = [link for link, path, _ in links if "._" in path.name]
            assert private
            assert all(link.isPrivate for link in private)

    def test_summary(self) -> None:
        """
        The page of a class begins with what its constructor really takes.
        """
        for name, cls in made():
            lines = [line.text for line in self.placeOf(name).all("p")]
            line = next(line for line in lines if line.startswith("Constructor: "))
            shown = line.removeprefix(f"Constructor: {cls.__name__}")
            assert agree(shown, parametersOf(cls)[1:]), line

    def test_definition(self) -> None:
        """
        A constructor is shown with what it really takes, and with no other arguments.
        """
        for name, cls in made():
            if "__init__" in vars(cls):
                place = self.placeOf(f"{name}.__init__")
                assert not place.isPrivate
                shown = [each.text for each in place.all("span", "function-signature")]
                assert shown
                for each in shown:  # one for each overload
                    assert agree(each, parametersOf(cls)), each

    def test_noConstructor(self) -> None:
        """
        A class without a constructor is not said to have one.
        """
        classes = {name for name, each in PUBLIC.items() if isinstance(each, type)}
        for name in classes - {name for name, _ in made()}:
            text = self.placeOf(name).text
            assert "Constructor" not in text
            assert "*args" not in text

    def test_inventory(self) -> None:
        """
        Other projects find every public name at the root, with an address that exists.
        """
        assert {*PUBLIC} <= {*self.inventory}
        for entry in self.inventory.values():
            assert leadsSomewhere(entry.path, entry.anchor)

    def test_inventoryOfMethods(self) -> None:
        """
        Other projects find the public methods and properties of every public class.
        """
        for name, each in PUBLIC.items():
            if isinstance(each, type):
                methods = {
                    f"{name}.{attribute}"
                    for attribute, value in vars(each).items()
                    if isinstance(value, (FunctionType, property)) and attribute[0] != "_"
                }
                assert methods <= {*self.inventory}

    def test_inventoryOfKinds(self) -> None:
        """
        Other projects find a name by the role for what it is.
        """
        for name, each in PUBLIC.items():
            kind = "class" if isinstance(each, (type, InterfaceClass)) else "data"
            kind = "function" if isinstance(each, FunctionType) else kind
            assert self.inventory[name].kind == f"py:{kind}"
        assert all(self.inventory[each.__name__].kind == "py:module" for each in MODULES)

    def test_inventoryByOrigin(self) -> None:
        """
        A name is found by the module that defines it as well, which is what autodoc asks for.
        """
        for name, each in PUBLIC.items():
            defined = f"{each.__module__}.{name.rpartition('.')[2]}"
            assert self.inventory[defined] == self.inventory[name]

    def test_inventoryOfRooms(self) -> None:
        """
        Nothing else that is private is in the inventory.
        """
        public = {(self.inventory[name].path, self.inventory[name].anchor) for name in PUBLIC}
        for name, entry in self.inventory.items():
            private = any(part[0] == "_" and part[:2] != "__" for part in name.split("."))
            assert not private or (entry.path, entry.anchor) in public

    def test_links(self) -> None:
        """
        No link between the pages is broken.
        """
        pages = [read(path) for folder in (HTML, HTML / "api") for path in folder.glob("*.html")]
        links = [(page.path.name, *link) for page in pages for link in page.links()]
        assert len(links) > 1000
        broken = [
            (page, link.attributes["href"])
            for page, link, path, anchor in links
            if not leadsSomewhere(path, anchor)
        ]
        assert broken == []

    def test_linksBack(self) -> None:
        """
        Every page of the reference links to the documentation, and every public name to a page that
        is about it.
        """
        for path in (HTML / "api").glob("avatarkit*.html"):
            assert HTML / "index.html" in {target for _, target, _ in read(path).links()}
        for name in PUBLIC:
            lines = self.placeOf(name).all("p")
            line = next(each for each in lines if each.text.startswith("In the documentation: "))
            assert all(link.attributes["href"].startswith("../") for link in line.all("a"))

    def test_linksFromTheList(self) -> None:
        """
        The list of public names links to each of them.
        """
        linked = {(path, anchor) for _, path, anchor in read(HTML / "reference.html").links()}
        for name in PUBLIC:
            assert (self.inventory[name].path, self.inventory[name].anchor) in linked
