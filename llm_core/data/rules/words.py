"""Rules about particular words."""

import polars as pl

from llm_core.data.rules.units import text

_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def stop_words() -> pl.Expr:
    """How many of {the, be, to, of, and, that, have, with} occur, in any case. Gopher: at least 2."""
    found = [text().str.contains(rf"(?i)(?-u:\b){word}(?-u:\b)") for word in _STOP_WORDS]
    return pl.sum_horizontal(*(occurs.cast(pl.Int64) for occurs in found))
