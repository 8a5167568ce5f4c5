"""Documents as Parquet parts, written and read one part at a time: memory holds one part."""

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
"""The columns of a document, in order. ``row``: its record number in ``origin``, from 0; ``url``: null if unknown."""

PART_BYTES = 32 << 20
"""Bytes of text at which a part is closed. A single document may be larger."""

_ROW_GROUP = 50_000


def part_paths(folder: Path) -> list[Path]:
    """The parts in ``folder`` by name; raises ``PedigreeError`` when there is none."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise PedigreeError(f"{folder}: has no Parquet parts; make the artifact again")
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
    """Write ``frame``. The bytes depend on its content only, not on its chunks or the number of threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.rechunk().write_parquet(path, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP)
