"""Rules about repetition inside a document (Rae et al., 2021, table A1)."""

import polars as pl

from llm_core.data.rules.measures import of_lines, of_repeats, share, statistic


def duplicate_lines() -> pl.Expr:
    """Share of lines that repeat an earlier line of the document. Gopher: at most 0.3."""
    return share(statistic(of_lines, "duplicate_lines"), statistic(of_lines, "lines"))


def duplicate_line_characters() -> pl.Expr:
    """Share of the lines' characters that are in repeats of earlier lines. Gopher: at most 0.2; FineWeb: 0.01."""
    return share(statistic(of_lines, "duplicate_line_characters"), statistic(of_lines, "line_characters"))


def duplicate_paragraphs() -> pl.Expr:
    """Share of paragraphs that repeat an earlier one. Gopher: at most 0.3."""
    return share(statistic(of_lines, "duplicate_paragraphs"), statistic(of_lines, "paragraphs"))


def duplicate_paragraph_characters() -> pl.Expr:
    """Share of the paragraphs' characters that are in repeats of earlier ones. Gopher: at most 0.2."""
    return share(statistic(of_lines, "duplicate_paragraph_characters"), statistic(of_lines, "paragraph_characters"))


def _of_characters(repeats: str) -> pl.Expr:
    return share(statistic(of_repeats, repeats), statistic(of_lines, "characters"))


def top_2_gram() -> pl.Expr:
    """Share of characters in the most frequent run of 2 words. Gopher: at most 0.2."""
    return _of_characters("top_2")


def top_3_gram() -> pl.Expr:
    """Share of characters in the most frequent run of 3 words. Gopher: at most 0.18."""
    return _of_characters("top_3")


def top_4_gram() -> pl.Expr:
    """Share of characters in the most frequent run of 4 words. Gopher: at most 0.16."""
    return _of_characters("top_4")


def duplicate_5_grams() -> pl.Expr:
    """Share of characters in runs of 5 words that repeat an earlier run. Gopher: at most 0.15."""
    return _of_characters("duplicate_5")


def duplicate_6_grams() -> pl.Expr:
    """Share of characters in runs of 6 words that repeat an earlier run. Gopher: at most 0.14."""
    return _of_characters("duplicate_6")


def duplicate_7_grams() -> pl.Expr:
    """Share of characters in runs of 7 words that repeat an earlier run. Gopher: at most 0.13."""
    return _of_characters("duplicate_7")


def duplicate_8_grams() -> pl.Expr:
    """Share of characters in runs of 8 words that repeat an earlier run. Gopher: at most 0.12."""
    return _of_characters("duplicate_8")


def duplicate_9_grams() -> pl.Expr:
    """Share of characters in runs of 9 words that repeat an earlier run. Gopher: at most 0.11."""
    return _of_characters("duplicate_9")


def duplicate_10_grams() -> pl.Expr:
    """Share of characters in runs of 10 words that repeat an earlier run. Gopher: at most 0.1."""
    return _of_characters("duplicate_10")
