"""Helper functions for syntax trees."""

import ast
from collections.abc import Iterator

LEAVES: frozenset[type[ast.AST]] = frozenset({ast.Name, ast.Constant, ast.Load, ast.Store, ast.Del, ast.alias})
"""The most frequent kinds of nodes without others in them, apart from ``ctx``."""


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but ``ctx``, parents before children; a few times faster than ``ast.walk``."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if type(node) in LEAVES:
            continue
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                pending.extend([item for item in value if isinstance(item, ast.AST)])
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                pending.append(value)


def walk_at_import(statement: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the statement runs: all except the bodies of functions."""
    pending = [statement]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            pending.extend(ast.iter_child_nodes(node))


def last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c``; an empty string for a node that is not a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.expr) -> list[str]:
    """``a.b.c`` as ["a", "b", "c"]; an empty list when it doesn't start with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def called(mark: ast.expr) -> ast.expr:
    """A decorator without its arguments."""
    return mark.func if isinstance(mark, ast.Call) else mark


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a bare string: a docstring, or a string that documents the line before it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def bound_names(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement binds. A whole block counts as one definition of each of its names."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    bound: set[str] = set()
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.add(node.id)
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            bound.add(node.name)
        if not isinstance(node, ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    return bound


def inner_statements(statement: ast.stmt) -> list[ast.stmt]:
    """The statements inside a block, a class or a function."""
    inner: list[ast.stmt] = []
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            inner.append(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            inner.extend(child.body)
    return inner


def only_binds(statement: ast.stmt) -> bool:
    """Whether a top-level statement only binds names, apart from calls in it."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return True
    if isinstance(statement, ast.Assign):
        return all(isinstance(node, ast.Name | ast.Tuple | ast.List | ast.Starred) for node in _targets(statement))
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        return isinstance(statement.target, ast.Name)
    if isinstance(statement, ast.If | ast.Try):
        inner = inner_statements(statement)
        return all(only_binds(item) or is_text(item) or isinstance(item, ast.Pass) for item in inner)
    return False


def _targets(statement: ast.Assign) -> Iterator[ast.expr]:
    pending = list(statement.targets)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.Tuple | ast.List):
            pending.extend(node.elts)
        elif isinstance(node, ast.Starred):
            pending.append(node.value)


class _Unannotated(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if last_name(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            kept, *marks = node.slice.elts
            kinds = [argument for mark in marks if last_name(called(mark)) == "KindOf" for argument in _arguments(mark)]
            return ast.Tuple([kept, *kinds], ast.Load()) if kinds else kept
        return node


def _arguments(call: ast.expr) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)] if isinstance(call, ast.Call) else []


def unannotated(annotation: ast.expr) -> ast.expr:
    """``T`` of ``Annotated[T, …]``: the validators of a value do not affect its use.

    For a component (``KindOf(REGISTRY)``), the registry is kept beside ``T``, because its entries define the component.
    """
    plain: ast.expr = _Unannotated().visit(annotation)
    return plain
