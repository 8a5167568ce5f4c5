"""Repairs Parquet files with a text that is not UTF-8: polars can't read them, so DuckDB writes a valid copy."""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from llm_core.data.sources.unpacking import ExpansionError

_FAULTY = "not UTF-8"


@contextmanager
def repaired(
    path: Path, columns: Sequence[str], texts: Sequence[tuple[str, ...]], allowed: int
) -> Iterator[tuple[Path, str]]:
    """(a file with the same rows of ``columns`` in valid UTF-8; the name of its column that marks repaired rows).

    ``texts``: the steps to columns of text. The file is in the folder of temporary files, and is as large as the
    columns. Raises ``ExpansionError`` if the texts have more than ``allowed`` bytes.
    """
    mark = _FAULTY
    while mark in columns:
        mark += "_"
    mended, shortened = (_rows(path, how) for how in ("replace", "ignore"))
    faults = " OR ".join(f"a.{_steps(text)} IS DISTINCT FROM b.{_steps(text)}" for text in texts)
    sizes = " + ".join(f"coalesce(sum(strlen(a.{_steps(text)})), 0)" for text in texts)
    chosen = ", ".join(f"a.{_quoted(column)}" for column in columns)
    with (
        tempfile.TemporaryDirectory(prefix="pedigree_") as folder,
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        copy = Path(folder, "mended.parquet")
        found = connection.execute(f"SELECT ({sizes})::BIGINT FROM {mended} a").fetchone()
        assert found is not None
        if found[0] > allowed:
            raise ExpansionError(f"it has {found[0]:,} bytes of text")
        connection.execute(
            f"COPY (SELECT {chosen}, ({faults}) AS {_quoted(mark)} FROM {mended} a POSITIONAL JOIN {shortened} b) "
            f"TO {_text(str(copy))} (FORMAT parquet, COMPRESSION zstd)"
        )
        yield copy, mark


def _rows(path: Path, invalid: str) -> str:
    return f"read_parquet({_text(glob.escape(str(path)))}, utf8_validation = '{invalid}')"


def _steps(names: Sequence[str]) -> str:
    return ".".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(content: str) -> str:
    return "'" + content.replace("'", "''") + "'"
