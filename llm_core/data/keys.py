"""What makes two texts the same: the key that deduplication and the split share."""

import numpy as np
import polars as pl
from xxhash import xxh3_128_digest

KEY_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8")])


def folded() -> pl.Expr:
    """The column ``text`` without case, compatibility forms (NFKC), punctuation and white space other than one space.

    Letters, digits and combining marks count, in their order. A text that has none of them is its own key, without
    outer white space.
    """
    words = pl.col("text").str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}\p{M}]+", " ")
    key = words.str.strip_chars()
    return pl.when(key == "").then(pl.col("text").str.strip_chars()).otherwise(key)


def key_hashes(frame: pl.DataFrame, salt: str = "") -> np.ndarray:
    """xxh3-128 of every document's folded text (after ``salt``), as an array of ``KEY_DTYPE``: 16 bytes each."""
    prefix = f"{salt}\0".encode() if salt else b""
    digests = b"".join(xxh3_128_digest(prefix + key.encode()) for key in frame.select(key=folded())["key"])
    return np.frombuffer(digests, dtype=KEY_DTYPE)
