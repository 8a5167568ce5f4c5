"""Patterns and folders → files, each by one name that does not depend on where the folder lies."""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from llm_core.data.sources.walking import entries, files_at, visited
from llm_core.errors import PedigreeError

_Found = TypeVar("_Found")


class Found(NamedTuple):
    """``files``: origin → file, by origin. ``left_out``: files in folders of the source whose names say no format, or
    that could be read and are hidden."""

    files: dict[str, Path]
    left_out: list[str]


def find_files(source: str, patterns: Sequence[str], readable: Callable[[str], bool]) -> dict[str, Path]:
    """``find(…).files``."""
    return find(source, patterns, readable).files


def find(source: str, patterns: Sequence[str], readable: Callable[[str], bool]) -> Found:
    """The files of a source, each by its origin: its name relative to the fixed folder of its pattern.

    Each pattern must match a file, and no two files may have one origin. A file that is reached in several ways
    (through links, by two patterns) is there once, by its shortest name. A pattern that is a folder stands for all
    files below it whose names ``readable`` accepts; names that begin with a dot are left out there. Links to folders
    are followed, in folders and for ``**``; a folder that is reached twice is read once.
    """
    found: dict[str, Path] = {}
    left_out: dict[Path, str] = {}
    seen: set[Path] = set()
    targets = _Targets()
    for pattern in patterns:
        matches = _matches(pattern, readable)
        if not matches.files:
            raise PedigreeError(
                f"source {source!r}: no file matches {pattern}; mend the path or add the file{_others(matches.others)}"
            )
        left_out.update((path, shown(path.relative_to(matches.folder))) for path in matches.others)
        prefix = len(matches.folder.parts)
        for path in sorted(matches.files, key=lambda path: (len(path.parts), path)):
            target = targets.of(path)
            _check_name(path, target)
            origin = "/".join(path.parts[prefix:])
            if target in seen:
                continue
            if origin in found:
                raise PedigreeError(
                    f"source {source!r}: {found[origin]} and {path} would both be called {origin}; use one pattern for "
                    "both, or give each its own source with a 'name'"
                )
            found[origin] = path
            seen.add(target)
    others = dict.fromkeys(name for path, name in left_out.items() if targets.of(path) not in seen)
    return Found(dict(sorted(found.items())), list(others))


def files_below(folder: Path, readable: Callable[[str], bool]) -> tuple[list[Path], list[Path]]:
    """(files in ``folder`` and its folders whose names ``readable`` accepts, those others).

    Hidden files are among the others where ``readable`` accepts their names, and nowhere else.
    """
    paths: list[Path] = []
    others: list[Path] = []
    for inner, names, hidden in visited(folder):
        others += (path for name in hidden for path in files_at(inner / name) if readable(path.name))
        for name in names:
            if readable(name):
                if _is_file(inner / name):
                    paths.append(inner / name)
            else:
                others.append(inner / name)
    return paths, others


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


class _Matches(NamedTuple):
    """The files that a pattern names, its fixed folder (the part before the first wildcard), and other files in it."""

    files: list[Path]
    folder: Path
    others: list[Path]


def _matches(pattern: str, accept: Callable[[str], bool]) -> _Matches:
    try:
        path = Path(pattern).expanduser()
    except RuntimeError as error:
        raise PedigreeError(f"{pattern}: {error}; write the folder out") from None
    if _is_file(path):
        return _Matches([path], path.parent, [])
    if path.is_dir():
        files, others = files_below(path, accept)
        return _Matches(files, path, others)
    wild = next((number for number, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts) - 1)
    folder = Path(*path.parts[:wild])
    matches = dict.fromkeys(_matching(folder, path.parts[wild:]))
    return _Matches([match for match in matches if _is_file(match)], folder, [])


def _matching(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """What is at ``folder/parts``, where parts may be patterns; ``**`` stands for any folders."""
    if not folder.is_dir():
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        for inner, names, _ in visited(folder):
            if rest:
                yield from _matching(inner, rest)
            else:
                yield from (inner / name for name in names)
        return
    hidden = first.startswith(".")
    names = [entry.name for entry in entries(folder) if hidden or not entry.name.startswith(".")]
    for name in fnmatch.filter(names, first) if glob.has_magic(first) else [first]:
        if rest:
            yield from _matching(folder / name, rest)
        else:
            yield folder / name


def _others(others: list[Path]) -> str:
    if not others:
        return ""
    return f"; the {len(others)} files there, such as {others[0].name}, are hidden or of no known format"


class _Targets:
    """What paths lead to, links followed; a folder of many files is followed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def of(self, path: Path) -> Path:
        """``path.resolve()``."""
        if path.is_symlink() or path.name == "..":
            return path.resolve()
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = folder.resolve()
        return self._folders[folder] / path.name


def _is_file(path: Path) -> bool:
    """Whether ``path`` is a file and no folder; raises ``PedigreeError`` where something else has that name."""
    if readable(Path.is_file, path):
        return True
    if os.path.lexists(path) and not path.is_dir():
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
