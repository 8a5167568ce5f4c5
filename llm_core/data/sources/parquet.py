"""Parquet: one document a row, its text in a column."""

import glob
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.paths import shown
from llm_core.data.sources.streams import FREE_EXPANSION, ExpansionError
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec

_BATCH = 1000

_COLUMNS_NAMED = 30


def parquet_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """A record for every row; memory holds about a row group of the columns that are read."""
    row, size, allowed = 0, 0, FREE_EXPANSION + reading.max_expansion * path.stat().st_size
    try:
        rows = _promised_rows(path)
        for column in filter(None, (reading.text_field, reading.url_field)):
            promised = _promised_bytes(path, column)
            if promised > allowed:
                raise ExpansionError(f"its column {column!r} unpacks to {promised:,} bytes")
        for texts, urls in _batches(path, reading):
            for text, url in zip(texts, urls, strict=True):
                if text is None:
                    yield BadRecord(origin, row, "no text", "")
                elif len(text) * 4 > reading.max_record_bytes and len(text.encode()) > reading.max_record_bytes:
                    yield BadRecord(origin, row, TOO_LONG, excerpt(text))
                else:
                    record = checked(origin, row, text, url)
                    size += record.size + len(url or "") if isinstance(record, Document) else 0
                    yield record
                row += 1
            if size > allowed:  # a value that is stored once may stand in any number of rows
                raise ExpansionError(f"its first {row:,} rows hold {size:,} bytes of text")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, duckdb.Error, OSError) as error:
        raise _damaged(path, row, str(error)) from None
    if row != rows:  # a panic in one of polars' threads ends the batches without a word
        raise _damaged(path, row, f"it says that it holds {rows} rows")


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
        "SELECT sum(total_uncompressed_size)::BIGINT FROM parquet_metadata(?) WHERE path_in_schema = ?", path, column
    )


def _asked(question: str, path: Path, *more: str) -> int:
    with duckdb.connect(config={"threads": 1}) as connection:
        answer = connection.execute(question, [glob.escape(str(path)), *more]).fetchone()
    return int(answer[0] or 0) if answer else 0


def _batches(path: Path, reading: ReadingSpec) -> Iterator[tuple[pl.Series, pl.Series]]:
    """(texts, addresses) of a number of rows at a time."""
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = frame.collect_schema()
    fields = {"text": reading.text_field, "url": reading.url_field}
    columns = {}
    for what, column in fields.items():
        if column is None:
            columns[what] = pl.lit(None, pl.String)
            continue
        dtype = schema.get(column)
        if dtype is None or not _holds_text(dtype):
            found = f"is {dtype}" if dtype is not None else "does not exist"
            texts = [name for name, other in schema.items() if _holds_text(other)]
            named = ", ".join(repr(name) for name in texts[:_COLUMNS_NAMED]) or "none"
            raise PedigreeError(
                f"{shown(path)}: the column {column!r} {found}; name a column of text in '{what}_field'; "
                f"there are {named}"
            )
        columns[what] = pl.col(column).cast(pl.String)
    for batch in frame.select(**columns).collect_batches(chunk_size=_BATCH, maintain_order=True):
        yield batch["text"], batch["url"]


def _holds_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)
