"""Documents as Parquet parts: written and read one part at a time, so that memory holds one part."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from llm_core.errors import PedigreeError

DOCUMENT = {
    "doc_id": pl.String,
    "text": pl.String,
    "source": pl.String,
    "origin": pl.String,
    "row": pl.Int64,
    "url": pl.String,
}
"""The columns of a document, in order. ``row``: which record of ``origin`` it was, from 0; ``url``: null if unknown."""

PART_BYTES = 32 << 20
"""A part is closed at this much text, whatever the number of its documents."""

_ROW_GROUP = 50_000


def part_paths(folder: Path) -> list[Path]:
    """The parts in ``folder`` by name; raises ``PedigreeError`` when there is none."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise PedigreeError(f"{folder}: holds no Parquet parts; make the artifact again")
    return paths


def read_part(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """The rows of one part; raises ``PedigreeError`` where it can't be read."""
    try:
        return pl.read_parquet(path, columns=columns, glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PedigreeError(f"{path}: not a whole part: {error}; make the artifact again") from None


def read_parts(folder: Path, columns: list[str] | None = None) -> Iterator[tuple[str, pl.DataFrame]]:
    """(file name, frame) for every part in ``folder``; raises ``PedigreeError`` for one that can't be read."""
    for path in part_paths(folder):
        yield path.name, read_part(path, columns)


def write_part(path: Path, frame: pl.DataFrame) -> None:
    """Write ``frame`` in a form that depends on its content alone (not on its chunks, nor on the number of threads)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.rechunk().write_parquet(path, compression="zstd", compression_level=3, row_group_size=_ROW_GROUP)


class PartWriter:
    """Collects rows and writes a part whenever ``rows_per_part`` rows or ``PART_BYTES`` of text are together."""

    def __init__(self, folder: Path, schema: dict[str, type[pl.DataType]], rows_per_part: int) -> None:
        self._folder, self._schema, self._rows_per_part = folder, schema, rows_per_part
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0
        self._parts = 0
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, row: tuple[object, ...], size: int) -> None:
        """One row in the schema's order; ``size`` is the bytes of its text."""
        if self._rows and (len(self._rows) >= self._rows_per_part or self._bytes + size > PART_BYTES):
            self.flush()
        self._rows.append(row)
        self._bytes += size

    def flush(self) -> None:
        """Write what is left; the first call writes a part even if it is empty."""
        if self._rows or not self._parts:
            frame = pl.DataFrame(self._rows, schema=self._schema, orient="row")
            write_part(self._folder / f"{self._parts:05d}.parquet", frame)
            self._rows, self._bytes, self._parts = [], 0, self._parts + 1
