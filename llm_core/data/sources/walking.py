"""Folders below a folder, also through links. A folder is visited once, however many links lead to it.

``pathlib`` follows no links. ``glob`` and ``wcmatch`` follow circles of links, and skip folders that may not be read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from llm_core.errors import PedigreeError


class Visited(NamedTuple):
    """A folder, the sorted names of its files that don't begin with a dot, and all names that do."""

    folder: Path
    names: list[str]
    hidden: list[str]


def visited(folder: Path) -> Iterator[Visited]:
    """``folder`` and all folders below it, without those whose names begin with a dot.

    A folder that is reached by its own path and by a link has its own path; of several links, the shortest counts.
    Raises ``PedigreeError`` for a folder that may not be read.
    """
    seen: set[str] = set()
    roots = [folder]
    while roots:
        roots.sort(key=lambda path: (len(path.parts), path), reverse=True)
        for path, folders, names in os.walk(roots.pop(), onerror=_refuse):
            inner, real = Path(path), os.path.realpath(path)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            _check_access(inner)
            hidden = [name for name in (*folders, *names) if name.startswith(".")]
            folders[:] = [name for name in folders if not name.startswith(".")]
            roots += (inner / name for name in folders if (inner / name).is_symlink())
            yield Visited(inner, sorted(name for name in names if not name.startswith(".")), sorted(hidden))


def names_in(folder: Path) -> list[str]:
    """The names in ``folder``; raises ``PedigreeError`` where it may not be read."""
    _check_access(folder)
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        _refuse(error)


def _check_access(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise PedigreeError(f"{folder}: can't be read, and may contain files that match; permit it, or name its files")


def _refuse(error: OSError) -> NoReturn:
    raise PedigreeError(f"{error.filename}: can't be read: {error.strerror}; it may contain files that match") from None
