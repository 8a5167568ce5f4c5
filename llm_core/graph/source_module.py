"""One source file as the code digest sees it: the bindings of its names, and the effects of its import."""

import ast
from collections.abc import Iterator

from llm_core.errors import PedigreeError
from llm_core.graph.syntax import bound_names, inner_statements, is_text, only_binds, walk
from llm_core.loaded_code import Source

Imported = tuple[str, str | None]
"""(module, name in it). The name is None for the module itself."""


class SourceModule:
    """The top-level statements of a module, sorted.

    ``definitions``: name → the statements that bind it, in order. ``effects``: statements that do more than bind names.
    ``imports``: name → its target, for imports anywhere in the file. ``stars``: modules whose names are all imported.
    ``at_import``: the imports that run when the module is imported.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.is_package = source.path.name == "__init__.py"
        try:
            tree = ast.parse(source.content)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            place = f"{source.path}, line {line}" if line else str(source.path)
            raise PedigreeError(f"{place}: {getattr(error, 'msg', error)}") from None
        self.docstring = ast.get_docstring(tree, clean=False) or ""
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.effects: list[ast.stmt] = []
        self.imports: dict[str, set[Imported]] = {}
        self.stars: list[str] = []
        self.at_import: list[Imported] = []
        for statement in tree.body:
            self._sort(statement)
        for node in walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note_import(node)

    def line(self, node: ast.AST) -> str:
        """The file and line of ``node``, for a message."""
        return f"{self.source.path}, line {getattr(node, 'lineno', '?')}"

    def statements(self) -> Iterator[ast.stmt]:
        """All statements that bind names, each once."""
        seen: set[int] = set()
        for statements in self.definitions.values():
            for statement in statements:
                if id(statement) not in seen:
                    seen.add(id(statement))
                    yield statement

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[Imported]:
        """The modules, and names in modules, that an import statement imports."""
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        else:
            base = self._absolute(node)
            yield from ((base, alias.name) for alias in node.names)

    def _sort(self, statement: ast.stmt) -> None:
        if is_text(statement) or _is_guard(statement) or isinstance(statement, ast.Pass):
            return
        for inner in _imports_at_import(statement):
            self.at_import.extend(self.imported(inner))
        for name in sorted(bound_names(statement)):
            self.definitions.setdefault(name, []).append(statement)
        if not only_binds(statement):
            self.effects.append(statement)

    def _note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                self.imports.setdefault(name, set()).add((alias.name if alias.asname else name, None))
            return
        base = self._absolute(node)
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(base)
            else:
                self.imports.setdefault(alias.asname or alias.name, set()).add((base, alias.name))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, node.module] if node.module else parts)


def _is_guard(statement: ast.stmt) -> bool:
    """Whether it is ``if __name__ == "__main__":`` or ``if TYPE_CHECKING:``, which run nothing in an import."""
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    test = ast.unparse(statement.test)
    return test == "__name__ == '__main__'" or test.rpartition(".")[2] == "TYPE_CHECKING"


def _imports_at_import(statement: ast.stmt) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports in a statement that run when the module is imported."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield statement
    elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        for inner in inner_statements(statement):
            yield from _imports_at_import(inner)
