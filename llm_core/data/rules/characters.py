"""Rules about characters."""

import polars as pl

from llm_core.data.rules.measures import of_lines, of_words, share, statistic


def alphabetic_words() -> pl.Expr:
    """Share of words with a letter of any script; words of signs only count, too. Gopher: at least 0.8."""
    return share(statistic(of_words, "alphabetic_words"), statistic(of_words, "words"))


def symbols_per_word() -> pl.Expr:
    """Hash signs per word or ellipses per word, whichever is larger. Gopher: at most 0.1."""
    symbols = pl.max_horizontal(statistic(of_lines, "hash_signs"), statistic(of_lines, "ellipses"))
    return share(symbols, statistic(of_words, "words"))


def newlines_per_word() -> pl.Expr:
    """Line ends per word, without blank lines: lists and tables have many. FineWeb: at most 0.3."""
    ends = pl.max_horizontal(statistic(of_lines, "lines") - 1, pl.lit(0))
    return share(ends, statistic(of_words, "words"))


def curly_brackets() -> pl.Expr:
    """Opening curly brackets of the document: code has them. C4: none."""
    return statistic(of_lines, "curly_brackets")
