"""A column of texts as kernels read it: one array of UTF-8 bytes, and the start of each text."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl


class Texts(NamedTuple):
    """``data``: uint8, the texts one after another in UTF-8; ``offsets``: int64 [n + 1], text ``i`` is
    ``data[offsets[i] : offsets[i + 1]]``. Both are read-only copies.
    """

    data: np.ndarray
    offsets: np.ndarray


def to_texts(column: pl.Series) -> Texts:
    """``column`` (String, without nulls) as buffers."""
    if column.null_count():
        raise ValueError(f"column {column.name!r} has nulls")
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum(column.str.len_bytes().to_numpy(), out=offsets[1:])
    joined = column.str.join("").cast(pl.Binary).item() if len(column) else b""
    data = np.frombuffer(joined, dtype=np.uint8)
    offsets.flags.writeable = False
    return Texts(data, offsets)


def from_texts(name: str, data: np.ndarray, offsets: np.ndarray) -> pl.Series:
    """The column ``name`` of the texts ``data[offsets[i] : offsets[i + 1]]``; raises if one is not valid UTF-8."""
    whole = data.tobytes()
    bounds = offsets.tolist()
    pieces = [whole[start:stop] for start, stop in pairwise(bounds)]
    return pl.Series(name, pieces, dtype=pl.Binary).cast(pl.String)
