"""Text in one form: line ends, characters nobody sees, Unicode, quotation marks, white space, case, kinds to keep."""

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import from_texts, to_texts
from llm_core.data.kernels.characters import EMOJI, LETTER, NUMBER, PUNCTUATION
from llm_core.data.kernels.normal_form import NFC_UNSURE, NFKC_UNSURE, SYMBOL, put_in_order
from llm_core.experiment.cleaning import TextForm

_UNSURE = {"NFC": NFC_UNSURE, "NFKC": NFKC_UNSURE, "none": 0}
_KEPT = {"letters": LETTER, "digits": NUMBER, "punctuation": PUNCTUATION, "symbols": SYMBOL, "emoji": EMOJI}


def normalised(column: pl.Series, cleaning: TextForm) -> pl.Series:
    """The texts of ``column`` in their normal form; applying it twice changes nothing more.

    Lines end in ``\\n`` and not in spaces, at most one empty line stands between two others, and none at either end.
    Of the control characters only ``\\n`` and ``\\t`` are left. Only texts that hold a character which makes it
    necessary go through Unicode's normal form.
    """
    column, unsure = _in_order(column, cleaning)
    places = np.arange(len(column)) if cleaning.uncased else np.flatnonzero(unsure)
    while len(places):
        before = column.gather(places)
        formed = before.to_frame("text").select(_form(cleaning)).to_series()
        differs = (formed != before).to_numpy()
        places = places[differs]
        column = column.scatter(places, _in_order(formed.filter(differs), cleaning)[0])
    return column


def kept_flags(form: TextForm) -> int:
    """The flags of the characters to keep; 0 for all."""
    return sum(_KEPT[kind] for kind in form.keep) if form.keep is not None else 0


def _in_order(column: pl.Series, cleaning: TextForm) -> tuple[pl.Series, np.ndarray]:
    texts, unsure = put_in_order(
        to_texts(column), cleaning.plain_quotes, kept_flags(cleaning), _UNSURE[cleaning.unicode_form]
    )
    return from_texts(column.name, *texts), unsure


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
