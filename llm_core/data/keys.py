"""What makes two texts the same: the key that deduplication and the split share."""

import numpy as np
import polars as pl
from xxhash import xxh3_128_digest

KEY_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8")])


# What lower case leaves of the differences between upper and lower case, once letters and their marks are apart.
_OLD_CYRILLIC = dict(zip("\u1c80\u1c81\u1c82\u1c83\u1c84\u1c85\u1c86\u1c87\u1c88", "вдосттъѣꙋ", strict=True))
_FOLDS = {"ß": "ss", "ς": "σ", "\u0345": "ι", "i\u0307": "i", **_OLD_CYRILLIC}


def folded() -> pl.Expr:
    """The column ``text`` without case, compatibility forms (NFKC), punctuation and white space other than one space.

    Letters, digits and combining marks count, in their order. A text that has none of them is its own key, without
    outer white space. Not folded: accents (é and e), the Turkish ı and i, spellings (colour and color), letters that
    look alike (Latin and Cyrillic a), and the order of words or lines.
    """
    words = pl.col("text").str.normalize("NFKC").str.replace_all(r"[^\p{L}\p{N}\p{M}]+", " ").str.strip_chars()
    key = words.str.normalize("NFKD").str.to_lowercase().str.replace_many(_FOLDS)
    return pl.when(key == "").then(pl.col("text").str.strip_chars()).otherwise(key)


def key_hashes(frame: pl.DataFrame, salt: str = "") -> np.ndarray:
    """xxh3-128 of every document's folded text (after ``salt``), as an array of ``KEY_DTYPE``: 16 bytes each."""
    prefix = f"{salt}\0".encode() if salt else b""
    digests = b"".join(xxh3_128_digest(prefix + key.encode()) for key in frame.select(key=folded())["key"])
    return np.frombuffer(digests, dtype=KEY_DTYPE)
