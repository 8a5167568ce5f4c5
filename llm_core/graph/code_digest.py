"""Which code a stage's result depends on, read from syntax trees.

From a stage's build function the digest follows names through the project's modules, definition by definition, and
hashes each one without comments, docstrings and formatting. So a comment changes nothing, and a changed function
changes exactly the stages that reach it. It does not follow: modules that declare ``RUNTIME_ONLY = True`` (they can't
change a result), entries of a ``Registry`` that the configuration does not name, and code outside the project (library
versions are recorded in the manifest instead).
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from llm_core.errors import PedigreeError
from llm_core.store.digests import stamp

RUNTIME_ONLY = True

SIDE_EFFECTS = "<module>"


class _Module:
    """One source file: its top-level definitions, and what its names stand for."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.is_package = path.name == "__init__.py"
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise PedigreeError(f"{path}, line {error.lineno}: {error.msg}") from None
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.effects: list[ast.stmt] = []
        self.imports: dict[str, set[tuple[str, str | None]]] = {}
        for statement in tree.body:
            self._sort(statement)
        for node in ast.walk(tree):
            self._note_import(node)

    @cached_property
    def runtime_only(self) -> bool:
        return any(
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is True
            for node in self.definitions.get("RUNTIME_ONLY", [])
        )

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement) or _is_main_guard(statement):
            return
        bound = sorted(_bound_names(statement))
        for name in bound:
            self.definitions.setdefault(name, []).append(statement)
        if not bound:
            self.effects.append(statement)

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                self.imports.setdefault(name, set()).add((alias.name if alias.asname else name, None))
        elif isinstance(node, ast.ImportFrom):
            base = self._absolute(node)
            for alias in node.names:
                self.imports.setdefault(alias.asname or alias.name, set()).add((base, alias.name))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, node.module] if node.module else parts)


