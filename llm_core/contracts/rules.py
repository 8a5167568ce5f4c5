"""What holds for every cleaning rule, of documents and of lines."""

import math

import polars as pl

from llm_core.contracts.example import Check, Example
from llm_core.data.rules.judge import document_values, line_values
from llm_core.errors import PedigreeError

HOSTILE = ("", "x", "x" * 1_000_000, "\u0301\u0300", "\u0301 \u0327\n\u0e31")
"""Texts that break what counts: nothing, one character, a line of 1 MB, combining marks without their letter."""


def is_documented(example: Example) -> None:
    """By its docstring."""
    example.hold(example.loaded.__doc__, "has no docstring: write what its value is, with its unit")


def has_a_value_for_every_text(example: Example) -> None:
    """A finite number, also for hostile texts."""
    values = document_values if example.table == "RULES" else line_values
    try:
        found = values(pl.DataFrame({"text": HOSTILE}), [example.kind]).get_column(example.kind)
    except PedigreeError as error:
        example.hold(False, f"{error}; try an empty text")
        raise
    bad = [repr(text[:20]) for text, value in zip(HOSTILE, found, strict=True) if not math.isfinite(value)]
    example.hold(not bad, f"its value is not finite for the text {', '.join(bad)}")


CHECKS: tuple[Check, ...] = (is_documented, has_a_value_for_every_text)
