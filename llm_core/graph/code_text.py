"""The part of a definition that counts: its syntax tree without docstrings and message texts."""

import ast
import builtins
from collections.abc import Callable

from llm_core.graph.syntax import LEAVES, is_text, last_name, walk

_LOGGING = {"log", "_log", "print", "debug", "info", "warn", "warning", "error", "exception", "critical"}

_CARRIERS = {"StopIteration", "StopAsyncIteration", "SystemExit"}
"""Exceptions whose argument is a value, not a text."""

_NO_CODE = {"ctx", "kind", "type_comment"}
"""Fields of syntax trees that follow from other fields, or only describe the spelling."""

_CHANGING = {"next", "pop", "popleft", "append", "extend", "add", "update", "write", "send", "read", "setdefault"}
"""Methods and functions that have side effects."""


def bare(statement: ast.stmt, carries: Callable[[str], bool]) -> ast.stmt:
    """``statement`` as the digest counts it. Changes the tree in place, since each module has its own trees.

    Removes docstrings, and the arguments of exceptions and logging calls, except calls in them that have side effects.
    For an exception that ``carries`` a value to the code that catches it, removes only the texts.
    """
    messages = _Messages(carries)
    messages.visit(statement)
    if messages.dropped:
        for node in walk(statement):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                _blank_what_only_messages_read(node, messages.dropped)
    return statement


def written(tree: ast.AST) -> str:
    """The tree as a text that is the same in every version of Python, because identities are computed from it.

    ``ast.unparse`` and ``ast.dump`` write f-strings, tuples and empty fields differently in each version.
    """
    parts: list[str] = []
    _write(tree, parts)
    return "".join(parts)


def _write(value: object, parts: list[str]) -> None:
    if isinstance(value, ast.AST):
        parts.append(f"{type(value).__name__}(")
        for field in value._fields:
            inner = getattr(value, field, None)
            if inner is None or inner == [] or field in _NO_CODE:  # fields that a newer version adds are empty
                continue
            parts.append(f"{field}=")
            _write(_joined(inner) if isinstance(value, ast.JoinedStr) else inner, parts)
            parts.append(",")
        parts.append(")")
    elif isinstance(value, list):
        parts.append("[")
        for item in value:
            _write(item, parts)
            parts.append(",")
        parts.append("]")
    else:
        parts.append(ascii(value))  # repr depends on the Unicode tables of the Python version


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The pieces of an f-string, without empty ones, and with adjacent texts joined."""
    found: list[ast.expr] = []
    for value in values:
        last = found[-1] if found else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            found[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not isinstance(value, ast.Constant) or value.value:
            found.append(value)
    return found


class _Messages(ast.NodeTransformer):
    """Removes bare strings and messages. ``dropped``: the names that messages read."""

    def __init__(self, carries: Callable[[str], bool]) -> None:
        self._carries = carries
        self.dropped: set[str] = set()

    def visit(self, node: ast.AST) -> ast.AST:
        return node if type(node) in LEAVES else super().visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            block = node.__dict__.get(field)
            if isinstance(block, list) and any(isinstance(item, ast.stmt) and is_text(item) for item in block):
                kept = [statement for statement in block if not is_text(statement)]
                setattr(node, field, kept or ([ast.Pass()] if field == "body" else []))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = last_name(node.func)
        if not _is_exception(name):
            return node
        if name in _CARRIERS or self._carries(name):
            node.args = [_without_words(argument) for argument in node.args]
            node.keywords = [ast.keyword(word.arg, _without_words(word.value)) for word in node.keywords]
        else:
            self._drop_arguments(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Call) and last_name(node.value.func) in _LOGGING:
            self._drop_arguments(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        node.msg = None
        return node

    def _drop_arguments(self, call: ast.Call) -> None:
        given = [*call.args, *(word.value for word in call.keywords)]
        call.args, call.keywords = [part for argument in given for part in self._doing(argument)], []

    def _doing(self, argument: ast.expr) -> list[ast.expr]:
        """The parts of an argument that have side effects."""
        found: list[ast.expr] = []
        for node in walk(argument):
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return [argument]
            if isinstance(node, ast.Call) and last_name(node.func) in _CHANGING:
                found.append(node)
            elif isinstance(node, ast.Name):
                self.dropped.add(node.id)
        return found


def _is_exception(name: str) -> bool:
    known = getattr(builtins, name, None)
    return name.endswith(("Error", "Warning")) or (isinstance(known, type) and issubclass(known, BaseException))


class _Wordless(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.copy_location(ast.Constant(""), node) if isinstance(node.value, str) else node


def _without_words(argument: ast.expr) -> ast.expr:
    changed: ast.expr = _Wordless().visit(argument)
    return changed


def _blank_what_only_messages_read(function: ast.FunctionDef | ast.AsyncFunctionDef, dropped: set[str]) -> None:
    """Blank the texts in variables that only messages read."""
    kept: set[str] = set()
    assigned: list[ast.Assign] = []
    for node in walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            kept.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            kept.update(node.names)
        elif isinstance(node, ast.Assign):
            assigned.append(node)
    for node in assigned:
        names = {last_name(target) for target in node.targets}
        if names <= dropped and not names & kept:
            node.value = _without_words(node.value)
