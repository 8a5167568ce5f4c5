"""Side effects of importing a module: registrations, patches, tables that are filled."""

import ast
from collections.abc import Iterator

from llm_core.graph.code_base import CodeBase, registry_table
from llm_core.graph.source_module import SourceModule
from llm_core.graph.syntax import called, dotted, walk, walk_at_import

_MADE_BY = {"__init__", "__new__", "__call__", "__post_init__"}
_DEPTH = 3
"""Depth to which calls are followed from a call at import."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def effects(code: CodeBase, module: SourceModule) -> Iterator[ast.stmt]:
    """The top-level statements of ``module`` that may change more than its own names."""
    yield from module.effects
    for statement in module.statements():
        if any(statement is other for other in module.effects) or code.is_marked(module, statement):
            continue
        if isinstance(statement, Function | ast.ClassDef):
            registered = any(_may_change(code, module, called(mark)) for mark in statement.decorator_list)
            if registered or (isinstance(statement, ast.ClassDef) and _registers_itself(code, module, statement)):
                yield statement
        elif registry_table(statement) is None and any(
            isinstance(node, ast.Call) and _may_change(code, module, node.func) for node in walk_at_import(statement)
        ):
            yield statement


def _registers_itself(code: CodeBase, module: SourceModule, cls: ast.ClassDef) -> bool:
    """Whether creating the class runs code of the project: a metaclass, or ``__init_subclass__`` of a base."""
    if any(word.arg == "metaclass" and list(code.resolve(module, dotted(word.value))) for word in cls.keywords):
        return True
    for base in cls.bases:
        for other, found in code.found(module, dotted(base)):
            if isinstance(found, ast.ClassDef) and (
                any(isinstance(item, Function) and item.name == "__init_subclass__" for item in found.body)
                or _registers_itself(code, other, found)
            ):
                return True
    return False


def _may_change(code: CodeBase, module: SourceModule, function: ast.expr, depth: int = _DEPTH) -> bool:
    """Whether a call of ``function`` at import may have a lasting side effect.

    A method of an object of the project may. A function of the project may when it writes to an element, an attribute
    or a global that it did not create, or calls something that may.
    """
    chain = dotted(function)
    if len(chain) > 1 and chain[0] in module.definitions:
        return not any(isinstance(item, ast.ClassDef) for item in module.definitions[chain[0]])
    for other, found in code.found(module, chain):
        if code.is_marked(other, found):
            continue
        if isinstance(found, Function):
            if depth and _writes(code, other, found, depth):
                return True
        elif isinstance(found, ast.ClassDef):
            makers = [item for item in found.body if isinstance(item, Function) and item.name in _MADE_BY]
            if any(_writes(code, other, item, depth, own="self") for item in makers):
                return True
        elif len(chain) > 1:  # a method of an object that another module created
            return True
    return False


def _writes(code: CodeBase, module: SourceModule, function: Function, depth: int, own: str = "") -> bool:
    nodes = list(walk(function))
    local = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Global):
            return True
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            root = dotted(node.value)[:1]
            if root and root[0] != own and root[0] not in local:
                return True
        if isinstance(node, ast.Call):
            chain = dotted(node.func)
            if len(chain) > 1 and chain[0] in module.definitions and chain[0] not in local:
                return True
            other = bool(chain) and chain[0] != function.name
            if other and depth > 1 and _may_change(code, module, node.func, depth - 1):
                return True
    return False
