"""Text in one form: line ends, characters nobody sees, Unicode, quotation marks, white space, case, kinds to keep."""

import polars as pl

from llm_core.data.normal_form import LINES_AND_SPACES, MARK_OF_GAP, Replacement, gaps, plain_quotes
from llm_core.experiment.cleaning import TextForm

_BLANK = r"[^\S\n]"

# A character that means that a text may not be in the form: one that the form changes, or that can join the one before
# it. A range may hold others.
_UNSURE = {
    "NFC": r"[\p{M}\x{374}\x{37e}\x{387}\x{958}-\x{95f}\x{9dc}-\x{9df}\x{a33}-\x{a36}\x{a59}-\x{a5e}\x{b5c}-\x{b5d}"
    r"\x{f43}-\x{f69}\x{1100}-\x{11ff}\x{1f71}-\x{1fff}\x{2000}-\x{2001}\x{2126}-\x{212b}\x{2329}-\x{232a}\x{2adc}"
    r"\x{f900}-\x{faff}\x{fb1d}-\x{fb4f}\x{16d40}-\x{16d7f}\x{1d15e}-\x{1d1c0}\x{2f800}-\x{2fa1f}]",
    "NFKC": r"[^\x{0}-\x{7f}]",
}


def normalised(column: pl.Series, cleaning: TextForm) -> pl.Series:
    """The texts of ``column`` in their normal form; applying it twice changes nothing more.

    Lines end in ``\\n`` and not in spaces, at most one empty line stands between two others, and none at either end.
    Of the control characters only ``\\n`` and ``\\t`` are left. Only texts that hold a character which makes it
    necessary go through Unicode's normal form.
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
    """Plain line ends and quotation marks, nothing invisible or unwanted, no blank ends of lines or texts."""
    text = pl.col("text")
    for pattern, new in (*LINES_AND_SPACES, *_without_gaps(cleaning), *plain_quotes(cleaning), *_BLANK_ENDS):
        text = text.str.replace_all(pattern, new)
    return column.to_frame("text").select(text.str.strip_chars()).to_series().alias(column.name)


_BLANK_ENDS: tuple[Replacement, ...] = ((rf"{_BLANK}+\n", "\n"), (r"\n{3,}", "\n\n"))


def _without_gaps(cleaning: TextForm) -> list[Replacement]:
    """What is taken out leaves the white space before it; or else the first of that behind it; or else a space."""
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
    """Unicode's normal form, and lower case of it: normalised again, for NFKC makes capitals (™), and lower case takes
    letters apart (İ).
    """
    form = cleaning.unicode_form
    text = pl.col("text")
    formed = text if form == "none" else text.str.normalize(form)
    if not cleaning.uncased:
        return formed
    lowered = formed.str.to_lowercase()
    return lowered if form == "none" else lowered.str.normalize(form)
