"""Rules as a user would write them."""

import polars as pl

from llm_core.data.rules.units import of_words, share, statistic, text


def question_marks() -> pl.Expr:
    """Question marks per word."""
    return share(text().str.count_matches(r"\?"), statistic(of_words, "words"))


def vowels() -> pl.Expr:
    """Vowels, counted by plain Python."""
    return text().map_elements(lambda each: sum(each.count(vowel) for vowel in "aeiou"), return_dtype=pl.Int64)


def from_a_wiki() -> pl.Expr:
    """1 if the document comes from a wiki: rules may look at its other columns."""
    return pl.col("source") == "wiki"
