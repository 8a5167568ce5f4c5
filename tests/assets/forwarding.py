"""Functions that only pass their arguments on, and how many of them in a row a run goes through."""

import ast
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

from llm_core.loaded_code import PACKAGES
from llm_core.store.home import PROJECT


class Hops:
    """Notes, for each function of the project, the longest row of forwarding functions through which it was reached.

    Call it with the frame of each call. Frames of libraries between two functions of the project do not count.
    """

    def __init__(self) -> None:
        self.longest: dict[str, list[str]] = {}

    def __call__(self, frame: FrameType) -> None:
        name = named(frame.f_code)
        if name is None:
            return
        row: list[str] = []
        outer = frame.f_back
        while outer is not None:
            caller = named(outer.f_code)
            if caller is not None:
                if not forwards(outer.f_code):
                    break
                row.append(caller)
            outer = outer.f_back
        if len(row) >= len(self.longest.get(name, row)):
            self.longest[name] = row[::-1]


@cache
def named(code: CodeType) -> str | None:
    """``module:qualified name`` of a function of the project. None for other code."""
    path = Path(code.co_filename)
    if not path.is_absolute() or not path.is_relative_to(PROJECT):
        return None
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return f"{'.'.join(parts)}:{code.co_qualname}" if parts[0] in PACKAGES else None


@cache
def forwards(code: CodeType) -> bool:
    """Whether the function does nothing but one call, with its own arguments, their attributes, or constants."""
    return (code.co_firstlineno, code.co_name) in _forwarding(Path(code.co_filename))


@cache
def _forwarding(path: Path) -> frozenset[tuple[int, str]]:
    """(first line, name) of the forwarding functions in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if len(body) == 1 and _passes_on(getattr(body[0], "value", None)):
                found.add((min(line.lineno for line in (node, *node.decorator_list)), node.name))
        elif isinstance(node, ast.Lambda) and _passes_on(node.body):
            found.add((node.lineno, "<lambda>"))
    return frozenset(found)


def _passes_on(value: ast.AST | None) -> bool:
    if isinstance(value, ast.YieldFrom | ast.Await):
        value = value.value
    if not isinstance(value, ast.Call):
        return False
    arguments = [*value.args, *(keyword.value for keyword in value.keywords)]
    return _is_plain(value.func) and all(map(_is_plain, arguments))


def _is_plain(value: ast.AST) -> bool:
    """A name, an attribute of one, ``super()``, or a constant: nothing is computed."""
    while isinstance(value, ast.Attribute | ast.Starred):
        value = value.value
    is_super = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
    return is_super or isinstance(value, ast.Name | ast.Constant)
