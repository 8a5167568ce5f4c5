"""Rules about lines. Blank lines do not count."""

import polars as pl

from llm_core.data.rules.units import line_count, lines, share, text


def bullet_lines() -> pl.Expr:
    """Share of lines that start with a bullet, or with a hyphen, asterisk or plus and a space. Gopher: at most 0.9."""
    return share(text().str.count_matches(r"(?m)^[^\S\n]*(?:[•●‣◦▪▫■□·]|[-*+][^\S\n])"), line_count())


def ellipsis_lines() -> pl.Expr:
    """Share of lines that end in an ellipsis. Gopher: at most 0.3."""
    return share(text().str.count_matches(r"(?m)(?:\.\.\.|…)[^\S\n]*$"), line_count())


def duplicate_lines() -> pl.Expr:
    """Share of lines that repeat an earlier line of the document. Gopher: at most 0.3."""
    return share(lines().list.len() - lines().list.n_unique(), lines().list.len())


def duplicate_line_characters() -> pl.Expr:
    """Share of the lines' characters that stand in repeats of earlier lines. Gopher: at most 0.2; FineWeb: 0.01."""
    length = pl.element().str.len_chars()
    whole = lines().list.eval(length).list.sum()
    return share(whole - lines().list.unique().list.eval(length).list.sum(), whole)


def punctuated_lines() -> pl.Expr:
    """Share of lines that end as sentences do (in one of ``. ! ? " '`` and a few more). FineWeb: at least 0.12."""
    return share(text().str.count_matches("(?m)[.!?\"'”’…。！？][^\\S\\n]*$"), line_count())


def short_lines() -> pl.Expr:
    """Share of lines of at most 30 characters. FineWeb: at most 0.67."""
    return share(line_count() - text().str.count_matches(r"\S.{30,}"), line_count())
