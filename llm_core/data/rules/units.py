"""What rules count: words, lines, and shares of them. One definition of each, for all rules.

A word is a run of characters without white space, punctuation included (the definition of Gopher's rules; tokenizers
that split punctuation off count more words, and shorter ones). A line is what stands between line ends, and counts if
it is not blank. A share of nothing is 0, never NaN.
"""

import polars as pl


def text() -> pl.Expr:
    """The text that is judged."""
    return pl.col("text")


def word_count() -> pl.Expr:
    """Words of the text."""
    return text().str.count_matches(r"\S+")


def line_count() -> pl.Expr:
    """Lines that are not blank."""
    return text().str.count_matches(r"\S.*")


def lines() -> pl.Expr:
    """The lines that are not blank, without their indentation."""
    return text().str.extract_all(r"\S.*")


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part`` / ``whole``; 0 where there is nothing."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)
