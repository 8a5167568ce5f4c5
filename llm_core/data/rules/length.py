"""Rules about length."""

import polars as pl

from llm_core.data.rules.units import share, text, word_count


def min_words() -> pl.Expr:
    """Words of the document. Gopher: at least 50."""
    return word_count()


def max_words() -> pl.Expr:
    """Words of the document, as a rule of its own: a drop says which bound it failed. Gopher: at most 100,000."""
    return word_count()


def mean_word_length() -> pl.Expr:
    """Characters per word. Gopher: 3 to 10."""
    return share(text().str.len_chars() - text().str.count_matches(r"\s"), word_count())
