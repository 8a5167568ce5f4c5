"""The code and data that a statement may use: its names, code and files that its strings name, and its imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.graph.code_base import SIDE_EFFECTS, CodeBase, Reference
from llm_core.graph.source_module import Imported, SourceModule
from llm_core.graph.syntax import bound_names, dotted, last_name, walk
from llm_core.loaded_code import top

DOCSTRINGS = "<docstrings>"
"""Suffix of a definition's name: refers to its docstrings, for code that reads them."""
CLASSES = "<classes>"
"""Stands for every class of every reached module, as if it were a definition."""
FILE = "file/"
"""Prefix of a data file's path, relative to the project."""

_ADDRESS = re.compile(r"([A-Za-z_]\w*(?:\.\w+)+):([A-Za-z_]\w*)")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_LOADERS = {"import_module", "__import__", "load_object", "run_module", "run_path"}
_UNDERSTOOD = {"Registry", "load_object"}
"""Definitions that load code by name. Their callers give the names."""
_ALIASES = 5
"""Depth to which aliases of aliases are followed in the type of a field."""


class References:
    """Finds the references of statements in ``code``."""

    def __init__(self, code: CodeBase) -> None:
        self._code = code
        self.undeclared: dict[Reference, tuple[Path, str]] = {}
        """Definition → a folder from which it reads unknown data files, and the line."""

    def of(self, module: SourceModule, statement: ast.stmt, name: str) -> list[Reference]:
        """All references of a statement that binds ``name``; ``PedigreeError`` for code that can't be followed."""
        self._code.counted(module, statement)
        found: list[Reference] = []
        for field in self._code.field_types(statement):
            found += self._classes_in(module, field)
        chained: set[int] = set()
        reads_docstrings = False
        for node in walk(statement):
            if isinstance(node, ast.Attribute):
                reads_docstrings |= node.attr == "__doc__"
                if node.attr == "__subclasses__":
                    found.append((module.name, CLASSES))
                if id(node) not in chained:
                    found += self._code.resolve(module, dotted(node))
                    inner: ast.expr = node
                    while isinstance(inner, ast.Attribute):
                        inner = inner.value
                        chained.add(id(inner))
            elif isinstance(node, ast.Name):
                if id(node) not in chained:
                    found += self._code.resolve(module, [node.id])
                reads_docstrings |= node.id in ("__doc__", "getdoc")
                if node.id == "__file__":
                    found += self._files_beside(module, statement, name, node)
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str):
                    found += self._named_in_text(node.value)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for imported in module.imported(node):
                    found += import_effects(self._code, imported)
            elif isinstance(node, ast.Subscript):
                found += self._entry(module, node.value, node.slice)
            elif isinstance(node, ast.Call):
                found += self._from_call(module, statement, name, node)
            elif isinstance(node, ast.arg | ast.AnnAssign):
                found += self._in_annotation(module, node.annotation)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += self._in_annotation(module, node.returns)
        if reads_docstrings:
            found += [(where, f"{read}{DOCSTRINGS}") for where, read in found if not read.startswith("<")]
            found += [(module.name, f"{bound}{DOCSTRINGS}") for bound in bound_names(statement)]
        return list(dict.fromkeys(found))

    def _from_call(self, module: SourceModule, statement: ast.stmt, name: str, call: ast.Call) -> list[Reference]:
        function = last_name(call.func)
        first = call.args[0] if call.args else None
        literal = first.value if isinstance(first, ast.Constant) else None
        if function in ("load", "get") and isinstance(call.func, ast.Attribute) and first is not None:
            return self._entry(module, call.func.value, first)
        if function in _LOADERS and literal is None and getattr(statement, "name", "") not in _UNDERSTOOD:
            if not any(word.arg == "followed" for word in call.keywords):
                raise PedigreeError(
                    f"{module.line(call)}: {function} loads code by a name that is computed at run time, which the "
                    "code digest can't follow; write the name out, use a Registry, or mark the function "
                    "runtime_only"
                )
        elif isinstance(call.func, ast.Name) and function in ("exec", "eval"):
            raise PedigreeError(
                f"{module.line(call)}: {function} runs code from a string, which the code digest can't follow; write a "
                "function instead, or mark the function with this call runtime_only"
            )
        elif isinstance(call.func, ast.Name) and function == "globals":
            return [(module.name, defined) for defined in module.definitions]
        elif function == "files" and isinstance(literal, str) and (package := self._code.module(literal)) is not None:
            self.undeclared[module.name, name] = (package.source.path.parent, module.line(call))
        return []

    def _entry(self, module: SourceModule, table: ast.expr, key: ast.expr) -> list[Reference]:
        """The entry of a registry that a literal names."""
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return []
        return [
            (where, f"{name}[{key.value}]")
            for where, name in self._code.resolve(module, dotted(table))
            if (other := self._code.module(where)) is not None and self._code.registry(other, name) is not None
        ]

    def _named_in_text(self, text: str) -> Iterator[Reference]:
        """Code that a string names: ``package.module:name``, or a whole module (as for ``python -m``)."""
        if text.partition(".")[0] not in self._code.folders:
            return
        address = _ADDRESS.fullmatch(text)
        if address and self._code.module(address[1]) is not None:
            yield address[1], address[2]
        elif _MODULE.fullmatch(text):
            yield from self._code.whole(text)
            yield from self._code.whole(f"{text}.__main__")

    def _classes_in(self, module: SourceModule, annotation: ast.AST, depth: int = _ALIASES) -> list[Reference]:
        """The classes in the type of a field, also behind aliases, and the registries of its components."""
        found: list[Reference] = []
        for node in walk(annotation):
            for where, name in self._code.resolve(module, [node.id]) if isinstance(node, ast.Name) else ():
                other = self._code.module(where)
                if other is None:
                    continue
                for statement in other.definitions.get(name, []):
                    if isinstance(statement, ast.ClassDef) or self._code.registry(other, name) is not None:
                        found.append((where, name))
                    elif depth:
                        found += self._classes_in(other, statement, depth - 1)
        return found

    def _in_annotation(self, module: SourceModule, annotation: ast.expr | None) -> Iterator[Reference]:
        """Names in annotations that are written as strings."""
        for node in walk(annotation) if annotation is not None else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    parsed = ast.parse(node.value, mode="eval")
                except SyntaxError:
                    continue
                for inner in walk(parsed):
                    if isinstance(inner, ast.Name):
                        yield from self._code.resolve(module, [inner.id])

    def _files_beside(self, module: SourceModule, statement: ast.stmt, name: str, node: ast.AST) -> Iterator[Reference]:
        """Data files that code names together with ``__file__``: in the same statement, or where its name is used."""
        bound = bound_names(statement) if isinstance(statement, ast.Assign | ast.AnnAssign) else set()
        users = [statement]
        for other in module.statements() if bound else ():
            if any(isinstance(inner, ast.Name) and inner.id in bound for inner in walk(other)):
                users.append(other)
        texts = {inner.value for user in users for inner in walk(user) if isinstance(inner, ast.Constant)}
        seen = False
        folder, root = module.source.path.parent, self._code.folders[top(module.name)]
        while folder.is_relative_to(root):
            for text in texts:
                for path in _matching(folder, text):
                    seen = True
                    yield module.name, f"{FILE}{path.relative_to(root).as_posix()}"
            folder = folder.parent
        if not seen:
            self.undeclared[module.name, name] = (module.source.path.parent, module.line(node))


def _matching(folder: Path, text: object) -> list[Path]:
    """The data files in ``folder`` that a string names, literally or as a pattern."""
    if not isinstance(text, str) or not text or text.startswith("/") or ".." in text or "\0" in text:
        return []
    try:
        return sorted(path for path in folder.glob(text) if path.is_file() and path.suffix not in (".pyc", ".py"))
    except (ValueError, NotImplementedError, OSError):
        return []  # not a pattern


def import_effects(code: CodeBase, imported: Imported) -> list[Reference]:
    """The code that an import runs: the module's statements, and those of a submodule that is imported from it."""
    base, name = imported
    names = [base] if name is None else [base, f"{base}.{name}"]
    return [(module, SIDE_EFFECTS) for module in names if code.module(module) is not None]
