"""Local files as a source: jsonl (one document a line), parquet (one a row), txt (one a file), also gzip and zstd."""

import glob
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import polars as pl

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.streams import COMPRESSED, DamagedError, open_stream, read_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import FilesSource
from llm_core.store.digests import source_digest

_BATCH = 1000
_TOO_LONG = "longer than max_record_bytes"

_Found = TypeVar("_Found")


class Files:
    """The files that match the patterns of a ``files`` source, in the order of their names."""

    def __init__(self, source: FilesSource) -> None:
        self._source = source

    def externals(self) -> dict[str, str]:
        """File name, relative to the fixed folder of its pattern → digest of its content."""
        return {origin: _readable(source_digest, path) for origin, path in self._files().items()}

    def records(self, progress: Callable[[float, float, str], None]) -> Iterator[Document | BadRecord]:
        """Every record of every file; raises ``PedigreeError`` for a file that can't be read to its end."""
        files = self._files()
        sizes = {path: _readable(Path.stat, path).st_size for path in files.values()}
        total, done = sum(sizes.values()), 0
        for origin, path in files.items():
            reader = _READERS[_format(path)]
            for number, record in enumerate(reader(origin, path, self._source)):
                if number % _BATCH == 0:
                    progress(done, total, "bytes")
                yield record
            done += sizes[path]
        progress(done, total, "bytes")

    def _files(self) -> dict[str, Path]:
        """Origin → file. Each pattern must match a file, and no two files may have one name.

        A file that is reached in several ways (through links, by two patterns) is there once, by its shortest name.
        """
        found: dict[str, Path] = {}
        seen: set[Path] = set()
        for pattern in self._source.paths:
            paths, folder = _matches(pattern)
            if not paths:
                raise PedigreeError(
                    f"source {self._source.name!r}: no file matches {pattern}; mend the path or add the file"
                )
            for path in sorted(paths, key=lambda path: (len(path.parts), path)):
                _format(path)
                target = path.resolve()
                _check_name(path, target)
                origin = path.relative_to(folder).as_posix()
                if target in seen:
                    continue
                if origin in found:
                    raise PedigreeError(
                        f"source {self._source.name!r}: {found[origin]} and {path} would both be called {origin}; use "
                        "one pattern for both, or give each its own source with a 'name'"
                    )
                found[origin] = path
                seen.add(target)
        return dict(sorted(found.items()))


def _matches(pattern: str) -> tuple[list[Path], Path]:
    """The files that ``pattern`` names, and its fixed folder: the part of it before the first wildcard."""
    try:
        path = Path(pattern).expanduser()
    except RuntimeError as error:
        raise PedigreeError(f"{pattern}: {error}; write the folder out") from None
    if _is_file(path):
        return [path], path.parent
    if path.is_dir():
        raise PedigreeError(f"{path}: is a folder; say which of its files to read, as in {path}/*.jsonl")
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
    if _readable(Path.is_file, path):
        return True
    if os.path.lexists(path) and not path.is_dir():
        # In a circle of links, names get as long as the system follows; a link at the end is then one too many.
        if path.parent.resolve().joinpath(path.name).is_file():
            return True
        what = f"a link to {path.readlink()}, which is no file" if path.is_symlink() else "neither a file nor a folder"
        raise PedigreeError(f"{_shown(path)}: is {what}; mend it, or take it out of the source")
    return False


