"""Rules as a user would write them."""

import polars as pl

from llm_core.data.rules.measures import of_words, share, statistic, text


def question_marks() -> pl.Expr:
    """Question marks per word."""
    return share(text().str.count_matches(r"\?"), statistic(of_words, "words"))


def vowels() -> pl.Expr:
    """Vowels, counted by plain Python."""
    return text().map_elements(lambda each: sum(each.count(vowel) for vowel in "aeiou"), return_dtype=pl.Int64)


def from_a_wiki() -> pl.Expr:
    """1 if the document comes from a wiki: rules may look at its other columns."""
    return pl.col("source") == "wiki"


def of_long_texts() -> pl.Expr:
    """The length of long texts; null for others, which is a mistake."""
    return pl.when(text().str.len_bytes() > 10).then(text().str.len_bytes())


def digits_per_letter() -> pl.Expr:
    """Not a number for texts with neither, which is a mistake."""
    return text().str.count_matches(r"\d") / text().str.count_matches(r"\p{L}")
