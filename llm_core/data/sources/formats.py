"""The formats of files, and the function that writes the parts of a unit in each format.

Every format has its own function, so that a change of one reader does not change the identity of other parts.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_core.data.records import Record
from llm_core.data.sources.archives import archive_records
from llm_core.data.sources.delimited import csv_records, tsv_records
from llm_core.data.sources.html import html_records
from llm_core.data.sources.jsonl import jsonl_records
from llm_core.data.sources.parquet import parquet_records
from llm_core.data.sources.paths import printable, unreadable
from llm_core.data.sources.plain import plain_records
from llm_core.data.sources.streams import COMPRESSED
from llm_core.data.sources.unit_parts import Limits, write_unit
from llm_core.data.sources.unpacking import DamagedError, ExpansionError, NeedsMoreError
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec
from llm_core.graph.part import PartWork

Reader = Callable[[str, Path, ReadingSpec], Iterator[Record]]


def jsonl_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of JSON lines files."""
    return _make(work, reading, documents_per_part, jsonl_records)


def csv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of files of comma-separated values."""
    return _make(work, reading, documents_per_part, csv_records)


def tsv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of files of tab-separated values."""
    return _make(work, reading, documents_per_part, tsv_records)


def parquet_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of Parquet files."""
    return _make(work, reading, documents_per_part, parquet_records)


def plain_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of text files; each is a document."""
    return _make(work, reading, documents_per_part, plain_records)


def html_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of HTML files; each is a document."""
    return _make(work, reading, documents_per_part, html_records)


def archive_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of WARC and WET files."""
    return _make(work, reading, documents_per_part, archive_records)


FORMATS: Mapping[str, Callable[[PartWork, ReadingSpec, int], dict[str, Any]]] = {
    ".jsonl": jsonl_part,
    ".ndjson": jsonl_part,
    ".json": jsonl_part,
    ".csv": csv_part,
    ".tsv": tsv_part,
    ".parquet": parquet_part,
    ".txt": plain_part,
    ".md": plain_part,
    ".markdown": plain_part,
    ".html": html_part,
    ".htm": html_part,
    ".warc": archive_part,
    ".wet": archive_part,
}
"""Suffix → function of a part. ``.json`` is read as JSON lines, as in most datasets on the Hub."""

ONE_DOCUMENT = (".txt", ".md", ".markdown", ".html", ".htm")
"""Formats in which a file is one document."""

WITH_FIELDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Formats whose records have named fields."""

KNOWN = (
    ".jsonl, .ndjson, .json (lines), .csv, .tsv, .txt, .md, .markdown, .html, .htm, .warc and .wet, also with "
    ".gz, .zst, .xz or .bz2, and .parquet"
)


def known_format(name: str) -> str | None:
    """The format of the file called ``name`` as a suffix in lower case; None if it is unknown."""
    path = Path(name.lower())
    packed = path.suffix in COMPRESSED
    suffix = Path(path.stem).suffix if packed else path.suffix
    return suffix if suffix in FORMATS and not (packed and suffix == ".parquet") else None


def format_of(path: Path) -> str:
    """``known_format``; raises ``PedigreeError`` if it is None."""
    suffix = known_format(path.name)
    if suffix is None:
        raise PedigreeError(f"{printable(path)}: its name does not say how to read it; known: {KNOWN}")
    return suffix


def file_records(files: Mapping[str, Path], reading: ReadingSpec, reader: Reader) -> Iterator[Record]:
    """Every record of ``files`` (origin → path). Raises ``PedigreeError`` for a file that can't be read to its end."""
    for origin, path in files.items():
        count = 0
        try:
            for record in reader(origin, path, reading):
                yield record
                count += 1
        except DamagedError as error:
            raise PedigreeError(
                f"{printable(path)}: damaged at byte {error.position} of the file, after {count} whole records: {error}"
                "; fetch the file again, or take it out of the source"
            ) from None
        except ExpansionError as error:
            raise PedigreeError(
                f"{printable(path)}: expands too far: {error}, more than max_expansion ({reading.max_expansion}) times "
                "as much; take the file out of the source, or raise max_expansion if you trust the file"
            ) from None
        except NeedsMoreError as error:
            raise PedigreeError(f"{printable(path)}: {error}; or take the file out of the source") from None
        except OSError as error:
            raise unreadable(path, error) from None


def _make(work: PartWork, reading: ReadingSpec, documents_per_part: int, reader: Reader) -> dict[str, Any]:
    limits = Limits(work.settings.get("max_bytes"), work.settings.get("max_documents"))
    records = file_records(work.inputs, reading, reader)
    return write_unit(work.name, work.out, reading.name, records, documents_per_part, limits)
