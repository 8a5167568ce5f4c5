"""Line rules: they judge every line that is not blank, and drop the lines that fail (Raffel et al., 2020).

They are like other rules, but ``text`` is a line. Words are runs without white space, as in C4's code.
"""

import polars as pl

from llm_core.data.rules.measures import of_runs, statistic, text

_POLICIES = ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"]


def line_words() -> pl.Expr:
    """Words of the line. C4: at least 3."""
    return statistic(of_runs, "runs")


def line_longest_word() -> pl.Expr:
    """Characters of the line's longest word. C4: at most 1,000."""
    return statistic(of_runs, "longest")


def line_sentence_end() -> pl.Expr:
    """1 if the line ends in one of ``. ? ! " '`` and not in an ellipsis, else 0. C4: 1."""
    line = text().str.strip_chars_end()
    ends = pl.any_horizontal(line.str.ends_with(mark) for mark in ".?!\"'")
    return ends & ~line.str.ends_with("...")


def line_javascript() -> pl.Expr:
    """1 if the line mentions JavaScript, in any case, else 0. C4: 0."""
    return text().str.contains("(?i)javascript")


def line_policy() -> pl.Expr:
    """1 if the line mentions terms of use, a privacy policy or cookies, in any case, else 0. C4: 0."""
    return text().str.contains_any(_POLICIES, ascii_case_insensitive=True)
