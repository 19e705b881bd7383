"""
Count what type checkers are not told.

    python .ci/anys.py [ROOT]

Prints how often C{Any} stands in the package for 1,000 lines, aliases resolved: whoever uses an
alias that is made of C{Any} uses C{Any}.  C{object} is counted in the same way, for comparison,
since it can hide a type as well.  Fails if C{Any} is too frequent, or stands in a module that does
not say why in a comment.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

#: How many there may be in 1,000 lines.
MOST = 20


def expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """
    Yield what is said to type checkers: annotations, aliases, casts, and what is in brackets.
    """
    for node in ast.walk(tree):
        for part in ("returns", "annotation"):
            if getattr(node, part, None) is not None:
                yield getattr(node, part)
        if isAlias(node) and isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from node.args[:1] if node.func.id == "cast" else ()
            yield from (each.value for each in node.keywords if each.arg == "default")
        elif isinstance(node, ast.ClassDef):
            yield from node.bases


def isAlias(node: ast.AST) -> bool:
    """
    Return whether a statement gives a type another name.
    """
    alias = isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Name)
    return alias and node.annotation.id == "TypeAlias"  # type: ignore[attr-defined]  # see above


def names(expression: ast.expr) -> Iterator[str]:
    """
    Yield the names in an expression, those in strings included.
    """
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield from names(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                continue


def count(trees: dict[Path, ast.Module], name: str) -> dict[Path, int]:
    """
    Return how often each module says a name, or the name of what is made of it.
    """
    aliases = {
        node.target.id: node.value
        for tree in trees.values()
        for node in tree.body
        if isAlias(node)
        and isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
    }

    def weight(said: str) -> int:
        if said == name:
            return 1
        return sum(map(weight, names(aliases[said]))) if said in aliases else 0

    return {
        path: sum(weight(said) for each in expressions(tree) for said in names(each))
        for path, tree in trees.items()
    }


def main(root: str = "src") -> int:
    """
    Print the counts.
    """
    texts = {path: path.read_text() for path in sorted(Path(root).rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = sum(text.count("\n") for text in texts.values())
    for name in ("Any", "object"):
        total = sum(count(trees, name).values())
        print(f"{name}: {total} in {lines} lines, {1000 * total / lines:.1f} in 1,000")
    silent = [
        path
        for path, text in texts.items()
        if any(name == "Any" for each in expressions(trees[path]) for name in names(each))
        and not re.search(r"#.*\bAny\b", text)
    ]
    for path in silent:
        print(f"{path} says Any, and not why")
    return int(bool(silent) or 1000 * sum(count(trees, "Any").values()) / lines > MOST)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
