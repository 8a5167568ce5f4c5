"""Patterns and folders → files, each by one name that does not depend on where the folder lies."""

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from llm_core.errors import PedigreeError

_Found = TypeVar("_Found")


def find_files(source: str, patterns: Sequence[str], readable: Callable[[str], bool]) -> dict[str, Path]:
    """Origin → file, by origin: the file's name relative to the fixed folder of its pattern.

    Each pattern must match a file, and no two files may have one origin. A file that is reached in several ways
    (through links, by two patterns) is there once, by its shortest name. A pattern that is a folder stands for all
    files below it whose names ``readable`` accepts; names that begin with a dot are left out there.
    """
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    for pattern in patterns:
        paths, folder = _matches(pattern, readable)
        if not paths:
            raise PedigreeError(f"source {source!r}: no file matches {pattern}; mend the path or add the file")
        for path in sorted(paths, key=lambda path: (len(path.parts), path)):
            target = path.resolve()
            _check_name(path, target)
            origin = path.relative_to(folder).as_posix()
            if target in seen:
                continue
            if origin in found:
                raise PedigreeError(
                    f"source {source!r}: {found[origin]} and {path} would both be called {origin}; use one pattern for "
                    "both, or give each its own source with a 'name'"
                )
            found[origin] = path
            seen.add(target)
    return dict(sorted(found.items()))


def files_below(folder: Path, readable: Callable[[str], bool]) -> list[Path]:
    """The files in ``folder`` and its folders whose names ``readable`` accepts, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise PedigreeError(f"{error.filename}: can't be read: {error.strerror}; it may hold files of the source")

    paths = []
    for name, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        candidates = (Path(name, file) for file in files if not file.startswith(".") and readable(file))
        paths += [path for path in candidates if _is_file(path)]
    return paths


def readable(read: Callable[[Path], _Found], path: Path) -> _Found:
    """``read(path)``; raises ``PedigreeError`` where the system refuses."""
    try:
        return read(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> PedigreeError:
    """The error for a file that the system does not let us read."""
    return PedigreeError(f"{shown(path)}: can't be read: {error.strerror or error}")


def shown(path: Path) -> str:
    """The name as it can be printed anywhere: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _matches(pattern: str, accept: Callable[[str], bool]) -> tuple[list[Path], Path]:
    """The files that ``pattern`` names, and its fixed folder: the part of it before the first wildcard."""
    try:
        path = Path(pattern).expanduser()
    except RuntimeError as error:
        raise PedigreeError(f"{pattern}: {error}; write the folder out") from None
    if _is_file(path):
        return [path], path.parent
    if path.is_dir():
        return files_below(path, accept), path
    wild = next((number for number, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts) - 1)
    for end in range(wild, len(path.parts)):
        for folder in _glob(Path(*path.parts[:end])):
            if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
                raise PedigreeError(f"{folder}: can't be read, and may hold files that match {pattern}")
    return [match for match in _glob(path) if _is_file(match)], Path(*path.parts[:wild])


def _glob(pattern: Path) -> list[Path]:
    return [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 (patterns are absolute)


def _is_file(path: Path) -> bool:
    """Whether ``path`` is a file and no folder; raises ``PedigreeError`` where something else has that name."""
    if readable(Path.is_file, path):
        return True
    if os.path.lexists(path) and not path.is_dir():
        # In a circle of links, names get as long as the system follows; a link at the end is then one too many.
        if path.parent.resolve().joinpath(path.name).is_file():
            return True
        what = f"a link to {path.readlink()}, which is no file" if path.is_symlink() else "neither a file nor a folder"
        raise PedigreeError(f"{shown(path)}: is {what}; mend it, or take it out of the source")
    return False


def _check_name(path: Path, target: Path) -> None:
    """Names become a column of text, and part of identities."""
    for name in (path, target):
        try:
            str(name).encode()
        except UnicodeEncodeError:
            raise PedigreeError(f"{shown(name)}: the name is not UTF-8; rename it") from None
