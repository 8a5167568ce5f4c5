"""Local files as a source: jsonl (one document a line), parquet (one a row), txt (one a file), also gzip and zstd."""

import glob
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.streams import COMPRESSED, DamagedError, open_stream, read_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.data import FilesSource
from llm_core.store.digests import file_digest

_BATCH = 1000


class Files:
    """The files that match the patterns of a ``files`` source, in the order of their names."""

    def __init__(self, source: FilesSource) -> None:
        self._source = source

    def externals(self) -> dict[str, str]:
        """File name, relative to the fixed folder of its pattern → digest of its content."""
        return {origin: file_digest(path) for origin, path in self._files().items()}

    def records(self, progress: Callable[[float, float, str], None]) -> Iterator[Document | BadRecord]:
        """Every record of every file; raises ``PedigreeError`` for a file that can't be read to its end."""
        files = self._files()
        total, done = sum(path.stat().st_size for path in files.values()), 0
        for origin, path in files.items():
            reader = _READERS[_format(path)]
            for number, record in enumerate(reader(origin, path, self._source)):
                if number % _BATCH == 0:
                    progress(done, total, "bytes")
                yield record
            done += path.stat().st_size
        progress(done, total, "bytes")

    def _files(self) -> dict[str, Path]:
        """Origin → file. Each pattern must match a file, and no two files may have one name."""
        found: dict[str, Path] = {}
        seen: set[Path] = set()
        for pattern in self._source.paths:
            paths, folder = _matches(pattern)
            if not paths:
                raise PedigreeError(
                    f"source {self._source.name!r}: no file matches {pattern}; mend the path or add the file"
                )
            for path in paths:
                _format(path)
                origin = path.relative_to(folder).as_posix()
                if path in seen:
                    continue
                if origin in found:
                    raise PedigreeError(
                        f"source {self._source.name!r}: {found[origin]} and {path} would both be called {origin}; use "
                        "one pattern for both, or give each its own source with a 'name'"
                    )
                found[origin] = path
                seen.add(path)
        return dict(sorted(found.items()))


def _matches(pattern: str) -> tuple[list[Path], Path]:
    """The files that ``pattern`` names, and its fixed folder: the part of it before the first wildcard."""
    path = Path(pattern)
    if path.is_file():
        return [path], path.parent
    fixed = Path(*path.parts[: next((i for i, part in enumerate(path.parts) if glob.has_magic(part)), -1)])
    matched = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 (patterns are absolute)
    return sorted(name for name in matched if name.is_file()), fixed


def _format(path: Path) -> str:
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    if suffix not in _READERS or (suffix == ".parquet" and path.suffix != suffix):
        raise PedigreeError(
            f"{path}: its name does not say how to read it; known: .jsonl and .txt, also with .gz or .zst, and .parquet"
        )
    return suffix


def _damage(path: Path, row: int, error: DamagedError) -> PedigreeError:
    return PedigreeError(
        f"{path}: damaged at byte {error.position} of the file, after {row} whole records: {error}; fetch the file "
        "again, or take it out of the source"
    )


def _unreadable(path: Path, error: OSError) -> PedigreeError:
    return PedigreeError(f"{path}: can't be read: {error.strerror or error}")


def _jsonl(origin: str, path: Path, source: FilesSource) -> Iterator[Document | BadRecord]:
    row = 0
    try:
        with open_stream(path) as stream:
            for line, whole in read_lines(stream, source.max_record_bytes):
                if not whole:
                    yield BadRecord(origin, row, "record too long", excerpt(line))
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
        yield BadRecord(origin, 0, "record too long", excerpt(content))
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
                    yield BadRecord(origin, row, "record too long", excerpt(text))
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
