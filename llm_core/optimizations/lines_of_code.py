"""Counts the lines that implement a technique: without blank lines, comments and docstrings."""

import ast
from collections.abc import Sequence

from llm_core.graph.syntax import bound_names, is_text, walk
from llm_core.runtime_only import runtime_only
from llm_core.store.home import PROJECT


@runtime_only("counts the lines of code, which differ wherever the code does")
def lines_of_code(places: Sequence[str]) -> int:
    """``places``: modules (``package.module``), and definitions in them (``package.module:name``).

    ``OSError`` for a module that does not exist, ``KeyError`` for a definition.
    """
    return sum(map(_lines, places))


def _lines(place: str) -> int:
    module, _, name = place.partition(":")
    text = PROJECT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    statements = ast.parse(text).body
    if name:
        statements = [statement for statement in statements if name in bound_names(statement)]
        if not statements:
            raise KeyError(place)
    documented = {
        line for statement in statements for node in walk(statement) if isinstance(node, ast.stmt) and is_text(node)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }  # fmt: skip
    lines = text.splitlines()
    return sum(
        bool(code := lines[number - 1].strip()) and not code.startswith("#")
        for statement in statements
        for number in range(_first(statement), (statement.end_lineno or statement.lineno) + 1)
        if number not in documented
    )


def _first(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(mark.lineno for mark in decorators)])
