"""Finds the code on which a stage's result depends, by reading syntax trees.

From a stage's build function, the digest follows names through the project's modules, definition by definition. It
hashes each definition without comments, docstrings, formatting and message texts. So a comment changes nothing, and a
changed function changes exactly the stages that reach it. Three more things count: the effects of importing a reached
module (registrations by decorators, tables that a loop fills, patches), data files beside a module that it names, and
code whose address (``module:name``) is in a string.

The digest does not follow

- definitions marked ``runtime_only``: they can't change a result (among methods, only those of sections and
  components);
- entries of a ``Registry`` that neither the configuration nor a literal names;
- fields, properties and validators of the experiment's sections and of their components (``KindOf``): their values
  are in the configuration;
- code outside the project: library versions are recorded in the manifest instead.

Code that it can't follow is an error with file and line: names that are computed at run time.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from llm_core.collection import paused_collection
from llm_core.errors import PedigreeError
from llm_core.graph.code_base import SIDE_EFFECTS, CodeBase, Reference
from llm_core.graph.code_references import CLASSES, DOCSTRINGS, FILE, References, import_effects
from llm_core.graph.code_text import written
from llm_core.graph.import_effects import effects
from llm_core.graph.source_module import SourceModule
from llm_core.graph.syntax import walk
from llm_core.loaded_code import PACKAGES, Source
from llm_core.plugins import package_folders


def text_digest(content: bytes) -> str:
    """32 hexadecimal digits. Uses only the standard library, because the trainer on a bare machine computes it too."""
    return blake2b(content, digest_size=16).hexdigest()


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest over ``name → digest``."""
    return text_digest("\n".join(f"{name} {digest}" for name, digest in sorted(digests.items())).encode())


def folders_of(root: Path, packages: tuple[str, ...], plugins: tuple[str, ...]) -> dict[str, Path]:
    """Package → the folder that contains it, for packages below ``root`` and those of plug-ins."""
    return {**package_folders(plugins), **dict.fromkeys(packages, root)}


