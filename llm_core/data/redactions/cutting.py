"""Replaces pieces of texts, and counts them."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

import polars as pl

Redacted = tuple[pl.Series, pl.Series]
"""(the new column, the number of pieces replaced in each text)"""


def cut(column: pl.Series, pieces: Iterable[tuple[int, int, int, str]]) -> Redacted:
    """Replace ``pieces``, in order: number of the text, first byte, byte after the last one, replacement."""
    places, texts, counts = [], [], []
    for place, group in groupby(pieces, key=itemgetter(0)):
        text, kept, done, count = column[place].encode(), [], 0, 0
        for _, start, stop, replacement in group:
            kept += [text[done:start], replacement.encode()]
            done, count = stop, count + 1
        places.append(place)
        texts.append(b"".join([*kept, text[done:]]).decode())
        counts.append(count)
    return patched(
        column,
        pl.Series(places, dtype=pl.UInt32),
        pl.Series(texts, dtype=pl.String),
        pl.Series(counts, dtype=pl.UInt32),
    )


def patched(column: pl.Series, places: pl.Series, texts: pl.Series, counts: pl.Series) -> Redacted:
    """``column`` with ``texts`` at ``places``; ``counts`` there, and 0 elsewhere."""
    nothing = pl.zeros(len(column), dtype=pl.UInt32, eager=True)
    return column.clone().scatter(places, texts), nothing.scatter(places, counts)
