"""Text that was decoded with the wrong encoding: ``cafÃ©`` for ``café``, and U+FFFD for undecodable bytes."""

import polars as pl

from llm_core.extras import missing

REPLACEMENT = "\ufffd"

_HIGH = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""The second byte of a UTF-8 character, read as Windows-1252 or Latin 1."""
SIGNS = "|".join(
    [
        rf"Ã[{_HIGH}]|Â[\u00a0-\u00bf]|â€[{_HIGH}]|ï»¿|ï¿½",
        *(rf"(?:[{lead}][{_HIGH}]){{3}}" for lead in ("ÐÑ", "ÎÏ")),
        rf"(?:[ãäåæçèé][{_HIGH}]{{2}}){{3}}",
    ]
)
"""UTF-8 read as Windows-1252: Latin letters and quotation marks; three letters of Cyrillic, Greek or Han in a row."""


def has_mojibake(column: pl.Series) -> pl.Series:
    """Whether each text has ``SIGNS`` (Boolean)."""
    return column.str.contains(SIGNS)


def repaired(column: pl.Series) -> pl.Series:
    """``column``, in which ftfy (Speer, 2019) has repaired the texts with ``SIGNS``. Other texts stay unchanged."""
    try:
        from ftfy import fix_encoding
    except ImportError:
        raise missing("cleaning.repair", "ftfy", "web") from None
    places = has_mojibake(column).arg_true()
    texts = [fix_encoding(text) for text in column.gather(places)]
    return column.clone().scatter(places, pl.Series(texts, dtype=pl.String))
