"""Text in one form: line ends, characters nobody sees, Unicode, quotation marks, white space, case."""

import polars as pl

from llm_core.experiment.cleaning import CleaningSpec

_LINE_ENDS = r"\r\n|[\r\x0B\x0C\x{85}\x{2028}\x{2029}]"
# Controls, and what has no width and no meaning for letters: soft hyphen, zero-width space, word joiner, byte-order
# mark, marks of direction. The joiners U+200C and U+200D stay: some scripts and all compound emoji need them.
_INVISIBLE = r"[\p{Cc}\x{AD}\x{61C}\x{200B}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}\x{2066}-\x{2069}\x{FEFF}--[\t\n]]"
_NO_BREAK_SPACES = "[\u00a0\u2007\u202f]"

_PLAIN = {
    **dict.fromkeys("‘’‚‛′", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
}


def normalised(cleaning: CleaningSpec) -> pl.Expr:
    """The column ``text`` in its normal form; applying it twice changes nothing more.

    Lines end in ``\\n`` and not in spaces, at most one empty line stands between two others, and none at either end.
    Of the control characters only ``\\n`` and ``\\t`` are left.
    """
    text = pl.col("text").str.replace_all(_LINE_ENDS, "\n").str.replace_all(_INVISIBLE, "")
    text = _lowered(text, cleaning) if cleaning.uncased else _unicode(text, cleaning)
    if cleaning.plain_quotes:
        text = text.str.replace_many(_PLAIN)
    text = text.str.replace_all(_NO_BREAK_SPACES, " ")
    return text.str.replace_all(r"[^\S\n]+\n", "\n").str.replace_all(r"\n{3,}", "\n\n").str.strip_chars()


def _unicode(text: pl.Expr, cleaning: CleaningSpec) -> pl.Expr:
    return text if cleaning.unicode_form == "none" else text.str.normalize(cleaning.unicode_form)


def _lowered(text: pl.Expr, cleaning: CleaningSpec) -> pl.Expr:
    """Lower case of the normal form, normalised again: NFKC makes capitals (™), lower case takes letters apart (İ)."""
    return _unicode(_unicode(text, cleaning).str.to_lowercase(), cleaning)
