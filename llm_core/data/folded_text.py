"""Folded text: texts count as equal in deduplication, decontamination and the split if their folded texts are equal."""

import polars as pl

# Differences between upper and lower case that remain after NFKD and lower case.
_OLD_CYRILLIC = dict(zip("\u1c80\u1c81\u1c82\u1c83\u1c84\u1c85\u1c86\u1c87\u1c88", "вдосттъѣꙋ", strict=True))
_FOLDS = {"ß": "ss", "ς": "σ", "\u0345": "ι", "i\u0307": "i", **_OLD_CYRILLIC}


def folded() -> pl.Expr:
    """The column ``text`` without case, compatibility forms (NFKC), punctuation and white space other than one space.

    Letters, digits and combining marks count, in their order. A text without any of them stays as
    it is, without outer white space. Not folded: accents (é and e), the Turkish ı and i, spellings (colour and color),
    letters that look alike (Latin and Cyrillic a), and the order of words or lines.

    ``llm_core.data.kernels.folding.fold`` gives the same bytes many times faster.
    """
    key = folded_words()
    return pl.when(key == "").then(pl.col("text").str.strip_chars()).otherwise(key)


def folded_words() -> pl.Expr:
    """``folded``, empty for a text without letters, digits and marks."""
    words = pl.col("text").str.normalize("NFKC").str.replace_all(r"[^\p{L}\p{N}\p{M}]+", " ").str.strip_chars()
    return words.str.normalize("NFKD").str.to_lowercase().str.replace_many(_FOLDS)