def _readable(read: Callable[[Path], _Found], path: Path) -> _Found:
    try:
        return read(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _check_name(path: Path, target: Path) -> None:
    """Names become a column of text, and part of identities."""
    for name in (path, target):
        try:
            str(name).encode()
        except UnicodeEncodeError:
            raise PedigreeError(f"{_shown(name)}: the name is not UTF-8; rename it") from None


def _shown(path: Path) -> str:
    """The name as it can be printed anywhere: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _format(path: Path) -> str:
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    if suffix not in _READERS or (suffix == ".parquet" and path.suffix != suffix):
        raise PedigreeError(
            f"{_shown(path)}: its name does not say how to read it; known: .jsonl and .txt, also with .gz or "
            ".zst, and .parquet"
        )
    return suffix


def _damage(path: Path, row: int, error: DamagedError) -> PedigreeError:
    return PedigreeError(
        f"{path}: damaged at byte {error.position} of the file, after {row} whole records: {error}; fetch the file "
        "again, or take it out of the source"
    )


def _unreadable(path: Path, error: OSError) -> PedigreeError:
    return PedigreeError(f"{_shown(path)}: can't be read: {error.strerror or error}")


def _jsonl(origin: str, path: Path, source: FilesSource) -> Iterator[Document | BadRecord]:
    row = 0
    try:
        with open_stream(path) as stream:
            for line, whole in read_lines(stream, source.max_record_bytes):
                if not whole:
                    yield BadRecord(origin, row, _TOO_LONG, excerpt(line))
                elif line.strip():  # an empty line holds no record, but counts: rows are line numbers
                    yield _from_line(
                        origin, row, line if row else line.removeprefix(b"\xef\xbb\xbf"), source.text_field
                    )
                row += 1
    except DamagedError as error:
        raise _damage(path, row, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _from_line(origin: str, row: int, line: bytes, text_field: str) -> Document | BadRecord:
    try:
        content = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRecord(origin, row, "not UTF-8", excerpt(line, error.start))
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        return BadRecord(origin, row, "not JSON", excerpt(content, error.pos))
    except (ValueError, RecursionError):  # numbers of thousands of digits, thousands of brackets
        return BadRecord(origin, row, "not JSON", excerpt(content))
    if not isinstance(value, dict):
        return BadRecord(origin, row, "not an object", excerpt(content))
    text = value.get(text_field)
    if text is None:
        return BadRecord(origin, row, "no text", excerpt(content))
    if not isinstance(text, str):
        return BadRecord(origin, row, "text is not a string", excerpt(content))
    return checked(origin, row, text)


def _read_up_to(stream: BinaryIO, limit: int) -> bytes:
    pieces, size = [], 0
    while size < limit and (piece := stream.read(min(1 << 20, limit - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _txt(origin: str, path: Path, source: FilesSource) -> Iterator[Document | BadRecord]:
    try:
        with open_stream(path) as stream:
            content = _read_up_to(stream, source.max_record_bytes + 1)
    except DamagedError as error:
        raise _damage(path, 0, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(content) > source.max_record_bytes:
        yield BadRecord(origin, 0, _TOO_LONG, excerpt(content))
        return
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        yield BadRecord(origin, 0, "not UTF-8", excerpt(content, error.start))
        return
    yield checked(origin, 0, text)


def _parquet(origin: str, path: Path, source: FilesSource) -> Iterator[Document | BadRecord]:
    row = 0
    try:
        frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        dtype = frame.collect_schema().get(source.text_field)
        if dtype not in (pl.String, pl.Categorical):
            what = f"is {dtype}" if dtype else "does not exist"
            raise PedigreeError(
                f"{path}: the column {source.text_field!r} {what}; name a column of text in 'text_field'"
            )
        texts = frame.select(pl.col(source.text_field).cast(pl.String))
        for batch in texts.collect_batches(chunk_size=_BATCH, maintain_order=True):
            for text in batch.to_series():
                if text is None:
                    yield BadRecord(origin, row, "no text", "")
                elif len(text) * 4 > source.max_record_bytes and len(text.encode()) > source.max_record_bytes:
                    yield BadRecord(origin, row, _TOO_LONG, excerpt(text))
                else:
                    yield checked(origin, row, text)
                row += 1
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PedigreeError(
            f"{path}: can't be read as Parquet, after {row} whole records: {error}; fetch the file again"
        ) from None


_READERS: dict[str, Callable[[str, Path, FilesSource], Iterator[Document | BadRecord]]] = {
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".txt": _txt,
}
