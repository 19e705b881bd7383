"""
Pages of HTML, as far as the tests of the documentation look into them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

#: Elements without an end.
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


@attrs.define(eq=False)
class Element:
    """
    An element, and what is in it.
    """

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    content: list[Element | str] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        """
        What a reader sees of it.
        """
        return "".join(each if isinstance(each, str) else each.text for each in self.content)

    @property
    def classes(self) -> set[str]:
        """
        Its classes.
        """
        return set(self.attributes.get("class", "").split())

    @property
    def isPrivate(self) -> bool:
        """
        Whether pydoctor hides it, until somebody asks for what is private.
        """
        return "private" in self.classes or (self.parent is not None and self.parent.isPrivate)

    def all(self, tag: str, kind: str = "") -> Iterator[Element]:
        """
        Return the elements in it that have a tag, and a class if one is given.
        """
        for each in self.content:
            if isinstance(each, Element):
                if each.tag == tag and (not kind or kind in each.classes):
                    yield each
                yield from each.all(tag, kind)


class Parser(HTMLParser):
    """
    Makes elements of HTML.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = self.current = Element("", {}, None)
        self.anchors: dict[str, Element] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """
        Begin an element.
        """
        element = Element(tag, {key: value or "" for key, value in attributes}, self.current)
        self.current.content.append(element)
        for key in ("id", "name"):
            self.anchors.setdefault(element.attributes.get(key, ""), element)
        if tag not in VOID:
            self.current = element

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """
        Begin and end one.
        """
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """
        End the element, and those in it that have no end of their own.
        """
        element: Element | None = self.current
        while element is not None and element.tag != tag:
            element = element.parent
        if element is not None and element.parent is not None:
            self.current = element.parent

    def handle_data(self, data: str) -> None:
        """
        Add text.
        """
        self.current.content.append(data)


@attrs.frozen(eq=False)
class Page:
    """
    A page.

    @ivar path: where it is.
    @ivar root: what is on it.
    @ivar anchors: what can be linked to.
    """

    path: Path
    root: Element
    anchors: dict[str, Element]

    def links(self) -> Iterator[tuple[Element, Path, str]]:
        """
        Return the links to other pages of these, each with the file and the anchor.
        """
        for element in self.root.all("a"):
            address = urlsplit(element.attributes.get("href", ""))
            if address.geturl() and not address.scheme and not address.netloc:
                target = self.path.parent / unquote(address.path) if address.path else self.path
                yield element, target.resolve(), unquote(address.fragment)


@cache
def read(path: Path) -> Page:
    """
    Read a page.
    """
    parser = Parser()
    parser.feed(path.read_text())
    parser.close()
    return Page(path, parser.root, parser.anchors)


def leadsSomewhere(path: Path, anchor: str) -> bool:
    """
    Return whether there is a file, and an anchor in it if one is given.
    """
    return path.is_file() and (not anchor or anchor in read(path).anchors)


@attrs.frozen
class Entry:
    """
    A line of an inventory.
    """

    kind: str
    path: Path
    anchor: str


def inventoryOf(html: Path) -> dict[str, Entry]:
    """
    Return what other projects can link to in Python's domain, by name.
    """
    entries = {}
    compressed = (html / "objects.inv").read_bytes().split(b"\n", 4)[4]
    for line in zlib.decompress(compressed).decode().splitlines():
        name, kind, _, address, _ = line.split(" ", 4)
        if kind.startswith("py:"):
            path, _, anchor = address.replace("$", name).partition("#")
            entries[name] = Entry(kind, (html / path).resolve(), anchor)
    return entries