class CodeReader:
    """Computes digests over the project below ``root`` (the folder that contains the packages) and over its plug-ins.

    ``loaded``: module → the text to use instead of its file (the text that a process has imported). A reader reads
    each file once.
    """

    def __init__(
        self,
        root: Path,
        packages: tuple[str, ...] = PACKAGES,
        loaded: Mapping[str, Source] | None = None,
        plugins: tuple[str, ...] = (),
    ) -> None:
        self.packages = packages
        self._root = root
        self._code = CodeBase(folders_of(root, packages, plugins), plugins, loaded or {})
        self._references = References(self._code)
        self._read: dict[Reference, tuple[str, list[Reference]]] = {}
        self._known: dict[tuple[tuple[str, ...], frozenset[str]], dict[str, str]] = {}

    def digests(self, targets: Iterable[str], names: frozenset[str]) -> dict[str, str]:
        """``module:definition`` → digest, for all code that ``targets`` reach.

        A target is ``module:name``, or a glob pattern of data files relative to ``root``. ``names``: the strings of the
        configuration, which select the registry entries to follow. Raises ``PedigreeError`` for a missing target, and
        for code that can't be followed.
        """
        question = (tuple(targets), names)
        if question not in self._known:
            with paused_collection():
                self._known[question] = self._digests(*question)
        return self._known[question]

    def paths(self, digests: Iterable[str]) -> dict[str, Path]:
        """Module or data file → its path, for all keys in ``digests``."""
        named = {name.partition(":") for name in digests}
        files = {what.removeprefix(FILE) for _, _, what in named if what.startswith(FILE)}
        return {name: self._code.path(name) for name in sorted({module for module, _, _ in named} | files)}

    def stamps(self, digests: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Module or data file → the stamp of its file when it was read, for all keys in ``digests``."""
        return {name: self._code.source(name).stamp for name in self.paths(digests)}

    def _digests(self, targets: tuple[str, ...], names: frozenset[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        pending: list[Reference] = []
        declared: list[Path] = []
        for target in targets:
            module, colon, name = target.partition(":")
            if colon:
                self._check_target(target, module, name)
                pending.append((module, name))
            else:
                files = self._data_files(target)
                declared += [path.parent for path in files]
                found |= {name: self._file_digest(name) for name in map(self._named, files)}
        seen: set[Reference] = set()
        while pending:
            reached = pending.pop()
            if reached not in seen:
                seen.add(reached)
                for key, text, references in self._definition(*reached, names):
                    if text:
                        found[key] = text_digest(text.encode())
                    pending.extend(references)
            if not pending and any(name == CLASSES for _, name in seen):
                pending.extend({found for module, _ in seen for found in self._classes(module)} - seen)
        self._check_declared(seen, declared)
        return dict(sorted(found.items()))

    def _check_target(self, target: str, module_name: str, name: str) -> None:
        module = self._code.module(module_name)
        if module is None:
            raise PedigreeError(f"{target}: there is no such module in the project")
        if name not in module.definitions and name not in module.imports and not module.stars:
            raise PedigreeError(f"{target}: {module_name} defines no {name}")

    def _check_declared(self, seen: set[Reference], declared: list[Path]) -> None:
        """Raise when code reads unknown data files of a folder, and the stage lists no data files of that folder."""
        for reached in seen & self._references.undeclared.keys():
            folder, line = self._references.undeclared[reached]
            if not any(path.is_relative_to(folder) for path in declared):
                raise PedigreeError(
                    f"{line}: the code digest can't see which data files are read here; name them in this function, "
                    "list them in the stage's code, or mark the function runtime_only"
                )

    def _data_files(self, pattern: str) -> list[Path]:
        paths = sorted(path for path in self._root.glob(pattern) if path.is_file())
        if not paths:
            raise PedigreeError(f"{pattern}: no file of the project matches")
        return paths

    def _named(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _file_digest(self, name: str) -> str:
        return text_digest(self._code.file(name).content)

    def _definition(
        self, module_name: str, name: str, names: frozenset[str]
    ) -> Iterator[tuple[str, str, list[Reference]]]:
        """(key, text, references) of one definition."""
        module = self._code.module(module_name)
        if module is None or name == CLASSES:
            return
        table = self._code.registry(module, name)
        if table is not None:
            yield "", "", [(module_name, SIDE_EFFECTS)]
            for key, target in sorted(table.items()):
                if key in names:
                    yield f"{module_name}:{name}[{key}]", target, [_split(target)]
            return
        if (module_name, name) not in self._read:
            self._read[module_name, name] = self._read_anew(module, name)
        yield f"{module_name}:{name}", *self._read[module_name, name]

    def _read_anew(self, module: SourceModule, name: str) -> tuple[str, list[Reference]]:
        if name == SIDE_EFFECTS:
            return self._read_effects(module)
        if name.endswith(DOCSTRINGS):
            return self._read_docstrings(module, name.removesuffix(DOCSTRINGS)), []
        if name.startswith(FILE):
            return self._file_digest(name.removeprefix(FILE)), []
        if name.endswith("]"):  # an entry that code names
            base, _, key = name[:-1].partition("[")
            target = (self._code.registry(module, base) or {}).get(key)
            return target or "", [] if target is None else [_split(target)]
        return self._read_definition(module, name)

    def _read_definition(self, module: SourceModule, name: str) -> tuple[str, list[Reference]]:
        statements = module.definitions.get(name, [])
        references: list[Reference] = [(module.name, SIDE_EFFECTS)]
        if any(self._code.is_marked(module, statement) for statement in statements):
            return "", references
        for base, attribute in module.imports.get(name, ()):
            references += self._code.follow(base, [attribute] if attribute else [])
        if not statements and name not in module.imports:
            references += [reference for base in module.stars for reference in self._code.follow(base, [name])]
            if "__getattr__" in module.definitions:
                references.append((module.name, "__getattr__"))
        for statement in statements:
            references += self._references.of(module, statement, name)
        return "\n".join(written(self._code.counted(module, item)) for item in statements), references

    def _read_effects(self, module: SourceModule) -> tuple[str, list[Reference]]:
        parts = module.name.split(".")
        references: list[Reference] = [(".".join(parts[:count]), SIDE_EFFECTS) for count in range(1, len(parts))]
        for imported in module.at_import:
            references += import_effects(self._code, imported)
        statements = list(effects(self._code, module))
        for statement in statements:
            references += self._references.of(module, statement, SIDE_EFFECTS)
        return "\n".join(written(self._code.counted(module, item)) for item in statements), references

    def _read_docstrings(self, module: SourceModule, name: str) -> str:
        """The docstrings of a definition, for code that reads them. Taken from the source, because the trees may have
        lost them."""
        fresh = SourceModule(module.name, module.source)
        documented = [
            ast.get_docstring(node, clean=False) or ""
            for statement in fresh.definitions.get(name, [])
            for node in walk(statement)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        return "\n".join([fresh.docstring, *documented])

    def _classes(self, name: str) -> list[Reference]:
        module = self._code.module(name)
        statements = {} if module is None else module.definitions
        return [(name, key) for key, found in statements.items() if isinstance(found[0], ast.ClassDef)]


def _split(target: str) -> Reference:
    module, _, name = target.partition(":")
    return module, name
