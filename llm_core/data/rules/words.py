"""Rules about particular words."""

import polars as pl

from llm_core.data.rules.measures import of_words, statistic, text


def stop_words() -> pl.Expr:
    """How many of {the, be, to, of, and, that, have, with} occur, in lower case. Gopher: at least 2."""
    return statistic(of_words, "listed_words")


def lorem_ipsum() -> pl.Expr:
    """How often "lorem ipsum" occurs, in any case. C4: never."""
    return text().str.count_matches("(?i)lorem ipsum")
