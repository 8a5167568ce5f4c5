"""Patterns and folders → files. The name of a file does not depend on where its folder is."""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from llm_core.data.sources.walking import names_in, visited
from llm_core.errors import PedigreeError

_Found = TypeVar("_Found")


class Found(NamedTuple):
    """``files``: origin → file, sorted by origin. ``unread``: files in folders of the source whose names say no format,
    and hidden files that could be read."""

    files: dict[str, Path]
    unread: list[str]


def find_files(source: str, patterns: Sequence[str], readable: Callable[[str], bool]) -> Found:
    """The files of a source, each by its origin: its name relative to the fixed folder of its pattern.

    Each pattern must match a file, and no two files may have the same origin. A file that is reached in several ways
    (through links, by two patterns) appears once, by its shortest name. A pattern that is a folder stands for all files
    below it whose names ``readable`` accepts and do not begin with a dot. Links to folders are followed, in folders and
    for ``**``; a folder that is reached twice is read once.
    """
    found: dict[str, Path] = {}
    unread: dict[Path, str] = {}
    seen: set[Path] = set()
    resolved = cache(Path.resolve)  # many files share a folder
    for pattern in patterns:
        files, folder, others = _matches(pattern, readable)
        if not files:
            some = (
                f"; the {len(others)} files there, such as {others[0].name}, are hidden or of no known format"
                if others
                else ""
            )
            raise PedigreeError(f"source {source!r}: no file matches {pattern}; mend the path or add the file{some}")
        unread.update((path, printable(path.relative_to(folder))) for path in others)
        for path in sorted(files, key=lambda path: (len(path.parts), path)):
            target = _target(path, resolved)
            _check_name(path, target)
            origin = path.relative_to(folder).as_posix()
            if target in seen:
                continue
            if origin in found:
                raise PedigreeError(
                    f"source {source!r}: {found[origin]} and {path} would get the same name, {origin}; match "
                    "both with one pattern, or give each its own source with a 'name'"
                )
            found[origin] = path
            seen.add(target)
    names = dict.fromkeys(name for path, name in unread.items() if _target(path, resolved) not in seen)
    return Found(dict(sorted(found.items())), list(names))


def files_below(folder: Path, readable: Callable[[str], bool]) -> tuple[list[Path], list[Path]]:
    """(files in ``folder`` and its subfolders whose names ``readable`` accepts, other files there).

    A hidden file is among the others if ``readable`` accepts its name, and in neither list otherwise.
    """
    paths: list[Path] = []
    others: list[Path] = []
    for inner, names, hidden in visited(folder):
        others += (path for name in hidden for path in _files_at(inner / name) if readable(path.name))
        for path in map(inner.joinpath, names):
            if not readable(path.name):
                others.append(path)
            elif _is_file(path):
                paths.append(path)
    return paths, others


def guarded(read: Callable[[Path], _Found], path: Path) -> _Found:
    """``read(path)``; raises ``PedigreeError`` where the system refuses."""
    try:
        return read(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> PedigreeError:
    """The error for a file that the system does not let us read."""
    return PedigreeError(f"{printable(path)}: can't be read: {error.strerror or error}")


def printable(path: Path) -> str:
    """The name as it can be printed anywhere: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _matches(pattern: str, accept: Callable[[str], bool]) -> tuple[list[Path], Path, list[Path]]:
    """(files of the pattern, its fixed folder: the part before the first wildcard, other files in that folder)."""
    try:
        path = Path(pattern).expanduser()
    except RuntimeError as error:
        raise PedigreeError(f"{pattern}: {error}; write the folder out") from None
    if _is_file(path):
        return [path], path.parent, []
    if path.is_dir():
        files, others = files_below(path, accept)
        return files, path, others
    wild = next((number for number, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts) - 1)
    folder = Path(*path.parts[:wild])
    matches = dict.fromkeys(_matching(folder, path.parts[wild:]))
    return list(filter(_is_file, matches)), folder, []


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What is at ``folder/parts``, where parts may be patterns; ``**`` stands for any number of folders."""
    if not parts:
        yield folder
    elif not folder.is_dir():
        return
    elif parts[0] == "**":
        for inner, names, _ in visited(folder):
            yield from _matching(inner, parts[1:]) if parts[1:] else map(inner.joinpath, names)
    else:
        hidden = parts[0].startswith(".")
        names = [name for name in names_in(folder) if hidden or not name.startswith(".")]
        for name in fnmatch.filter(names, parts[0]) if glob.has_magic(parts[0]) else parts[:1]:
            yield from _matching(folder / name, parts[1:])


def _files_at(path: Path) -> list[Path]:
    """``path`` if it is a file, or all files below it, hidden ones too. Links to folders are not followed."""
    if path.is_file():
        return [path]
    return [] if path.is_symlink() else sorted(filter(Path.is_file, path.rglob("*")))


def _target(path: Path, resolved: Callable[[Path], Path]) -> Path:
    """``path.resolve()``, with ``resolved`` for its folder."""
    return path.resolve() if path.is_symlink() or path.name == ".." else resolved(path.parent) / path.name


def _is_file(path: Path) -> bool:
    """Whether ``path`` is a file; raises ``PedigreeError`` for what is neither a file nor a folder."""
    if guarded(Path.is_file, path):
        return True
    if os.path.lexists(path) and not path.is_dir():
        what = f"a link to {path.readlink()}, which is no file" if path.is_symlink() else "neither a file nor a folder"
        raise PedigreeError(f"{printable(path)}: is {what}; mend it, or take it out of the source")
    return False


def _check_name(path: Path, target: Path) -> None:
    """Raise if a name is not UTF-8: names become a column of text, and part of identities."""
    for name in (path, target):
        try:
            str(name).encode()
        except UnicodeEncodeError:
            raise PedigreeError(f"{printable(name)}: the name is not UTF-8; rename it") from None
