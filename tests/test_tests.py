"""
Tests for the tests: each has a sentence that is true when it passes, and can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import TypeAlias

import attrs
from twisted.trial.unittest import SynchronousTestCase

import avatarkit.testing

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

#: What can fail a test, apart from an assert.
CHECKS = [name for name in avatarkit.testing.__all__ if name.startswith("check")]
ASSERTION = re.compile(
    rf"self\.(assert|fail|successResultOf)|({'|'.join(CHECKS)}|verifyClass|verifyObject)$"
)


@attrs.frozen(eq=False)
class Code:
    """
    A function, and where its names come from.

    @ivar module: the name of its module.
    @ivar cls: its class, if it is a method.
    """

    module: str
    cls: ast.ClassDef | None
    function: Function

    @property
    def isTest(self) -> bool:
        """
        Return whether this is a test method.
        """
        named = self.function.name.startswith("test_")
        return self.module.startswith("test_") and self.cls is not None and named


@attrs.define(eq=False)
class Suite:
    """
    The modules in the directory of tests, by name.
    """

    _modules: Mapping[str, ast.Module]

    def tests(self) -> Iterator[Code]:
        """
        Yield all test methods.
        """
        for module, tree in self._modules.items():
            for cls in tree.body:
                if isinstance(cls, ast.ClassDef):
                    yield from (each for each in _methods(module, cls) if each.isTest)

    def canFail(self, code: Code, seen: frozenset[Function] = frozenset()) -> bool:
        """
        Return whether a function, or a helper that it names, has an assertion.
        """
        seen |= {code.function}
        inside = [*ast.walk(code.function)]
        names = {
            ast.unparse(each) for each in inside if isinstance(each, (ast.Name, ast.Attribute))
        }
        if any(isinstance(each, ast.Assert) for each in inside) or any(map(ASSERTION.match, names)):
            return True
        helpers = (self._helper(code, name) for name in names)
        return any(
            self.canFail(each, seen) for each in helpers if each and each.function not in seen
        )

    def _helper(self, code: Code, name: str) -> Code | None:
        owner, _, attribute = name.rpartition(".")
        if not owner:
            found = self._find(code.module, name)
            return found if isinstance(found, Code) else None
        return self._method(code.module, code.cls, attribute) if owner == "self" else None

    def _find(self, module: str, name: str) -> Code | tuple[str, ast.ClassDef] | None:
        """
        Return the function or class that a name stands for in a module.
        """
        for node in self._modules[module].body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module in self._modules:
                if name in {each.name for each in node.names}:
                    return self._find(node.module, name)
            elif getattr(node, "name", None) == name:
                if isinstance(node, ast.ClassDef):
                    return module, node
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    return Code(module, None, node)
        return None

    def _method(self, module: str, cls: ast.ClassDef | None, name: str) -> Code | None:
        """
        Return a method of a class or of its bases, as far as they are in the tests.
        """
        if cls is None:
            return None
        own = [each for each in _methods(module, cls) if each.function.name == name]
        bases = (self._find(module, ast.unparse(base)) for base in cls.bases)
        inherited = (self._method(*each, name) for each in bases if isinstance(each, tuple))
        return next((each for each in (*own, *inherited) if each), None)


def _methods(module: str, cls: ast.ClassDef) -> Iterator[Code]:
    for node in cls.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield Code(module, cls, node)


def namesOf(tests: Iterable[Code]) -> list[str]:
    """
    Return the names of tests.
    """
    return [f"{each.module}.{each.function.name}" for each in tests]


def withoutSentence(suite: Suite) -> list[str]:
    """
    Return the tests without a docstring.
    """
    return namesOf(each for each in suite.tests() if not ast.get_docstring(each.function))


def withoutAssertion(suite: Suite) -> list[str]:
    """
    Return the tests that no assertion can fail.
    """
    return namesOf(each for each in suite.tests() if not suite.canFail(each))


class TestsTests(SynchronousTestCase):
    """
    All tests of the project.
    """

    def setUp(self) -> None:
        """
        Parse the tests.
        """
        paths = Path(__file__).parent.glob("*.py")
        self.suite = Suite({path.stem: ast.parse(path.read_text()) for path in paths})

    def test_sentences(self) -> None:
        """
        Every test has a sentence.
        """
        assert withoutSentence(self.suite) == []

    def test_assertions(self) -> None:
        """
        Every test has an assertion of its own or in a helper.
        """
        assert withoutAssertion(self.suite) == []

    def test_all(self) -> None:
        """
        The tests that are checked are the tests that run.
        """
        here = namesOf(each for each in self.suite.tests() if each.module == __name__)
        assert here == [f"test_tests.{name}" for name in vars(TestsTests) if name[:5] == "test_"]

    def test_found(self) -> None:
        """
        A test without a sentence is found, and so is a test without an assertion of its own, in a
        helper or in a base class.
        """
        suite = Suite({name: ast.parse(dedent(text)) for name, text in MADE_UP.items()})
        assert withoutSentence(suite) == ["test_it.test_mute"]
        assert withoutAssertion(suite) == [
            "test_it.test_nothing",
            "test_it.test_idleHelper",
            "test_it.test_idleMethod",
        ]


#: Tests, some of which break the rules.
MADE_UP = {
    "support": """
        def sure(thing):
            assert thing

        class Base:
            def see(self):
                self.look()

            def look(self):
                sure(1)

            def glance(self):
                self.glance()
    """,
    "test_it": """
        from support import Base, sure

        def idle():
            print("assert")

        class ItTests(Base):
            def test_mute(self):
                assert self

            def test_own(self):
                'Sentence.'
                self.assertRaises(Boom, idle)

            def test_nothing(self):
                'Sentence.'
                fail(Boom)

            def test_helper(self):
                'Sentence.'
                list(map(sure, [1]))

            def test_idleHelper(self):
                'Sentence.'
                idle()

            def test_method(self):
                'Sentence.'
                self.see()

            def test_idleMethod(self):
                'Sentence.'
                self.glance()

            def test_check(self):
                'Sentence.'
                checkMind(idle)
    """,
}
