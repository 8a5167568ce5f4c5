"""Rules about the characters of words."""

import polars as pl

from llm_core.data.rules.units import share, text, word_count


def alphabetic_words() -> pl.Expr:
    """Share of words with a letter of any script in them. Gopher: at least 0.8."""
    return share(text().str.count_matches(r"\S*\p{L}\S*"), word_count())


def symbols_per_word() -> pl.Expr:
    """Hash signs per word, or ellipses per word, whichever are more. Gopher: at most 0.1."""
    hashes, ellipses = text().str.count_matches("#"), text().str.count_matches(r"\.\.\.|…")
    return share(pl.max_horizontal(hashes, ellipses), word_count())


def newlines_per_word() -> pl.Expr:
    """Line ends per word: lists and tables have many. FineWeb: at most 0.3."""
    return share(text().str.count_matches("\n"), word_count())
