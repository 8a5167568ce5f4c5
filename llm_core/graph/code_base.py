"""The modules of a project, and what the names in them refer to."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from llm_core.graph.code_text import bare
from llm_core.graph.source_module import SourceModule
from llm_core.graph.syntax import called, dotted, last_name, unannotated
from llm_core.loaded_code import Source, module_path, read_source, top
from llm_core.plugins import tables

SIDE_EFFECTS = "<module>"
"""Stands for the import effects of a module, as if they were a definition."""

Reference = tuple[str, str]
"""A module, and a definition in it."""

_SPEC = ("experiment.base", "Spec")
_COMPONENT = ("experiment.component", "Component")
_SECTIONS = "experiment"
_REGISTRIES = "llm_core.registries"
_BY_VALUE = {"model_validator", "field_validator", "property", "cached_property", "field_serializer"}


class CodeBase:
    """The source files of some packages. Each is read once.

    ``folders``: package → the folder that contains it. ``plugins``: modules with more entries for the registries
    (``llm_core.plugins``). ``loaded``: module → the text to use instead of the file's.
    """

    def __init__(self, folders: Mapping[str, Path], plugins: tuple[str, ...], loaded: Mapping[str, Source]) -> None:
        self.folders = folders
        self._plugins = plugins
        self._loaded = loaded
        self._modules: dict[str, SourceModule | None] = {}
        self._files: dict[str, Source] = {}
        self._derived: dict[tuple[Reference, Reference], bool] = {}
        self._counted: set[int] = set()
        self._fields: dict[int, list[ast.expr]] = {}

    # --- files -------------------------------------------------------------------------------------------------------

    def module(self, name: str) -> SourceModule | None:
        """A module of the project; None for any other name."""
        if name not in self._modules:
            self._modules[name] = None
            folder = self.folders.get(top(name))
            if folder is not None:
                base = folder.joinpath(*name.split("."))
                for path in (base.with_suffix(".py"), base / "__init__.py"):
                    known = self._loaded.get(name)
                    if known is not None and known.path == path:
                        self._modules[name] = SourceModule(name, known)
                        break
                    if path.is_file():
                        self._modules[name] = SourceModule(name, read_source(path))
                        break
        return self._modules[name]

    def file(self, name: str) -> Source:
        """A data file, named by its path relative to the folder that contains its package."""
        if name not in self._files:
            self._files[name] = read_source(self.path(name))
        return self._files[name]

    def path(self, name: str) -> Path:
        """The file of a module or data file."""
        folder = self.folders[top(name)]
        return folder / module_path(folder, name)

    def source(self, name: str) -> Source:
        """The source of a module or data file that was read before."""
        module = self._modules.get(name)
        return self._files[name] if module is None else module.source

    # --- names -------------------------------------------------------------------------------------------------------

    def resolve(self, module: SourceModule, chain: list[str]) -> Iterator[Reference]:
        """The definitions that ``a.b.c`` (as a list) may refer to in ``module``."""
        if not chain:
            return
        head, rest = chain[0], chain[1:]
        if head in module.definitions:
            yield module.name, head
        for base, attribute in module.imports.get(head, ()):
            yield from self.follow(base, [attribute, *rest] if attribute else rest)
        if head not in module.definitions and head not in module.imports:
            for base in module.stars:
                other = self.module(base)
                if other is not None and (head in other.definitions or head in other.imports or other.stars):
                    yield base, head

    def follow(self, base: str, path: list[str]) -> Iterator[Reference]:
        """The definitions that ``base.path[0].path[1]…`` refers to: walk down the modules, then take the definition."""
        if top(base) not in self.folders:
            return
        while path and self.module(f"{base}.{path[0]}") is not None:
            base, path = f"{base}.{path[0]}", path[1:]
        if self.module(base) is None:
            return
        if path:
            yield base, path[0]
        else:
            yield from self.whole(base)

    def whole(self, name: str) -> Iterator[Reference]:
        """All definitions of a module that is passed on as a value: any of them may be used."""
        module = self.module(name)
        if module is not None:
            yield name, SIDE_EFFECTS
            yield from ((name, defined) for defined in module.definitions)
            if module.is_package:
                yield from ((name, imported) for imported in module.imports)

    def found(self, module: SourceModule, chain: list[str]) -> Iterator[tuple[SourceModule, ast.stmt]]:
        """The statements that define a name, with their modules."""
        for where, name in self.resolve(module, chain):
            other = self.module(where)
            if other is not None:
                yield from ((other, statement) for statement in other.definitions.get(name, []))

    def registry(self, module: SourceModule, name: str) -> dict[str, str] | None:
        """The table of the ``Registry`` that is bound to ``name``, with the entries of plug-ins."""
        statements = module.definitions.get(name, [])
        table = registry_table(statements[0]) if len(statements) == 1 else None
        if table is not None and module.name == _REGISTRIES:
            for plugin in self._plugins:
                source = self.module(plugin)
                table |= tables(source.source.content).get(name, {}) if source is not None else {}
        return table

    # --- kinds of definitions ----------------------------------------------------------------------------------------

    def is_marked(self, module: SourceModule, statement: ast.stmt) -> bool:
        """Whether a definition is marked ``runtime_only``; a class also by a class that it derives from."""
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if any(
            base.endswith("runtime_only") and name == "runtime_only"
            for mark in statement.decorator_list
            for base, name in module.imports.get(last_name(called(mark)), ())
        ):
            return True
        return isinstance(statement, ast.ClassDef) and any(
            isinstance(found, ast.ClassDef) and found is not statement and self.is_marked(other, found)
            for base in statement.bases
            for other, found in self.found(module, dotted(base))
        )

    def is_spec(self, module: SourceModule, cls: ast.ClassDef) -> bool:
        """Whether a class is a section of an experiment."""
        return self._derives(module, cls, _SPEC) or self._derives(module, cls, _COMPONENT)

    def _derives(self, module: SourceModule, cls: ast.ClassDef, base: Reference) -> bool:
        question = (module.name, cls.name), base
        if question not in self._derived:
            self._derived[question] = False  # ends the recursion for a class that is its own base by mistake
            self._derived[question] = any(
                any(where.endswith(base[0]) and name == base[1] for where, name in self._named(module, named))
                or any(
                    isinstance(found, ast.ClassDef) and self._derives(other, found, base)
                    for other, found in self.found(module, dotted(named))
                )
                for named in cls.bases
            )
        return self._derived[question]

    def _named(self, module: SourceModule, base: ast.expr) -> Iterator[tuple[str, str | None]]:
        yield from module.imports.get(last_name(base), ())

    # --- what counts -------------------------------------------------------------------------------------------------

    def counted(self, module: SourceModule, statement: ast.stmt) -> ast.stmt:
        """The statement as the digest counts it: bare, and reduced to methods for a specification.

        For a section of the experiment, only methods that others call count: its values are in the configuration. Other
        specifications (the spec file of a process) are created by code, so their validators and properties count too.
        """
        if id(statement) not in self._counted:
            self._counted.add(id(statement))
            bare(statement, lambda name: self._carries(module, name))
            if isinstance(statement, ast.ClassDef) and self.is_spec(module, statement):
                fields = [unannotated(node.annotation) for node in statement.body if isinstance(node, ast.AnnAssign)]
                self._fields[id(statement)] = fields
                by_value = _SECTIONS in module.name.split(".") or self._derives(module, statement, _COMPONENT)
                _keep_methods(statement, {*(_BY_VALUE if by_value else ()), "runtime_only"})
            elif isinstance(statement, ast.Assign):
                statement.value = unannotated(statement.value)
        return statement

    def field_types(self, statement: ast.stmt) -> list[ast.expr]:
        """The types of a specification's fields."""
        return self._fields.get(id(statement), [])

    def _carries(self, module: SourceModule, name: str) -> bool:
        """Whether an exception of the project gives more than a text to the code that catches it."""
        return any(
            isinstance(item, ast.FunctionDef)
            for _, found in self.found(module, [name])
            for item in getattr(found, "body", [])
        )


def _keep_methods(cls: ast.ClassDef, by_value: set[str]) -> None:
    """Keep the methods that others call. Remove fields, methods with a decorator in ``by_value``, and methods that only
    these call."""
    methods = [
        node
        for node in cls.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(last_name(called(mark)) in by_value for mark in node.decorator_list)
    ]
    asked = {
        node.attr
        for method in methods
        if not method.name.startswith("_") or method.decorator_list
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
    }
    cls.body = [
        method for method in methods if not method.name.startswith("_") or method.decorator_list or method.name in asked
    ] or [ast.Pass()]


def registry_table(statement: ast.stmt) -> dict[str, str] | None:
    """The literal table of ``NAME = Registry("what", {...})``."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return None
    call = statement.value
    if isinstance(call, ast.Call) and last_name(call.func) == "Registry" and len(call.args) > 1:
        table = ast.literal_eval(call.args[1])
        return {str(key): str(target) for key, target in table.items()}
    return None
