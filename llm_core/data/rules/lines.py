"""Rules about the lines of a document.

The two rules of Gopher take the share of all lines, including blank ones, as the common implementations do. For the
other rules, blank lines do not count.
"""

import polars as pl

from llm_core.data.rules.measures import of_lines, share, statistic


def bullet_lines() -> pl.Expr:
    """Share of lines that start with a bullet or hyphen, or an asterisk or plus and a space. Gopher: at most 0.9."""
    return share(statistic(of_lines, "bullet_lines"), statistic(of_lines, "all_lines"))


def ellipsis_lines() -> pl.Expr:
    """Share of lines that end in an ellipsis. Gopher: at most 0.3."""
    return share(statistic(of_lines, "ellipsis_lines"), statistic(of_lines, "all_lines"))


def punctuated_lines() -> pl.Expr:
    """Share of lines that end in a sentence terminal (of any script; no quotation mark). FineWeb: at least 0.12."""
    return share(statistic(of_lines, "sentence_lines"), statistic(of_lines, "lines"))


def short_lines() -> pl.Expr:
    """Share of lines of at most 30 characters. FineWeb: at most 0.67."""
    return share(statistic(of_lines, "short_lines"), statistic(of_lines, "lines"))