class CodeReader:
    """Digests over the project below ``root`` (the folder that holds the packages)."""

    def __init__(self, root: Path, packages: tuple[str, ...] = ("llm_core", "assets", "pipelines")) -> None:
        self._root = root
        self.packages = packages
        self._modules: dict[str, _Module | None] = {}
        self._stamps: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._read: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        self._known: dict[tuple[tuple[str, ...], frozenset[str]], dict[str, str]] = {}

    def digests(self, targets: Iterable[str], names: frozenset[str]) -> dict[str, str]:
        """``module:definition`` → digest, for everything that ``targets`` reach.

        A target is ``module:name``, or a glob pattern of data files relative to ``root``. ``names`` are the strings of
        the configuration: the registry entries to follow. Files are read once in the life of a reader.
        """
        question = (tuple(targets), names)
        if question not in self._known:
            self._known[question] = self._digests(*question)
        return self._known[question]

    def stamps(self, digests: Iterable[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(path, stamp when it was read) of every source file that has one of the definitions in ``digests``."""
        modules = {name.partition(":")[0] for name in digests}
        return tuple(self._stamps[name] for name in sorted(modules) if name in self._stamps)

    def _digests(self, targets: tuple[str, ...], names: frozenset[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        pending: list[tuple[str, str]] = []
        for target in targets:
            module, colon, name = target.partition(":")
            if colon:
                if self._module(module) is None:
                    raise PedigreeError(f"{target}: there is no such module in the project")
                pending.append((module, name))
            else:
                found.update(self._file_digests(target))
        seen: set[tuple[str, str]] = set()
        while pending:
            reached = pending.pop()
            if reached in seen:
                continue
            seen.add(reached)
            for key, text, references in self._definition(*reached, names):
                if text:
                    found[key] = xxh3_128_hexdigest(text.encode())
                pending.extend(references)
        return dict(sorted(found.items()))

    def _file_digests(self, pattern: str) -> dict[str, str]:
        paths = sorted(self._root.glob(pattern))
        if not paths:
            raise PedigreeError(f"{pattern}: no file of the project matches")
        return {path.relative_to(self._root).as_posix(): xxh3_128_hexdigest(path.read_bytes()) for path in paths}

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = None
            if name.split(".")[0] in self.packages:
                base = self._root.joinpath(*name.split("."))
                for path in (base.with_suffix(".py"), base / "__init__.py"):
                    if path.is_file():
                        self._stamps[name] = str(path), tuple(stamp(path))  # before it is read
                        self._modules[name] = _Module(name, path)
        return self._modules[name]

    def _definition(
        self, module_name: str, name: str, names: frozenset[str]
    ) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
        """(key, normalised text, references) of one definition and of the side effects of its modules."""
        module = self._module(module_name)
        if module is None or module.runtime_only:
            return
        parts = module_name.split(".")
        effects = [(".".join(parts[:count]), SIDE_EFFECTS) for count in range(1, len(parts) + 1)]
        if name == SIDE_EFFECTS:
            statements = module.effects
        elif name in module.definitions:
            statements = module.definitions[name]
        else:
            yield "", "", [*effects, *self._imported(module, name)]
            return
        table = _registry_table(statements)
        if table is not None:
            entries = {key: target for key, target in table.items() if key in names}
            for key, target in sorted(entries.items()):
                target_module, _, target_name = target.partition(":")
                yield f"{module_name}:{name}[{key}]", target, [(target_module, target_name)]
            return
        key = f"{module_name}:{name}"
        if key not in self._read:
            references = [reference for statement in statements for reference in self._references(module, statement)]
            text = "\n".join(ast.unparse(_bare(statement)) for statement in statements)
            self._read[key] = text, [*effects, *references]
        yield key, *self._read[key]

    def _references(self, module: _Module, statement: ast.stmt) -> Iterator[tuple[str, str]]:
        chained: set[int] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and id(node) not in chained:
                chain, inner = _chain(node)
                chained.update(inner)
                if chain:
                    yield from self._resolve(module, chain)
            elif isinstance(node, ast.Name) and id(node) not in chained:
                yield from self._resolve(module, [node.id])

    def _resolve(self, module: _Module, chain: list[str]) -> Iterator[tuple[str, str]]:
        head, rest = chain[0], chain[1:]
        if head in module.definitions:
            yield module.name, head
        for base, attribute in module.imports.get(head, ()):
            yield from self._follow(base, [attribute, *rest] if attribute else rest)

    def _imported(self, module: _Module, name: str) -> Iterator[tuple[str, str]]:
        for base, attribute in module.imports.get(name, ()):
            yield from self._follow(base, [attribute] if attribute else [])

    def _follow(self, base: str, path: list[str]) -> Iterator[tuple[str, str]]:
        """What ``base.path[0].path[1]…`` reaches: walk down modules, then take the definition."""
        if base.split(".")[0] not in self.packages:
            return
        while path and self._module(f"{base}.{path[0]}") is not None:
            base, path = f"{base}.{path[0]}", path[1:]
        module = self._module(base)
        if module is None:
            return
        if path and path[0] != "*":
            yield base, path[0]
        else:  # the module itself is handed on: anything in it may be used
            yield from ((base, name) for name in module.definitions)


def digest_of(digests: dict[str, str]) -> str:
    """One digest over ``name → digest``."""
    return xxh3_128_hexdigest("\n".join(f"{name} {digest}" for name, digest in sorted(digests.items())).encode())


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _bound_names(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds; whole if- and try-blocks count as one definition of each of theirs."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    bound: set[str] = set()
    if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
        for child in ast.iter_child_nodes(statement):
            for inner in [child, *getattr(child, "body", [])]:
                if isinstance(inner, ast.stmt) and not isinstance(inner, ast.Import | ast.ImportFrom):
                    bound |= _bound_names(inner)
        return bound
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return bound


def _registry_table(statements: list[ast.stmt]) -> dict[str, str] | None:
    """The literal table of ``NAME = Registry("what", {...})``."""
    if len(statements) != 1 or not isinstance(statements[0], ast.Assign):
        return None
    call = statements[0].value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Registry":
        table = ast.literal_eval(call.args[1])
        return {str(key): str(target) for key, target in table.items()}
    return None


def _chain(node: ast.Attribute) -> tuple[list[str], set[int]]:
    """``a.b.c`` as ["a", "b", "c"] with the nodes in it; an empty list when it doesn't start with a name."""
    parts: list[str] = []
    inner: set[int] = set()
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        parts.append(current.attr)
        inner.add(id(current))
        current = current.value
    if not isinstance(current, ast.Name):
        return [], inner
    inner.add(id(current))
    return [current.id, *reversed(parts)], inner


class _Bare(ast.NodeTransformer):
    """Drops docstrings and other bare texts."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [statement for statement in body if not _is_text(statement)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _bare(statement: ast.stmt) -> ast.stmt:
    """The statement without docstrings (the tree is private to its ``_Module``, so it is changed in place)."""
    return _Bare().visit(statement)
