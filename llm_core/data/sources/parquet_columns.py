"""The columns of a Parquet file that a source reads, and the rows that meet the conditions of ``where``."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from llm_core.data.sources.fields import KEYS_NAMED
from llm_core.data.sources.matching import COMPARISONS, NAMES
from llm_core.data.sources.paths import printable
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import Condition, parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template

_ROWS = 100_000


class _Column(NamedTuple):
    """A column, or a field of a struct: ``steps`` are the names on the path to it."""

    steps: tuple[str, ...]
    dtype: Any
    values: pl.Expr


class Columns(NamedTuple):
    """The columns that are read, as polars expressions.

    ``text``: the text column, or those of the template's fields. ``verdict``: 0 if all n conditions are met, i if the
    field of condition i (from 1) is missing, n + i if condition i is the first that is not met. ``passes``: whether
    the verdict is at most n. ``number``: a name that no column has, for the row number. ``tops``: the names of all
    columns that are read. ``texts``: the steps to columns of text.
    """

    text: list[pl.Expr]
    url: pl.Expr
    verdict: pl.Expr
    passes: pl.Expr
    number: str
    tops: list[str]
    texts: list[tuple[str, ...]]


def columns_read(path: Path, reading: ReadingSpec, faulty: str | None = None) -> Columns:
    """The columns that are read. Rows that the column ``faulty`` marks have the verdict 0.

    Raises ``PedigreeError`` for a column that does not exist or has a wrong type.
    """
    schema = dict(pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema())
    if reading.template is None:
        text = [_of_text(path, schema, reading.text_field, "text_field")]
    else:
        fields = parsed_template(reading.template).fields
        text = [_of_text(path, schema, field, "template", numbers=True) for field in fields]
    url = None if reading.url_field is None else _of_text(path, schema, reading.url_field, "url_field")
    conditions = [parsed_condition(condition) for condition in reading.where]
    compared = [_comparable(path, schema, condition) for condition in conditions]
    number = "row"
    while number in schema:
        number += "_"
    touched = [*text, *([url] if url else []), *compared]
    return Columns(
        [column.values.cast(pl.String) for column in text],
        pl.lit(None, pl.String) if url is None else url.values.cast(pl.String),
        *_verdict(conditions, compared, faulty),
        number,
        list(dict.fromkeys(column.steps[0] for column in touched)),
        list(dict.fromkeys(column.steps for column in touched if _holds_text(column.dtype))),
    )


def verdicts_on(path: Path, columns: Columns, rows: int) -> bytes:
    """The verdicts on the ``rows`` of a file, one byte each.

    The row numbers restore the order: polars (2.1) may change it even with ``maintain_order``.
    """
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False, row_index_name=columns.number)
    codes = np.zeros(rows, np.uint8)
    for batch in frame.select(row=pl.col(columns.number), verdict=columns.verdict).collect_batches(chunk_size=_ROWS):
        codes[batch["row"].to_numpy()] = batch["verdict"].to_numpy()
    return codes.tobytes()


def _verdict(conditions: list[Condition], columns: list[_Column], faulty: str | None) -> tuple[pl.Expr, pl.Expr]:
    """(verdict, passes). It sums exclusive cases: with chains of ``when``, polars loses the order of rows."""
    verdict, passes = pl.lit(0, pl.UInt8), pl.lit(True)
    reached = pl.lit(True) if faulty is None else ~pl.col(faulty)
    for number, (condition, column) in enumerate(zip(conditions, columns, strict=True), 1):
        there = column.values.is_not_null()
        if column.dtype.is_float():
            there &= ~column.values.is_nan()
        met = _met(condition, column)
        for case, code in ((reached & ~there, number), (reached & there & ~met, len(conditions) + number)):
            verdict += case.fill_null(False).cast(pl.UInt8) * pl.lit(code, pl.UInt8)
        passes &= ~(reached & there & ~met).fill_null(False)
        reached = reached & there & met
    return verdict, passes


def _met(condition: Condition, column: _Column) -> pl.Expr:
    """Whether the values meet the condition. The comparison uses a type that represents both sides exactly."""
    values: pl.Expr = column.values
    dtype: Any = pl.String if condition.kind == "text" else pl.Boolean
    given = condition.value if condition.operator == "in" else (condition.value,)
    if condition.kind == "number":
        if column.dtype.is_float():
            dtype = column.dtype
        elif column.dtype.is_integer() and all(isinstance(value, int) for value in given):
            dtype = pl.Int128 if column.dtype in (pl.UInt64, pl.Int128, pl.UInt128) else pl.Int64
        else:
            dtype = pl.Float64
    values = values.cast(dtype)
    if condition.operator == "in":
        return reduce(or_, (values == pl.lit(value, dtype) for value in given))
    met: pl.Expr = COMPARISONS[condition.operator](values, pl.lit(given[0], dtype))
    return met


def _of_text(path: Path, schema: Mapping[str, Any], name: str, option: str, numbers: bool = False) -> _Column:
    def fits(dtype: Any) -> bool:
        return _holds_text(dtype) or (numbers and dtype.is_numeric())

    found = _resolved(schema, name)
    if found is None or not fits(found.dtype):
        problem = f"is {found.dtype}" if found is not None else "does not exist"
        named = _listed(column for column in _columns(schema) if fits(_dtype(schema, column)))
        raise PedigreeError(
            f"{printable(path)}: the column {name!r} {problem}; name a column of text{' or numbers' if numbers else ''}"
            f" in '{option}'; there are {named}"
        )
    return found


def _comparable(path: Path, schema: Mapping[str, Any], condition: Condition) -> _Column:
    found = _resolved(schema, condition.field)
    if found is None:
        raise PedigreeError(
            f"{printable(path)}: the column {condition.field!r} does not exist; name a column in 'where' "
            f"({condition.text}); there are {_listed(_columns(schema))}"
        )
    fits = {
        "number": found.dtype.is_numeric(),
        "text": _holds_text(found.dtype),
        "truth": found.dtype == pl.Boolean,
    }
    if not fits[condition.kind]:
        raise PedigreeError(
            f"{printable(path)}: the column {condition.field!r} is {found.dtype}, and 'where' compares it with "
            f"{NAMES[condition.kind]} ({condition.text}); write a value of the column's type"
        )
    return found


def _resolved(schema: Mapping[str, Any], name: str) -> _Column | None:
    """The column ``name``. A column with dots in its own name goes before nested ones."""
    if name in schema:
        return _Column((name,), schema[name], pl.col(name))
    end = name.rfind(".")
    while end > 0:
        head = schema.get(name[:end])
        if isinstance(head, pl.Struct):
            inner = _resolved(head.to_schema(), name[end + 1 :])
            if inner is not None:
                values = pl.col(name[:end])
                for step in inner.steps:
                    values = values.struct.field(step)
                return _Column((name[:end], *inner.steps), inner.dtype, values)
        end = name.rfind(".", 0, end)
    return None


def _columns(schema: Mapping[str, Any]) -> list[str]:
    """The names of all columns. Fields of a struct follow it, as ``outer.inner``."""
    names = []
    for name, dtype in schema.items():
        names.append(name)
        if isinstance(dtype, pl.Struct):
            names += (f"{name}.{inner}" for inner in dtype.to_schema())
    return names


def _dtype(schema: Mapping[str, Any], name: str) -> Any:
    found = _resolved(schema, name)
    assert found is not None
    return found.dtype


def _listed(names: Any) -> str:
    return ", ".join(map(repr, list(names)[:KEYS_NAMED])) or "none"


def _holds_text(dtype: Any) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)
