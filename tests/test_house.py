"""
The package is a house of rooms: what the import contract cannot see.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import avatarkit

PACKAGE = Path(avatarkit.__file__).parent
ROOT = Path(__file__).parent.parent

#: What is not ours, has an underscore, and is used all the same: Twisted's, where the module that
#: does so says why, and what everyone may use of a named tuple.
OTHERS = {"_tempDataLen", "_asdict", "_fields", "_make", "_replace"}

#: What a user may do without, or has for tests only.
OPTIONAL = {
    "avatarkit.testing",
    "hypothesis",
    "prometheus_client",
    "pytest",
    "twisted.web",
    "txredisapi",
}


class Module(NamedTuple):
    """
    A module of the package.

    @ivar room: the room that it is in, or its own name if it is in none.
    """

    name: str
    room: str
    tree: ast.Module


def moduleOf(name: str, source: str) -> Module:
    """
    Return a module.

    @param name: its path within the package.
    """
    return Module(name, name.removesuffix(".py").partition("/")[0], ast.parse(source))


def modules() -> list[Module]:
    """
    Return the modules of the package.
    """
    paths = sorted(PACKAGE.rglob("*.py"))
    return [moduleOf(each.relative_to(PACKAGE).as_posix(), each.read_text()) for each in paths]


def isPrivate(name: str) -> bool:
    """
    Return whether a name is nobody else's business.
    """
    return name.startswith("_") and not name.endswith("__")


def privateImports(modules: list[Module]) -> list[str]:
    """
    Return what is imported with an underscore.
    """
    return [
        f"{module.name}:{node.lineno} {each.name}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
        if isPrivate(each.name)
    ]


def definitions(tree: ast.Module) -> Iterator[str]:
    """
    Return the names that the classes of a module define: methods and fields.
    """
    for cls in ast.walk(tree):
        for node in cls.body if isinstance(cls, ast.ClassDef) else ():
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name
            elif isinstance(node, ast.AnnAssign):
                yield ast.unparse(node.target)
            elif isinstance(node, ast.Assign):
                yield from map(ast.unparse, node.targets)


def strangersUsed(modules: list[Module]) -> list[str]:
    """
    Return the attributes with an underscore that belong to another object, of another room.
    """
    known = defaultdict[str, set[str]](set)
    for module in modules:
        known[module.room].update(definitions(module.tree))
    return [
        f"{module.name}:{node.lineno} {ast.unparse(node)}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isPrivate(node.attr)
        if ast.unparse(node.value) not in ("self", "cls", "super()")
        if node.attr not in known[module.room] | OTHERS
    ]


def atRunTime(tree: ast.AST) -> Iterator[ast.AST]:
    """
    Return what is in a module but for what only type checkers see.
    """
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from atRunTime(node)


def floorsIn(layers: str) -> list[set[str]]:
    """
    Return the rooms of each floor, from the top, in a picture or in the contract, where those that
    need not be there are in parentheses.
    """
    return [set(re.findall(r"\w+", floor)) for floor in layers.strip().splitlines()]


def contract() -> list[set[str]]:
    """
    Return the floors of the contract, as far as there is anything on them.
    """
    config = ConfigParser()
    config.read(ROOT / ".importlinter")
    floors = floorsIn(config["importlinter:contract:floors"]["layers"])
    return [found for floor in floors if (found := floor & rooms())]


def rooms() -> set[str]:
    """
    Return the rooms that there are, and the modules that are in none.
    """
    return {each.room for each in modules()} - {"__init__"}


def pageOf(name: str) -> str:
    """
    Return a page of the documentation.
    """
    return (ROOT / "docs" / name).read_text()


def picturesIn(page: str) -> list[list[set[str]]]:
    """
    Return the pictures of the house in a page: those with C{_tools} at the bottom.
    """
    return [floorsIn(each) for each in re.findall(r"```text\n([^`]*\b_tools\n)```", page)]


class UnderscoreTests(SynchronousTestCase):
    """
    What begins with an underscore.
    """

    def test_imports(self) -> None:
        """
        No module imports a name that begins with an underscore.
        """
        assert privateImports(modules()) == []

    def test_attributes(self) -> None:
        """
        An attribute of another object that begins with an underscore is defined in the same room,
        but for some of others that are named.
        """
        assert strangersUsed(modules()) == []

    def test_found(self) -> None:
        """
        Both would be found, wherever they are.
        """
        inside = [
            moduleOf("_a/one.py", "class One:\n    _field: int\n    def _method(self): self._x"),
            moduleOf("_a/two.py", "from .one import One, _One\none._field, one._method().__name__"),
            moduleOf("_b.py", "def f():\n    from ._a.one import _One\n    cls._x(one._field)"),
        ]
        assert privateImports(inside) == ["_a/two.py:1 _One", "_b.py:2 _One"]
        assert strangersUsed(inside) == ["_b.py:3 one._field"]


class RoomTests(SynchronousTestCase):
    """
    The rooms.
    """

    def test_size(self) -> None:
        """
        A folder has twelve modules at most.
        """
        named = [each.name for each in modules() if not each.name.endswith("__init__.py")]
        sizes = Counter(name.rpartition("/")[0] for name in named)
        assert {folder: size for folder, size in sizes.items() if size > 12} == {}

    def test_contract(self) -> None:
        """
        Every room has its place in the contract.
        """
        assert set().union(*contract()) == rooms()

    def test_pictures(self) -> None:
        """
        The house in the pages looks like the contract, as far as it is built.
        """
        for name in ("contributing.md", "design.md"):
            assert picturesIn(pageOf(name)) == [contract()], name

    def test_lines(self) -> None:
        """
        The page for contributors has a line for each room, in the order of the picture.
        """
        page = pageOf("contributing.md").split("## Where things are\n")[1].split("\n## ")[0]
        lines = re.findall(r"^- `(\w+)`: .+\.$", page, re.M)
        drawn = page.split("```")[1].removeprefix("text\n")
        assert lines == re.findall(r"\w+", drawn)


class ImportTests(SynchronousTestCase):
    """
    What C{import avatarkit} brings with it.
    """

    def test_small(self) -> None:
        """
        It imports nothing that is optional, and nothing that is only for tests.
        """
        loaded = subprocess.run(
            [sys.executable, "-c", "import sys, avatarkit; print(*sys.modules)"],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert "avatarkit._realm.session" in loaded
        assert OPTIONAL.intersection(loaded) == set()

    def test_typingExtensions(self) -> None:
        """
        What is there for type checkers only is imported for them only; that Twisted imports it as
        well does not matter.
        """
        there = [
            f"{module.name}:{node.lineno}"
            for module in modules()
            for node in atRunTime(module.tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            if "typing_extensions" in ast.unparse(node)
        ]
        assert there == []
        seen = atRunTime(ast.parse("if TYPE_CHECKING:\n    import one\nimport other"))
        assert [each.names[0].name for each in seen if isinstance(each, ast.Import)] == ["other"]
