"""A cleaning rule of this project."""

import polars as pl
from llm_core.data.rules.measures import share, text

_ADVERT = r"(?im)^.*\b(?:buy now|click here|add to (?:cart|basket)|free shipping)\b"
_LINE = r"(?m)^.*\S"


def advert_lines() -> pl.Expr:
    """The share of lines (without empty ones) that read like an advert."""
    return share(text().str.count_matches(_ADVERT), text().str.count_matches(_LINE))
