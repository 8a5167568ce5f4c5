"""Parquet: one document per row, its text in one column or several."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl

from llm_core.data.records import BadRecord, Document, Record, Skipped, as_document, excerpt
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.matching import missing_reason, skipped_kind
from llm_core.data.sources.parquet_columns import Columns, columns_read, verdicts_on
from llm_core.data.sources.parquet_text import repaired
from llm_core.data.sources.paths import printable
from llm_core.data.sources.unpacking import FREE_EXPANSION, ExpansionError
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import Condition, parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template

_BATCH = 1000

_INVALID_TEXT = "invalid utf-8"


class _File(NamedTuple):
    """The file at ``path`` with the ``rows`` of ``origin``. At most ``allowed`` bytes of text are read.

    ``faulty``: the column that marks rows with broken text, if there is one.
    """

    origin: str
    path: Path
    reading: ReadingSpec
    rows: int
    allowed: int
    faulty: str | None = None


def parquet_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """A record for every row. Memory holds about one row group of the columns that are read.

    polars filters rows that do not meet a condition of ``where``, before they become Python objects.
    """
    allowed = FREE_EXPANSION + reading.max_expansion * path.stat().st_size
    progress = _Progress()
    try:
        file = _File(origin, path, reading, _promised_rows(path), allowed)
        for column in columns_read(path, reading).tops:
            promised = _promised_bytes(path, column)
            if promised > allowed:
                raise ExpansionError(f"its column {column!r} unpacks to {promised:,} bytes")
        try:
            yield from _rows(file, progress)
        except pl.exceptions.ComputeError as error:
            if _INVALID_TEXT not in str(error).lower():
                raise
            columns = columns_read(path, reading)
            with repaired(path, columns.tops, columns.texts, allowed) as (copy, faulty):
                yield from _rows(file._replace(path=copy, faulty=faulty), progress)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, duckdb.Error, OSError) as error:
        raise _damaged(path, progress.rows, str(error)) from None
    if progress.rows != file.rows:  # a panic in a thread of polars ends the batches without an error
        raise _damaged(path, progress.rows, f"its footer says {file.rows} rows")


class _Progress:
    """The number of rows that became records, and the bytes of their text."""

    def __init__(self) -> None:
        self.rows = self.size = 0


def _rows(file: _File, progress: _Progress) -> Iterator[Record]:
    """The records from row ``progress.rows`` on."""
    columns = columns_read(file.path, file.reading, file.faulty)
    conditions = [parsed_condition(text) for text in file.reading.where]
    verdicts = verdicts_on(file.path, columns, file.rows) if conditions else bytes(file.rows)
    template = None if file.reading.template is None else parsed_template(file.reading.template)
    limit = file.reading.max_record_bytes
    for batch in _batches(file, columns, progress.rows):
        texts = [batch[f"text{number}"] for number in range(len(columns.text))]
        given = (batch[name] for name in ("row", "faulty", "url"))
        for row, faulty, url, *pieces in zip(*given, *texts, strict=True):
            if row != progress.rows:
                yield from _skipped(file, conditions, verdicts[progress.rows : row], progress.rows)
            progress.rows = row + 1
            if faulty:
                yield BadRecord(file.origin, row, "not UTF-8", excerpt("".join(filter(None, pieces))))
            elif verdicts[row]:
                yield BadRecord(file.origin, row, missing_reason(conditions[verdicts[row] - 1]), "")
            elif None in pieces:
                reason = "no text" if template is None else f"no {template.fields[pieces.index(None)]}"
                yield BadRecord(file.origin, row, reason, "")
            elif sum(map(len, pieces)) * 4 > limit and sum(len(piece.encode()) for piece in pieces) > limit:
                yield BadRecord(file.origin, row, TOO_LONG, excerpt(next(filter(None, pieces))))
            else:
                record = as_document(file.origin, row, pieces[0] if template is None else template.filled(pieces), url)
                progress.size += record.size + len(url or "") if isinstance(record, Document) else 0
                yield record
        if progress.size > file.allowed:  # a value that is stored once may be in any number of rows
            raise ExpansionError(f"its first {progress.rows:,} rows have {progress.size:,} bytes of text")
    if conditions and progress.rows < file.rows:
        yield from _skipped(file, conditions, verdicts[progress.rows :], progress.rows)
        progress.rows = file.rows


def _skipped(file: _File, conditions: Sequence[Condition], codes: bytes, start: int) -> Iterator[Record]:
    """The filtered rows from ``start`` on, with the verdicts ``codes``."""
    counts = [codes.count(number) for number in range(len(conditions) + 1, 2 * len(conditions) + 1)]
    if sum(counts) != len(codes) or not codes:
        raise _damaged(file.path, start, "the rows after them are not all there")
    for condition, count in zip(conditions, counts, strict=True):
        if count:
            yield Skipped(skipped_kind(condition), count)


def _batches(file: _File, columns: Columns, start: int) -> Iterator[pl.DataFrame]:
    """``row``, ``faulty``, ``url`` and the texts, some rows at a time, without filtered rows."""
    frame = pl.scan_parquet(file.path, glob=False, hive_partitioning=False, row_index_name=columns.number)
    if start:
        frame = frame.filter(pl.col(columns.number) >= start)
    if file.reading.where:
        frame = frame.filter(columns.passes)
    chosen = {
        "row": pl.col(columns.number),
        "faulty": pl.lit(False) if file.faulty is None else pl.col(file.faulty),
        "url": columns.url,
        **{f"text{number}": text for number, text in enumerate(columns.text)},
    }
    yield from frame.select(**chosen).collect_batches(chunk_size=_BATCH, maintain_order=True)


def _damaged(path: Path, row: int, why: str) -> PedigreeError:
    return PedigreeError(
        f"{printable(path)}: can't be read as Parquet, after {row} whole records: {why}; fetch the file again"
    )


def _promised_rows(path: Path) -> int:
    """The number of rows, from the file's footer."""
    return _asked("SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata(?)", path)


def _promised_bytes(path: Path, column: str) -> int:
    """The unpacked bytes of a column, from the file's footer; a row group is unpacked as a whole."""
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
