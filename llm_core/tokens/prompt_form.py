r"""The form of an experiment's documents as a normaliser of ``tokenizer.json``: for texts that nothing has cleaned.

Cleaning brings documents into a form before they are encoded (``llm_core.data.normalise``). Nothing cleans prompts,
suites, and the texts that an exported tokenizer gets. This normaliser does to their characters what cleaning does. It
does not do what cleaning does to lines, because a prompt may end in the middle of a line: white space at the end of a
line, empty lines, and white space at either end of the text stay as they are.
"""

import json
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import Any

from llm_core.data.normal_form import LINES_AND_SPACES, MARK_OF_GAP, gaps, plain_quotes
from llm_core.experiment.cleaning import TextForm
from llm_core.tokens.prompts import FORM

Step = dict[str, Any]

_BLANK = r"[^\S\n]"
_MARK = MARK_OF_GAP

# A capital sigma at the end of a word has another lower case, which the step Lowercase does not know. The look-behind
# has a bound: without one, the library would search from the start of the text.
_CASED = r"[\p{Cased}&&\P{Case_Ignorable}]"
_LAST_SIGMA = rf"(?<={_CASED}\p{{Case_Ignorable}}{{0,16}})Σ(?!\p{{Case_Ignorable}}*{_CASED})"


def write_form(folder: Path, form: TextForm) -> None:
    """Write the normaliser that brings prompts into ``form``, beside a ``tokenizer.json``."""
    (folder / FORM).write_text(json.dumps(normaliser(form), ensure_ascii=False) + "\n", encoding="utf-8")


@cache
def normaliser(form: TextForm) -> Step:
    """The ``normalizer`` of a ``tokenizer.json`` that brings characters into ``form``.

    Characters that are newer than the library's Unicode tables stay as they are.
    """
    steps, formed = _in_order(form), _formed(form)
    if formed:  # cleaning goes on until nothing changes; no text is known that changes after this
        steps = [*steps, *formed, *steps]
    return {"type": "Sequence", "normalizers": steps}


def _in_order(form: TextForm) -> list[Step]:
    run = gaps(form.keep)
    spaced = _spaced(run) if run else []
    return [*starmap(_replace, LINES_AND_SPACES), *spaced, *starmap(_replace, plain_quotes(form))]


def _spaced(run: str) -> list[Step]:
    """Steps that replace a run of dropped characters by the white space before it, or else after it, or else a space.

    Each run first becomes one mark. Looking back over whole runs would take minutes for 100 kB: at every blank, the
    library would search from the start of the text.
    """
    return [
        _replace(run, _MARK),
        _replace(rf"(?:(?<=\s)|\A){_MARK}(?:{_BLANK}|{_MARK})*", ""),
        _replace(rf"(?<={_MARK}{_BLANK}){_BLANK}+", ""),
        _replace(rf"{_MARK}(?=\s|\z)", ""),
        _replace(_MARK, " "),
    ]


def _formed(form: TextForm) -> list[Step]:
    unicode = [] if form.unicode_form == "none" else [{"type": form.unicode_form}]
    lower = [_replace(_LAST_SIGMA, "ς"), {"type": "Lowercase"}, *unicode]
    return [*unicode, *lower] if form.uncased else unicode


def _replace(pattern: str, new: str) -> Step:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": new}
