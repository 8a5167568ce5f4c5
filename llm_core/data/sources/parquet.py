"""Parquet: one document a row, its text in one column or several."""

import glob
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl

from llm_core.data.records import BadRecord, Document, Record, Skipped, checked, excerpt
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.matching import missing_reason, skipped_kind
from llm_core.data.sources.parquet_columns import Columns, Verdicts, columns_read, verdicts_on
from llm_core.data.sources.parquet_text import repaired
from llm_core.data.sources.paths import shown
from llm_core.data.sources.unpacking import FREE_EXPANSION, ExpansionError
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template

_BATCH = 1000

_INVALID_TEXT = "invalid utf-8"


class _File(NamedTuple):
    """``path`` holds the rows of ``origin``; ``faulty`` names its column that marks rows with broken text, if any."""

    origin: str
    path: Path
    reading: ReadingSpec
    allowed: int
    faulty: str | None = None


def parquet_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """A record for every row; memory holds about a row group of the columns that are read.

    Rows that do not meet a condition of ``where`` are left out by polars, before they become Python objects.
    """
    file = _File(origin, path, reading, FREE_EXPANSION + reading.max_expansion * path.stat().st_size)
    progress = _Progress()
    try:
        rows = _promised_rows(path)
        for column in columns_read(path, reading).tops:
            promised = _promised_bytes(path, column)
            if promised > file.allowed:
                raise ExpansionError(f"its column {column!r} unpacks to {promised:,} bytes")
        try:
            yield from _rows(file, progress)
        except pl.exceptions.ComputeError as error:
            if _INVALID_TEXT not in str(error).lower():
                raise
            columns = columns_read(path, reading)
            with repaired(path, columns.tops, columns.texts, file.allowed) as (copy, faulty):
                yield from _rows(file._replace(path=copy, faulty=faulty), progress)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, duckdb.Error, OSError) as error:
        raise _damaged(path, progress.rows, str(error)) from None
    if progress.rows != rows:  # a panic in one of polars' threads ends the batches without a word
        raise _damaged(path, progress.rows, f"it says that it holds {rows} rows")


class _Progress:
    """How many rows have become records, and the bytes of text in them."""

    def __init__(self) -> None:
        self.rows = self.size = 0


def _rows(file: _File, progress: _Progress) -> Iterator[Record]:
    """The records from row ``progress.rows`` on."""
    columns = columns_read(file.path, file.reading, file.faulty)
    verdicts = verdicts_on(file.path, columns, len(file.reading.where))
    conditions = [parsed_condition(text) for text in file.reading.where]
    template = None if file.reading.template is None else parsed_template(file.reading.template)
    limit = file.reading.max_record_bytes
    for batch in _batches(file.path, columns, verdicts, progress.rows, file.faulty):
        texts = [batch[f"text{number}"] for number in range(len(columns.text))]
        given = (batch[name] for name in ("row", "verdict", "faulty", "url"))
        for row, verdict, faulty, url, *pieces in zip(*given, *texts, strict=True):
            if row != progress.rows:
                yield from _skipped(file, verdicts, progress.rows, row)
            progress.rows = row + 1
            if faulty:
                yield BadRecord(file.origin, row, "not UTF-8", excerpt("".join(filter(None, pieces))))
            elif verdict:
                yield BadRecord(file.origin, row, missing_reason(conditions[verdict - 1]), "")
            elif None in pieces:
                reason = "no text" if template is None else f"no {template.fields[pieces.index(None)]}"
                yield BadRecord(file.origin, row, reason, "")
            elif sum(map(len, pieces)) * 4 > limit and sum(len(piece.encode()) for piece in pieces) > limit:
                yield BadRecord(file.origin, row, TOO_LONG, excerpt(next(filter(None, pieces))))
            else:
                record = checked(file.origin, row, pieces[0] if template is None else template.filled(pieces), url)
                progress.size += record.size + len(url or "") if isinstance(record, Document) else 0
                yield record
        if progress.size > file.allowed:  # a value that is stored once may stand in any number of rows
            raise ExpansionError(f"its first {progress.rows:,} rows hold {progress.size:,} bytes of text")
    if verdicts is not None and progress.rows < len(verdicts.codes):
        yield from _skipped(file, verdicts, progress.rows, len(verdicts.codes))
        progress.rows = len(verdicts.codes)


def _skipped(file: _File, verdicts: Verdicts | None, start: int, end: int) -> Iterator[Record]:
    """The rows from ``start`` to ``end``, which polars has left out."""
    codes = b"" if verdicts is None else verdicts.codes[start:end]
    if verdicts is None or len(codes) != end - start or min(codes, default=0) < verdicts.first_unmet:
        raise _damaged(file.path, start, f"the next {end - start} rows are not all there")
    for code, count in sorted(Counter(codes).items()):
        yield Skipped(skipped_kind(parsed_condition(file.reading.where[code - verdicts.first_unmet])), count)


def _batches(
    path: Path, columns: Columns, verdicts: Verdicts | None, start: int, faulty: str | None
) -> Iterator[pl.DataFrame]:
    """``row``, ``verdict`` (0, or the number of the condition that lacks its field), ``faulty``, ``url`` and the texts
    of a number of rows at a time, without those that are skipped."""
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False, row_index_name=columns.index)
    if start:
        frame = frame.filter(pl.col(columns.index) >= start)
    if verdicts is not None:
        frame = frame.filter(columns.verdict < verdicts.first_unmet)
    chosen = {
        "row": pl.col(columns.index),
        "verdict": columns.verdict,
        "faulty": pl.lit(False) if faulty is None else pl.col(faulty),
        "url": columns.url,
        **{f"text{number}": text for number, text in enumerate(columns.text)},
    }
    yield from frame.select(**chosen).collect_batches(chunk_size=_BATCH, maintain_order=True)


def _damaged(path: Path, row: int, why: str) -> PedigreeError:
    return PedigreeError(
        f"{shown(path)}: can't be read as Parquet, after {row} whole records: {why}; fetch the file again"
    )


def _promised_rows(path: Path) -> int:
    """How many rows the file's own end says it has."""
    return _asked("SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata(?)", path)


def _promised_bytes(path: Path, column: str) -> int:
    """How much the pages of a column unpack to, as the file's own end says; a row group is unpacked whole."""
    return _asked(
        "SELECT sum(total_uncompressed_size)::BIGINT FROM parquet_metadata(?) "
        "WHERE path_in_schema = ? OR starts_with(path_in_schema, ? || ', ')",
        path,
        column,
        column,
    )


def _asked(question: str, path: Path, *more: str) -> int:
    with duckdb.connect(config={"threads": 1}) as connection:
        answer = connection.execute(question, [glob.escape(str(path)), *more]).fetchone()
    return int(answer[0] or 0) if answer else 0
