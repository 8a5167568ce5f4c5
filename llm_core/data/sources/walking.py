"""Folders below a folder, links among them. A folder is visited once, however many links lead to it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llm_core.errors import PedigreeError


class Visited(NamedTuple):
    """A folder, the names in it that are no folders and don't begin with a dot, sorted, and all that begin with one."""

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
        waiting = [roots.pop()]
        while waiting:
            inner = waiting.pop()
            real = os.path.realpath(inner)
            if real in seen:
                continue
            seen.add(real)
            names, hidden = [], []
            for entry in entries(inner):
                if entry.name.startswith("."):
                    hidden.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(inner / entry.name)
                elif entry.is_symlink() and (inner / entry.name).is_dir():
                    roots.append(inner / entry.name)
                else:
                    names.append(entry.name)
            yield Visited(inner, sorted(names), sorted(hidden))


def files_at(path: Path) -> Iterator[Path]:
    """``path`` if it is a file, or all files below it, hidden ones too. Links to folders are not followed."""
    if path.is_file():
        yield path
    elif not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in sorted(names))


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in ``folder``; raises ``PedigreeError`` where the system does not say."""
    if not os.access(folder, os.R_OK | os.X_OK):
        raise PedigreeError(f"{folder}: can't be read, and may hold files that match; permit it, or name its files")
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise PedigreeError(f"{folder}: can't be read: {error.strerror}; it may hold files that match") from None
