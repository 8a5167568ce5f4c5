"""The normal form of texts: line ends, invisible characters, Unicode, quotation marks, white space, case, kinds."""

import polars as pl

from llm_core.data.normal_form import LINES_AND_SPACES, MARK_OF_GAP, Replacement, gaps, plain_quotes
from llm_core.experiment.cleaning import TextForm

_BLANK = r"[^\S\n]"

# Characters that the Unicode form may change or join with the one before. A text without them is in the form already.
# A range may include others.
_UNSURE = {
    "NFC": r"[\p{M}\x{374}\x{37e}\x{387}\x{958}-\x{95f}\x{9dc}-\x{9df}\x{a33}-\x{a36}\x{a59}-\x{a5e}\x{b5c}-\x{b5d}"
    r"\x{f43}-\x{f69}\x{1100}-\x{11ff}\x{1f71}-\x{1fff}\x{2000}-\x{2001}\x{2126}-\x{212b}\x{2329}-\x{232a}\x{2adc}"
    r"\x{f900}-\x{faff}\x{fb1d}-\x{fb4f}\x{16d40}-\x{16d7f}\x{1d15e}-\x{1d1c0}\x{2f800}-\x{2fa1f}]",
    "NFKC": r"[^\x{0}-\x{7f}]",
}


def normalised(column: pl.Series, cleaning: TextForm) -> pl.Series:
    """The texts of ``column`` in their normal form. Applying it twice gives the same as once.

    Lines end in ``\\n`` and without spaces. There is at most one empty line between two others, and none at either end.
    The only control characters are ``\\n`` and ``\\t``. Only texts with a character of ``_UNSURE`` go through Unicode's
    normal form.
    """
    column = _in_order(column, cleaning)
    places = _unsure(column, cleaning)
    while len(places):
        before = column.gather(places)
        formed = before.to_frame("text").select(_form(cleaning)).to_series()
        differs = formed != before
        places = places.filter(differs)
        column = column.clone().scatter(places, _in_order(formed.filter(differs), cleaning))
    return column


def _unsure(column: pl.Series, cleaning: TextForm) -> pl.Series:
    """The places of texts that may change in Unicode's normal form, or in lower case."""
    if cleaning.uncased:
        return pl.Series(range(len(column)), dtype=pl.UInt32)
    if cleaning.unicode_form == "none":
        return pl.Series([], dtype=pl.UInt32)
    return column.str.contains(_UNSURE[cleaning.unicode_form]).arg_true()


def _in_order(column: pl.Series, cleaning: TextForm) -> pl.Series:
    """Plain line ends and quotation marks, no invisible or unwanted characters, no blanks at ends of lines or text."""
    text = pl.col("text")
    for pattern, new in (*LINES_AND_SPACES, *_without_gaps(cleaning), *plain_quotes(cleaning), *_BLANK_ENDS):
        text = text.str.replace_all(pattern, new)
    return column.to_frame("text").select(text.str.strip_chars()).to_series().alias(column.name)


_BLANK_ENDS: tuple[Replacement, ...] = ((rf"{_BLANK}+\n", "\n"), (r"\n{3,}", "\n\n"))


def _without_gaps(cleaning: TextForm) -> list[Replacement]:
    """A dropped run becomes the white space before it, or else the first white space after it, or else a space."""
    run, mark = gaps(cleaning.keep), MARK_OF_GAP
    if run is None:
        return []
    return [
        (run, mark),
        (rf"(\s|\A){mark}(?:{_BLANK}|{mark})*", "${1}"),
        (rf"({mark}{_BLANK}){_BLANK}+", "${1}"),
        (rf"{mark}(\s|\z)", "${1}"),
        (mark, " "),
    ]


def _form(cleaning: TextForm) -> pl.Expr:
    """Unicode's normal form, then lower case, then the normal form again: NFKC makes capitals (™ → TM), and lower case
    decomposes letters (İ)."""
    form = cleaning.unicode_form
    text = pl.col("text")
    formed = text if form == "none" else text.str.normalize(form)
    if not cleaning.uncased:
        return formed
    lowered = formed.str.to_lowercase()
    return lowered if form == "none" else lowered.str.normalize(form)
