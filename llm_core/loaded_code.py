"""Records the source text that this process runs, at each import of a module of the project.

Files may change while a process runs, but the process continues with the code that it has imported. So identities
are computed from the texts recorded here (``llm_core.graph.code_claim``), not from the files as they are later.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from llm_core.runtime_only import runtime_only

PACKAGES = ("llm_core", "assets", "pipelines")
"""The packages of Pedigree."""

_WATCHED = set(PACKAGES)


class Source(NamedTuple):
    """A source file at the time it was read: path, stamp just before reading, and content."""

    path: Path
    stamp: tuple[int, ...]
    content: bytes


LOADED: dict[str, Source] = {}
"""Module → the source from which it was imported."""


@runtime_only("notes which sources a process runs, and changes none of them")
def code_stamp(path: Path) -> tuple[int, ...]:
    """Size, times (ns) and inode: they change whenever the file changes, also when its time is set back."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@runtime_only("notes which sources a process runs, and changes none of them")
def read_source(path: Path) -> Source:
    """Read the file as it is now."""
    return Source(path, code_stamp(path), path.read_bytes())


def module_path(root: Path, name: str) -> str:
    """The file of a module, relative to ``root``. A name with a slash already is a path."""
    if "/" in name:
        return name
    base = name.replace(".", "/")
    return f"{base}.py" if (root / f"{base}.py").is_file() else f"{base}/__init__.py"


def top(name: str) -> str:
    """The package of a module, of a definition in it (``module:name``), or of a data file."""
    return name.partition(":")[0].partition("/")[0].partition(".")[0]


@runtime_only("notes which sources a process runs, and changes none of them")
class _Notes:
    """An import finder that works like Python's own, and records the source before the module runs."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in _WATCHED:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            LOADED[name] = read_source(Path(spec.origin))
        return spec


@runtime_only("notes which sources a process runs, and changes none of them")
def note_imports() -> None:
    """Start recording. Modules that are already imported are recorded with their files as they are now."""
    if not any(isinstance(finder, _Notes) for finder in sys.meta_path):
        for package in PACKAGES:
            _note_imported(package)
        sys.meta_path.insert(0, _Notes())


def watch(package: str) -> None:
    """Also record the imports of ``package``, the package of a plug-in."""
    if package not in _WATCHED:
        _WATCHED.add(package)
        _note_imported(package)


def _note_imported(package: str) -> None:
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if name.partition(".")[0] == package and origin is not None and origin.endswith(".py"):
            LOADED[name] = read_source(Path(origin))
