"""Applies rules to texts: their values, the first rule that fails, and the lines that line rules drop."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from llm_core.data.rules.measures import Batch, of_repeats, of_runs, of_words
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import RuleSpec, WordUnit
from llm_core.registries import LINE_RULES, RULES
from llm_core.registry import load_object

_OF_WORDS = {f"{measure.__module__}:{measure.__name__}" for measure in (of_words, of_repeats, of_runs)}
_LINES_AT_ONCE = 1 << 19
"""Lines judged at once. It bounds the memory: a line of two bytes takes a hundred times as much."""


def document_values(frame: pl.DataFrame, rules: Iterable[str], words: WordUnit = "spaces") -> pl.DataFrame:
    """The values of all ``rules`` (a Float64 column per rule) for every ``text`` of ``frame``."""
    return _values(frame, {name: RULES.load(name)() for name in rules}, words)


def document_verdicts(frame: pl.DataFrame, rules: Mapping[str, RuleSpec], words: WordUnit = "spaces") -> pl.DataFrame:
    """For every row of ``frame``: the first ``rule`` that it fails, and the ``value``; null if it fails none."""
    return verdicts(document_values(frame, rules, words), rules)


def line_values(lines: pl.DataFrame, rules: Iterable[str]) -> pl.DataFrame:
    """Like ``document_values``, for line rules: every ``text`` is a line."""
    return _values(lines, {name: LINE_RULES.load(name)() for name in rules}, "spaces")


def line_verdicts(lines: pl.DataFrame, rules: Mapping[str, RuleSpec]) -> pl.DataFrame:
    """Like ``document_verdicts``, for line rules."""
    return verdicts(line_values(lines, rules), rules)


def _values(frame: pl.DataFrame, values: Mapping[str, pl.Expr], words: WordUnit) -> pl.DataFrame:
    measured = frame.with_columns(_measured(frame["text"], list(values.values()), words))
    found = measured.select(value.cast(pl.Float64).alias(name) for name, value in values.items())
    for column in found:
        without = column.null_count() + int(column.is_nan().sum())
        if without:  # NaN and null are neither inside nor outside of bounds
            raise PedigreeError(
                f"the rule {column.name!r} gives no number for {without} of {len(column)} texts; mend it"
            )
    return found


def verdicts(values: pl.DataFrame, rules: Mapping[str, RuleSpec]) -> pl.DataFrame:
    """For every row of ``values`` (a column per rule): the first ``rule`` that it fails, and the ``value``.

    Values are compared as double-precision numbers; bounds are inclusive.
    """
    fails = {name: _fails(name, bounds) for name, bounds in rules.items()}
    return values.select(
        rule=pl.coalesce(pl.when(failing).then(pl.lit(name)) for name, failing in fails.items()),
        value=pl.coalesce(pl.when(failing).then(pl.col(name)) for name, failing in fails.items()),
    )


def _fails(name: str, bounds: RuleSpec) -> pl.Expr:
    below = pl.col(name) < bounds.min if bounds.min is not None else pl.lit(False)
    above = pl.col(name) > bounds.max if bounds.max is not None else pl.lit(False)
    return below | above


def counts_words(rules: Iterable[str]) -> bool:
    """Whether one of ``rules`` counts words, of a document or of a line."""
    loaded = (LINE_RULES.load(rule)() if rule in LINE_RULES else RULES.load(rule)() for rule in rules)
    asked = (name for value in loaded for name in value.meta.root_names())
    return any(name.partition("/")[0] in _OF_WORDS for name in asked)


def _measured(column: pl.Series, values: Sequence[pl.Expr], words: WordUnit) -> list[pl.Series]:
    """The counts that ``values`` read; every measure runs once."""
    asked = sorted({name for value in values for name in value.meta.root_names() if ":" in name})
    batch = Batch(column, words)
    counted = {
        address: load_object(address, followed="rules name the function that they ask for")(batch)
        for address in sorted({name.partition("/")[0] for name in asked})
    }
    return [pl.Series(name, counted[name.partition("/")[0]][name.partition("/")[2]]) for name in asked]


def judged_lines(column: pl.Series, rules: Mapping[str, RuleSpec]) -> pl.DataFrame:
    """The lines of all texts in order: ``place`` of the text, ``text`` of the line, the ``rule`` that it failed, or
    null.

    The texts are in normal form, so a blank line is empty. It is not judged.
    """
    lines = pl.DataFrame({"text": column.str.split("\n")}).with_row_index("place").explode("text")
    starts = range(0, max(1, lines.height), _LINES_AT_ONCE)
    rule = pl.concat(line_verdicts(lines.slice(start, _LINES_AT_ONCE), rules)["rule"] for start in starts)
    return lines.with_columns(rule=pl.when(pl.col("text") != "").then(rule))


def without_lines(
    column: pl.Series, lines: pl.DataFrame, rules: Iterable[str]
) -> tuple[pl.Series, dict[str, dict[str, int]]]:
    """``column`` without the lines that fail, and rule → dropped ``lines`` and ``bytes`` (without line ends).

    ``lines``: the ``judged_lines`` of ``column``. Texts without a failed line stay unchanged.
    """
    failed = lines.filter(pl.col("rule").is_not_null())
    summed = failed.group_by("rule").agg(lines=pl.len(), bytes=pl.col("text").str.len_bytes().sum())
    counts = {rule: {"lines": count, "bytes": size} for rule, count, size in summed.iter_rows()}
    left = (
        lines.filter(pl.col("place").is_in(failed["place"].unique().implode()))
        .group_by("place", maintain_order=True)
        .agg(pl.col("text").filter(pl.col("rule").is_null()).str.join("\n"))
    )
    nothing = {"lines": 0, "bytes": 0}
    return column.clone().scatter(left["place"], left["text"]), {rule: counts.get(rule, nothing) for rule in rules}
