"""Rules about length."""

import polars as pl

from llm_core.data.rules.measures import of_lines, of_words, share, statistic


def min_words() -> pl.Expr:
    """Words of the document, without those of signs alone. Gopher: at least 50."""
    return statistic(of_words, "plain_words")


def max_words() -> pl.Expr:
    """Words of the document, as a rule of its own: a drop says which bound it failed. Gopher: at most 100,000."""
    return statistic(of_words, "plain_words")


def mean_word_length() -> pl.Expr:
    """Characters per word, without words of signs alone. Gopher: 3 to 10."""
    return share(statistic(of_words, "plain_characters"), statistic(of_words, "plain_words"))


def sentences() -> pl.Expr:
    """Sentences of the document; a line without a full stop is one. C4: at least 5."""
    return statistic(of_lines, "sentences")
