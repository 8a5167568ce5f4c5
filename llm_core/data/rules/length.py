"""Rules about length."""

import polars as pl

from llm_core.data.rules.measures import of_lines, of_words, share, statistic


def min_words() -> pl.Expr:
    """Words of the document, without words of signs only. Gopher: at least 50."""
    return statistic(of_words, "plain_words")


def max_words() -> pl.Expr:
    """Words of the document. A separate rule, so that a drop says which bound failed. Gopher: at most 100,000."""
    return statistic(of_words, "plain_words")


def mean_word_length() -> pl.Expr:
    """Characters per word, without words of signs only. Gopher: 3 to 10."""
    return share(statistic(of_words, "plain_characters"), statistic(of_words, "plain_words"))


def sentences() -> pl.Expr:
    """Sentences of the document; a line without a full stop is one. C4: at least 5."""
    return statistic(of_lines, "sentences")
