"""Writes the parts of a unit. A unit is the piece of a source that one task reads, mostly a file.

A unit's parts depend on its own content and on the reading settings. So a changed or added file rebuilds only its unit.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from xxhash import xxh3_64_hexdigest

from llm_core.data.parquet_parts import DOCUMENT, PART_BYTES, write_part
from llm_core.data.records import BadRecord, Document, Record, Skipped, document_id
from llm_core.errors import PedigreeError

BAD_RECORD = {"source": pl.String, "origin": pl.String, "row": pl.Int64, "reason": pl.String, "excerpt": pl.String}

OFFENDERS_NAMED = 3

_BAD_PER_PART = 50_000


class Limits(NamedTuple):
    """The most that is read of a unit; None: no limit."""

    max_bytes: int | None = None
    max_documents: int | None = None


def unit_name(source: str, origin: str) -> str:
    """``<source>-<12 hexadecimal digits of origin>``: the prefix of the names of a unit's parts."""
    return f"{source}-{xxh3_64_hexdigest(origin.encode())[:12]}"


def write_unit(
    name: str,
    out: Path,
    source: str,
    records: Iterable[Record],
    documents_per_part: int,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Write the documents of a unit to ``parts/<name>-<nnnn>.parquet``, and bad records to ``bad_records/``.

    A part is closed at ``documents_per_part`` documents or ``PART_BYTES`` of text. Returns the unit's statistics.
    """
    parts = _Writer(out / "parts", name, DOCUMENT, documents_per_part)
    bad = _Writer(out / "bad_records", name, BAD_RECORD, _BAD_PER_PART)
    reasons: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    offenders: list[str] = []
    documents = size = 0
    cut = False
    for record in _limited(records, limits or Limits()):
        if isinstance(record, Document):
            origin, row, text, length, url = record
            parts.add((document_id(source, origin, row), text, source, origin, row, url), length)
            documents += 1
            size += length
        elif isinstance(record, BadRecord):
            bad.add((source, record.origin, record.row, record.reason, record.excerpt), len(record.excerpt))
            (expected if record.expected else reasons)[record.reason] += 1
            if not record.expected and len(offenders) < OFFENDERS_NAMED:
                offenders.append(f"{source}/{record.origin}, row {record.row}: {record.reason}: {record.excerpt}")
        elif isinstance(record, Skipped):
            skipped[record.kind] += record.records
        else:
            cut = True
    parts.flush()
    bad.flush()
    return {
        "source": source,
        "documents": documents,
        "bytes": size,
        "bad": dict(sorted(reasons.items())),
        "expected": dict(sorted(expected.items())),
        "skipped": dict(sorted(skipped.items())),
        "offenders": offenders,
        "cut": cut,
    }


def _limited(records: Iterable[Record], limits: Limits) -> Iterator[Record | None]:
    """The records up to the first document that would exceed the limits, and None in its place."""
    documents = size = 0
    for record in records:
        if isinstance(record, Document):
            documents += 1
            size += record.size
            if (limits.max_bytes is not None and size > limits.max_bytes) or (
                limits.max_documents is not None and documents > limits.max_documents
            ):
                yield None
                return
        yield record


class _Writer:
    """Collects rows, and writes a part for every ``rows_per_part`` rows or ``PART_BYTES`` of text."""

    def __init__(self, folder: Path, name: str, schema: dict[str, Any], rows_per_part: int) -> None:
        self._folder, self._name, self._schema, self._rows_per_part = folder, name, schema, rows_per_part
        self._columns: list[list[object]] = [[] for _ in schema]
        self._bytes = 0
        self._parts = 0

    def add(self, row: Sequence[object], size: int) -> None:
        """One row in the schema's order; ``size`` is the bytes of its text."""
        count = len(self._columns[0])
        if count and (count >= self._rows_per_part or self._bytes + size > PART_BYTES):
            self.flush()
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self._bytes += size

    def flush(self) -> None:
        """Write the collected rows, if there are any."""
        if not self._columns[0]:
            return
        columns = zip(self._schema.items(), self._columns, strict=True)
        frame = pl.DataFrame([pl.Series(name, values, dtype, strict=True) for (name, dtype), values in columns])
        write_part(self._folder / f"{self._name}-{self._parts:04d}.parquet", frame)
        self._columns = [[] for _ in self._schema]
        self._bytes, self._parts = 0, self._parts + 1


def check_distinct(names: Sequence[str]) -> None:
    """Raise if two units of a source have the same name (probability 1e-5 for 100,000 files)."""
    for name, count in Counter(names).items():
        if count > 1:
            raise PedigreeError(f"two files of the source are called {name} by the hash of their names; rename one")
